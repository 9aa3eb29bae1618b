//! Arguments and headers between JSON and the broker's typed values.

use super::refused::Refused;
use crate::base64;
use engine::catalog::{Arguments, Value as Typed};
use serde_json::{Map, Number, Value};

/// Deepest nesting of arguments that is taken.
const DEPTH_MAX: usize = 16;

/// Named values as an object; of a name that repeats the last one.
pub(super) fn shown(arguments: &Arguments) -> Value {
    let fields = arguments.iter().map(|(name, value)| (name.clone(), shown_value(value)));
    Value::Object(fields.collect())
}

/// The named values of an object.
pub(super) fn given(fields: Map<String, Value>) -> Result<Arguments, Refused> {
    let of = |(name, value)| Ok((name, given_value(value)?));
    fields.into_iter().map(of).collect()
}

/// A value of any type.
pub(super) fn given_value(value: Value) -> Result<Typed, Refused> {
    given_at(value, DEPTH_MAX)
}

/// Seconds, as AMQP has times.
pub(super) fn shown_value(value: &Typed) -> Value {
    match value {
        Typed::Null => Value::Null,
        Typed::Bool(set) => Value::Bool(*set),
        Typed::F32(number) => float(f64::from(*number)),
        Typed::F64(number) => float(*number),
        Typed::Decimal { scale, unscaled } => {
            float(f64::from(*unscaled) / 10_f64.powi(i32::from(*scale)))
        }
        Typed::String(text) => Value::String(text.clone()),
        Typed::Bytes(bytes) => Value::String(match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => base64::encode(bytes),
        }),
        Typed::Timestamp(time) => Value::from(time.0 / 1000),
        Typed::Array(values) => values.iter().map(shown_value).collect(),
        Typed::Table(fields) => shown(fields),
        integer => Value::from(integer.as_i64().unwrap_or_default()),
    }
}

fn given_at(value: Value, depth: usize) -> Result<Typed, Refused> {
    let Some(below) = depth.checked_sub(1) else {
        return Err(Refused::bad("arguments are nested too deep"));
    };
    Ok(match value {
        Value::Null => Typed::Null,
        Value::Bool(set) => Typed::Bool(set),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Typed::I64(integer),
            None => Typed::F64(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Typed::String(text),
        Value::Array(values) => {
            let values = values.into_iter().map(|value| given_at(value, below));
            Typed::Array(values.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let of = |(name, value)| Ok((name, given_at(value, below)?));
            Typed::Table(fields.into_iter().map(of).collect::<Result<_, Refused>>()?)
        }
    })
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}
