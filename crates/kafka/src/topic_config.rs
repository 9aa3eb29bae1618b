//! The configurations of a topic: which take effect, which are kept without effect, and which are
//! refused because they would change what the broker does.
//!
//! Source: Apache Kafka, `TopicConfig` and `LogConfig` of 4.1, for names, types, defaults and ranges.

use crate::errors::ErrorCode;
use engine::catalog::KEY_INDEX;
use std::collections::BTreeMap;
use types::APPEND_BYTES_MAX;

/// What a configuration does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The broker acts on it.
    Effective,
    /// Stored and shown; nothing here depends on it.
    Inert,
    /// Another value than the default would change behaviour that is not built: refused.
    Fixed,
}

/// The values a configuration takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// `true` or `false`.
    Bool,
    /// A 32-bit number in this range.
    Int(i64, i64),
    /// A 64-bit number in this range.
    Long(i64, i64),
    /// A fraction from 0 to 1.
    Ratio,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Words with commas between.
    List,
}

/// One configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// Its name.
    pub name: &'static str,
    /// What it may be set to.
    pub values: Values,
    /// What holds when it is not set.
    pub default: &'static str,
    /// What it does.
    pub effect: Effect,
}

/// Why a configuration is refused: the answer's code and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// INVALID_CONFIG or INVALID_REQUEST.
    pub code: ErrorCode,
    /// For the person who sent it.
    pub message: String,
}

/// How IncrementalAlterConfigs changes one configuration (KIP-339).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// To this value.
    Set,
    /// Back to its default.
    Delete,
    /// These words more, of a list.
    Append,
    /// These words less, of a list.
    Subtract,
}

const LONG_MAX: i64 = i64::MAX;
const INT_MAX: i64 = i32::MAX as i64;
const LONG_MAX_TEXT: &str = "9223372036854775807";

const fn config(
    name: &'static str,
    values: Values,
    default: &'static str,
    effect: Effect,
) -> TopicConfig {
    TopicConfig { name, values, default, effect }
}

/// Every configuration that is known, by name.
pub const TOPIC_CONFIGS: &[TopicConfig] = {
    use Effect::{Effective, Fixed, Inert};
    use Values::{Bool, Int, List, Long, OneOf, Ratio};
    const COMPRESSION: Values =
        OneOf(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]);
    &[
        config("cleanup.policy", List, "delete", Fixed),
        config("compression.gzip.level", Int(-1, 9), "-1", Inert),
        config("compression.lz4.level", Int(1, 17), "9", Inert),
        config("compression.type", COMPRESSION, "producer", Effective),
        config("compression.zstd.level", Int(-131_072, 22), "3", Inert),
        config(KEY_INDEX, Bool, "false", Effective),
        config("delete.retention.ms", Long(0, LONG_MAX), "86400000", Inert),
        config("file.delete.delay.ms", Long(0, LONG_MAX), "60000", Inert),
        config("flush.messages", Long(1, LONG_MAX), "1", Inert),
        config("flush.ms", Long(0, LONG_MAX), "0", Inert),
        config("follower.replication.throttled.replicas", List, "", Inert),
        config("index.interval.bytes", Int(0, INT_MAX), "4096", Inert),
        config("leader.replication.throttled.replicas", List, "", Inert),
        config("local.retention.bytes", Long(-2, LONG_MAX), "-2", Inert),
        config("local.retention.ms", Long(-2, LONG_MAX), "-2", Inert),
        config("max.compaction.lag.ms", Long(1, LONG_MAX), LONG_MAX_TEXT, Inert),
        config("max.message.bytes", Int(0, APPEND_BYTES_MAX as i64), "1048588", Effective),
        config("message.timestamp.after.max.ms", Long(0, LONG_MAX), LONG_MAX_TEXT, Fixed),
        config("message.timestamp.before.max.ms", Long(0, LONG_MAX), LONG_MAX_TEXT, Fixed),
        config(
            "message.timestamp.type",
            OneOf(&["CreateTime", "LogAppendTime"]),
            "CreateTime",
            Effective,
        ),
        config("min.cleanable.dirty.ratio", Ratio, "0.5", Inert),
        config("min.compaction.lag.ms", Long(0, LONG_MAX), "0", Inert),
        config("min.insync.replicas", Int(1, INT_MAX), "1", Inert),
        config("preallocate", Bool, "false", Inert),
        config("remote.log.copy.disable", Bool, "false", Inert),
        config("remote.log.delete.on.disable", Bool, "false", Inert),
        config("remote.storage.enable", Bool, "false", Fixed),
        config("retention.bytes", Long(-1, LONG_MAX), "-1", Effective),
        config("retention.ms", Long(-1, LONG_MAX), "604800000", Effective),
        config("segment.bytes", Int(1_048_576, INT_MAX), "1073741824", Inert),
        config("segment.index.bytes", Int(4, INT_MAX), "10485760", Inert),
        config("segment.jitter.ms", Long(0, LONG_MAX), "0", Inert),
        config("segment.ms", Long(1, LONG_MAX), "604800000", Inert),
        config("unclean.leader.election.enable", Bool, "false", Inert),
    ]
};

