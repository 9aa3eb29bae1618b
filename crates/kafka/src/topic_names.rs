//! Which names a topic may have.
//!
//! Source: Apache Kafka, `org.apache.kafka.common.internals.Topic`.

/// Longest name, in bytes: clients and tools build file and metric names from it.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Checks the name of a topic to be created; fails with a sentence as Apache Kafka words it.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    let fault = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.len() > TOPIC_NAME_BYTES_MAX {
        format!(
            "the length of '{name}' is longer than the max allowed length {TOPIC_NAME_BYTES_MAX}"
        )
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        )
    } else {
        return Ok(());
    };
    Err(format!("Topic name is invalid: {fault}"))
}

#[cfg(test)]
mod tests;
