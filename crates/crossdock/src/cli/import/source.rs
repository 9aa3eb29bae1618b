//! What the source tells of itself: its definitions, and the queues in them.

use super::address::Address;
use super::moving::Queue;
use crate::cli::Failed;
use crate::cli::client::exchange;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Lists of a document whose parts belong to a virtual host.
const OF_A_VHOST: [&str; 7] = [
    "queues",
    "exchanges",
    "bindings",
    "permissions",
    "topic_permissions",
    "policies",
    "parameters",
];

/// Which queues are meant.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// None: all.
    pub(super) vhosts: Vec<String>,
    /// None: all.
    pub(super) queues: Vec<String>,
    pub(super) except: Vec<String>,
}

/// Fetches the definitions through the source's management API.
pub(super) fn definitions(management: &Address) -> Result<Value, Failed> {
    let login = (management.user.as_str(), management.password.as_str());
    let request = ("GET", "/api/definitions");
    let answer = exchange(&management.place(), Some(login), request, "").map_err(|error| {
        Failed::new(format!(
            "cannot talk to the source's management API at {management}: {error}; enable it there \
             (`rabbitmq-plugins enable rabbitmq_management`), or say where it is with \
             --management http://HOST:PORT"
        ))
    })?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body)
            .map_err(|error| Failed::new(format!("{management} answers with no JSON: {error}"))),
        401 => Err(Failed::new(format!(
            "{} may not read the definitions at {management}: name a user with the tag \
             administrator in the URL",
            management.user
        ))),
        status => {
            Err(Failed::new(format!("{management} answers {status} to GET /api/definitions")))
        }
    }
}

impl Chosen {
    /// The document with nothing but what is in the chosen virtual hosts, and all users.
    pub(super) fn narrowed(&self, document: &Value) -> Value {
        let mut narrowed = document.clone();
        let keep =
            |part: &Value, field: &str| part[field].as_str().is_some_and(|it| self.has_vhost(it));
        for (list, field) in
            OF_A_VHOST.into_iter().map(|list| (list, "vhost")).chain([("vhosts", "name")])
        {
            let kept = document[list].as_array().into_iter().flatten();
            let kept: Vec<Value> = kept.filter(|part| keep(part, field)).cloned().collect();
            narrowed[list] = json!(kept);
        }
        narrowed
    }

    /// The chosen queues by virtual host.
    pub(super) fn queues(&self, document: &Value) -> BTreeMap<String, Vec<Queue>> {
        let mut found: BTreeMap<String, Vec<Queue>> = BTreeMap::new();
        for part in document["queues"].as_array().into_iter().flatten() {
            let (Some(name), Some(vhost)) = (part["name"].as_str(), part["vhost"].as_str()) else {
                continue;
            };
            if self.has_vhost(vhost) && self.has_queue(name) {
                let kind = part["arguments"]["x-queue-type"].as_str().or(part["type"].as_str());
                found.entry(vhost.to_owned()).or_default().push(Queue {
                    name: name.to_owned(),
                    is_stream: kind == Some("stream"),
                    auto_delete: part["auto_delete"] == json!(true),
                });
            }
        }
        found
    }

    fn has_vhost(&self, vhost: &str) -> bool {
        self.vhosts.is_empty() || self.vhosts.iter().any(|it| it == vhost)
    }

    fn has_queue(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| is_match(pattern, name));
        (self.queues.is_empty() || any(&self.queues)) && !any(&self.except)
    }
}

/// Whether a name fits a pattern, in which `*` stands for anything.
fn is_match(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
