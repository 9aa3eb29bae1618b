//! Replies in the order of their requests, however the answers come.

use std::collections::VecDeque;

/// A place in a [`Pipeline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u64);

/// Slots reserved in order, filled in any order, emitted in order; at most `bound` at once.
#[derive(Debug)]
pub struct Pipeline<T> {
    slots: VecDeque<Option<T>>,
    first: u64,
    bound: usize,
}

impl<T> Pipeline<T> {
    /// An empty pipeline of at most `bound` slots.
    #[must_use]
    pub fn new(bound: usize) -> Pipeline<T> {
        Pipeline { slots: VecDeque::new(), first: 0, bound }
    }

    /// The next slot; `None` when `bound` of them wait: the session pauses its input until
    /// [`Pipeline::pop`] gave one.
    pub fn reserve(&mut self) -> Option<Slot> {
        if self.full() {
            return None;
        }
        self.slots.push_back(None);
        Some(Slot(self.first + self.slots.len() as u64 - 1))
    }

    /// Fills a slot. A slot that was filled or emitted stays as it is; false then.
    pub fn fill(&mut self, slot: Slot, reply: T) -> bool {
        let place = slot.0.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        match place.and_then(|index| self.slots.get_mut(index)) {
            Some(empty @ None) => {
                *empty = Some(reply);
                true
            }
            _ => false,
        }
    }

    /// The next reply in order, if it is there.
    pub fn pop(&mut self) -> Option<T> {
        let reply = self.slots.front_mut()?.take()?;
        self.slots.pop_front();
        self.first += 1;
        Some(reply)
    }

    /// Reserved slots whose replies have not been emitted.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.slots.len()
    }

    /// Whether no further slot can be reserved now.
    #[must_use]
    pub fn full(&self) -> bool {
        self.slots.len() >= self.bound
    }
}

#[cfg(test)]
mod tests;
