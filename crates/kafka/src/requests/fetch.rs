//! Fetch: one read for each shard that has partitions of it; the first that has something ends the
//! waiting of the others.

use super::{check_epoch, find_stream, log_failure, partition_log};
use crate::codec::Rows;
use crate::codec::messages::fetch::{FetchRequest, FetchedPartition};
use crate::errors::{ErrorCode, topic_error};
use crate::fetch_session::{Fetch, FetchTopicKey, Wanted, refused};
use crate::session::{Answer, Ask, Step, Turn};
use engine::Names;
use engine::api::{Op, Read, ReadFrom, ReadLog, Reply};
use types::{Kind, LogRef, Millis, Offset, ShardId};
use uuid::Uuid;

/// Most bytes of one answer, unless its first batch is larger.
const FETCH_BYTES_MAX: u32 = 16 << 20;

/// Longest wait, in milliseconds.
const WAIT_MS_MAX: i32 = 10 * 60 * 1_000;

/// READ_COMMITTED asks for the list of aborted transactions: there are none.
const READ_COMMITTED: i8 = 1;

/// What becomes of a wanted partition.
enum Place {
    Failed(ErrorCode),
    /// Log `log` of read `read`.
    Read {
        read: usize,
        log: usize,
    },
}

pub(super) fn fetch(turn: &mut Turn<'_, '_>, request: &FetchRequest) -> Step {
    if request.replica_id >= 0 || request.replica_state.replica_id >= 0 {
        return turn.answer(&refused(ErrorCode::CLUSTER_AUTHORIZATION_FAILED));
    }
    let fetch = match turn.fetches.begin(request, turn.version()) {
        Ok(fetch) => fetch,
        Err(code) => return turn.answer(&refused(code)),
    };
    let names = turn.cx.names();
    let mut reads: Vec<(ShardId, Vec<ReadFrom>)> = Vec::new();
    let mut last = None;
    let places: Vec<Place> = fetch
        .wanted
        .iter()
        .map(|wanted| match log_of(&names, wanted, &mut last) {
            Ok(log) => place(&mut reads, log, wanted),
            Err(code) => Place::Failed(code),
        })
        .collect();
    let failed = places.iter().any(|place| matches!(place, Place::Failed(_)));
    let bytes_max = u32::try_from(request.max_bytes).unwrap_or(0).min(FETCH_BYTES_MAX);
    let bytes_min = u32::try_from(request.min_bytes).unwrap_or(0).min(bytes_max.max(1));
    let wait_ms = i64::from(request.max_wait_ms.clamp(0, WAIT_MS_MAX));
    let (bytes_min, wait) = if failed { (0, Millis(0)) } else { (bytes_min, Millis(wait_ms)) };
    let ops = reads
        .into_iter()
        .map(|(_, logs)| Op::Read(Read { logs, bytes_max, bytes_min, wait }))
        .collect();
    let committed = request.isolation_level == READ_COMMITTED;
    Step::Ask(Ask {
        ops,
        first_wins: true,
        then: Box::new(move |answers, turn| {
            finish(turn, fetch, &places, answers, (bytes_max as usize, committed))
        }),
    })
}

fn finish(
    turn: &mut Turn<'_, '_>,
    fetch: Fetch,
    places: &[Place],
    answers: Vec<Answer>,
    (bytes_max, committed): (usize, bool),
) -> Step {
    let mut reads: Vec<Result<Vec<Option<ReadLog>>, ErrorCode>> = answers
        .into_iter()
        .map(|answer| match answer {
            Ok(Reply::Read(logs)) => Ok(logs.into_iter().map(Some).collect()),
            other => Err(log_failure(Some(&other))),
        })
        .collect();
    let mut bytes = 0;
    let results = places
        .iter()
        .zip(&fetch.wanted)
        .map(|(place, wanted)| {
            let read = match place {
                Place::Failed(code) => Err(*code),
                Place::Read { read, log } => match &mut reads[*read] {
                    Ok(logs) => logs
                        .get_mut(*log)
                        .and_then(Option::take)
                        .ok_or(ErrorCode::UNKNOWN_SERVER_ERROR),
                    Err(code) => Err(*code),
                },
            };
            let mut partition = fetched(read, wanted, (&mut bytes, bytes_max));
            if committed {
                partition.aborted_transactions = Some(Vec::new());
            }
            partition
        })
        .collect();
    let response = turn.fetches.answer(fetch, results);
    turn.answer(&response)
}

