//! Moves the messages of one queue after the other.
//!
//! A batch is taken from the source, written here with its note in one transaction, and only then
//! acknowledged there. What a kill leaves is a batch that is written and may not be acknowledged: the
//! next import knows it by its digest. The consumer is cancelled before the batch is written, so that
//! the source has never delivered to us what comes after it.

use super::bar::Bar;
use super::content::{self, chained, fingerprint, hex};
use super::link::{Depth, Link, Taken, Trouble};
use super::progress::{Mode, Note, Progress};
use amqp091::codec::{Method, Table};
use record::properties::Value;
use std::time::Duration;

/// Messages of a transaction at most.
const BATCH_COUNT: u64 = 2_000;

/// Messages of the first transaction, before their size is known.
const FIRST_COUNT: u64 = 20;

/// Bytes that a batch should have.
const BATCH_BYTES: u64 = 8 << 20;

/// Bytes of a transaction, unless one message has more; a transaction holds 64 MiB.
const TRANSACTION_BYTES: usize = 32 << 20;

/// How long the source takes to deliver what it has.
const ARRIVAL: Duration = Duration::from_secs(5);

/// How often, and how far apart, is looked whether the source has taken back what a killed import held.
const RETURN_LOOKS: u32 = 100;
const RETURN_PAUSE: Duration = Duration::from_millis(100);

/// Messages of a stream that are not acknowledged at most.
const STREAM_PREFETCH: u16 = 200;

/// A stream that gives nothing more for so long has come to its end.
const STREAM_END: Duration = Duration::from_secs(1);

/// A queue of the source.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) is_stream: bool,
    /// It goes with its last consumer: it is never consumed from.
    pub(super) auto_delete: bool,
}

/// What was done with a queue.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) written: u64,
    /// Written by an import before this one.
    pub(super) before: u64,
    pub(super) remark: String,
}

/// The two ends of an import, in one virtual host.
#[derive(Debug)]
pub(super) struct Moving<'a> {
    pub(super) from: Link,
    pub(super) to: Link,
    pub(super) progress: Progress,
    pub(super) bar: &'a mut Bar,
    /// Leads to the queue that is being written, and keeps routing keys.
    pub(super) exchange: String,
    /// What a message has on average, in bytes, once that is known.
    pub(super) mean_bytes: Option<u64>,
}