impl TopicConfig {
    /// The number of its type in DescribeConfigs (KIP-569).
    pub fn type_number(&self) -> i8 {
        match self.values {
            Values::Bool => 1,
            Values::OneOf(_) => 2,
            Values::Int(..) => 3,
            Values::Long(..) => 5,
            Values::Ratio => 6,
            Values::List => 7,
        }
    }
}

impl Alteration {
    /// The operation of a number in IncrementalAlterConfigs.
    pub fn from_number(number: i8) -> Result<Alteration, Refusal> {
        match number {
            0 => Ok(Alteration::Set),
            1 => Ok(Alteration::Delete),
            2 => Ok(Alteration::Append),
            3 => Ok(Alteration::Subtract),
            _ => Err(Refusal {
                code: ErrorCode::INVALID_REQUEST,
                message: format!("Unknown operation type {number}."),
            }),
        }
    }
}

/// The configuration of a name.
pub fn find(name: &str) -> Option<&'static TopicConfig> {
    let at = TOPIC_CONFIGS.binary_search_by_key(&name, |config| config.name).ok()?;
    Some(&TOPIC_CONFIGS[at])
}

/// Checks a configuration that is to be set; gives the value to store.
///
/// Fails with INVALID_CONFIG for an unknown name, a null, a value out of range, and a value that
/// asks for what is not built.
pub fn check(name: &str, value: Option<&str>) -> Result<String, Refusal> {
    let config = known(name)?;
    let Some(value) = value else {
        return Err(refused(format!("Null value not supported for topic configs: {name}")));
    };
    let value = value.trim();
    if let Some(why) = fault(config, value) {
        return Err(refused(format!("Invalid value {value} for configuration {name}: {why}")));
    }
    if config.effect == Effect::Fixed && value != config.default {
        return Err(refused(format!(
            "{name}={value} is not supported by this broker, only {name}={}",
            config.default
        )));
    }
    Ok(value.to_owned())
}

/// One step of IncrementalAlterConfigs: the name and what to store under it, `None` to remove it.
///
/// `set`: what the topic has set, with the steps before this one applied. Fails as `check` does, and
/// where words are to be added to or taken from what is not a list.
pub fn alter(
    set: &BTreeMap<String, String>,
    alteration: Alteration,
    name: &str,
    value: Option<&str>,
) -> Result<(String, Option<String>), Refusal> {
    let config = known(name)?;
    let stored = match alteration {
        Alteration::Delete => None,
        Alteration::Set => Some(check(name, value)?),
        Alteration::Append | Alteration::Subtract if config.values != Values::List => {
            let message = format!("Config value append is not allowed for config key: {name}");
            return Err(refused(message));
        }
        Alteration::Append | Alteration::Subtract => {
            let now = set.get(name).map_or(config.default, String::as_str);
            let words = combined(now, value.unwrap_or_default(), alteration);
            Some(check(name, Some(&words))?)
        }
    };
    let is_on = |value: Option<&String>| value.is_some_and(|value| value == "true");
    if name == KEY_INDEX && is_on(stored.as_ref()) != is_on(set.get(name)) {
        return Err(refused(format!("{name} is what the topic was created with")));
    }
    Ok((name.to_owned(), stored))
}

fn known(name: &str) -> Result<&'static TopicConfig, Refusal> {
    find(name).ok_or_else(|| refused(format!("Unknown topic config name: {name}")))
}

fn refused(message: String) -> Refusal {
    Refusal { code: ErrorCode::INVALID_CONFIG, message }
}

fn fault(config: &TopicConfig, value: &str) -> Option<String> {
    match config.values {
        Values::Bool => {
            (value != "true" && value != "false").then(|| "must be true or false".to_owned())
        }
        Values::Int(least, most) | Values::Long(least, most) => match value.parse::<i64>() {
            Ok(number) if number < least => Some(format!("Value must be at least {least}")),
            Ok(number) if number > most => Some(format!("Value must be no more than {most}")),
            Ok(_) => None,
            Err(_) => Some("Not a number of the type".to_owned()),
        },
        Values::Ratio => {
            let ratio = value.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
            ratio.is_none().then(|| "Value must be between 0 and 1".to_owned())
        }
        Values::OneOf(words) => (!words.contains(&value))
            .then(|| format!("String must be one of: {}", words.join(", "))),
        Values::List => None,
    }
}

fn combined(now: &str, change: &str, alteration: Alteration) -> String {
    let words = |text: &str| -> Vec<String> {
        text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let (mut kept, changed) = (words(now), words(change));
    kept.retain(|word| !changed.contains(word));
    if alteration == Alteration::Append {
        kept.extend(changed);
    }
    kept.join(",")
}

#[cfg(test)]
mod tests;
