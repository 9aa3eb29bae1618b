//! A circuit breaker: closed it lets everything pass, open nothing, and between the two one message to
//! try.

use ledger::Span;
use std::collections::VecDeque;
use types::{Millis, Offset};

#[derive(Debug)]
pub(super) struct Breaker {
    options: catalog::Breaker,
    state: State,
}

#[derive(Debug)]
enum State {
    /// When messages failed lately, at most as often as it takes.
    Closed(VecDeque<Millis>),
    Open {
        until: Millis,
    },
    /// The message that is tried, if one is.
    Trying(Option<Offset>),
}

impl Breaker {
    pub(super) fn new(options: catalog::Breaker) -> Breaker {
        Breaker { options, state: State::Closed(VecDeque::new()) }
    }

    /// How many messages can go now; none until then, or until the one that is tried is settled.
    /// `idle`: nothing is in flight.
    pub(super) fn room(&mut self, idle: bool, now: Millis) -> Result<u32, Option<Millis>> {
        match self.state {
            State::Closed(_) => Ok(u32::MAX),
            State::Open { until } if now < until => Err(Some(until)),
            State::Open { .. } => {
                self.state = State::Trying(None);
                Ok(1)
            }
            State::Trying(Some(_)) if !idle => Err(None),
            State::Trying(_) => {
                self.state = State::Trying(None);
                Ok(1)
            }
        }
    }

    /// A message is handed out, and others behind it. `settled`: nobody will say what became of it.
    pub(super) fn took(&mut self, first: Offset, settled: bool) {
        if matches!(self.state, State::Trying(None)) {
            self.state = match settled {
                true => State::Closed(VecDeque::new()),
                false => State::Trying(Some(first)),
            };
        }
    }

    /// Messages are with nobody any more.
    pub(super) fn ended(&mut self, span: Span, failed: Option<bool>, now: Millis) {
        let open = State::Open { until: now.plus(self.options.pause) };
        match &mut self.state {
            State::Open { .. } | State::Trying(None) => {}
            State::Trying(Some(tried)) if span.first <= *tried && *tried < span.end => {
                self.state = match failed {
                    Some(true) => open,
                    Some(false) => State::Closed(VecDeque::new()),
                    None => State::Trying(None),
                };
            }
            State::Trying(Some(_)) => {}
            State::Closed(times) if failed == Some(true) => {
                let most = self.options.failures as usize;
                for _ in 0..span.len().min(most as u64) {
                    if times.len() == most {
                        times.pop_front();
                    }
                    times.push_back(now);
                }
                let since = |first: &Millis| now.since(*first) <= self.options.window;
                if times.len() == most && times.front().is_some_and(since) {
                    self.state = open;
                }
            }
            State::Closed(_) => {}
        }
    }
}
