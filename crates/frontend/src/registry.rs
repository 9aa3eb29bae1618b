//! The open connections of a wire: for who lists them, and for who ends them.
//!
//! A connection is asked through its task and tells of itself then: nothing is counted while nobody
//! asks. There are as many as the wire lets in.

use crate::{Peer, Report, SessionReport};
use engine::catalog::Name;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use types::{ClientId, Millis};

/// How long connections have to answer; those that do not are left out.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Most dismissals that wait for a connection; beyond them it ends whomever they are for.
const DISMISSALS_MAX: usize = 16;

/// The open connections of a wire.
#[derive(Debug, Default)]
pub struct Registry(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    by_number: BTreeMap<u64, Arc<Entry>>,
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Entry {
    peer: Peer,
    wire: &'static str,
    connected: Millis,
    asked: Mutex<Asked>,
    /// Rung when `asked` has something new.
    pub(crate) bell: Notify,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
}

/// What is asked of a connection.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) reports: Vec<oneshot::Sender<Answer>>,
    pub(crate) dismissals: Vec<(Whom, Arc<str>)>,
    /// The connection has ended: nobody answers.
    ended: bool,
}

/// What a connection answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) user: Option<Name>,
    pub(crate) namespace: Option<Name>,
    pub(crate) session: SessionReport,
}

/// Which connections are to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The one of that number.
    Client(ClientId),
    /// Those of a user.
    User(Name),
    /// Those that have entered a namespace.
    Namespace(Name),
}

/// A connection's entry, for as long as it is open, also when its session panics.
pub(crate) struct Listed<'a> {
    registry: &'a Registry,
    number: u64,
    pub(crate) entry: Arc<Entry>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.registry.lock().by_number.remove(&self.number);
        *self.entry.lock() = Asked { ended: true, ..Asked::default() };
    }
}

impl Registry {
    pub(crate) fn add(&self, peer: Peer, wire: &'static str, connected: Millis) -> Listed<'_> {
        let entry = Arc::new(Entry {
            peer,
            wire,
            connected,
            asked: Mutex::default(),
            bell: Notify::new(),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
        });
        let mut entries = self.lock();
        entries.last += 1;
        let number = entries.last;
        entries.by_number.insert(number, Arc::clone(&entry));
        Listed { registry: self, number, entry }
    }

    /// Asks every connection, in the order they came in.
    pub async fn reports(&self) -> Vec<Report> {
        let entries: Vec<Arc<Entry>> = self.lock().by_number.values().cloned().collect();
        let asked: Vec<_> = entries.iter().map(|entry| entry.ask()).collect();
        let deadline = Instant::now() + ANSWER_WAIT;
        let mut reports = Vec::with_capacity(entries.len());
        for (entry, answer) in entries.iter().zip(asked) {
            // One that does not answer has ended, or is too busy for it.
            if let Ok(Ok(answer)) = tokio::time::timeout_at(deadline, answer).await {
                reports.push(entry.report(answer));
            }
        }
        reports
    }

    /// Ends connections, as their protocol can, and says why.
    pub fn dismiss(&self, whom: &Whom, why: &str) {
        let why: Arc<str> = why.into();
        for entry in self.lock().by_number.values() {
            if !matches!(whom, Whom::Client(client) if *client != entry.peer.client) {
                entry.dismiss(whom.clone(), Arc::clone(&why));
            }
        }
    }

    /// The ends of the connection with this number in the engine.
    pub fn peer(&self, client: ClientId) -> Option<Peer> {
        let entries = self.lock();
        entries.by_number.values().map(|entry| entry.peer).find(|peer| peer.client == client)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// What was asked since this was called last.
    pub(crate) fn asked(&self) -> Asked {
        std::mem::take(&mut self.lock())
    }

    fn ask(&self) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        let mut asked = self.lock();
        asked.reports.retain(|waiting| !waiting.is_closed());
        if !asked.ended {
            asked.reports.push(sender);
        }
        drop(asked);
        self.bell.notify_one();
        receiver
    }

    fn dismiss(&self, whom: Whom, why: Arc<str>) {
        let mut asked = self.lock();
        let full = asked.dismissals.len() >= DISMISSALS_MAX;
        let whom = if full { Whom::Client(self.peer.client) } else { whom };
        if full {
            asked.dismissals.clear();
        }
        asked.dismissals.push((whom, why));
        drop(asked);
        self.bell.notify_one();
    }

    fn report(&self, answer: Answer) -> Report {
        Report {
            peer: self.peer,
            wire: self.wire,
            connected: self.connected,
            received_bytes: self.received_bytes.load(Relaxed),
            sent_bytes: self.sent_bytes.load(Relaxed),
            user: answer.user,
            namespace: answer.namespace,
            session: answer.session,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
