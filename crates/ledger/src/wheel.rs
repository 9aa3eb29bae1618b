//! Timers in a hierarchy of slots: arming and cancelling cost the same however many there are.
//!
//! Four levels of 256 slots and a tick of 10 ms reach 497 days; what lies beyond waits in a list
//! and is looked at each time the wheel has turned that far. A timer fires at the first tick that is
//! not before its due time: never early, at most one tick late. Source: Varghese and Lauck, "Hashed
//! and hierarchical timing wheels", scheme 6.

#[cfg(test)]
mod tests;

use types::Millis;

/// One turn of the lowest level's hand.
const TICK_MS: i64 = 10;
const LEVELS: usize = 4;
const SLOT_BITS: u32 = 8;
const SLOTS: usize = 1 << SLOT_BITS;
/// The list of what the levels do not reach.
const BEYOND: u32 = (LEVELS * SLOTS) as u32;
const NONE: u32 = u32::MAX;

/// Names an armed timer, to cancel it. One that has fired or was cancelled names nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerId {
    at: u32,
    armed: u64,
}

/// Timers that each carry a value.
///
/// Memory: 4 KiB, and an entry of the slab for each timer armed at once; entries are used again.
#[derive(Debug)]
pub struct Wheel<T> {
    /// Everything due at this tick or before has fired.
    tick: u64,
    heads: Vec<u32>,
    /// Which slots of each level hold something.
    occupied: [[u64; SLOTS / 64]; LEVELS],
    slab: Vec<Entry<T>>,
    free: u32,
    len: usize,
    armed: u64,
}

#[derive(Debug)]
struct Entry<T> {
    /// `None`: free.
    value: Option<T>,
    due: Millis,
    /// Timers of one due time fire in this order.
    armed: u64,
    slot: u32,
    before: u32,
    next: u32,
}

impl<T> Wheel<T> {
    /// A wheel whose hand stands at `now`.
    pub fn new(now: Millis) -> Wheel<T> {
        Wheel {
            tick: ticks_passed(now),
            heads: vec![NONE; LEVELS * SLOTS + 1],
            occupied: [[0; SLOTS / 64]; LEVELS],
            slab: Vec::new(),
            free: NONE,
            len: 0,
            armed: 0,
        }
    }

    /// How many timers are armed.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Arms a timer; one whose time has come fires at the next [`Wheel::advance`].
    pub fn arm(&mut self, due: Millis, value: T) -> TimerId {
        self.armed += 1;
        let armed = self.armed;
        let entry =
            Entry { value: Some(value), due, armed, slot: BEYOND, before: NONE, next: NONE };
        let at = match self.slab.get_mut(self.free as usize) {
            Some(free) => {
                let at = self.free;
                self.free = free.next;
                *free = entry;
                at
            }
            None => {
                let at = u32::try_from(self.slab.len()).expect("far fewer timers than memory");
                self.slab.push(entry);
                at
            }
        };
        self.len += 1;
        self.link(at);
        TimerId { at, armed }
    }

