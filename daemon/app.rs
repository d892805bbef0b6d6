//! Wires every subsystem; the only module that knows them all.
