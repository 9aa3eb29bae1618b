//! The broker that takes the messages: one that runs, or a store that is opened for the purpose.

use super::address::Address;
use super::link::Trouble;
use crate::cli::Failed;
use crate::cli::client::{escape, exchange};
use crate::{Broker, Options};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use tokio::runtime::Runtime;

/// What definitions may have and this broker may not take.
const OPTIONAL: [&str; 3] = ["policies", "parameters", "global_parameters"];

/// Threads for sockets.
const THREADS: usize = 2;

/// Where messages go.
#[derive(Debug)]
pub(super) struct Target {
    admin: String,
    pub(super) amqp: Address,
    opened: Option<(Runtime, Broker)>,
}

/// A queue of the target.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) name: String,
    pub(super) shard: u64,
    pub(super) durable: bool,
}

impl Target {
    /// A broker that runs.
    pub(super) fn running(admin: &str, amqp: &Address) -> Target {
        Target { admin: admin.to_owned(), amqp: amqp.clone(), opened: None }
    }

    /// Opens a store, for nobody but this process.
    pub(super) fn opened(data: &Path, login: &Address) -> Result<Target, Failed> {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options =
            Options::embedded(data).with_listener("amqp", here).with_listener("admin", here);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("socket")
            .enable_all()
            .build()
            .map_err(|error| Failed::new(format!("cannot start threads: {error}")))?;
        let broker = runtime
            .block_on(Broker::open(options))
            .map_err(|error| Failed::new(error.to_string()))?;
        let place = |wire: &str| {
            let listening = broker.listening().into_iter().find(|it| it.wire == wire);
            listening.and_then(|it| it.addresses.first().copied())
        };
        let (Some(amqp), Some(admin)) = (place("amqp"), place("admin")) else {
            return Err(Failed::new("the store's broker listens nowhere"));
        };
        let amqp = Address { host: amqp.ip().to_string(), port: amqp.port(), ..login.clone() };
        Ok(Target { admin: admin.to_string(), amqp, opened: Some((runtime, broker)) })
    }

    /// Ends what was opened.
    pub(super) fn close(self) {
        if let Some((runtime, broker)) = self.opened {
            runtime.block_on(broker.stop());
        }
    }

    /// The queues of a virtual host.
    pub(super) fn queues(&self, vhost: &str) -> Result<Vec<Told>, Trouble> {
        let mut path = "/v1/queues?namespace=".to_owned();
        escape(&mut path, vhost);
        let (status, list) =
            self.ask("GET", &path, "").map_err(|failed| Trouble::Lost(failed.why))?;
        if status != 200 {
            return Err(Trouble::Lost(format!("{} answers {status} to {path}", self.admin)));
        }
        let told = list.as_array().into_iter().flatten().filter_map(|queue| {
            Some(Told {
                name: queue["name"].as_str()?.to_owned(),
                shard: queue["shard"].as_u64()?,
                durable: queue["durable"].as_bool()?,
            })
        });
        Ok(told.collect())
    }

    /// Imports definitions; gives what of them had to be left out.
    pub(super) fn define(&self, document: &Value) -> Result<Vec<String>, Failed> {
        let refused = match self.post(document)? {
            None => return Ok(Vec::new()),
            Some(reason) => reason,
        };
        let mut without = document.clone();
        let mut left_out = Vec::new();
        for part in OPTIONAL {
            let count = document[part].as_array().map_or(0, Vec::len);
            if count > 0 && refused.contains("not supported") {
                without[part] = json!([]);
                left_out.push(format!("{count} {}", part.replace('_', " ")));
            }
        }
        let reason = match left_out.is_empty() {
            true => Some(refused),
            false => self.post(&without)?,
        };
        match reason {
            None => Ok(left_out),
            Some(reason) => Err(Failed::new(format!(
                "the definitions are refused: {reason}; nothing was moved. Take that part out at \
                 the source, or bring the definitions yourself and import with --no-definitions"
            ))),
        }
    }

    /// Why the definitions are refused, if they are.
    fn post(&self, document: &Value) -> Result<Option<String>, Failed> {
        let (status, answer) = self.ask("POST", "/api/definitions", &document.to_string())?;
        match status {
            200..=299 => Ok(None),
            401 => Err(Failed::new(format!(
                "{} at {} may not import definitions: name an administrator with \
                 --to amqp://USER:PASSWORD@HOST:PORT",
                self.amqp.user, self.admin
            ))),
            _ => {
                let reason = &answer["reason"];
                Ok(Some(reason.as_str().map_or_else(|| reason.to_string(), str::to_owned)))
            }
        }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<(u16, Value), Failed> {
        let login = (self.amqp.user.as_str(), self.amqp.password.as_str());
        let answer = exchange(&self.admin, Some(login), (method, path), body).map_err(|error| {
            Failed::new(format!(
                "cannot talk to the broker at {}: {error}; start one with `crossdock`, say where it \
                 is with --admin HOST:PORT, or name a store with --data DIR",
                self.admin
            ))
        })?;
        Ok((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()))
    }
}
