//! From a publication to an append: checks, routing, packing, and the answers of appends.
//!
//! Consecutive publications of one read that go to the same logs become one append, whatever their
//! channels. An append is sent as soon as the next publication goes elsewhere, so that the order of
//! a connection's messages holds in every log. What a queue may refuse is an append by itself.

use super::confirm::Confirms;
use super::link::Link;
use super::route::Route;
use super::transaction::Transaction;
use crate::codec::method::BASIC_PUBLISH;
use crate::codec::{Content, Publication};
use crate::errors::{self, Code, Exception};
use crate::message::{self, ContentWriter};
use bytes::Bytes;
use engine::Names;
use engine::api::{Append, MessageId, Once, Op, Payload, Reply, Schedule, Verdict, Within};
use engine::catalog::{IMPERSONATOR, Name, Routes};
use frontend::Cx;
use record::tails;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{Error, Kind, LogRef, Millis, Token};

/// The queue that stands for the channel's own replies.
pub(super) const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// An append is sent when it has grown to this many bytes.
const GROUP_BYTES: usize = 256 << 10;

/// What waits is sent when it goes to so many schedules: a frame has room for several times as much.
const LATER_MAX: usize = 256;

/// The publishing side of a channel.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) channel: u16,
    /// Tells channels of one number apart.
    pub(super) epoch: u32,
    pub(super) route: Route,
    pub(super) confirms: Option<Confirms>,
    pub(super) transaction: Option<Box<Transaction>>,
    /// The queue that replies to this channel come by.
    pub(super) replies: Option<Name>,
}

/// Where publications of a connection come from and are told about.
#[derive(Debug)]
pub(super) struct Site<'a> {
    pub(super) vhost: &'a str,
    pub(super) link: &'a mut Link,
}

/// Publications on their way to the same logs.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) to: Option<Arc<[LogRef]>>,
    pub(super) bytes: Vec<u8>,
    pub(super) expiring: bool,
    /// Of each of them, if they are taken once.
    ids: Vec<MessageId>,
    within: Option<Within>,
    /// When they are to be appended, if not now.
    due: Option<Millis>,
    count: usize,
}

/// Which channels wait for an append.
#[derive(Debug)]
struct Ticket {
    group: u64,
    lanes: Vec<(u16, u32)>,
}

/// The answers to the operations of one group.
#[derive(Debug)]
struct Parts {
    missing: usize,
    /// None of those that came was a failure.
    stored: bool,
}

/// What channels hold of messages that are not complete, or not committed.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) bytes: usize,
    /// It may have changed.
    pub(super) changed: bool,
}

/// A connection's appends.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    names: Option<Arc<Names>>,
    /// When the read came, or a little later: what waits does so from here on.
    time: Option<Millis>,
    group: Group,
    /// Channels whose confirms wait for `group`.
    lanes: Vec<(u16, u32)>,
    /// Number of `group`; rises.
    number: u64,
    /// Bytes of the append before.
    usual_bytes: usize,
    /// Counts reads: what has no key goes to the next partition with each.
    turn: u32,
    tickets: BTreeMap<Token, Ticket>,
    /// Groups that are in several operations.
    parts: BTreeMap<u64, Parts>,
    routes: Routes,
    /// Channels that have something to confirm.
    pub(super) dirty: Vec<u16>,
    pub(super) held: Held,
}

impl Group {
    /// Whether publications to `to` belong in here.
    #[inline]
    pub(super) fn takes(
        &self,
        to: &Arc<[LogRef]>,
        once: Option<&Once>,
        due: Option<Millis>,
    ) -> bool {
        let alike = |own: &Arc<[LogRef]>| {
            let once = once.map(|once| once.within);
            let own_once = (!self.ids.is_empty()).then_some(self.within);
            (Arc::ptr_eq(own, to) || own == to) && once == own_once && due == self.due
        };
        self.to.as_ref().is_none_or(alike)
    }

    /// Appends a publication; one that `waits` as what it is then.
    #[inline]
    pub(super) fn push(
        &mut self,
        to: &Arc<[LogRef]>,
        publication: &Publication<'_>,
        content: &Content<'_>,
        (once, waits): (Option<&Once>, bool),
    ) -> Result<(), Exception> {
        let mark = tails::begin(&mut self.bytes, content.properties.timestamp);
        if let Err(exception) = message::push_tail(&mut self.bytes, publication, content, waits) {
            tails::cancel(&mut self.bytes, mark);
            return Err(exception);
        }
        tails::end(&mut self.bytes, mark);
        if self.to.is_none() {
            self.to = Some(Arc::clone(to));
        }
        self.count += 1;
        self.expiring |= content.properties.expiration.is_some();
        if let Some(once) = once {
            self.ids.push(once.id);
            self.within = once.within;
        }
        Ok(())
    }

    /// The append, if there is anything in it.
    pub(super) fn take(&mut self) -> Option<Append> {
        let to = self.to.take()?;
        let bytes = std::mem::take(&mut self.bytes);
        let expiring = std::mem::take(&mut self.expiring);
        let (ids, within) = (std::mem::take(&mut self.ids), self.within.take());
        self.count = 0;
        if bytes.is_empty() {
            return None;
        }
        let bytes = Bytes::from(bytes);
        let payload = match ids.is_empty() {
            true => Payload::Tails { bytes, expiring },
            false => Payload::Once { bytes, expiring, ids: ids.into(), within },
        };
        Some(Append { to, payload, waits: true })
    }
}

