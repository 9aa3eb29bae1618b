//! What requests say, as loosely as RabbitMQ takes it: numbers and flags may be texts.

use super::arguments;
use super::refused::{Refused, parse};
use engine::catalog::{Arguments, Value as Typed};
use serde_json::{Map, Value, json};

/// The fields of a request's body.
#[derive(Debug)]
pub(super) struct Given(Map<String, Value>);

impl Given {
    /// Reads a body; none at all is an object without fields.
    pub(super) fn read(body: &[u8]) -> Result<Given, Refused> {
        Ok(Given(parse(body)?))
    }

    /// Checks that fields are there.
    pub(super) fn need(&self, names: &[&str]) -> Result<(), Refused> {
        match names.iter().find(|name| !self.0.contains_key(**name)) {
            Some(name) => Err(Refused::bad(format!("[{{key_missing,{name}}}]"))),
            None => Ok(()),
        }
    }

    /// A field that is a text; empty if it is not there.
    pub(super) fn text(&self, name: &str) -> Result<String, Refused> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            Some(_) => Err(Refused::bad(json!(["not_string", name]))),
        }
    }

    /// A field that is true or false.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refused> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(set)) => Ok(Some(*set)),
            Some(Value::String(text)) if text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" || text.is_empty() => Ok(Some(false)),
            Some(other) => Err(Refused::bad(json!(["not_boolean", other]))),
        }
    }

    /// A field that is a whole number.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Refused> {
        let number = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| Refused::bad(json!(["not_int", name])))
    }

    /// A field of any type.
    pub(super) fn value(&self, name: &str) -> Result<Typed, Refused> {
        arguments::given_value(self.0.get(name).cloned().unwrap_or(Value::Null))
    }

    /// A field that is an object; without fields if it is not there.
    pub(super) fn object(&self, name: &str) -> Result<Given, Refused> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(Given(Map::new())),
            // So some languages say that there are no fields.
            Some(Value::Array(none)) if none.is_empty() => Ok(Given(Map::new())),
            Some(Value::Object(fields)) => Ok(Given(fields.clone())),
            Some(_) => Err(Refused::bad(json!(["not_an_object", name]))),
        }
    }

    /// The fields as typed values.
    pub(super) fn arguments(self) -> Result<Arguments, Refused> {
        arguments::given(self.0)
    }

    /// A field that is a list of objects; empty if it is not there.
    pub(super) fn list(&self, name: &str) -> Result<Vec<Given>, Refused> {
        let wrong = || Refused::bad(json!(["not_a_list_of_objects", name]));
        let parts = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(parts)) => parts,
            Some(_) => return Err(wrong()),
        };
        let fields = |part: &Value| part.as_object().cloned().map(Given).ok_or_else(wrong);
        parts.iter().map(fields).collect()
    }

    pub(super) fn into_fields(self) -> Map<String, Value> {
        self.0
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
