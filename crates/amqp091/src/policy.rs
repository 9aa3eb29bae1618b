//! What RabbitMQ's policies say: which settings are known, and what they have to be.

use engine::catalog::{AppliesTo, Arguments, Overflow, PolicySettings, QueueKind, Value};
use std::fmt::Write as _;
use types::Millis;

/// Settings that are known, stored and echoed, and change nothing here.
const INERT: [&str; 24] = [
    "consumer-timeout",
    "dead-letter-strategy",
    "federation-upstream",
    "federation-upstream-pattern",
    "federation-upstream-set",
    "ha-mode",
    "ha-params",
    "ha-promote-on-failure",
    "ha-promote-on-shutdown",
    "ha-sync-batch-size",
    "ha-sync-mode",
    "initial-cluster-size",
    "max-in-memory-bytes",
    "max-in-memory-length",
    "queue-leader-locator",
    "queue-master-locator",
    "queue-mode",
    "queue-version",
    "routing-key",
    "shards-per-node",
    "stream-filter-size-bytes",
    "stream-max-segment-size-bytes",
    "target-group-size",
    "unclean-leader-election",
];

/// Settings that an operator's policy may have.
const OPERATORS: [&str; 9] = [
    "delivery-limit",
    "expires",
    "ha-mode",
    "max-in-memory-bytes",
    "max-in-memory-length",
    "max-length",
    "max-length-bytes",
    "message-ttl",
    "target-group-size",
];

/// What a policy is for, by its name.
pub(crate) const APPLIES_TO: [(&str, AppliesTo); 6] = [
    ("all", AppliesTo::All),
    ("queues", AppliesTo::Queues),
    ("exchanges", AppliesTo::Routers),
    ("classic_queues", AppliesTo::Kind(QueueKind::Classic)),
    ("quorum_queues", AppliesTo::Kind(QueueKind::Quorum)),
    ("streams", AppliesTo::Kind(QueueKind::Stream)),
];

/// What of a definition takes effect.
///
/// Fails with what is wrong with it, in RabbitMQ's words.
pub(crate) fn settings(definition: &Arguments, operator: bool) -> Result<PolicySettings, String> {
    let known = |name: &str| match operator {
        true => OPERATORS.contains(&name),
        false => INERT.contains(&name) || WORKING.iter().any(|(working, ..)| *working == name),
    };
    let unknown: Vec<&(String, Value)> =
        definition.iter().filter(|(name, _)| !known(name)).collect();
    if !unknown.is_empty() {
        let mut told = String::new();
        for (name, value) in unknown {
            let comma = if told.is_empty() { "" } else { ",\n " };
            // Writing to a text does not fail.
            let _ = write!(told, "{comma}{{<<\"{name}\">>,{}}}", spelled(value));
        }
        return Err(format!("[{told}] are not recognised policy settings"));
    }
    let mut settings = PolicySettings::default();
    for (name, value) in definition {
        if let Some((_, what, set)) = WORKING.iter().find(|(working, ..)| working == name) {
            set(&mut settings, value)
                .ok_or_else(|| format!("{} is not a valid {what}", spelled(value)))?;
        }
    }
    Ok(settings)
}

/// A setting's name, what it is, and how it is set; `None` where a value is not right.
type Working = (&'static str, &'static str, fn(&mut PolicySettings, &Value) -> Option<()>);

const WORKING: [Working; 12] = [
    ("alternate-exchange", "alternate exchange name", |it, value| {
        it.alternate = Some(value.as_str()?.into());
        Some(())
    }),
    ("dead-letter-exchange", "dead letter exchange name", |it, value| {
        it.dead_router = Some(value.as_str()?.into());
        Some(())
    }),
    ("dead-letter-routing-key", "dead letter routing key", |it, value| {
        it.dead_key = Some(value.as_str()?.into());
        Some(())
    }),
    ("message-ttl", "message TTL", |it, value| {
        it.message_ttl = Some(Millis(natural(value)?));
        Some(())
    }),
    ("expires", "queue expiry", |it, value| {
        it.expires = Some(Millis(natural(value).filter(|span| *span > 0)?));
        Some(())
    }),
    ("max-length", "maximum length", |it, value| {
        it.max_len = Some(u64::try_from(natural(value)?).ok()?);
        Some(())
    }),
    ("max-length-bytes", "maximum length in bytes", |it, value| {
        it.max_bytes = Some(u64::try_from(natural(value)?).ok()?);
        Some(())
    }),
    ("max-age", "max age", |it, value| {
        it.max_age = Some(crate::arguments::age(value.as_str()?)?);
        Some(())
    }),
    ("keep-settled-age", "age of settled messages", |it, value| {
        it.keep_age = Some(crate::arguments::span(value)?);
        Some(())
    }),
    ("keep-settled-bytes", "size of settled messages in bytes", |it, value| {
        it.keep_bytes = Some(u64::try_from(natural(value).filter(|bytes| *bytes > 0)?).ok()?);
        Some(())
    }),
    ("delivery-limit", "delivery limit", |it, value| {
        // A count goes no further, and so no limit that is higher is ever passed.
        it.returns_max = u16::try_from(natural(value)?).ok();
        Some(())
    }),
    ("overflow", "overflow", |it, value| {
        it.overflow = Some(match value.as_str()? {
            "drop-head" => Overflow::DropOldest,
            "reject-publish" => Overflow::Refuse,
            "reject-publish-dlx" => Overflow::RefuseAsDead,
            _ => return None,
        });
        Some(())
    }),
];

fn natural(value: &Value) -> Option<i64> {
    value.as_i64().filter(|number| *number >= 0)
}

fn spelled(value: &Value) -> String {
    match value {
        Value::String(text) => format!("<<{text:?}>>"),
        Value::Bool(set) => set.to_string(),
        other => match other.as_i64() {
            Some(number) => number.to_string(),
            None => format!("{other:?}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::settings;
    use engine::catalog::{Arguments, Overflow, PolicySettings, Value};
    use types::Millis;

    fn definition(list: &[(&str, Value)]) -> Arguments {
        list.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn what_is_known_takes_effect_or_changes_nothing() {
        let given = definition(&[
            ("message-ttl", Value::I64(5)),
            ("overflow", text("reject-publish")),
            ("dead-letter-exchange", text("x")),
            ("max-age", text("1h")),
            ("ha-mode", text("all")),
        ]);
        let wanted = PolicySettings {
            message_ttl: Some(Millis(5)),
            overflow: Some(Overflow::Refuse),
            dead_router: Some("x".into()),
            max_age: Some(Millis(3_600_000)),
            ..PolicySettings::default()
        };
        assert_eq!(settings(&given, false), Ok(wanted));
    }

    #[test]
    fn what_is_not_right_is_named() {
        for (name, value, operator, told) in [
            ("message-ttl", Value::I64(-1), false, "-1 is not a valid message TTL"),
            ("expires", Value::I64(0), false, "0 is not a valid queue expiry"),
            ("overflow", text("x"), false, "<<\"x\">> is not a valid overflow"),
            ("x", Value::I64(1), false, "[{<<\"x\">>,1}] are not recognised policy settings"),
            (
                "overflow",
                text("drop-head"),
                true,
                "[{<<\"overflow\">>,<<\"drop-head\">>}] are not recognised policy settings",
            ),
        ] {
            assert_eq!(settings(&definition(&[(name, value)]), operator), Err(told.to_owned()));
        }
    }
}
