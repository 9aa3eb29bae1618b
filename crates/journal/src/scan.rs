//! Rounds from the disk.
