//! Incremental fetch sessions: what a connection last asked for and was last told, so that later
//! requests and responses carry only what changed.
//!
//! Sessions live with their connection. A client that comes back on another connection is told
//! FETCH_SESSION_ID_NOT_FOUND and begins anew, as after a restart of a broker.
//!
//! Source: KIP-227; KIP-516 for topic ids; `FetchSession.scala` of Apache Kafka for the order of
//! the checks.

use crate::codec::Records;
use crate::codec::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchedPartition, FetchedTopic,
};
use crate::errors::ErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Most sessions of one connection; the one not used for longest makes room.
pub const SESSIONS_MAX: usize = 4;

/// Most partitions of one session; a larger one is dropped and served without a session.
pub const SESSION_PARTITIONS_MAX: usize = 50_000;

/// First version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;

const EPOCH_INITIAL: i32 = 0;
const EPOCH_FINAL: i32 = -1;

/// A topic as a fetch names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FetchTopicKey {
    /// By name, up to version 12.
    Name(Arc<str>),
    /// By id, from version 13 on.
    Id(Uuid),
}

/// A partition to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Of which topic.
    pub topic: FetchTopicKey,
    /// Which partition, from which offset, how much.
    pub partition: FetchPartition,
}

/// One fetch on its way: what to read, and to which session the answer belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetch {
    /// What to read, in the order in which the bytes that may be sent are to be spent.
    pub wanted: Vec<Wanted>,
    session: Option<Turn>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    id: i32,
    /// The session's epoch once this request was taken in.
    epoch: i32,
    incremental: bool,
}

/// The sessions of one connection.
#[derive(Debug)]
pub struct FetchSessions {
    sessions: BTreeMap<i32, Session>,
    next_id: i32,
    uses: u64,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    used: u64,
    by_id: bool,
    places: BTreeMap<(FetchTopicKey, i32), u64>,
    /// By place: the least goes first, and what gave records goes last.
    partitions: BTreeMap<u64, Cached>,
    next_place: u64,
}

#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    high_watermark: i64,
    log_start_offset: i64,
}

impl FetchSessions {
    /// No sessions yet. `first_id`: different for each connection, so that a session of an earlier
    /// connection is not taken for one of this.
    pub fn new(first_id: u32) -> FetchSessions {
        FetchSessions { sessions: BTreeMap::new(), next_id: positive(first_id), uses: 0 }
    }

    /// Number of sessions.
    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Takes in a request of `version`: what it wants read, with what its session remembers.
    ///
    /// Fails with FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH or
    /// FETCH_SESSION_TOPIC_ID_ERROR, for `refused` to be answered with.
    pub fn begin(&mut self, request: &FetchRequest, version: i16) -> Result<Fetch, ErrorCode> {
        let by_id = version >= TOPIC_IDS_FROM;
        if matches!(request.session_epoch, EPOCH_INITIAL | EPOCH_FINAL) {
            self.sessions.remove(&request.session_id);
            let wanted = named(request, by_id);
            let session = match request.session_epoch {
                EPOCH_INITIAL => self.create(&wanted, by_id),
                _ => None,
            };
            return Ok(Fetch { wanted, session });
        }
        self.uses += 1;
        let id = request.session_id;
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_id != by_id {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        session.used = self.uses;
        session.update(request);
        let wanted: Vec<Wanted> =
            session.partitions.values().map(|cached| cached.wanted.clone()).collect();
        if wanted.is_empty() || wanted.len() > SESSION_PARTITIONS_MAX {
            // The session is over: id 0 in the answer tells the client to begin anew.
            self.sessions.remove(&id);
            return Ok(Fetch { wanted, session: None });
        }
        session.epoch = following(session.epoch);
        let turn = Turn { id, epoch: session.epoch, incremental: true };
        Ok(Fetch { wanted, session: Some(turn) })
    }

    /// Gives the answer to `fetch`; in a session only what its client does not know yet.
    ///
    /// `results`: one for each of `fetch.wanted`, in its order.
    pub fn answer(&mut self, fetch: Fetch, results: Vec<FetchedPartition>) -> FetchResponse {
        let Some(turn) = fetch.session else {
            return response(0, fetch.wanted.into_iter().zip(results));
        };
        let session = match self.sessions.get_mut(&turn.id) {
            Some(session) if session.epoch == turn.epoch => session,
            _ => return refused(ErrorCode::INVALID_FETCH_SESSION_EPOCH),
        };
        let told = fetch.wanted.into_iter().zip(results);
        let told = told.filter(|(wanted, result)| {
            let news = session.note(wanted, result);
            news || !turn.incremental
        });
        response(turn.id, told)
    }

    fn create(&mut self, wanted: &[Wanted], by_id: bool) -> Option<Turn> {
        if wanted.is_empty() || wanted.len() > SESSION_PARTITIONS_MAX {
            return None;
        }
        if self.sessions.len() >= SESSIONS_MAX {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used)?;
            let oldest = *oldest.0;
            self.sessions.remove(&oldest);
        }
        let id = self.next_id;
        self.next_id = positive(id.unsigned_abs() + 1);
        self.uses += 1;
        let epoch = following(EPOCH_INITIAL);
        let mut session = Session {
            epoch,
            used: self.uses,
            by_id,
            places: BTreeMap::new(),
            partitions: BTreeMap::new(),
            next_place: 0,
        };
        for one in wanted {
            session.put(one.clone());
        }
        self.sessions.insert(id, session);
        Some(Turn { id, epoch, incremental: false })
    }
}

