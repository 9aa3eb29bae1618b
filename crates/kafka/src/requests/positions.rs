//! Positions in logs: ListOffsets, OffsetForLeaderEpoch, DeleteRecords, DescribeLogDirs.

use super::{LEADER_EPOCH, NAMESPACE, check_epoch, find_stream, log_failure, partition_log};
use crate::codec::messages::configs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::codec::messages::offsets::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopicResult, LeaderEpochEndOffset,
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
};
use crate::errors::ErrorCode;
use crate::session::{Answer, Step, Turn};
use engine::api::{Extent, Find, FindTarget, Op, Reply, Trim};
use engine::catalog::Stream;
use std::collections::BTreeSet;
use types::{Error, Kind, LogRef, Millis, Offset, ShardId};
use uuid::Uuid;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// What DeleteRecords calls the end of a log.
const HIGH_WATERMARK: i64 = -1;

/// Where a partition stands in a response that is being filled.
type Place = (usize, usize);

pub(super) fn list_offsets(turn: &mut Turn<'_, '_>, request: ListOffsetsRequest) -> Step {
    let names = turn.cx.names();
    let version = turn.version();
    let mut asked = BTreeSet::new();
    let (mut topics, mut ops, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for topic in request.topics {
        let stream = find_stream(&names, &topic.name, Uuid::nil(), false);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let index = wanted.partition_index;
            let twice = !asked.insert((topic.name.clone(), index));
            let found = match twice {
                true => Err(ErrorCode::INVALID_REQUEST),
                false => check_epoch(wanted.current_leader_epoch)
                    .and_then(|()| target(wanted.timestamp, version))
                    .and_then(|target| {
                        let stream = stream.as_ref().map_err(|code| *code)?;
                        Ok((partition_log(stream, index)?, target))
                    }),
            };
            let mut response = ListOffsetsPartitionResponse {
                partition_index: index,
                ..ListOffsetsPartitionResponse::default()
            };
            match found {
                Ok((log, Some(target))) => {
                    ops.push(Op::Find(Find { log, target }));
                    places.push((topics.len(), partitions.len()));
                }
                Ok((_, None)) => {}
                Err(code) => response.error_code = code,
            }
            partitions.push(response);
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    let mut response = ListOffsetsResponse { topics, ..ListOffsetsResponse::default() };
    Step::ask(ops, move |answers, turn| {
        for ((topic, partition), answer) in places.into_iter().zip(answers) {
            let partition = &mut response.topics[topic].partitions[partition];
            match answer {
                Ok(Reply::Found(Some(found))) => {
                    partition.offset = found.offset.0;
                    partition.timestamp = found.timestamp.0;
                    partition.leader_epoch = LEADER_EPOCH;
                }
                Ok(Reply::Found(None)) => {}
                other => partition.error_code = log_failure(Some(&other)),
            }
        }
        turn.answer(&response)
    })
}

/// What a timestamp asks for; `None`: what this broker never has.
fn target(timestamp: i64, version: i16) -> Result<Option<FindTarget>, ErrorCode> {
    match timestamp {
        LATEST => Ok(Some(FindTarget::Latest)),
        EARLIEST => Ok(Some(FindTarget::Earliest)),
        MAX_TIMESTAMP if version >= 7 => Ok(Some(FindTarget::MaxTimestamp)),
        EARLIEST_LOCAL if version >= 8 => Ok(Some(FindTarget::Earliest)),
        LATEST_TIERED if version >= 9 => Ok(None),
        since if since >= 0 => Ok(Some(FindTarget::Since(Millis(since)))),
        _ => Err(ErrorCode::UNSUPPORTED_VERSION),
    }
}

/// Where each leader epoch ended: the present one, the only one, at the end of the log.
pub(super) fn epoch_ends(turn: &mut Turn<'_, '_>, request: OffsetForLeaderEpochRequest) -> Step {
    let names = turn.cx.names();
    let (mut topics, mut extents) = (Vec::new(), Extents::default());
    for topic in request.topics {
        let stream = find_stream(&names, &topic.topic, Uuid::nil(), false);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let mut response = LeaderEpochEndOffset {
                partition: wanted.partition,
                ..LeaderEpochEndOffset::default()
            };
            let log = check_epoch(wanted.current_leader_epoch).and_then(|()| {
                let stream = stream.as_ref().map_err(|code| *code)?;
                partition_log(stream, wanted.partition)
            });
            match log {
                Ok(log) if wanted.leader_epoch == LEADER_EPOCH => {
                    extents.add(log, (topics.len(), partitions.len()));
                }
                Ok(_) => {}
                Err(code) => response.error_code = code,
            }
            partitions.push(response);
        }
        topics.push(OffsetForLeaderTopicResult { topic: topic.topic, partitions });
    }
    let mut response =
        OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() };
    let (ops, places) = extents.ops();
    Step::ask(ops, move |answers, turn| {
        for ((topic, partition), extent) in placed(places, answers) {
            let partition = &mut response.topics[topic].partitions[partition];
            match extent {
                Ok(Some(extent)) => {
                    partition.leader_epoch = LEADER_EPOCH;
                    partition.end_offset = extent.end.0;
                }
                Ok(None) => partition.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                Err(code) => partition.error_code = code,
            }
        }
        turn.answer(&response)
    })
}

