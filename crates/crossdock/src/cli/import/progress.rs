//! What an import has done, kept in the broker that takes it.
//!
//! A note of what was written is committed in one transaction with the messages that it tells of. A
//! transaction is one step on one shard, so notes of a queue are in a queue on its shard.

use super::content::JSON_PROPERTIES;
use super::link::{Link, Trouble};
use super::target::{Target, Told};
use amqp091::codec::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Queues of notes that are made at most to have one on every shard that needs one.
const NOTE_QUEUES_MAX: usize = 1_000;

/// How long a note takes to come.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// How a queue is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Drain,
    Copy,
    Stream,
}

/// What was written of a queue, after its latest transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) queue: String,
    pub(super) mode: Mode,
    /// Messages so far; of a stream, the next offset.
    pub(super) total: u64,
    /// Messages of the latest transaction.
    pub(super) batch: u64,
    /// Of the latest transaction's messages, or of all (where it copies).
    pub(super) digest: String,
    /// Some message of the latest transaction had never been delivered before.
    pub(super) fresh: bool,
    /// What was ready at the source before the latest transaction.
    pub(super) ready: u64,
    /// All of the queue is written.
    pub(super) done: bool,
}

/// Where a queue's log is: notes on it have to be there, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Placement {
    shard: u64,
    durable: bool,
}

/// The notes of one virtual host.
#[derive(Debug)]
pub(super) struct Progress {
    prefix: String,
    note_queues: BTreeMap<Placement, String>,
    placements: BTreeMap<String, Placement>,
    notes: BTreeMap<String, Note>,
}

impl Mode {
    pub(super) fn word(self) -> &'static str {
        match self {
            Mode::Drain => "drain",
            Mode::Copy => "copy",
            Mode::Stream => "stream",
        }
    }

    fn of(word: &str) -> Option<Mode> {
        [Mode::Drain, Mode::Copy, Mode::Stream].into_iter().find(|mode| mode.word() == word)
    }
}

impl Note {
    pub(super) fn new(queue: &str, mode: Mode) -> Note {
        Note {
            queue: queue.to_owned(),
            mode,
            total: 0,
            batch: 0,
            digest: String::new(),
            fresh: false,
            ready: 0,
            done: false,
        }
    }

    fn text(&self) -> String {
        json!({
            "queue": self.queue, "mode": self.mode.word(), "total": self.total,
            "batch": self.batch, "digest": self.digest, "fresh": self.fresh,
            "ready": self.ready, "done": self.done,
        })
        .to_string()
    }

    fn read(text: &[u8]) -> Option<Note> {
        let note: Value = serde_json::from_slice(text).ok()?;
        Some(Note {
            queue: note["queue"].as_str()?.to_owned(),
            mode: Mode::of(note["mode"].as_str()?)?,
            total: note["total"].as_u64()?,
            batch: note["batch"].as_u64()?,
            digest: note["digest"].as_str()?.to_owned(),
            fresh: note["fresh"].as_bool()?,
            ready: note["ready"].as_u64()?,
            done: note["done"].as_bool()?,
        })
    }
}

impl Progress {
    /// Reads what an import before noted, unless it is to be forgotten, and sees to a place for the
    /// notes of every queue in `queues`.
    pub(super) fn open(
        target: &Target,
        vhost: &str,
        (link, prefix): (&mut Link, &str),
        queues: &[&str],
        afresh: bool,
    ) -> Result<Progress, Trouble> {
        let mut progress = Progress {
            prefix: format!("{prefix}."),
            note_queues: BTreeMap::new(),
            placements: BTreeMap::new(),
            notes: BTreeMap::new(),
        };
        let mut told = target.queues(vhost)?;
        if afresh {
            progress.forget(link, &told)?;
            told = target.queues(vhost)?;
        }
        for Told { name, shard, durable } in told {
            let placement = Placement { shard, durable };
            if name.starts_with(&progress.prefix) {
                progress.read(link, &name)?;
                progress.note_queues.insert(placement, name);
            } else {
                progress.placements.insert(name, placement);
            }
        }
        let wanted = queues.iter().filter_map(|queue| progress.placements.get(*queue).copied());
        progress.provide(target, vhost, link, wanted.collect())?;
        Ok(progress)
    }

