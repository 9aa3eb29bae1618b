//! Typed values of arguments and headers.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use types::Millis;

/// A typed value, as arguments of declarations and headers of records have them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// 8 bits, signed.
    I8(i8),
    /// 16 bits, signed.
    I16(i16),
    /// 32 bits, signed.
    I32(i32),
    /// 64 bits, signed.
    I64(i64),
    /// 8 bits, unsigned.
    U8(u8),
    /// 16 bits, unsigned.
    U16(u16),
    /// 32 bits, unsigned.
    U32(u32),
    /// IEEE 754 single.
    F32(f32),
    /// IEEE 754 double.
    F64(f64),
    /// `unscaled` / 10^`scale`.
    Decimal {
        /// Digits after the point.
        scale: u8,
        /// The number without its point.
        unscaled: i32,
    },
    /// UTF-8 text.
    String(String),
    /// Bytes that are not text.
    Bytes(Vec<u8>),
    /// A point in time.
    Timestamp(Millis),
    /// Values in order, of any types.
    Array(Vec<Value>),
    /// Named values in order; names may repeat.
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
