//! Consumers of a log that keep a place of their own: nothing they do changes what is stored.

use super::Worker;
use super::store::{Found, Waiter};
use crate::api::{Delivery, Event, Reply, Source, StartAt, Take};
use crate::index::Look;
use ledger::{ConsumerKey, Span};
use types::{ClientId, Error, Kind, LogRef, Millis, Offset, ShardId, Token};

/// Messages handed out to one of them in one turn.
const PER_TURN_MAX: u32 = 1024;

#[derive(Debug)]
pub(crate) struct Tailer {
    log: LogRef,
    next: Next,
    prefetch: u32,
    unsettled: u64,
    counted: bool,
    loading: bool,
}

/// What a tailer is handed next.
#[derive(Clone, Copy, Debug)]
enum Next {
    At(Offset),
    /// The last batch before an offset.
    Last(Offset),
    /// The batch with the first record of this time or later; if there is none, what comes at an
    /// offset.
    Since(Millis, Offset),
}

impl Tailer {
    pub(super) fn loaded(&mut self) {
        self.loading = false;
    }

    fn room(&self) -> u64 {
        match self.prefetch {
            0 => u64::MAX,
            prefetch => u64::from(prefetch).saturating_sub(self.unsettled),
        }
    }
}

impl Worker {
    /// Registers a consumer of a log.
    pub(super) fn tail(&mut self, client: ClientId, token: Token, take: &Take) {
        let Source::Log { log, from } = take.source else { return };
        let key = ConsumerKey { client, consumer: take.consumer };
        let next = self.start_at(log, from);
        let Some(seat) = self.seats.get_mut(&log.shard) else { return };
        let result = match next {
            None => Err(Error::new(Kind::NotFound, "the log does not exist any more")),
            Some(_) if seat.tailers.contains_key(&key) => {
                Err(Error::new(Kind::Exists, "the consumer exists already"))
            }
            Some(next) => {
                let tailer = Tailer {
                    log,
                    next,
                    prefetch: take.prefetch,
                    unsettled: 0,
                    counted: !take.settle_on_delivery,
                    loading: false,
                };
                seat.tailers.insert(key, tailer);
                seat.tailed.entry(log.log).or_default().insert(key);
                self.tails_ready.insert((log.shard, key));
                Ok(Reply::Done)
            }
        };
        self.clients.reply(client, token, result);
    }

    /// Where a consumer of a log begins. By time: at the batch that holds the first such record.
    fn start_at(&self, log: LogRef, from: StartAt) -> Option<Next> {
        let state = self.seats.get(&log.shard)?.shard.logs.get(&log.log)?;
        Some(match from {
            StartAt::First => Next::At(state.start),
            StartAt::Next => Next::At(state.end),
            StartAt::Offset(offset) => Next::At(offset.max(state.start)),
            StartAt::Last => Next::Last(state.end),
            StartAt::Since(time) => Next::Since(time, state.end),
        })
    }

    pub(super) fn end_tailer(&mut self, shard: ShardId, key: ConsumerKey) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        let Some(tailer) = seat.tailers.remove(&key) else { return };
        if let Some(keys) = seat.tailed.get_mut(&tailer.log.log) {
            keys.remove(&key);
            if keys.is_empty() {
                seat.tailed.remove(&tailer.log.log);
            }
        }
    }

    pub(super) fn drop_tailers(&mut self, client: ClientId) {
        let gone: Vec<(ShardId, ConsumerKey)> = self
            .seats
            .iter()
            .flat_map(|(shard, seat)| seat.tailers.keys().map(|key| (*shard, *key)))
            .filter(|(_, key)| key.client == client)
            .collect();
        for (shard, key) in gone {
            self.end_tailer(shard, key);
        }
    }

    pub(super) fn free_tailer(&mut self, shard: ShardId, key: ConsumerKey, count: u64) {
        let seat = self.seats.get_mut(&shard);
        if let Some(tailer) = seat.and_then(|seat| seat.tailers.get_mut(&key)) {
            tailer.unsettled = tailer.unsettled.saturating_sub(count);
            self.tails_ready.insert((shard, key));
        }
    }

    /// Its log is gone: tells its consumers.
    pub(super) fn end_tailers_of(&mut self, log: LogRef) {
        let Some(seat) = self.seats.get_mut(&log.shard) else { return };
        for key in seat.tailed.remove(&log.log).into_iter().flatten() {
            seat.tailers.remove(&key);
            self.clients.event(key.client, Event::ConsumerGone { consumer: key.consumer });
        }
    }

    pub(super) fn dispatch_tails(&mut self) {
        for (shard, key) in std::mem::take(&mut self.tails_ready) {
            if self.run_tailer(shard, key) {
                self.tails_ready.insert((shard, key));
            }
        }
    }

    /// True when its turn ended with more to hand out.
    fn run_tailer(&mut self, shard: ShardId, key: ConsumerKey) -> bool {
        let Some(seat) = self.seats.get_mut(&shard) else { return false };
        let Some(tailer) = seat.tailers.get_mut(&key).filter(|tailer| !tailer.loading) else {
            return false;
        };
        let log = tailer.log.log;
        let mut left = PER_TURN_MAX;
        while tailer.room() > 0 && !self.clients.stalled(key.client) {
            if left == 0 {
                return true;
            }
            let (look, otherwise) = match (self.store.index.log(log), tailer.next) {
                (None, _) => return false,
                (Some(runs), Next::At(offset)) => (runs.at_or_after(offset), None),
                (Some(runs), Next::Last(end)) => (runs.last_before(end), Some(end)),
                (Some(runs), Next::Since(time, end)) => (runs.since(time), Some(end)),
            };
            let run = match (look, otherwise) {
                (Look::Run(run), _) => run,
                (Look::Page(page), _) => {
                    self.store.load_page(log, page, Waiter::Tailer { shard, key });
                    tailer.loading = true;
                    return false;
                }
                (Look::None, Some(end)) => {
                    tailer.next = Next::At(end);
                    continue;
                }
                (Look::None, None) => return false,
            };
            let batch = match self.store.find(log, &run) {
                Found::Here(batch) => batch,
                Found::Cold => {
                    self.store.load_from(log, &run, Waiter::Tailer { shard, key });
                    tailer.loading = true;
                    return false;
                }
                Found::Lost(why) => {
                    self.store.losses.note(log, Span::run(run.first, run.count), &why);
                    tailer.next = Next::At(run.end());
                    continue;
                }
            };
            let offset = match tailer.next {
                Next::At(offset) => offset.max(run.first),
                Next::Last(_) | Next::Since(..) => run.first,
            };
            let delta = u32::try_from(offset.0 - run.first.0).unwrap_or(u32::MAX);
            if let Some((tail, timestamp)) = batch.record(delta) {
                let item =
                    Delivery { log, offset, attempts: 0, redelivered: false, timestamp, tail };
                if tailer.counted {
                    tailer.unsettled += 1;
                }
                self.clients.deliver(key.client, key.consumer, item);
                left -= 1;
            }
            tailer.next = Next::At(offset.next());
            if offset.next() == run.end() {
                self.store.reached(log, run.end(), None);
            }
        }
        false
    }
}