    /// Reads a queue of notes, and leaves them there.
    fn read(&mut self, link: &mut Link, name: &str) -> Result<(), Trouble> {
        let count = link.depth(name)?.ready;
        link.consume(name, 0, &[])?;
        for _ in 0..count {
            let Some(taken) = link.delivery(PATIENCE)? else {
                return Err(Trouble::Lost(format!("the notes in '{name}' do not come")));
            };
            if let Some(note) = Note::read(&taken.body) {
                self.notes.insert(note.queue.clone(), note);
            }
        }
        link.open_channel()
    }

    /// A queue for notes is made where the fewest logs are: enough of them are on every shard.
    fn provide(
        &mut self,
        target: &Target,
        vhost: &str,
        link: &mut Link,
        wanted: BTreeSet<Placement>,
    ) -> Result<(), Trouble> {
        let missing = |all: &BTreeMap<Placement, String>, durable: bool| {
            wanted
                .iter()
                .any(|placement| placement.durable == durable && !all.contains_key(placement))
        };
        let (mut number, mut spare) = (0, Vec::new());
        for durable in [true, false] {
            while missing(&self.note_queues, durable) {
                let name = format!("{}{number}", self.prefix);
                number += 1;
                if number > NOTE_QUEUES_MAX {
                    return Err(Trouble::Lost("the notes find no place on a shard".to_owned()));
                }
                if self.note_queues.values().any(|other| *other == name) {
                    continue;
                }
                link.declare(&name, false, durable, &[])?;
                let Some(told) = target.queues(vhost)?.into_iter().find(|it| it.name == name)
                else {
                    return Err(Trouble::Lost(format!("'{name}' is gone again")));
                };
                let placement = Placement { shard: told.shard, durable };
                match wanted.contains(&placement) && !self.note_queues.contains_key(&placement) {
                    true => drop(self.note_queues.insert(placement, name)),
                    false => spare.push(name),
                }
            }
        }
        for name in spare {
            delete(link, &name)?;
        }
        Ok(())
    }

    /// What was noted last of a queue.
    pub(super) fn of(&self, queue: &str) -> Option<&Note> {
        self.notes.get(queue)
    }

    /// Whether the broker has a queue of this name.
    pub(super) fn has(&self, queue: &str) -> bool {
        self.placements.contains_key(queue)
    }

    /// Adds a note to what is committed next.
    pub(super) fn note(&mut self, link: &mut Link, note: Note) -> Result<(), Trouble> {
        let note_queue =
            self.placements.get(&note.queue).and_then(|placement| self.note_queues.get(placement));
        let Some(note_queue) = note_queue else {
            return Err(Trouble::Lost(format!("there is no place for notes on '{}'", note.queue)));
        };
        link.publish(("", note_queue), JSON_PROPERTIES, note.text().as_bytes())?;
        self.notes.insert(note.queue.clone(), note);
        Ok(())
    }

    /// All is done: nothing of it is kept.
    pub(super) fn close(self, link: &mut Link) -> Result<(), Trouble> {
        self.note_queues.values().try_for_each(|name| delete(link, name))
    }

    fn forget(&self, link: &mut Link, told: &[Told]) -> Result<(), Trouble> {
        let note_queues = told.iter().filter(|queue| queue.name.starts_with(&self.prefix));
        note_queues.map(|queue| &queue.name).try_for_each(|name| delete(link, name))
    }
}

fn delete(link: &mut Link, queue: &str) -> Result<(), Trouble> {
    let delete =
        Method::QueueDelete { ticket: 0, queue, if_unused: false, if_empty: false, nowait: false };
    link.call(&delete, (50, 41))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn note_is_read_as_it_was_written() {
        let note = Note {
            total: 7,
            batch: 3,
            digest: "ab".into(),
            fresh: true,
            ready: 9,
            done: true,
            ..Note::new("q \"é\"", Mode::Stream)
        };
        assert_eq!(Note::read(note.text().as_bytes()), Some(note));
        for other in [&b""[..], b"{}", b"{\"queue\":\"q\",\"mode\":\"sell\"}"] {
            assert_eq!(Note::read(other), None);
        }
    }
}
