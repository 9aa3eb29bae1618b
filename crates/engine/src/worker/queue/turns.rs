//! Whose turn it is: queues of a shard, and logs of a queue, take turns by bytes.

use super::keys::{Told, tell_keys};
use super::{Handed, Handout, Queue, Turn, ledger_of, of_level};
use crate::index::Run;
use crate::worker::Worker;
use ledger::Span;
use std::collections::VecDeque;
use types::{ShardId, SubscriptionId};

/// Bytes handed out per queue before the next has its turn.
const QUANTUM: usize = 64 << 10;
/// Bytes handed out in one turn of the worker; who is left comes first in the next.
const TURN_BYTES: usize = 1 << 20;

impl Worker {
    /// Hands out what can be handed out, every ready queue in its turn.
    pub(in crate::worker) fn dispatch(&mut self) {
        let shards: Vec<ShardId> = self.seats.keys().copied().collect();
        for shard in shards {
            let Some(seat) = self.seats.get_mut(&shard).filter(|seat| !seat.starting) else {
                continue;
            };
            let ready = std::mem::take(&mut seat.ready);
            let turns = ready.range(seat.turn..).chain(ready.range(..seat.turn));
            let mut turns: VecDeque<SubscriptionId> = turns.copied().collect();
            let mut left = TURN_BYTES;
            while let Some(id) = turns.pop_front() {
                if left == 0 {
                    let Some(seat) = self.seats.get_mut(&shard) else { break };
                    seat.turn = id;
                    seat.ready.extend(turns.drain(..).chain([id]));
                    break;
                }
                // Who is alone need not stop for others.
                let quantum = if turns.is_empty() { left } else { left.min(QUANTUM) };
                let unused = self.dispatch_queue(shard, id, quantum);
                left -= quantum - unused;
                if unused == 0 {
                    turns.push_back(id);
                }
            }
        }
    }

    /// Hands out so many bytes of a queue; gives what was not used because there is no more.
    fn dispatch_queue(&mut self, shard: ShardId, id: SubscriptionId, quantum: usize) -> usize {
        let Some(seat) = self.seats.get_mut(&shard) else { return quantum };
        let Some(mut queue) = seat.queues.remove(&id) else { return quantum };
        let mut turn = Turn {
            seat,
            store: &mut self.store,
            clients: &mut self.clients,
            arrived: &self.arrived,
            now: self.now,
            left: quantum,
            last: None,
        };
        turn.run(&mut queue);
        let unused = turn.left;
        let is_paced = queue.pacer.is_some();
        seat.queues.insert(id, queue);
        if is_paced {
            self.rearm_pace(shard, id);
        }
        unused
    }
}

impl Turn<'_> {
    fn run(&mut self, queue: &mut Queue) {
        self.answer_gets(queue);
        let count = queue.logs.len();
        let mut exhausted = 0;
        while exhausted < count && self.left > 0 {
            let at = queue.turn % count;
            queue.turn = at + 1;
            // Who is alone need not stop for others.
            let end = if count == 1 { 0 } else { self.left.saturating_sub(QUANTUM) };
            self.run_log(queue, at, end);
            exhausted = if self.left > end { exhausted + 1 } else { 0 };
        }
    }

    /// The last record of a run is handed out: if nobody else is to have any of it, its batch can make
    /// room for others.
    pub(super) fn spend(&mut self, queue: &Queue, at: usize, level: u8, run: &Run) {
        let (id, log) = (queue.subscription.subscription, queue.logs[at].log);
        let Some(of) = self.seat.shard.logs.get(&log) else { return };
        let is_alone = of.options.interest && of.subscriptions.len() == 1;
        let span = Span::new(run.first, run.end());
        let ledger = ledger_of(&self.seat.shard, id, log).map(|(ledger, _)| ledger);
        if is_alone && ledger.is_some_and(|ledger| ledger.is_all_at(span, level)) {
            self.store.spend(log, run);
        }
    }

    /// What follows a handout may have to come from the disk.
    fn reached(&mut self, queue: &Queue, at: usize, handout: &Handout) {
        let (id, log) = (queue.subscription.subscription, queue.logs[at].log);
        let ledger = ledger_of(&self.seat.shard, id, log).map(|(ledger, _)| ledger);
        let of_level = ledger.and_then(|ledger| of_level(ledger, handout.level));
        let filter = of_level.as_ref().map(|it| it as &dyn Fn(&Run) -> bool);
        self.store.reached(log, handout.span.end, filter);
    }

    /// Hands out of one log until so many bytes are left, or nothing is.
    fn run_log(&mut self, queue: &mut Queue, at: usize, end: usize) {
        while !queue.logs[at].loading {
            let Some(handout) = self.next(queue, at) else {
                match tell_keys(self.store, queue, at) {
                    Told::Now => continue,
                    Told::Nothing | Told::Later => break,
                }
            };
            if self.leases(queue, at, &handout) {
                continue;
            }
            match self.hand_out(queue, at, handout) {
                Handed::Out => self.reached(queue, at, &handout),
                Handed::Full(rest) => queue.logs[at].held.push_front(rest),
                Handed::Cold(rest) => {
                    queue.logs[at].held.push_front(rest);
                    queue.logs[at].loading = true;
                }
            }
            if self.left <= end {
                return;
            }
        }
        self.take_out_skipped(queue, at);
    }
}
