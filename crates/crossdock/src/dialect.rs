//! AMQP's words for the management API.

use admin::{Dialect, Told};
use amqp091::dialect;
use amqp091::errors::Exception;

/// Declarations by the management API are AMQP's.
pub(crate) const DIALECT: Dialect = Dialect {
    queue: |names, vhost, declare| dialect::queue(names, vhost, declare).map_err(told),
    policy: dialect::policy,
    applies_to: dialect::APPLIES_TO,
    router: |vhost, kind, declare| dialect::router(vhost, kind, declare).map_err(told),
    delay: dialect::delay,
    once: dialect::once,
    tell_delayed: dialect::tell_delayed,
    refusal: |vhost, refusal, deletes| told(dialect::refusal(vhost, refusal, deletes)),
    denied: |denied| told(denied.into()),
};

fn told(exception: Exception) -> Told {
    let Exception { code, text, .. } = exception;
    Told { code: code.number(), name: code.name(), text }
}
