//! Structures on disk.