    /// Disarms a timer; gives its value unless it has fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        let entry = self.slab.get(id.at as usize)?;
        if entry.armed != id.armed || entry.value.is_none() {
            return None;
        }
        self.unlink(id.at);
        self.release(id.at)
    }

    /// Moves the hand to `now`, and gives what has fired since by (due time, order of arming).
    pub fn advance(&mut self, now: Millis, fired: &mut Vec<T>) {
        let target = ticks_passed(now);
        let mut due: Vec<(Millis, u64, T)> = Vec::new();
        self.collect_due(self.tick, &mut due);
        while let Some(tick) = self.next_tick().filter(|tick| *tick <= target) {
            self.tick = tick;
            self.collect_due(tick, &mut due);
        }
        self.tick = self.tick.max(target);
        due.sort_unstable_by_key(|(due, armed, _)| (*due, *armed));
        fired.extend(due.into_iter().map(|(_, _, value)| value));
    }

    /// When [`Wheel::advance`] has to be called next: no later than the tick at which a timer
    /// fires, and at times earlier, with nothing to fire.
    pub fn next_due(&self) -> Option<Millis> {
        self.next_tick()
            .map(|tick| Millis(i64::try_from(tick).unwrap_or(i64::MAX)))
            .map(|tick| Millis(tick.0.saturating_mul(TICK_MS)))
    }

    /// The next tick at which a slot is reached.
    fn next_tick(&self) -> Option<u64> {
        for level in 0..LEVELS {
            let shift = SLOT_BITS * u32::try_from(level).expect("few levels");
            let hand = usize::try_from(self.tick >> shift & (SLOTS as u64 - 1)).expect("a slot");
            if let Some(slot) = self.first_occupied(level, hand) {
                let above = self.tick >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
                return Some((above | (slot as u64) << shift).max(self.tick));
            }
        }
        let turn = SLOT_BITS * LEVELS as u32;
        (self.heads[BEYOND as usize] != NONE).then(|| ((self.tick >> turn) + 1) << turn)
    }

    fn first_occupied(&self, level: usize, from: usize) -> Option<usize> {
        let words = self.occupied[level].iter().enumerate().skip(from / 64);
        let from_on = |at| if at == from / 64 { u64::MAX << (from % 64) } else { u64::MAX };
        let mut left = words.map(|(at, word)| (at, word & from_on(at)));
        let (at, word) = left.find(|(_, word)| *word != 0)?;
        Some(at * 64 + word.trailing_zeros() as usize)
    }

    /// Empties the slots the hand stands on, from the top: what is due at `tick` is collected, the
    /// rest goes to the slots below.
    fn collect_due(&mut self, tick: u64, due: &mut Vec<(Millis, u64, T)>) {
        if tick.trailing_zeros() >= SLOT_BITS * LEVELS as u32 {
            self.drain(BEYOND, due);
        }
        for level in (0..LEVELS).rev() {
            let shift = SLOT_BITS * u32::try_from(level).expect("few levels");
            let slot = usize::try_from(tick >> shift & (SLOTS as u64 - 1)).expect("a slot");
            if self.occupied[level][slot / 64] >> (slot % 64) & 1 == 1 {
                let at = u32::try_from(level * SLOTS + slot).expect("few slots");
                self.drain(at, due);
            }
        }
    }

    fn drain(&mut self, slot: u32, due: &mut Vec<(Millis, u64, T)>) {
        let mut at = std::mem::replace(&mut self.heads[slot as usize], NONE);
        self.mark(slot);
        while at != NONE {
            let entry = &self.slab[at as usize];
            let (next, when, armed) = (entry.next, entry.due, entry.armed);
            if tick_of(when) <= self.tick {
                if let Some(value) = self.release(at) {
                    due.push((when, armed, value));
                }
            } else {
                self.link(at);
            }
            at = next;
        }
    }

    /// Puts an entry into the slot for its due time, as seen from where the hand stands.
    fn link(&mut self, at: u32) {
        let tick = tick_of(self.slab[at as usize].due).max(self.tick);
        let apart = tick ^ self.tick;
        let level = apart.checked_ilog2().map_or(0, |bit| bit / SLOT_BITS);
        let slot = match level < LEVELS as u32 {
            true => {
                level * SLOTS as u32 + (tick >> (level * SLOT_BITS) & (SLOTS as u64 - 1)) as u32
            }
            false => BEYOND,
        };
        let head = std::mem::replace(&mut self.heads[slot as usize], at);
        if head != NONE {
            self.slab[head as usize].before = at;
        }
        let entry = &mut self.slab[at as usize];
        (entry.slot, entry.before, entry.next) = (slot, NONE, head);
        self.mark(slot);
    }

    fn unlink(&mut self, at: u32) {
        let Entry { slot, before, next, .. } = self.slab[at as usize];
        match before {
            NONE => self.heads[slot as usize] = next,
            before => self.slab[before as usize].next = next,
        }
        if next != NONE {
            self.slab[next as usize].before = before;
        }
        self.mark(slot);
    }

    /// Notes whether a slot holds something.
    fn mark(&mut self, slot: u32) {
        if slot == BEYOND {
            return;
        }
        let (level, at) = (slot as usize / SLOTS, slot as usize % SLOTS);
        let bit = 1 << (at % 64);
        match self.heads[slot as usize] {
            NONE => self.occupied[level][at / 64] &= !bit,
            _ => self.occupied[level][at / 64] |= bit,
        }
    }

    fn release(&mut self, at: u32) -> Option<T> {
        let entry = &mut self.slab[at as usize];
        entry.next = std::mem::replace(&mut self.free, at);
        self.len -= 1;
        entry.value.take()
    }
}

/// The last tick that is over at `now`.
fn ticks_passed(now: Millis) -> u64 {
    u64::try_from(now.0.div_euclid(TICK_MS)).unwrap_or(0)
}

/// The first tick at which what is due then may fire.
fn tick_of(due: Millis) -> u64 {
    let over = due.0.rem_euclid(TICK_MS) > 0;
    ticks_passed(due) + u64::from(over && due.0 > 0)
}