impl Session {
    fn update(&mut self, request: &FetchRequest) {
        for wanted in named(request, self.by_id) {
            self.put(wanted);
        }
        for forgotten in &request.forgotten_topics_data {
            let topic = key(&forgotten.topic, forgotten.topic_id, self.by_id);
            for partition in &forgotten.partitions {
                if let Some(place) = self.places.remove(&(topic.clone(), *partition)) {
                    self.partitions.remove(&place);
                }
            }
        }
    }

    /// Adds a partition at the end, or changes where it stands what is asked of it.
    fn put(&mut self, wanted: Wanted) {
        let name = (wanted.topic.clone(), wanted.partition.partition);
        let place = *self.places.entry(name).or_insert(self.next_place);
        if let Some(cached) = self.partitions.get_mut(&place) {
            cached.wanted.partition = wanted.partition;
            return;
        }
        self.next_place += 1;
        let cached = Cached { wanted, high_watermark: -1, log_start_offset: -1 };
        self.partitions.insert(place, cached);
    }

    /// Remembers what is told; whether it is news.
    fn note(&mut self, wanted: &Wanted, result: &FetchedPartition) -> bool {
        let name = (wanted.topic.clone(), wanted.partition.partition);
        let Some(place) = self.places.get_mut(&name) else { return true };
        let Some(cached) = self.partitions.get_mut(place) else { return true };
        let records = result.records.as_ref().is_some_and(|records| !records.is_empty());
        let failed = result.error_code != ErrorCode::NONE;
        let moved = cached.high_watermark != result.high_watermark
            || cached.log_start_offset != result.log_start_offset;
        let diverging = result.diverging_epoch.epoch >= 0;
        // After an error is over the partition is told again, whatever it was at before.
        cached.high_watermark = if failed { -1 } else { result.high_watermark };
        cached.log_start_offset = result.log_start_offset;
        if records && let Some(cached) = self.partitions.remove(place) {
            *place = self.next_place;
            self.partitions.insert(self.next_place, cached);
            self.next_place += 1;
        }
        records || failed || moved || diverging || result.preferred_read_replica >= 0
    }
}

/// The answer to a fetch that a session refuses.
pub fn refused(error_code: ErrorCode) -> FetchResponse {
    FetchResponse { error_code, ..FetchResponse::default() }
}

fn following(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

fn positive(id: u32) -> i32 {
    i32::try_from(id & 0x7fff_ffff).map_or(1, |id| id.max(1))
}

fn key(name: &str, id: Uuid, by_id: bool) -> FetchTopicKey {
    if by_id { FetchTopicKey::Id(id) } else { FetchTopicKey::Name(Arc::from(name)) }
}

fn named(request: &FetchRequest, by_id: bool) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let name = key(&topic.topic, topic.topic_id, by_id);
        for partition in &topic.partitions {
            wanted.push(Wanted { topic: name.clone(), partition: partition.clone() });
        }
    }
    wanted
}

/// Neighbours of one topic share its name; a null in place of records would break librdkafka.
fn response(
    session_id: i32,
    told: impl Iterator<Item = (Wanted, FetchedPartition)>,
) -> FetchResponse {
    let mut responses: Vec<FetchedTopic> = Vec::new();
    let mut last = None;
    for (wanted, mut result) in told {
        result.partition_index = wanted.partition.partition;
        result.records.get_or_insert_with(Records::default);
        if last.as_ref() != Some(&wanted.topic) {
            let (topic, topic_id) = match &wanted.topic {
                FetchTopicKey::Name(name) => ((**name).to_owned(), Uuid::nil()),
                FetchTopicKey::Id(id) => (String::new(), *id),
            };
            responses.push(FetchedTopic { topic, topic_id, partitions: Vec::new() });
            last = Some(wanted.topic);
        }
        if let Some(topic) = responses.last_mut() {
            topic.partitions.push(result);
        }
    }
    FetchResponse { session_id, responses, ..FetchResponse::default() }
}

#[cfg(test)]
mod tests;
