//! One connection: frames in, each a request; answers out, in the order of the requests.
//!
//! Apache Kafka carries out one request of a connection after the other. Here those that cannot
//! disturb one another overlap, so that many produces share one sync: a request that reads what
//! others write waits for them ([`Class`]), and everything waits for a change of names.

mod step;
#[cfg(test)]
mod tests;

use crate::apis::ApiKey;
use crate::codec::{Incoming, encode_response, read_header};
use crate::fetch_session::FetchSessions;
use crate::wire::Options;
use crate::{api_versions, requests};
use bytes::{Buf as _, Bytes, BytesMut};
use engine::api::{Event, Op, Reply};
use frontend::{
    Cx, Gather, INPUT_BYTES_MAX, OUTPUT_BYTES_MAX, Pipeline, Session, SessionReport, Slot,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use types::{Error, Millis, ShardId, Token};

pub(crate) use step::{Answer, Ask, Request, Step, Turn};

/// Most requests of a connection that wait for their answers.
const REQUESTS_MAX: usize = 64;

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;

/// Largest Produce request, in bytes; the largest append fits.
const PRODUCE_BYTES_MAX: usize = INPUT_BYTES_MAX - LENGTH_BYTES;

/// Up to so many bytes, a request gets its room at once, on the word of its length.
const ROOM_BYTES_MAX: usize = 2 << 20;

/// Largest request of any other kind, in bytes.
const REQUEST_BYTES_MAX: usize = 8 << 20;

/// A request is at least key, version and correlation id.
const REQUEST_BYTES_MIN: usize = 8;

/// How soon a connection whose client does not read is looked at again: nobody tells a session
/// that its output has gone.
const LOOK_AGAIN: Millis = Millis(100);

/// While publishing is blocked a client that produces is told to wait so long, and is not read
/// from meanwhile.
pub(crate) const BLOCKED_THROTTLE: Millis = Millis(1_000);

/// Which requests may overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Answered from names and options.
    Free,
    /// One fetch at a time.
    Fetch,
    /// Changes something, in the order of the requests.
    Write,
    /// Shows what the requests before it have written.
    Read,
}

/// A session of the Kafka wire.
pub(crate) struct KafkaSession {
    options: Arc<Options>,
    fetches: Option<FetchSessions>,
    pipeline: Pipeline<Vec<Bytes>>,
    asked: BTreeMap<Slot, Asked>,
    parts: BTreeMap<Token, (Slot, usize)>,
    /// Input is paused until a request ends or output has gone.
    held: bool,
    /// Publishing is blocked.
    blocked: bool,
    /// No request is taken before: the last one was refused because publishing is blocked.
    muted_until: Millis,
    /// When something last came from the client or went to it.
    active: Millis,
}

/// A request on its way.
struct Asked {
    request: Request,
    class: Class,
    /// It changes names.
    changes: bool,
    /// Its reads end as soon as one of them has something.
    first_wins: bool,
    gather: Gather<Answer>,
    then: step::Then,
    /// Where its operations are, in their order.
    sent: Vec<(ShardId, Token)>,
}

impl fmt::Debug for KafkaSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSession").field("waiting", &self.pipeline.waiting()).finish()
    }
}

impl KafkaSession {
    pub(crate) fn new(options: Arc<Options>) -> KafkaSession {
        KafkaSession {
            options,
            fetches: None,
            pipeline: Pipeline::new(REQUESTS_MAX),
            asked: BTreeMap::new(),
            parts: BTreeMap::new(),
            held: false,
            blocked: false,
            muted_until: Millis(0),
            active: Millis(0),
        }
    }

    /// Whether a request of this class may begin now.
    fn may_begin(&self, class: Class) -> bool {
        let mut others = self.asked.values();
        !self.pipeline.full()
            && !others.any(|other| {
                other.changes
                    || class == Class::Fetch && other.class == Class::Fetch
                    || class == Class::Read && other.class == Class::Write
            })
    }

    fn hold(&mut self, cx: &mut Cx<'_>) {
        self.held = true;
        cx.pause_input();
        if cx.output_pending() >= OUTPUT_BYTES_MAX {
            cx.wake_at(cx.now().plus(LOOK_AGAIN));
        } else if self.is_muted(cx) {
            cx.wake_at(self.muted_until);
        }
    }

    fn let_go(&mut self, cx: &mut Cx<'_>) {
        if self.held && cx.output_pending() < OUTPUT_BYTES_MAX && !self.is_muted(cx) {
            self.held = false;
            cx.resume_input();
        }
    }

    /// Whether no request is taken for a while, as Kafka mutes a channel that passed its quota.
    fn is_muted(&self, cx: &Cx<'_>) -> bool {
        self.blocked && cx.now() < self.muted_until
    }