impl Publisher {
    /// A read begins.
    pub(super) fn begin(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// Takes a complete publish of a channel.
    #[inline]
    pub(super) fn publish(
        &mut self,
        lane: &mut Lane,
        publication: &Publication<'_>,
        site: Site<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let mut content = Content::decode(publication.properties).map_err(|_| malformed())?;
        let replies;
        let names = self.names.get_or_insert_with(|| cx.names());
        if let Some(claimed) = content.properties.user_id {
            check_user_id(claimed, &site.link.user, names)?;
        }
        if content.properties.expiration.is_some() {
            message::expiration_ms(&content)?;
        }
        if content.properties.reply_to == Some(REPLY_TO.as_bytes()) {
            replies = lane.replies.clone().ok_or_else(no_reply_consumer)?;
            content.properties.reply_to = Some(replies.as_bytes());
        }
        let message::Asked { copies, expects } = match content.headers {
            Some(_) => message::asked(&content)?,
            None => message::Asked::default(),
        };
        let asked = super::route::Asked {
            vhost: site.vhost,
            user: &site.link.user,
            copies: &copies,
            turn: self.turn,
        };
        lane.route.find(names, publication, &content, &asked, &mut self.routes)?;
        if expects {
            return self.publish_expecting(lane, publication, (&content, site.link), cx);
        }
        if !lane.route.later().is_empty() {
            return self.publish_later(lane, publication, &content, cx);
        }
        let to = lane.route.destinations();
        if to.is_empty() {
            return self.nowhere(lane, publication, site.link);
        }
        let once = match lane.route.is_remembered() {
            true => lane.route.once(&content),
            false => None,
        };
        let once = once.as_ref();
        if let Some(transaction) = &mut lane.transaction {
            return transaction.publish(to, publication, &content, once);
        }
        let is_alone = lane.route.is_refusable();
        if is_alone || !self.group.takes(to, once, None) || self.group.bytes.len() >= GROUP_BYTES {
            self.flush(cx);
        }
        if self.group.bytes.capacity() == 0 {
            self.group.bytes.reserve(self.usual_bytes.min(GROUP_BYTES));
        }
        self.group.push(to, publication, &content, (once, false))?;
        self.confirm_group(lane);
        if is_alone {
            self.flush(cx);
        }
        Ok(())
    }

    /// A channel's publication is in the group.
    #[inline]
    fn confirm_group(&mut self, lane: &mut Lane) {
        let Some(confirms) = &mut lane.confirms else { return };
        confirms.publish(self.number);
        let lane = (lane.channel, lane.epoch);
        if self.lanes.last() != Some(&lane) && !self.lanes.contains(&lane) {
            self.lanes.push(lane);
        }
    }

    /// Takes a publish that waits, on some of its ways at least.
    #[cold]
    fn publish_later(
        &mut self,
        lane: &mut Lane,
        publication: &Publication<'_>,
        content: &Content<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let delay = super::route::delay_asked(content).ok_or_else(malformed)?;
        let once = lane.route.once(content).filter(|_| lane.route.is_remembered());
        let once = once.as_ref();
        let later = lane.route.later();
        if lane.transaction.is_none() && lane.route.destinations().is_empty() {
            let due = Some(self.time.get_or_insert_with(|| cx.time()).plus(delay));
            let is_full = (self.group.count + 1) * later.len() > LATER_MAX;
            if is_full || !self.group.takes(later, once, due) {
                self.flush(cx);
            }
            self.group.push(later, publication, content, (once, true))?;
            self.group.due = due;
            self.confirm_group(lane);
            return Ok(());
        }
        let mut group = Group::default();
        group.push(lane.route.later(), publication, content, (once, true))?;
        let Some(append) = group.take() else { return Ok(()) };
        let to = lane.route.destinations();
        if let Some(transaction) = &mut lane.transaction {
            transaction.publish_later(append, delay)?;
            return match to.is_empty() {
                true => Ok(()),
                false => transaction.publish(to, publication, content, once),
            };
        }
        self.flush(cx);
        let mut ops = vec![Op::Schedule(Schedule { append, due: cx.time().plus(delay) })];
        if !to.is_empty() {
            group.push(to, publication, content, (once, false))?;
            ops.extend(group.take().map(Op::Append));
            self.parts.insert(self.number, Parts { missing: ops.len(), stored: true });
        }
        self.send(lane, ops, cx);
        Ok(())
    }

    /// Takes a publish that is refused unless a record is the last one.
    #[cold]
    fn publish_expecting(
        &mut self,
        lane: &mut Lane,
        publication: &Publication<'_>,
        (content, link): (&Content<'_>, &mut Link),
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let expected = message::expected(content)?;
        let refused = |why: &str| {
            let text = format!("a message that expects an offset {why}");
            Err(Exception::new(Code::PreconditionFailed, text).in_method(BASIC_PUBLISH))
        };
        if lane.transaction.is_some() {
            return refused("is not part of a transaction");
        }
        if !lane.route.later().is_empty() {
            return refused("does not wait");
        }
        match lane.route.destinations().len() {
            0 => return self.nowhere(lane, publication, link),
            1 => {}
            _ => return refused("goes to one topic or stream"),
        }
        let mut group = Group::default();
        group.push(lane.route.destinations(), publication, content, (None, false))?;
        let Some(append) = group.take() else { return Ok(()) };
        let payload = match append.payload {
            Payload::Tails { bytes, expiring } => Payload::Expecting { bytes, expiring, expected },
            payload => payload,
        };
        self.flush(cx);
        self.send(lane, vec![Op::Append(Append { payload, ..append })], cx);
        Ok(())
    }

    /// Sends a group that is not packed with others.
    fn send(&mut self, lane: &mut Lane, ops: Vec<Op>, cx: &mut Cx<'_>) {
        let mut lanes = Vec::new();
        if let Some(confirms) = &mut lane.confirms {
            confirms.publish(self.number);
            lanes.push((lane.channel, lane.epoch));
        }
        for op in ops {
            let token = cx.submit(op);
            self.tickets.insert(token, Ticket { group: self.number, lanes: lanes.clone() });
        }
        self.number += 1;
    }

    /// Returns a mandatory publication that reaches no queue, and confirms it.
    #[cold]
    fn nowhere(
        &mut self,
        lane: &mut Lane,
        publication: &Publication<'_>,
        link: &mut Link,
    ) -> Result<(), Exception> {
        if publication.mandatory {
            let out = match &mut lane.transaction {
                Some(transaction) => transaction.returns(publication)?,
                None => &mut link.out,
            };
            let (channel, frame_bytes_max) = (lane.channel, link.frame_bytes_max);
            ContentWriter { out, channel, frame_bytes_max }.returned(Code::NoRoute, publication);
        }
        if let Some(confirms) = &mut lane.confirms {
            confirms.publish_nowhere(self.number);
            self.dirty.push(lane.channel);
        }
        Ok(())
    }

    /// Sends what is packed.
    pub(super) fn flush(&mut self, cx: &mut Cx<'_>) {
        let Some(append) = self.group.take() else { return };
        self.usual_bytes = append.payload.bytes().len();
        let token = cx.submit(match self.group.due.take() {
            Some(due) => Op::Schedule(Schedule { append, due }),
            None => Op::Append(append),
        });
        let lanes = std::mem::take(&mut self.lanes);
        self.tickets.insert(token, Ticket { group: self.number, lanes });
        self.number += 1;
    }

    /// A read or a batch of events is over: nothing old is held on to.
    pub(super) fn rest(&mut self) {
        self.names = None;
        self.time = None;
    }

    /// Whether every append was answered.
    pub(super) fn idle(&self) -> bool {
        self.tickets.is_empty() && self.group.to.is_none()
    }

    /// Takes the answer to an append and tells `settle` of each channel that waits for it. False
    /// for another operation's answer.
    pub(super) fn answered(
        &mut self,
        token: Token,
        result: &Result<Reply, Error>,
        mut settle: impl FnMut((u16, u32), u64, bool) -> bool,
    ) -> bool {
        let Some(ticket) = self.tickets.remove(&token) else { return false };
        let mut stored = stored(result);
        if let Some(parts) = self.parts.get_mut(&ticket.group) {
            parts.missing -= 1;
            parts.stored &= stored;
            if parts.missing > 0 {
                return true;
            }
            stored = parts.stored;
            self.parts.remove(&ticket.group);
        }
        for lane in ticket.lanes {
            if settle(lane, ticket.group, stored) {
                self.dirty.push(lane.0);
            }
        }
        true
    }
}

/// Whether an append counts as done: also where its queue was deleted meanwhile, as for any message
/// that was in it.
fn stored(result: &Result<Reply, Error>) -> bool {
    match result {
        Ok(Reply::Appended(appended)) => {
            matches!(appended.verdict, Verdict::Appended | Verdict::Duplicate | Verdict::Gone)
        }
        Ok(_) => false,
        Err(error) => {
            if !matches!(error.kind, Kind::NotFound | Kind::Full) {
                tracing::warn!(%error, "publish refused");
            }
            error.kind == Kind::NotFound
        }
    }
}

/// The property `user-id` names who publishes, or anybody where the user may speak for others.
fn check_user_id(claimed: &[u8], user: &str, names: &Names) -> Result<(), Exception> {
    let may_claim = || names.user(user).is_some_and(|user| user.has_tag(IMPERSONATOR));
    match claimed == user.as_bytes() || may_claim() {
        true => Ok(()),
        false => Err(errors::user_id_mismatch(&String::from_utf8_lossy(claimed), user)),
    }
}

#[cold]
fn malformed() -> Exception {
    Exception::new(Code::FrameError, "cannot decode content properties")
}

#[cold]
fn no_reply_consumer() -> Exception {
    Exception::new(Code::PreconditionFailed, "fast reply consumer does not exist")
}
