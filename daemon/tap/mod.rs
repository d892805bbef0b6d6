//! Live observers of entries: filter, bounded queue, cursor.