    fn begin(&mut self, frame: &Bytes, class: Class, cx: &mut Cx<'_>) {
        let Some(slot) = self.pipeline.reserve() else { return };
        let header = match read_header(frame) {
            Ok(Incoming::Request(header)) => header,
            Ok(Incoming::ApiVersionsTooNew { correlation_id }) => {
                let body = api_versions::api_versions_too_new();
                let version = api_versions::TOO_NEW_VERSION;
                self.pipeline.fill(slot, encode_response(correlation_id, version, &body));
                return;
            }
            Ok(Incoming::Unsupported { key, version }) => {
                tracing::debug!(peer = %cx.peer(), key, version, "request of an unknown kind");
                return cx.close_after_flush();
            }
            Err(malformed) => return refuse(cx, &malformed),
        };
        let request = Request {
            key: header.api.key,
            version: header.version,
            correlation_id: header.correlation_id,
        };
        let fetches = fetches(&mut self.fetches, cx);
        let mut turn = Turn { cx, options: &self.options, fetches, blocked: self.blocked, request };
        match requests::begin(&mut turn, frame, &header) {
            Ok(step) => self.follow(slot, (request, class), step, cx),
            Err(malformed) => refuse(cx, &malformed),
        }
    }

    /// Does what a request's step says, until it waits or ends.
    fn follow(&mut self, slot: Slot, of: (Request, Class), step: Step, cx: &mut Cx<'_>) {
        let (request, class) = of;
        let mut step = step;
        loop {
            match step {
                Step::Answer(frame) => {
                    self.pipeline.fill(slot, frame);
                    return;
                }
                Step::Close => return cx.close_after_flush(),
                Step::Ask(ask) if ask.ops.is_empty() => {
                    let fetches = fetches(&mut self.fetches, cx);
                    let mut turn = Turn {
                        cx,
                        options: &self.options,
                        fetches,
                        blocked: self.blocked,
                        request,
                    };
                    step = (ask.then)(Vec::new(), &mut turn);
                }
                Step::Ask(ask) => {
                    self.ask(slot, (request, class), ask, cx);
                    return;
                }
            }
        }
    }

    fn ask(&mut self, slot: Slot, (request, class): (Request, Class), ask: Ask, cx: &mut Cx<'_>) {
        let changes = ask.ops.iter().any(|op| matches!(op, Op::Change { .. }));
        let gather = Gather::new(ask.ops.len());
        let mut sent = Vec::with_capacity(ask.ops.len());
        for (part, op) in ask.ops.into_iter().enumerate() {
            let shard = op.shard();
            let token = cx.submit(op);
            self.parts.insert(token, (slot, part));
            sent.push((shard, token));
        }
        let first_wins = ask.first_wins && sent.len() > 1;
        let then = ask.then;
        self.asked.insert(slot, Asked { request, class, changes, first_wins, gather, then, sent });
    }

    fn answered(&mut self, token: Token, result: Result<Reply, Error>, cx: &mut Cx<'_>) {
        let Some((slot, part)) = self.parts.remove(&token) else { return };
        let Some(asked) = self.asked.get_mut(&slot) else { return };
        if asked.first_wins && has_something(&result) {
            asked.first_wins = false;
            for (shard, token) in &asked.sent {
                if self.parts.contains_key(token) {
                    cx.submit_unanswered(Op::Cancel { shard: *shard, token: *token });
                }
            }
        }
        if !asked.gather.put(part, result) {
            return;
        }
        let Some(asked) = self.asked.remove(&slot) else { return };
        let (request, class) = (asked.request, asked.class);
        let fetches = fetches(&mut self.fetches, cx);
        let mut turn = Turn { cx, options: &self.options, fetches, blocked: self.blocked, request };
        let step = (asked.then)(asked.gather.into_results(), &mut turn);
        self.follow(slot, (request, class), step, cx);
    }

    /// Emits the answers whose turn it is.
    fn emit(&mut self, cx: &mut Cx<'_>) {
        while let Some(frame) = self.pipeline.pop() {
            frame.into_iter().for_each(|segment| cx.push(segment));
        }
    }
}

impl Session for KafkaSession {
    fn report(&self) -> SessionReport {
        SessionReport { protocol: "Kafka", state: "running", ..SessionReport::default() }
    }

    fn on_open(&mut self, cx: &mut Cx<'_>) {
        self.active = cx.now();
        cx.wake_at(self.active.plus(self.options.idle_max));
    }

    fn on_bytes(&mut self, input: &mut BytesMut, cx: &mut Cx<'_>) {
        self.active = cx.now();
        while !cx.input_paused() && !cx.closing() {
            let Some((bytes, key)) = next_frame(input) else { return };
            let bytes_max = match key {
                Some(ApiKey::Produce) => PRODUCE_BYTES_MAX,
                _ => REQUEST_BYTES_MAX,
            };
            if !(REQUEST_BYTES_MIN..=bytes_max).contains(&bytes) {
                tracing::debug!(peer = %cx.peer(), bytes, "request of an impossible length");
                return cx.close_after_flush();
            }
            if input.len() < LENGTH_BYTES + bytes {
                return make_room(input, LENGTH_BYTES + bytes);
            }
            let class = class(key);
            if !self.may_begin(class)
                || cx.output_pending() >= OUTPUT_BYTES_MAX
                || self.is_muted(cx)
            {
                return self.hold(cx);
            }
            if key == Some(ApiKey::Produce) {
                self.muted_until = cx.now().plus(BLOCKED_THROTTLE);
            }
            input.advance(LENGTH_BYTES);
            let frame = input.split_to(bytes).freeze();
            self.begin(&frame, class, cx);
            self.emit(cx);
        }
    }

