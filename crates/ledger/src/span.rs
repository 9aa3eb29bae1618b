//! A run of consecutive offsets.

use serde::{Deserialize, Serialize};
use types::Offset;

/// The offsets from `first` up to but not including `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The first offset.
    pub first: Offset,
    /// One past the last; at or below `first` the span is empty.
    pub end: Offset,
}

impl Span {
    /// The span from `first` up to but not including `end`.
    pub fn new(first: Offset, end: Offset) -> Span {
        Span { first, end }
    }

    /// The span of one offset.
    pub fn one(offset: Offset) -> Span {
        Span { first: offset, end: offset.next() }
    }

    /// `count` offsets from `first` on.
    pub fn run(first: Offset, count: u32) -> Span {
        Span { first, end: first.plus(count) }
    }

    /// How many offsets it covers.
    pub fn len(self) -> u64 {
        u64::try_from(self.end.0.saturating_sub(self.first.0)).unwrap_or(0)
    }

    /// Whether it covers none.
    pub fn is_empty(self) -> bool {
        self.end <= self.first
    }

    /// Whether `offset` lies in it.
    pub fn contains(self, offset: Offset) -> bool {
        self.first <= offset && offset < self.end
    }

    /// The offsets in rising order.
    pub fn offsets(self) -> impl Iterator<Item = Offset> {
        (self.first.0..self.end.0).map(Offset)
    }

    /// Adds `span` to the end of `spans`, joined to the last one where they touch.
    pub fn push(spans: &mut Vec<Span>, span: Span) {
        Span::push_since(spans, 0, span);
    }

    /// The same, but leaves the first `kept` spans as they are.
    pub(crate) fn push_since(spans: &mut Vec<Span>, kept: usize, span: Span) {
        if span.is_empty() {
            return;
        }
        match spans[kept..].last_mut() {
            Some(last) if last.end == span.first => last.end = span.end,
            _ => spans.push(span),
        }
    }

    /// Puts all but the first `kept` spans in order, and joins those that touch.
    pub(crate) fn order_since(spans: &mut Vec<Span>, kept: usize) {
        if spans[kept..].is_sorted() {
            return;
        }
        let mut rest = spans.split_off(kept);
        rest.sort_unstable();
        rest.into_iter().for_each(|span| Span::push_since(spans, kept, span));
    }
}
