//! Publisher confirms of one channel: publishes in order, answered in order, many at once.

use crate::codec::{Method, frame};
use std::collections::VecDeque;

/// Which publishes of a channel are answered.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    /// The last publish; they are numbered from 1.
    last: u64,
    /// All up to here were answered.
    answered: u64,
    open: VecDeque<Span>,
}

/// Consecutive publishes of one fate, after those of the span before.
#[derive(Clone, Copy, Debug)]
struct Span {
    last: u64,
    group: u64,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waiting,
    Acked,
    Nacked,
}

impl Confirms {
    /// One more publish, in the append `group`; groups rise.
    #[inline]
    pub(super) fn publish(&mut self, group: u64) {
        self.add(group, Fate::Waiting);
    }

    /// One more publish, which goes nowhere and is confirmed in its turn.
    pub(super) fn publish_nowhere(&mut self, group: u64) {
        self.add(group, Fate::Acked);
    }

    #[inline]
    fn add(&mut self, group: u64, fate: Fate) {
        self.last += 1;
        match self.open.back_mut() {
            Some(span) if span.group == group && span.fate == fate => span.last = self.last,
            _ => self.open.push_back(Span { last: self.last, group, fate }),
        }
    }

    /// How many are not answered.
    pub(super) fn unanswered(&self) -> u64 {
        self.last - self.answered
    }

    /// The append `group` was answered.
    pub(super) fn settle(&mut self, group: u64, stored: bool) {
        let fate = if stored { Fate::Acked } else { Fate::Nacked };
        let first = self.open.partition_point(|span| span.group < group);
        let spans = self.open.range_mut(first..).take_while(|span| span.group == group);
        for span in spans.filter(|span| span.fate == Fate::Waiting) {
            span.fate = fate;
        }
    }

    /// Appends basic.ack and basic.nack for all that can be answered now.
    pub(super) fn answer(&mut self, out: &mut Vec<u8>, channel: u16) {
        while let Some(first) = self.open.front().copied().filter(|s| s.fate != Fate::Waiting) {
            let mut delivery_tag = first.last;
            self.open.pop_front();
            while let Some(next) = self.open.front().filter(|next| next.fate == first.fate) {
                delivery_tag = next.last;
                self.open.pop_front();
            }
            let multiple = delivery_tag > self.answered + 1;
            self.answered = delivery_tag;
            let method = match first.fate {
                Fate::Nacked => Method::BasicNack { delivery_tag, multiple, requeue: false },
                _ => Method::BasicAck { delivery_tag, multiple },
            };
            frame::push_method(out, channel, &method);
        }
    }
}

#[cfg(test)]
mod tests;
