//! Why an operation failed, told so that a caller can act on it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a caller can do about a failure. A new kind is added only when some caller would act
/// differently on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// The named thing does not exist.
    NotFound,
    /// The named thing exists already, or exists with other properties.
    Exists,
    /// The caller may not do this.
    Denied,
    /// Somebody else holds it exclusively, or it is not empty or not unused.
    InUse,
    /// The request contradicts itself or the rules of the thing it names.
    Invalid,
    /// Larger than a limit allows.
    TooLarge,
    /// Too much at once; the same request can succeed later.
    Throttled,
    /// It may hold no more, and says so rather than let go of something.
    Full,
    /// Another node leads the shard.
    NotLeader,
    /// The broker is stopping, or its disk has failed.
    Unavailable,
    /// Stored bytes are not what was written.
    Corrupt,
}

/// A failed operation: what a caller can branch on, and one sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What to do about it.
    pub kind: Kind,
    /// What was attempted and why it failed; lower case, no full stop.
    pub message: String,
}

impl Error {
    /// An error of `kind` with a sentence for a person.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