/// One partition's part of the answer. `bytes`: those given so far; the shards' reads know nothing
/// of one another.
fn fetched(
    read: Result<ReadLog, ErrorCode>,
    wanted: &Wanted,
    (bytes, bytes_max): (&mut usize, usize),
) -> FetchedPartition {
    let failed = |error_code| FetchedPartition {
        error_code,
        high_watermark: -1,
        ..FetchedPartition::default()
    };
    let ReadLog { batches, extent, .. } = match read {
        Ok(read) => read,
        Err(code) => return failed(code),
    };
    let batches = match batches {
        Ok(batches) => batches,
        Err(error) => return failed(read_error(error.kind, wanted)),
    };
    let mut rows = Rows::new(super::LEADER_EPOCH);
    if *bytes + batches.bytes() <= bytes_max {
        *bytes += batches.bytes();
        batches.rows.iter().for_each(|row| rows.push(row.base_offset, &row.bytes));
    } else {
        for batch in batches.iter() {
            if *bytes > 0 && *bytes + batch.bytes.len() > bytes_max {
                break;
            }
            *bytes += batch.bytes.len();
            rows.push(batch.base_offset, &batch.bytes);
        }
    }
    FetchedPartition {
        error_code: ErrorCode::NONE,
        high_watermark: extent.end.0,
        last_stable_offset: extent.end.0,
        log_start_offset: extent.start.0,
        records: Some(rows.finish()),
        ..FetchedPartition::default()
    }
}

fn read_error(kind: Kind, wanted: &Wanted) -> ErrorCode {
    match (kind, &wanted.topic) {
        (Kind::Invalid, _) => ErrorCode::OFFSET_OUT_OF_RANGE,
        (Kind::NotFound, FetchTopicKey::Id(_)) => ErrorCode::UNKNOWN_TOPIC_ID,
        _ => topic_error(kind),
    }
}

/// The log of a wanted partition. `last`: the topic looked up last, for the partitions after it.
fn log_of(
    names: &Names,
    wanted: &Wanted,
    last: &mut Option<(FetchTopicKey, Result<engine::catalog::Stream, ErrorCode>)>,
) -> Result<LogRef, ErrorCode> {
    check_epoch(wanted.partition.current_leader_epoch)?;
    if last.as_ref().is_none_or(|(topic, _)| *topic != wanted.topic) {
        let found = match &wanted.topic {
            FetchTopicKey::Name(name) => find_stream(names, name, Uuid::nil(), false),
            FetchTopicKey::Id(id) => find_stream(names, "", *id, true),
        };
        *last = Some((wanted.topic.clone(), found));
    }
    match last {
        Some((_, Ok(stream))) => partition_log(stream, wanted.partition.partition),
        Some((_, Err(code))) => Err(*code),
        None => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
    }
}

fn place(reads: &mut Vec<(ShardId, Vec<ReadFrom>)>, log: LogRef, wanted: &Wanted) -> Place {
    let from = ReadFrom {
        log,
        offset: Offset(wanted.partition.fetch_offset),
        bytes_max: u32::try_from(wanted.partition.partition_max_bytes).unwrap_or(0),
    };
    let read = match reads.iter().position(|(shard, _)| *shard == log.shard) {
        Some(read) => read,
        None => {
            reads.push((log.shard, Vec::new()));
            reads.len() - 1
        }
    };
    let logs = &mut reads[read].1;
    logs.push(from);
    Place::Read { read, log: logs.len() - 1 }
}
