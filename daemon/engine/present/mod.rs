//! Writes entries as readers see them: full JSON, base JSON, detail sections.
