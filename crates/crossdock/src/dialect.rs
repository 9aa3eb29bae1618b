//! AMQP's words for the management API.

use admin::{Dialect, Told};
use amqp091::dialect;
use amqp091::errors::Exception;

/// Declarations by the management API are AMQP's.
pub(crate) const DIALECT: Dialect = Dialect {
    queue: |vhost, declare| dialect::queue_options(vhost, declare).map_err(told),
    alternate: |vhost, declare| dialect::alternate(vhost, declare).map_err(told),
    kind: |name| dialect::exchange_kind(name).map_err(told),
    refusal: |vhost, refusal, deletes| told(dialect::refusal(vhost, refusal, deletes)),
    denied: |denied| told(denied.into()),
};

fn told(exception: Exception) -> Told {
    let Exception { code, text, .. } = exception;
    Told { code: code.number(), name: code.name(), text }
}
