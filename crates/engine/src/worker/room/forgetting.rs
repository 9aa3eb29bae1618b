//! Idempotent producers that are forgotten: those silent for long, and when they take more memory
//! than they may, the longest silent ones.
//!
//! Which ones is decided here, by what this process may hold in memory, and ordered by a command, so
//! that every replica and every replay forgets the same.

use crate::MemoryPool;
use crate::command::Command;
use crate::shard::Shard;
use crate::worker::Worker;
use types::Millis;

/// How often those silent for long are looked for, at least.
const LOOK_EVERY: Millis = Millis(60_000);
/// How often so many are looked for that there is room again.
const MAKE_ROOM_EVERY: Millis = Millis(1_000);
/// The part of a shard's producers that is forgotten at once to make room.
const PART: usize = 8;

/// What is known of it.
#[derive(Debug)]
pub(super) struct Forgetting {
    /// Who is silent for so long is forgotten, room or not.
    pub(super) idle: Millis,
    looked: Millis,
}

impl Default for Forgetting {
    fn default() -> Forgetting {
        Forgetting { idle: crate::PRODUCER_IDLE, looked: Millis(0) }
    }
}

impl Worker {
    /// Forgets who is silent for `idle`.
    pub(crate) fn forgetting_after(mut self, idle: Millis) -> Worker {
        self.room.forgetting.idle = idle;
        self
    }

    /// Has producers forgotten, if it is time.
    pub(in crate::worker) fn forget_producers(&mut self) {
        let memory = &self.ports.memory;
        let over = memory.used(MemoryPool::Producers) > memory.budget(MemoryPool::Producers);
        let idle = self.room.forgetting.idle;
        let every = if over { MAKE_ROOM_EVERY } else { LOOK_EVERY.min(Millis(idle.0 / 8)) };
        if self.now.since(self.room.forgetting.looked) < every {
            return;
        }
        self.room.forgetting.looked = self.now;
        for seat in self.seats.values_mut().filter(|seat| seat.shard.holds().producers > 0) {
            let silent = seat.time(self.now).0 - idle.0;
            let before = match over {
                true => Millis(silent).max(to_make_room(&seat.shard)),
                false => Millis(silent),
            };
            if producers(&seat.shard).any(|seen| seen < before) {
                seat.command(Command::ForgetProducers { before });
            }
        }
    }
}

impl Worker {
    /// Has ids of messages forgotten whose time is over.
    pub(in crate::worker) fn forget_ids(&mut self) {
        for seat in self.seats.values_mut().filter(|seat| seat.shard.holds().ids > 0) {
            let now = seat.shard.time;
            if seat.shard.logs.values().any(|log| log.seen.has_outlived(now)) {
                seat.command(Command::ForgetIds);
            }
        }
    }
}

/// Since before when the longest silent ones are silent, a part of all.
fn to_make_room(shard: &Shard) -> Millis {
    let mut seen: Vec<Millis> = producers(shard).collect();
    let at = seen.len() / PART;
    if seen.is_empty() {
        return Millis(0);
    }
    seen.select_nth_unstable(at).1.plus(Millis(1))
}

fn producers(shard: &Shard) -> impl Iterator<Item = Millis> {
    shard.logs.values().flat_map(|log| log.producers.seen())
}
