//! Who gets which message next: the half that lives in the leader's memory.
//!
//! Flow: [`Dispatch::next`] hands out and notes a lease; the client acknowledges;
//! [`Dispatch::settled`] ends the lease and frees the credit at once, and says which spans to put
//! into a Settle command; applying that command changes the [`Ledger`]. Nothing handed out and
//! acknowledged is handed out again in between, since delivery only moves forward from the cursor
//! and through what was returned. A dispatch therefore has to live as long as its shard is led:
//! one built while settles are under way would deliver those again.

use crate::{Ledger, Span};
use types::{ClientId, ConsumerId, Offset};

/// A consumer, or whoever holds messages taken one by one: unique in the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerKey {
    /// Its connection.
    pub client: ClientId,
    /// Its number within the connection.
    pub consumer: ConsumerId,
}

/// How much a consumer may hold unsettled; 0 means without bound. A message that begins below the
/// bound is handed out even when it ends above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Messages.
    pub messages: u32,
    /// Bytes of their records.
    pub bytes: u64,
}

/// A window that several consumers of one client share (AMQP 0-9-1 `basic.qos` with `global`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedWindow {
    /// The connection.
    pub client: ClientId,
    /// Which of its windows, such as a channel number.
    pub group: u32,
}

/// How a standing consumer takes messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// What it may hold.
    pub window: Window,
    /// A further window it shares with others; its size comes by [`Dispatch::set_shared_window`].
    pub shared: Option<SharedWindow>,
    /// Refuse to be one of several.
    pub exclusive: bool,
    /// Higher ones are served first while they have credit.
    pub priority: i32,
    /// What is handed out counts as settled at once (no-ack); nothing is leased.
    pub settle_now: bool,
}

/// Why a consumer was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// An exclusive consumer is there.
    HeldExclusively,
    /// It asked to be the only one and is not.
    InUse,
    /// The key is taken.
    Exists,
}

/// What becomes of the messages a leaving consumer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// They stay leased under its key and can still be settled or returned.
    Keep,
    /// They go back and are ready again; `count` raises their delivery count.
    Return {
        /// Whether the delivery counts as a failed attempt.
        count: bool,
    },
}

/// A run of messages for one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Who gets them.
    pub key: ConsumerKey,
    /// Which; more than one offset only when a single consumer has credit.
    pub span: Span,
    /// Sum of their lengths, as `len_of` gave them.
    pub bytes: u64,
    /// 1 at the first delivery; one more for each counted return.
    pub attempt: u16,
    /// They may have been delivered before.
    pub redelivered: bool,
    /// No lease was noted: put a Settle for the span into the next frame.
    pub settle_now: bool,
}

/// What somebody holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// Messages.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
}

/// Delivery of one subscription over one log, as its leader runs it.
#[derive(Debug)]
pub struct Dispatch {
    cursor: Offset,
}

impl Dispatch {
    /// Delivery from the ledger's floor on. Cost: independent of the backlog.
    ///
    /// `redelivered_before`: after an unclean stop, the end of the log at the start; everything
    /// below may have been delivered before.
    pub fn new(ledger: &Ledger, redelivered_before: Option<Offset>) -> Dispatch {
        let _ = redelivered_before;
        Dispatch { cursor: ledger.floor() }
    }

    /// Adds a standing consumer.
    pub fn add(&mut self, key: ConsumerKey, options: ConsumerOptions) -> Result<(), AddError> {
        let _ = (key, options);
        Err(AddError::Exists)
    }

    /// Takes a consumer (or holder) away. Gives the spans that came back, to be put into a Return
    /// command.
    pub fn leave(&mut self, key: ConsumerKey, held: Held) -> Vec<Span> {
        let _ = (key, held);
        Vec::new()
    }

    /// Takes everything of a client away, messages it holds being returned. Gives their spans.
    pub fn drop_client(&mut self, client: ClientId, count: bool) -> Vec<Span> {
        let _ = (client, count);
        Vec::new()
    }