impl Moving<'_> {
    /// Imports one queue.
    pub(super) fn queue(&mut self, queue: &Queue, copy: bool) -> Result<Moved, Trouble> {
        let mode = match (queue.is_stream, copy) {
            (true, _) => Mode::Stream,
            (false, true) => Mode::Copy,
            (false, false) => Mode::Drain,
        };
        if !self.progress.has(&queue.name) {
            let why = "it is not there to be written to: import the definitions, or declare it";
            return Err(Trouble::Refused(why.to_owned()));
        }
        let found = self.progress.of(&queue.name).cloned();
        if let Some(found) = found.as_ref().filter(|note| note.mode != mode && !note.done) {
            let why = format!(
                "another import of it ({}) was not finished: finish that, or begin --afresh",
                found.mode.word()
            );
            return Err(Trouble::Refused(why));
        }
        self.from.open_channel()?;
        self.to.open_channel()?;
        self.lead_to(&queue.name)?;
        self.to.call(&Method::TxSelect {}, (90, 11))?;
        match mode {
            Mode::Drain => self.drain(queue, found.filter(|note| !note.done)),
            Mode::Copy => self.copy(queue, found),
            Mode::Stream => self.stream(queue, found),
        }
    }

    /// Takes everything out of a queue.
    fn drain(&mut self, queue: &Queue, mut found: Option<Note>) -> Result<Moved, Trouble> {
        let name = queue.name.as_str();
        let mut note = Note::new(name, Mode::Drain);
        note.total = found.as_ref().map_or(0, |found| found.total);
        let mut moved = Moved { before: note.total, ..Moved::default() };
        loop {
            // What a killed import held comes back first, or was acknowledged.
            let is_back = |ready: u64| {
                let left = found.as_ref().map_or(0, |found| found.ready);
                let batch = found.as_ref().map_or(0, |found| found.batch);
                ready >= left || ready + batch == left
            };
            let depth = self.depth(name, is_back)?;
            if depth.consumers > 0 {
                moved.remark = format!(
                    "{} consumers are still at the source: what they hold is not imported",
                    depth.consumers
                );
            }
            found = found.filter(|found| found.batch <= depth.ready);
            let wanted = match &found {
                Some(found) => found.batch,
                None => depth.ready.min(self.batch_count()),
            };
            if wanted == 0 {
                break;
            }
            let batch = self.take(queue, wanted)?;
            let Some(last) = batch.last().map(|message| message.tag) else {
                let why = format!(
                    "{} messages are ready and none comes: has another consumer it for itself?",
                    depth.ready
                );
                return Err(Trouble::Refused(why));
            };
            match found.take() {
                Some(found) if is_written(&found, &batch, depth.ready) => self.from.ack(last)?,
                _ => moved.written += self.write_all(&batch, &mut note, depth.ready)?,
            }
        }
        note.done = true;
        self.write(&[], note)?;
        Ok(moved)
    }

    /// What is ready, when that is as it has to be, or stays otherwise.
    fn depth(&mut self, name: &str, is_right: impl Fn(u64) -> bool) -> Result<Depth, Trouble> {
        for _ in 0..RETURN_LOOKS {
            let depth = self.from.depth(name)?;
            if is_right(depth.ready) {
                return Ok(depth);
            }
            std::thread::sleep(RETURN_PAUSE);
        }
        self.from.depth(name)
    }

    /// A batch of a queue, which is then held back from everybody.
    fn take(&mut self, queue: &Queue, wanted: u64) -> Result<Vec<Taken>, Trouble> {
        let mut batch = Vec::new();
        if queue.auto_delete {
            self.from.get(&queue.name, wanted)?;
            for _ in 0..wanted {
                batch.extend(self.from.got()?);
            }
        } else {
            let prefetch = u16::try_from(wanted).unwrap_or(u16::MAX);
            self.from.consume(&queue.name, prefetch, &[])?;
            while (batch.len() as u64) < wanted {
                let Some(message) = self.from.delivery(ARRIVAL)? else { break };
                batch.push(message);
            }
            self.from.cancel()?;
            batch.extend(std::iter::from_fn(|| self.from.arrived()));
        }
        let bytes: usize = batch.iter().map(size).sum();
        if !batch.is_empty() {
            self.mean_bytes = Some((bytes / batch.len()) as u64);
        }
        Ok(batch)
    }

    fn batch_count(&self) -> u64 {
        match self.mean_bytes {
            None => FIRST_COUNT,
            Some(mean) => (BATCH_BYTES / mean.max(1)).clamp(1, BATCH_COUNT),
        }
    }

    /// Writes a batch, in one transaction where it fits, and acknowledges it.
    fn write_all(&mut self, batch: &[Taken], note: &mut Note, ready: u64) -> Result<u64, Trouble> {
        let parts = parts(batch);
        let mut ready = ready;
        for part in &parts {
            note.total += part.len() as u64;
            note.batch = part.len() as u64;
            note.digest = digest(part);
            // Of the parts that follow it is known only that they were delivered, too.
            note.fresh = parts.len() == 1 && part.iter().any(|message| !message.redelivered);
            note.ready = ready;
            self.write(part, note.clone())?;
            if let Some(last) = part.last() {
                self.from.ack(last.tag)?;
            }
            ready = ready.saturating_sub(note.batch);
        }
        Ok(batch.len() as u64)
    }

    /// Copies what is ready now, and leaves all of it in its place.
    fn copy(&mut self, queue: &Queue, found: Option<Note>) -> Result<Moved, Trouble> {
        let name = queue.name.as_str();
        let before = found.as_ref().map_or(0, |found| found.total);
        let mut moved = Moved { before, ..Moved::default() };
        if found.as_ref().is_some_and(|found| found.done) {
            return Ok(moved);
        }
        let there = found.as_ref().map_or(0, |found| found.ready);
        let count = self.depth(name, |ready| ready >= there)?.ready;
        let mut note = Note::new(name, Mode::Copy);
        note.ready = count;
        let (mut chain, mut batch, mut bytes) = ([0; 32], Vec::new(), 0);
        let mut asked = 0;
        for at in 1..=count {
            if asked < at && queue.auto_delete {
                asked = count.min(asked + BATCH_COUNT);
                self.from.get(name, asked + 1 - at)?;
            } else if asked < at {
                // Of what has no limit a quorum queue gives 2,000.
                asked += u64::from(u16::MAX);
                self.from.consume(name, u16::MAX, &[])?;
            }
            let next = match queue.auto_delete {
                true => self.from.got()?,
                false => self.from.delivery(ARRIVAL)?,
            };
            let Some(message) = next else {
                let why = format!("only {} of its {count} messages came: start it again", at - 1);
                return Err(Trouble::Refused(why));
            };
            chain = chained(&chain, &fingerprint(&message));
            note.total = at;
            if at <= before {
                let known = found.as_ref().is_some_and(|found| found.digest == hex(&chain));
                if at == before && !known {
                    return Err(changed(before));
                }
                self.bar.advance(1, name);
                continue;
            }
            bytes += size(&message);
            batch.push(message);
            if batch.len() as u64 == BATCH_COUNT || bytes >= BATCH_BYTES as usize {
                note.digest = hex(&chain);
                moved.written += batch.len() as u64;
                self.write(&batch, note.clone())?;
                batch.clear();
                bytes = 0;
            }
        }
        if note.total < before {
            return Err(changed(before));
        }
        moved.written += batch.len() as u64;
        note.digest = hex(&chain);
        note.done = true;
        self.write(&batch, note)?;
        // What is not acknowledged returns.
        self.from.open_channel()?;
        Ok(moved)
    }

    /// Reads a stream to its end, from where an import before came to.
    fn stream(&mut self, queue: &Queue, found: Option<Note>) -> Result<Moved, Trouble> {
        let name = queue.name.as_str();
        let before = found.as_ref().map_or(0, |found| found.total);
        let mut moved = Moved { before, ..Moved::default() };
        let mut note = Note::new(name, Mode::Stream);
        note.total = before;
        let first = ("x-stream-offset".to_owned(), Value::String("last".to_owned()));
        self.from.consume(name, 1, &[first])?;
        let last = match self.from.delivery(ARRIVAL)? {
            Some(message) => offset(&message)?,
            None => return Ok(moved),
        };
        self.from.open_channel()?;
        let start = i64::try_from(before).unwrap_or(i64::MAX);
        let first = ("x-stream-offset".to_owned(), Value::I64(start));
        self.from.consume(name, STREAM_PREFETCH, &[first])?;
        let mut batch: Vec<Taken> = Vec::new();
        loop {
            let at_end = note.total > last;
            let next = self.from.delivery(if at_end { STREAM_END } else { ARRIVAL })?;
            let ended = next.is_none();
            if let Some(message) = next {
                let at = offset(&message)?;
                if at >= before {
                    note.total = at + 1;
                    batch.push(message);
                }
            }
            if ended || batch.len() == usize::from(STREAM_PREFETCH) {
                let tag = batch.last().map(|message| message.tag);
                moved.written += batch.len() as u64;
                note.done = ended;
                self.write(&batch, note.clone())?;
                batch.clear();
                if let Some(tag) = tag {
                    self.from.ack(tag)?;
                }
            }
            if ended {
                break;
            }
        }
        self.from.open_channel()?;
        moved.remark = "a stream keeps what was read".to_owned();
        Ok(moved)
    }

    /// Writes messages and the note on them in one transaction.
    fn write(&mut self, messages: &[Taken], note: Note) -> Result<(), Trouble> {
        let queue = note.queue.clone();
        for message in messages {
            let properties = content::without_added(&message.properties);
            let direct = message.exchange.is_empty()
                && message.key == queue
                && !content::has_copies(&properties);
            let to = match direct {
                true => ("", message.key.as_str()),
                false => (self.exchange.as_str(), message.key.as_str()),
            };
            self.to.publish(to, &properties, &message.body)?;
        }
        self.progress.note(&mut self.to, note)?;
        if self.to.commit()? > 0 {
            return Err(Trouble::Refused("it is not there any more".to_owned()));
        }
        self.bar.advance(messages.len() as u64, &queue);
        Ok(())
    }

    /// Has our exchange lead to one queue and no other.
    fn lead_to(&mut self, queue: &str) -> Result<(), Trouble> {
        drop_exchange(&mut self.to, &self.exchange)?;
        let declare = Method::ExchangeDeclare {
            ticket: 0,
            exchange: &self.exchange,
            kind: "fanout",
            passive: false,
            durable: true,
            auto_delete: false,
            internal: false,
            nowait: false,
            arguments: Table::default(),
        };
        self.to.call(&declare, (40, 11))?;
        let bind = Method::QueueBind {
            ticket: 0,
            queue,
            exchange: &self.exchange,
            routing_key: "",
            nowait: false,
            arguments: Table::default(),
        };
        self.to.call(&bind, (50, 21))
    }

    /// What is left here besides the messages.
    pub(super) fn end(self) -> Temporary {
        Temporary { exchange: self.exchange, progress: self.progress }
    }
}

