//! Arguments of declarations, and headers that are asked for by name.

use crate::entry::Property;
use std::borrow::Cow;

pub use record::properties::Value;

/// Named values, in the order they were given.
pub type Arguments = Vec<(String, Value)>;

/// The headers of a record that is being routed, looked up only when a router asks.
pub trait Headers {
    /// The value of the header `name`, if it is there.
    fn header(&self, name: &str) -> Option<Cow<'_, Value>>;

    /// The text of a property, if it is there.
    fn property(&self, _property: Property) -> Option<Cow<'_, [u8]>> {
        None
    }

    /// Whether the record asks to wait, where a router lets it.
    fn waits(&self) -> bool {
        false
    }
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
