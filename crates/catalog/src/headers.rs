//! Matching of headers against a binding's arguments.

#[cfg(test)]
mod tests;

use crate::Name;
use crate::outcome::{Refusal, Thing};
use crate::value::{Arguments, Headers, Value};
use record::properties::DEPTH_MAX;

/// The argument that says how the others are combined.
const X_MATCH: &str = "x-match";

/// How a binding's arguments are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    all: bool,
    /// Arguments that begin with `x-` count too.
    with_x: bool,
}

/// Refuses a binding whose `x-match` is not one of the four.
pub(crate) fn check(source: &Name, arguments: &Arguments) -> Result<(), Refusal> {
    if rule(arguments).is_some() {
        return Ok(());
    }
    Err(Refusal::Invalid {
        what: Thing::Binding,
        name: Name::clone(source),
        why: "x-match must be all, any, all-with-x or any-with-x".to_owned(),
    })
}

/// Whether `headers` fulfil a binding's `arguments`. An argument without value asks for presence.
///
/// Source: RabbitMQ's headers exchange (`x-match`, default `all`).
pub(crate) fn matches(arguments: &Arguments, headers: &dyn Headers) -> bool {
    let Some(rule) = rule(arguments) else { return false };
    let mut wanted = arguments
        .iter()
        .filter(|(name, _)| name != X_MATCH && (rule.with_x || !name.starts_with("x-")));
    let fulfilled = |(name, want): &(String, Value)| {
        headers.header(name).is_some_and(|found| *want == Value::Null || same(want, &found))
    };
    if rule.all { wanted.all(fulfilled) } else { wanted.any(fulfilled) }
}

/// Whether `a` and `b` say the same: integers by value whatever their width, floats likewise, text
/// and bytes by their bytes, arrays and tables item by item. What is nested deeper than
/// [`DEPTH_MAX`] is never the same.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    same_at(a, b, 0)
}

fn rule(arguments: &Arguments) -> Option<Rule> {
    let Some((_, value)) = arguments.iter().find(|(name, _)| name == X_MATCH) else {
        return Some(Rule { all: true, with_x: false });
    };
    match bytes(value)? {
        b"all" => Some(Rule { all: true, with_x: false }),
        b"any" => Some(Rule { all: false, with_x: false }),
        b"all-with-x" => Some(Rule { all: true, with_x: true }),
        b"any-with-x" => Some(Rule { all: false, with_x: true }),
        _ => None,
    }
}

fn same_at(a: &Value, b: &Value, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    if let (Some(a), Some(b)) = (integer(a), integer(b)) {
        return a == b;
    }
    if let (Some(a), Some(b)) = (float(a), float(b)) {
        return a == b;
    }
    if let (Some(a), Some(b)) = (bytes(a), bytes(b)) {
        return a == b;
    }
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_at(a, b, depth + 1))
        }
        (Value::Table(a), Value::Table(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same_at(&a.1, &b.1, depth + 1))
        }
        _ => a == b,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::I8(number) => Some(i64::from(*number)),
        Value::U8(number) => Some(i64::from(*number)),
        Value::I16(number) => Some(i64::from(*number)),
        Value::U16(number) => Some(i64::from(*number)),
        Value::I32(number) => Some(i64::from(*number)),
        Value::U32(number) => Some(i64::from(*number)),
        Value::I64(number) => Some(*number),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::F32(number) => Some(f64::from(*number)),
        Value::F64(number) => Some(*number),
        _ => None,
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::String(text) => Some(text.as_bytes()),
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}