/// What helped an import.
#[derive(Debug)]
pub(super) struct Temporary {
    exchange: String,
    progress: Progress,
}

impl Temporary {
    /// Everything is imported: takes it away.
    pub(super) fn take_down(self, link: &mut Link) -> Result<(), Trouble> {
        drop_exchange(link, &self.exchange)?;
        self.progress.close(link)
    }
}

fn drop_exchange(link: &mut Link, exchange: &str) -> Result<(), Trouble> {
    let delete = Method::ExchangeDelete { ticket: 0, exchange, if_unused: false, nowait: false };
    link.call(&delete, (40, 21))
}

/// Whether a batch is the one that was written last and never acknowledged.
fn is_written(found: &Note, batch: &[Taken], ready: u64) -> bool {
    let again = batch.iter().all(|message| message.redelivered);
    // What had been delivered before looks the same whether it was acknowledged or not, but for how
    // much is left.
    let certain = found.fresh || ready == found.ready;
    found.batch == batch.len() as u64 && again && certain && found.digest == digest(batch)
}

fn digest(batch: &[Taken]) -> String {
    hex(&batch.iter().fold([0; 32], |chain, message| chained(&chain, &fingerprint(message))))
}

/// The batch in parts that a transaction holds.
fn parts(batch: &[Taken]) -> Vec<&[Taken]> {
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, message) in batch.iter().enumerate() {
        if at > start && bytes + size(message) > TRANSACTION_BYTES {
            parts.push(&batch[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += size(message);
    }
    parts.push(&batch[start..]);
    parts
}

fn size(message: &Taken) -> usize {
    message.body.len() + message.properties.len() + message.key.len()
}

fn offset(message: &Taken) -> Result<u64, Trouble> {
    content::stream_offset(&message.properties)
        .and_then(|offset| u64::try_from(offset).ok())
        .ok_or_else(|| Trouble::Refused("a stream's message came without its offset".to_owned()))
}

fn changed(before: u64) -> Trouble {
    Trouble::Refused(format!(
        "its first {before} messages are not those that were copied before: somebody consumed from \
         it; --afresh copies it again from its start"
    ))
}

#[cfg(test)]
mod tests;
