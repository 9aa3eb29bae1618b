//! Bytes that are not what their format says.

use std::fmt;

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They end before the thing they hold does.
    Truncated,
    /// A batch of another format than magic 2.
    Magic,
    /// The checksum does not match.
    Checksum,
    /// A count or an offset that contradicts the bytes, or bytes that are left over.
    Count,
    /// Larger, or nested deeper, than the limit allows.
    TooLarge,
    /// An unknown compression, or a compressed body that does not unpack.
    Compression,
    /// Any other contradiction: a length below -1, an overlong varint, an unknown type code.
    Invalid,
}

/// Bytes that cannot be decoded: where, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Position in the slice that was given, in bytes.
    pub at_byte: usize,
    /// What is wrong there.
    pub fault: Fault,
}

impl Malformed {
    /// A fault at a position.
    pub fn new(at_byte: usize, fault: Fault) -> Malformed {
        Malformed { at_byte, fault }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.fault {
            Fault::Truncated => "the bytes end early",
            Fault::Magic => "the batch is not of magic 2",
            Fault::Checksum => "the checksum does not match",
            Fault::Count => "a count contradicts the bytes",
            Fault::TooLarge => "a limit is exceeded",
            Fault::Compression => "the body does not unpack",
            Fault::Invalid => "a field has no valid value",
        };
        write!(f, "malformed at byte {}: {why}", self.at_byte)
    }
}

impl std::error::Error for Malformed {}