    fn on_events(&mut self, events: Vec<Event>, cx: &mut Cx<'_>) {
        for event in events {
            match event {
                Event::Reply { token, result } => self.answered(token, result, cx),
                Event::Deliver { .. } | Event::ConsumerGone { .. } => {}
                Event::Blocked(why) => self.blocked = why.is_some(),
            }
        }
        self.emit(cx);
        self.let_go(cx);
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>) {
        self.let_go(cx);
        if self.pipeline.waiting() > 0 || cx.output_pending() > 0 {
            self.active = cx.now();
        }
        let idle_end = self.active.plus(self.options.idle_max);
        if cx.now() >= idle_end {
            tracing::debug!(peer = %cx.peer(), "client is silent");
            return cx.close_now();
        }
        cx.wake_at(idle_end);
        if self.held {
            self.hold(cx);
        }
    }

    fn on_drain(&mut self, cx: &mut Cx<'_>) {
        for asked in self.asked.values().filter(|asked| asked.class == Class::Fetch) {
            for (shard, token) in &asked.sent {
                if self.parts.contains_key(token) {
                    cx.submit_unanswered(Op::Cancel { shard: *shard, token: *token });
                }
            }
        }
        cx.close_when_answered();
    }
}

/// The connection's fetch sessions, numbered from a random place: a client that comes back after a
/// restart does not hit upon somebody else's.
fn fetches<'a>(fetches: &'a mut Option<FetchSessions>, cx: &Cx<'_>) -> &'a mut FetchSessions {
    fetches.get_or_insert_with(|| FetchSessions::new((cx.random() >> 32) as u32))
}

/// Length and kind of the frame at the front; `None`: not known yet.
fn next_frame(input: &[u8]) -> Option<(usize, Option<ApiKey>)> {
    let length = input.get(..LENGTH_BYTES)?;
    let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
    let bytes = usize::try_from(length).unwrap_or(usize::MAX);
    if !(REQUEST_BYTES_MIN..=PRODUCE_BYTES_MAX).contains(&bytes) {
        return Some((bytes, None));
    }
    let key = input.get(LENGTH_BYTES..LENGTH_BYTES + 2)?;
    let key = i16::from_be_bytes(key.try_into().expect("two bytes"));
    Some((bytes, crate::apis::find(key).map(|api| api.key)))
}

/// Makes room for a frame of which the first bytes are there. A batch stays where it was read, also
/// in the cache: room beyond it would stay with it.
fn make_room(input: &mut BytesMut, frame_bytes: usize) {
    let missing = frame_bytes.saturating_sub(input.len());
    if missing <= ROOM_BYTES_MAX && input.capacity() - input.len() < missing {
        input.reserve(missing);
    }
}

fn class(key: Option<ApiKey>) -> Class {
    let Some(key) = key else { return Class::Free };
    match key {
        ApiKey::Fetch => Class::Fetch,
        ApiKey::ApiVersions
        | ApiKey::Metadata
        | ApiKey::FindCoordinator
        | ApiKey::DescribeCluster
        | ApiKey::DescribeConfigs
        | ApiKey::DescribeTopicPartitions
        | ApiKey::SaslHandshake
        | ApiKey::SaslAuthenticate => Class::Free,
        ApiKey::ListOffsets
        | ApiKey::OffsetFetch
        | ApiKey::OffsetForLeaderEpoch
        | ApiKey::DescribeGroups
        | ApiKey::ListGroups
        | ApiKey::DescribeLogDirs => Class::Read,
        ApiKey::Produce
        | ApiKey::OffsetCommit
        | ApiKey::JoinGroup
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::SyncGroup
        | ApiKey::CreateTopics
        | ApiKey::DeleteTopics
        | ApiKey::DeleteRecords
        | ApiKey::InitProducerId
        | ApiKey::AlterConfigs
        | ApiKey::CreatePartitions
        | ApiKey::DeleteGroups
        | ApiKey::IncrementalAlterConfigs
        | ApiKey::OffsetDelete => Class::Write,
    }
}

/// Whether a read gave records, or failed.
fn has_something(result: &Result<Reply, Error>) -> bool {
    match result {
        Ok(Reply::Read(logs)) => {
            logs.iter().any(|log| log.batches.as_ref().map_or(true, |batches| !batches.is_empty()))
        }
        _ => true,
    }
}

fn refuse(cx: &mut Cx<'_>, malformed: &crate::codec::Malformed) {
    tracing::debug!(peer = %cx.peer(), %malformed, "malformed request");
    cx.close_after_flush();
}
