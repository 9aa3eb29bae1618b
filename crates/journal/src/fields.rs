//! Fields of the on-disk structures.
