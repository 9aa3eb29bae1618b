//! Bounds that more than one crate relies on.

/// Largest frame of the journal that is not split, in bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Largest piece of a record batch in a PART frame, in bytes.
pub const PART_BYTES: usize = 1 << 20;

/// Largest single record (key, value and headers) by default, in bytes.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// Largest payload of one append, in bytes: a record of the largest size and its headers.
pub const APPEND_BYTES_MAX: usize = RECORD_BYTES_MAX + (1 << 20);

/// Longest internal name of a topic, queue, router, subscription or group, in UTF-8 bytes.
pub const INTERNAL_NAME_BYTES_MAX: usize = 512;

const _: () = assert!(PART_BYTES <= FRAME_BYTES_MAX);
const _: () = assert!(RECORD_BYTES_MAX < APPEND_BYTES_MAX);
