//! Typed values of arguments and headers.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One typed value of an argument or a header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// No value.
    Void,
    /// True or false.
    Bool(bool),
    /// Signed, 8 bits.
    I8(i8),
    /// Unsigned, 8 bits.
    U8(u8),
    /// Signed, 16 bits.
    I16(i16),
    /// Unsigned, 16 bits.
    U16(u16),
    /// Signed, 32 bits.
    I32(i32),
    /// Unsigned, 32 bits.
    U32(u32),
    /// Signed, 64 bits.
    I64(i64),
    /// Floating point, 32 bits.
    F32(f32),
    /// Floating point, 64 bits.
    F64(f64),
    /// `value` divided by ten to the power `scale`.
    Decimal {
        /// Digits after the point.
        scale: u8,
        /// All digits.
        value: i32,
    },
    /// Text, by its bytes.
    Text(Vec<u8>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Seconds since 1970-01-01 UTC.
    Timestamp(u64),
    /// Values in order.
    Array(Vec<Value>),
    /// Named values in order.
    Table(Vec<(String, Value)>),
}

/// Named values, in the order they were given.
pub type Arguments = Vec<(String, Value)>;

/// The headers of a record that is being routed, looked up only when a router asks.
pub trait Headers {
    /// The value of the header `name`, if it is there.
    fn header(&self, name: &str) -> Option<Cow<'_, Value>>;
}

/// No headers.
impl Headers for () {
    fn header(&self, _name: &str) -> Option<Cow<'_, Value>> {
        None
    }
}

impl Headers for [(String, Value)] {
    fn header(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.iter().find(|(key, _)| key == name).map(|(_, value)| Cow::Borrowed(value))
    }
}