pub(super) fn delete_records(turn: &mut Turn<'_, '_>, request: DeleteRecordsRequest) -> Step {
    let names = turn.cx.names();
    let (mut topics, mut ops, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for topic in request.topics {
        let stream = find_stream(&names, &topic.name, Uuid::nil(), false);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let mut response = DeleteRecordsPartitionResult {
                partition_index: wanted.partition_index,
                low_watermark: -1,
                ..DeleteRecordsPartitionResult::default()
            };
            let stream = stream.as_ref().map_err(|code| *code);
            match stream.and_then(|stream| trim(stream, wanted)) {
                Ok(trim) => {
                    ops.push(Op::Trim(trim));
                    places.push((topics.len(), partitions.len()));
                }
                Err(code) => response.error_code = code,
            }
            partitions.push(response);
        }
        topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
    }
    let mut response = DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() };
    Step::ask(ops, move |answers, turn| {
        for ((topic, partition), answer) in places.into_iter().zip(answers) {
            let partition = &mut response.topics[topic].partitions[partition];
            match answer {
                Ok(Reply::Trimmed(start)) => partition.low_watermark = start.0,
                Err(Error { kind: Kind::Invalid, .. }) => {
                    partition.error_code = ErrorCode::OFFSET_OUT_OF_RANGE;
                }
                other => partition.error_code = log_failure(Some(&other)),
            }
        }
        turn.answer(&response)
    })
}

/// A queue's records go when they are settled, and in no other way.
fn trim(stream: &Stream, wanted: &DeleteRecordsPartition) -> Result<Trim, ErrorCode> {
    let log = partition_log(stream, wanted.partition_index)?;
    if stream.config.is_none() {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    match wanted.offset {
        HIGH_WATERMARK => Ok(Trim { log, before: None }),
        offset if offset >= 0 => Ok(Trim { log, before: Some(Offset(offset)) }),
        _ => Err(ErrorCode::OFFSET_OUT_OF_RANGE),
    }
}

/// The one store there is, and how much of each log lies in it.
pub(super) fn log_dirs(turn: &mut Turn<'_, '_>, request: &DescribeLogDirsRequest) -> Step {
    let names = turn.cx.names();
    let (mut topics, mut extents) = (Vec::new(), Extents::default());
    let mut add = |stream: &Stream, wanted: &dyn Fn(i32) -> bool| {
        let mut partitions = Vec::new();
        for (log, partition_index) in stream.partitions.iter().zip(0..) {
            if wanted(partition_index) {
                extents.add(*log, (topics.len(), partitions.len()));
                partitions.push(DescribeLogDirsPartition {
                    partition_index,
                    ..DescribeLogDirsPartition::default()
                });
            }
        }
        topics.push(DescribeLogDirsTopic { name: stream.name.to_string(), partitions });
    };
    match &request.topics {
        None => names.streams(NAMESPACE).for_each(|stream| add(&stream, &|_| true)),
        Some(topics) => {
            for topic in topics {
                if let Some(stream) = names.stream(NAMESPACE, &topic.topic) {
                    add(&stream, &|partition| topic.partitions.contains(&partition));
                }
            }
        }
    }
    let (ops, places) = extents.ops();
    Step::ask(ops, move |answers, turn| {
        for ((topic, partition), extent) in placed(places, answers) {
            let bytes = extent.ok().flatten().map_or(0, |extent| extent.bytes);
            let partition: &mut DescribeLogDirsPartition = &mut topics[topic].partitions[partition];
            partition.partition_size = i64::try_from(bytes).unwrap_or(i64::MAX);
        }
        let result = DescribeLogDirsResult {
            log_dir: turn.options.log_dir.clone(),
            topics,
            ..DescribeLogDirsResult::default()
        };
        let results = vec![result];
        turn.answer(&DescribeLogDirsResponse { results, ..DescribeLogDirsResponse::default() })
    })
}

/// Logs whose extents are wanted, by shard.
#[derive(Default)]
struct Extents {
    shards: Vec<(ShardId, Vec<LogRef>, Vec<Place>)>,
}

impl Extents {
    fn add(&mut self, log: LogRef, place: Place) {
        let at = self.shards.iter().position(|(shard, ..)| *shard == log.shard);
        let at = at.unwrap_or_else(|| {
            self.shards.push((log.shard, Vec::new(), Vec::new()));
            self.shards.len() - 1
        });
        self.shards[at].1.push(log);
        self.shards[at].2.push(place);
    }

    fn ops(self) -> (Vec<Op>, Vec<Vec<Place>>) {
        self.shards.into_iter().map(|(_, logs, places)| (Op::Extent(logs), places)).unzip()
    }
}

/// Each place with what was found for it.
fn placed(
    places: Vec<Vec<Place>>,
    answers: Vec<Answer>,
) -> impl Iterator<Item = (Place, Result<Option<Extent>, ErrorCode>)> {
    places.into_iter().zip(answers).flat_map(|(places, answer)| {
        let extents: Vec<Result<Option<Extent>, ErrorCode>> = match answer {
            Ok(Reply::Extents(extents)) => extents.into_iter().map(Ok).collect(),
            other => vec![Err(log_failure(Some(&other))); places.len()],
        };
        places.into_iter().zip(extents)
    })
}
