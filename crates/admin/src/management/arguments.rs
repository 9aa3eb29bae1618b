//! Arguments as JSON.

use crate::base64;
use engine::catalog::{Arguments, Value as Typed};
use serde_json::{Number, Value};

/// Named values as an object; of a name that repeats the last one.
pub(super) fn shown(arguments: &Arguments) -> Value {
    let fields = arguments.iter().map(|(name, value)| (name.clone(), shown_value(value)));
    Value::Object(fields.collect())
}

/// Seconds, as AMQP has times.
fn shown_value(value: &Typed) -> Value {
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

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}