    /// Changes a consumer's window.
    pub fn set_window(&mut self, key: ConsumerKey, window: Window) {
        let _ = (key, window);
    }

    /// Changes a shared window, also one nobody uses yet.
    pub fn set_shared_window(&mut self, shared: SharedWindow, window: Window) {
        let _ = (shared, window);
    }

    /// Stops or resumes hand-outs to a consumer, as when its connection does not keep up.
    pub fn set_flow(&mut self, key: ConsumerKey, open: bool) {
        let _ = (key, open);
    }

    /// Hands out the next ready message, or a run of them; called until it gives `None`.
    ///
    /// `end`: one past the last record that may be delivered. `run_max`: longest run, 1 or more.
    /// `len_of`: the length in bytes of the record at an offset, or `None` to pass over it because
    /// it is gone or expired; what was passed over is in [`Dispatch::take_skipped`].
    pub fn next(
        &mut self,
        ledger: &Ledger,
        end: Offset,
        run_max: u32,
        len_of: impl FnMut(Offset) -> Option<u32>,
    ) -> Option<Assignment> {
        let _ = (ledger, end, run_max, len_of);
        None
    }

    /// Hands one ready message to `key` whether or not it is a consumer and without regard to
    /// windows (AMQP 0-9-1 `basic.get`).
    pub fn take_one(
        &mut self,
        ledger: &Ledger,
        end: Offset,
        (key, settle_now): (ConsumerKey, bool),
        len_of: impl FnMut(Offset) -> Option<u32>,
    ) -> Option<Assignment> {
        let _ = (ledger, end, key, settle_now, len_of);
        None
    }

    /// `key` is done with what it holds of `span`: ends the leases and frees the credit. Adds to
    /// `out` the spans it did hold, to be put into a Settle command.
    pub fn settled(&mut self, key: ConsumerKey, span: Span, out: &mut Vec<Span>) {
        let _ = (key, span, out);
    }

    /// `key` gives back what it holds of `span`: ready again at their place. Adds to `out` the
    /// spans it did hold, to be put into a Return command with the same `count`.
    pub fn returned(&mut self, key: ConsumerKey, span: Span, count: bool, out: &mut Vec<Span>) {
        let _ = (key, span, count, out);
    }

    /// Takes up to `count` ready messages out of delivery, oldest first; adds to `out` the spans
    /// to be put into a Settle command. For purge, length limits and expiry.
    pub fn take_ready(
        &mut self,
        ledger: &Ledger,
        end: Offset,
        count: u64,
        out: &mut Vec<Span>,
    ) -> u64 {
        let _ = (ledger, end, count, out);
        0
    }

    /// The oldest ready message.
    pub fn peek(&self, ledger: &Ledger, end: Offset) -> Option<Offset> {
        let _ = ledger;
        (self.cursor < end).then_some(self.cursor)
    }

    /// The spans `len_of` passed over since the last call, to be put into a Settle command.
    pub fn take_skipped(&mut self) -> Vec<Span> {
        Vec::new()
    }

    /// The ledger settled `span` (trim, or any settle that did not begin in this dispatch): ends
    /// leases in it and forgets what was returned of it. Call after the ledger changed.
    pub fn forget(&mut self, ledger: &Ledger, span: Span) {
        let _ = (ledger, span);
    }

    /// Messages that could be handed out now.
    pub fn ready_count(&self, end: Offset) -> u64 {
        let _ = end;
        0
    }

    /// Messages handed out and neither settled nor returned.
    pub fn unacked_count(&self) -> u64 {
        0
    }

    /// Standing consumers.
    pub fn consumer_count(&self) -> usize {
        0
    }

    /// Whether a standing consumer has credit now.
    pub fn has_credit(&self) -> bool {
        false
    }

    /// What `key` holds.
    pub fn unsettled_of(&self, key: ConsumerKey) -> Unsettled {
        let _ = key;
        Unsettled::default()
    }

    /// What a client holds.
    pub fn unsettled_of_client(&self, client: ClientId) -> Unsettled {
        let _ = client;
        Unsettled::default()
    }
}
