//! Calls that were submitted and not answered: their tokens, their bytes, and appends that went
//! to several shards.

use crate::Gather;
use engine::api::{Append, Call, Event, Op, Recur, RecurStep, Reply, Schedule, Settle, Verdict};
use std::collections::BTreeMap;
use types::{Error, Kind, ShardId, Token};

/// What any call costs beside its payload.
const CALL_BYTES: usize = 64;

/// What one destination or one range of a call costs.
const ENTRY_BYTES: usize = 24;

type Answer = Result<Reply, Error>;

/// A connection's calls.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    last: u64,
    open: BTreeMap<Token, Flight>,
    splits: BTreeMap<Token, Gather<Answer>>,
    bytes: usize,
    /// Calls of this turn by shard, in order.
    batches: Vec<(ShardId, Vec<Call>)>,
}

#[derive(Debug)]
struct Flight {
    bytes: usize,
    fate: Fate,
}

/// Who wants the reply.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Session,
    Nobody,
    /// Part `index` of the split append `whole`; the session knows only `whole`.
    Part {
        whole: Token,
        index: usize,
        wanted: bool,
    },
}

impl Flights {
    /// Adds a call to this turn's batches. Every call that has a reply asks the engine for it, wanted
    /// or not: that is how its bytes are known to be done with. Only a settle whose reply nobody wants
    /// does not, as it would make the engine write a frame for it at once; leases bound how many
    /// there are.
    pub(crate) fn submit(&mut self, op: Op, wanted: bool) -> Token {
        match op {
            Op::Settle(_) if !wanted => self.batch(Token::NONE, op),
            Op::Append(append) if many_shards(&append) => self.split(append, wanted, Op::Append),
            Op::Schedule(Schedule { append, due }) if many_shards(&append) => {
                let later = |append| Op::Schedule(Schedule { append, due });
                self.split(append, wanted, later)
            }
            // The engine has nothing to say to these, so nothing is waited for.
            Op::Cancel { .. } | Op::Touch(_) => self.batch(Token::NONE, op),
            op => self.send(op, if wanted { Fate::Session } else { Fate::Nobody }),
        }
    }

    fn split(&mut self, append: Append, wanted: bool, op: impl Fn(Append) -> Op) -> Token {
        let whole = self.token();
        let parts: Vec<Append> = append
            .to
            .chunk_by(|left, right| left.shard == right.shard)
            .map(|to| Append {
                to: to.into(),
                payload: append.payload.clone(),
                waits: append.waits,
            })
            .collect();
        self.splits.insert(whole, Gather::new(parts.len()));
        for (index, part) in parts.into_iter().enumerate() {
            self.send(op(part), Fate::Part { whole, index, wanted });
        }
        whole
    }

    fn send(&mut self, op: Op, fate: Fate) -> Token {
        let (token, bytes) = (self.token(), op_bytes(&op));
        self.bytes += bytes;
        self.open.insert(token, Flight { bytes, fate });
        self.batch(token, op)
    }

    fn batch(&mut self, token: Token, op: Op) -> Token {
        let shard = op.shard();
        let call = Call { token, op };
        match self.batches.iter_mut().find(|(other, _)| *other == shard) {
            Some((_, calls)) => calls.push(call),
            None => self.batches.push((shard, vec![call])),
        }
        token
    }

    fn token(&mut self) -> Token {
        self.last += 1;
        Token(self.last)
    }

    /// The calls since the last time, one batch per shard.
    pub(crate) fn take_batches(&mut self) -> Vec<(ShardId, Vec<Call>)> {
        std::mem::take(&mut self.batches)
    }

    /// Bytes submitted and not answered.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether every call was answered.
    pub(crate) fn answered(&self) -> bool {
        self.open.is_empty()
    }

    /// Notes a reply; gives the event the session should see, if any.
    pub(crate) fn land(&mut self, event: Event) -> Option<Event> {
        let Event::Reply { token, result } = event else { return Some(event) };
        let flight = self.open.remove(&token)?;
        self.bytes -= flight.bytes;
        match flight.fate {
            Fate::Session => Some(Event::Reply { token, result }),
            Fate::Nobody => None,
            Fate::Part { whole, index, wanted } => {
                if !self.splits.get_mut(&whole)?.put(index, result) {
                    return None;
                }
                let answers = self.splits.remove(&whole)?.into_results();
                wanted.then(|| Event::Reply { token: whole, result: merged(answers) })
            }
        }
    }
}

fn many_shards(append: &Append) -> bool {
    append.to.windows(2).any(|pair| pair[0].shard != pair[1].shard)
}

/// One answer for a split append: a failure of any shard is the failure of the whole, but that a
/// destination is gone is one only where all are; else what the first destination said, or the first
/// that is still there.
fn merged(answers: Vec<Answer>) -> Answer {
    let mut chosen: Option<Answer> = None;
    for answer in answers {
        match (&chosen, is_gone(&answer)) {
            (_, false) if answer.is_err() => return answer,
            (None, _) => chosen = Some(answer),
            (Some(first), false) if is_gone(first) => chosen = Some(answer),
            _ => {}
        }
    }
    chosen.expect("a split append has at least two parts")
}

/// Whether the destinations of one shard are not there any more.
fn is_gone(answer: &Answer) -> bool {
    match answer {
        Ok(reply) => {
            matches!(reply, Reply::Appended(appended) if appended.verdict == Verdict::Gone)
        }
        Err(error) => error.kind == Kind::NotFound,
    }
}

/// What an operation holds on to until it is answered, in bytes.
pub(crate) fn op_bytes(op: &Op) -> usize {
    match op {
        Op::Append(append) => append_bytes(append),
        Op::Schedule(schedule) => append_bytes(&schedule.append),
        Op::Recur(Recur { step: RecurStep::Put(what), .. }) => CALL_BYTES + what.tail.len(),
        Op::Unschedule(unschedule) => CALL_BYTES + unschedule.offsets.len() * ENTRY_BYTES,
        Op::Transaction(transaction) => {
            transaction.appends.iter().map(append_bytes).sum::<usize>()
                + transaction.settles.iter().map(settle_bytes).sum::<usize>()
                + CALL_BYTES
        }
        Op::Settle(settle) => settle_bytes(settle),
        Op::Stand(stand) => CALL_BYTES + stand.ranges.len() * ENTRY_BYTES,
        Op::Remove(remove) => CALL_BYTES + remove.ranges.len() * ENTRY_BYTES,
        Op::Read(read) => CALL_BYTES + read.logs.len() * ENTRY_BYTES,
        Op::Extent(logs) => CALL_BYTES + logs.len() * ENTRY_BYTES,
        _ => CALL_BYTES,
    }
}

fn append_bytes(append: &Append) -> usize {
    CALL_BYTES + append.payload.bytes().len() + append.to.len() * ENTRY_BYTES
}

fn settle_bytes(settle: &Settle) -> usize {
    CALL_BYTES + settle.ranges.len() * ENTRY_BYTES
}

#[cfg(test)]
mod tests;
