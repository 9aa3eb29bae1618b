//! The catalog's refusals in RabbitMQ's words.

use super::AmqpSession;
use crate::arguments;
use crate::errors::{self, Code, Exception, Resource};
use engine::catalog::{Refusal, Setting, Thing};

impl AmqpSession {
    /// The exception for a refused change; `deletes`: it was to delete something.
    pub(super) fn refused(&self, refusal: &Refusal, deletes: bool) -> Exception {
        let vhost = &*self.vhost;
        match refusal {
            Refusal::NotFound { what: Thing::Namespace, name } => errors::vhost_not_found(name),
            Refusal::NotFound { what, name } => resource(*what, name, vhost).not_found(),
            Refusal::Mismatch { what, name, field, declared, current } => resource(
                *what, name, vhost,
            )
            .inequivalent(field, &spelled(declared), &spelled(current)),
            Refusal::Exclusive { name } => Resource::queue(name, vhost).locked(),
            Refusal::InUse { what, name } => resource(*what, name, vhost).in_use(),
            Refusal::Reserved { what: Thing::Router, name } if name.is_empty() => {
                errors::default_exchange()
            }
            Refusal::Reserved { what, name } if deletes => resource(*what, name, vhost).system(),
            Refusal::Reserved { what, name } => resource(*what, name, vhost).reserved_prefix(),
            Refusal::KindClash { name, .. } => {
                let text = format!(
                    "'{name}' in vhost '{vhost}' is a topic: declare it without arguments and not \
                     exclusive to join its subscription"
                );
                Exception::new(Code::PreconditionFailed, text)
            }
            Refusal::IllegalName { .. }
            | Refusal::Collides { .. }
            | Refusal::TooMany { .. }
            | Refusal::Invalid { .. } => {
                Exception::new(Code::PreconditionFailed, refusal.to_string())
            }
        }
    }
}

fn resource<'a>(what: Thing, name: &'a str, vhost: &'a str) -> Resource<'a> {
    match what {
        Thing::Router => Resource::exchange(name, vhost),
        _ => Resource::queue(name, vhost),
    }
}

fn spelled(setting: &Setting) -> String {
    match setting {
        Setting::Absent => arguments::described(None),
        Setting::Argument(value) => arguments::described(Some(value)),
        Setting::Flag(flag) => format!("'{flag}'"),
        Setting::Text(text) => format!("'{text}'"),
    }
}
