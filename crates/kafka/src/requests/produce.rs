//! Produce: batches are checked and appended; the answer is sent when they are durable.

use super::{find_stream, log_failure, partition_log};
use crate::codec::Records;
use crate::codec::messages::produce::{
    ProduceRequest, ProduceResponse, ProducedPartition, ProducedTopic,
};
use crate::errors::ErrorCode;
use crate::session::{Answer, BLOCKED_THROTTLE, Step, Turn};
use bytes::Bytes;
use engine::api::{Append, Appended, Op, Payload, Reply, Verdict};
use engine::catalog::{Stream, TimestampType};
use record::batch::{self, Batches, Compression, Header, Limits};
use record::{Fault, Malformed};
use std::sync::Arc;
use types::{APPEND_BYTES_MAX, LogRef};

/// First version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;

/// First version whose clients understand zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// Most records of one batch; librdkafka sends at most a million.
const RECORD_COUNT_MAX: u32 = 1_000_000;

/// Batches up to this length are copied out of their request, so that one that is kept in memory
/// does not keep the buffer it was read into.
const COPIED_BYTES_MAX: usize = 8 << 10;

const NO_OFFSET: i64 = -1;

/// Why a partition's records are not appended.
struct Refused {
    code: ErrorCode,
    why: String,
}

/// A partition whose append is on its way.
struct Sent {
    topic: usize,
    partition: usize,
    /// The broker's time is the records' timestamp.
    append_time: bool,
    by_id: bool,
}

pub(super) fn produce(turn: &mut Turn<'_, '_>, request: ProduceRequest) -> Step {
    let version = turn.version();
    let by_id = version >= TOPIC_IDS_FROM;
    let refused = refused_whole(&request);
    let (names, bytes_max) = (turn.cx.names(), turn.options.message_bytes_max);
    let silent = request.acks == 0;
    let (mut responses, mut ops, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    for topic in request.topic_data {
        let stream = find_stream(&names, &topic.name, topic.topic_id, by_id);
        let mut partition_responses = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let mut response = ProducedPartition {
                index: data.index,
                base_offset: NO_OFFSET,
                ..ProducedPartition::default()
            };
            let checked = match (refused, &stream) {
                (None, Ok(_)) if turn.blocked && !silent => Err(blocked()),
                (Some(code), _) => Err(Refused { code, why: code.name().to_owned() }),
                (None, Err(code)) => Err(Refused { code: *code, why: code.name().to_owned() }),
                (None, Ok(stream)) => {
                    let bytes_max = message_bytes_max(stream, bytes_max);
                    check(stream, data.index, data.records, (version, bytes_max))
                }
            };
            match checked {
                Ok((log, batch)) => {
                    ops.push(append(log, batch, silent));
                    let append_time = stream.as_ref().is_ok_and(append_time);
                    let (topic, partition) = (responses.len(), partition_responses.len());
                    sent.push(Sent { topic, partition, append_time, by_id });
                }
                Err(refused) => {
                    response.error_code = refused.code;
                    response.error_message = Some(refused.why);
                }
            }
            partition_responses.push(response);
        }
        let (name, topic_id) = (topic.name, topic.topic_id);
        responses.push(ProducedTopic { name, topic_id, partition_responses });
    }
    let mut response = ProduceResponse { responses, ..ProduceResponse::default() };
    if turn.blocked && !silent {
        response.throttle_time_ms = i32::try_from(BLOCKED_THROTTLE.0).unwrap_or(i32::MAX);
    }
    Step::ask(ops, move |answers, turn| finish(turn, response, &sent, &answers, silent))
}

fn finish(
    turn: &Turn<'_, '_>,
    mut response: ProduceResponse,
    sent: &[Sent],
    answers: &[Answer],
    silent: bool,
) -> Step {
    for (sent, answer) in sent.iter().zip(answers) {
        let partition = &mut response.responses[sent.topic].partition_responses[sent.partition];
        match answer {
            Ok(Reply::Appended(appended)) => note(partition, appended, sent),
            other => {
                partition.error_code = log_failure(Some(other));
                if let Err(error) = other {
                    partition.error_message = Some(error.message.clone());
                }
            }
        }
    }
    if !silent {
        return turn.answer(&response);
    }
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    // Without acknowledgements a closed connection is the only way to say that something failed.
    match partitions.any(|partition| partition.error_code != ErrorCode::NONE) {
        true => Step::Close,
        false => Step::Answer(Vec::new()),
    }
}

fn note(partition: &mut ProducedPartition, appended: &Appended, sent: &Sent) {
    partition.error_code = match appended.verdict {
        Verdict::Appended | Verdict::Duplicate => ErrorCode::NONE,
        Verdict::OutOfOrderSequence => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        Verdict::StaleProducerEpoch => ErrorCode::INVALID_PRODUCER_EPOCH,
        Verdict::Gone if sent.by_id => ErrorCode::UNKNOWN_TOPIC_ID,
        Verdict::Gone => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        // Nothing here expects anything.
        Verdict::Unexpected | Verdict::Unsure => ErrorCode::UNKNOWN_SERVER_ERROR,
    };
    if partition.error_code == ErrorCode::NONE {
        partition.base_offset = appended.base_offset.0;
        partition.log_start_offset = appended.start.0;
        if sent.append_time && appended.verdict == Verdict::Appended {
            partition.log_append_time_ms = appended.time.0;
        }
    }
}

/// What clients try again after, for as long as they were told to.
fn blocked() -> Refused {
    let why = "publishing is blocked: the broker is low on disk or memory".to_owned();
    Refused { code: ErrorCode::KAFKA_STORAGE_ERROR, why }
}

/// Why nothing of a request is appended.
fn refused_whole(request: &ProduceRequest) -> Option<ErrorCode> {
    if request.transactional_id.is_some() {
        return Some(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    }
    (!matches!(request.acks, -1..=1)).then_some(ErrorCode::INVALID_REQUIRED_ACKS)
}

fn message_bytes_max(stream: &Stream, default: u32) -> usize {
    let set = stream.config.as_ref().and_then(|config| config.0.get("max.message.bytes"));
    let bytes = set.and_then(|bytes| bytes.parse().ok()).unwrap_or(default);
    usize::try_from(bytes).unwrap_or(APPEND_BYTES_MAX).min(APPEND_BYTES_MAX)
}

fn append_time(stream: &Stream) -> bool {
    let config = stream.config.as_ref();
    config.is_some_and(|config| config.timestamp_type() == TimestampType::Append)
}

/// `waits`: there is no answer to refuse it by while publishing is blocked.
fn append(log: LogRef, batch: Bytes, waits: bool) -> Op {
    Op::Append(Append { to: Arc::from([log]), payload: Payload::Batch(batch), waits })
}

/// Checks what was sent for one partition; gives its log and its one batch.
fn check(
    stream: &Stream,
    partition: i32,
    records: Option<Records>,
    (version, batch_bytes_max): (i16, usize),
) -> Result<(LogRef, Bytes), Refused> {
    let log = partition_log(stream, partition)
        .map_err(|code| Refused { code, why: format!("there is no partition {partition}") })?;
    let bytes = records.map(Records::into_bytes).unwrap_or_default();
    let limits = Limits { batch_bytes_max, record_count_max: RECORD_COUNT_MAX };
    let mut batches = Batches::new(bytes, limits);
    let (header, batch) = match batches.next() {
        Some(first) => first.map_err(malformed)?,
        None => return Err(invalid("there must be a record batch for each partition")),
    };
    if batches.next().is_some() {
        return Err(invalid("there must be exactly one record batch for each partition"));
    }
    check_kind(&header, version)?;
    batch::check_records(&header, &batch, APPEND_BYTES_MAX).map_err(malformed_records)?;
    let wanted = stream.config.as_ref().and_then(|config| config.compression());
    let differs = wanted.filter(|wanted| header.compression() != Ok(*wanted));
    if let Some(wanted) = differs {
        let stored = batch::recompress(&header, &batch, wanted, APPEND_BYTES_MAX);
        let stored = stored.map_err(malformed_records)?;
        if stored.len() > batch_bytes_max {
            let why = format!("the batch is {} bytes long when it is stored", stored.len());
            return Err(Refused { code: ErrorCode::MESSAGE_TOO_LARGE, why });
        }
        return Ok((log, stored));
    }
    match batch.len() <= COPIED_BYTES_MAX {
        true => Ok((log, Bytes::copy_from_slice(&batch))),
        false => Ok((log, batch)),
    }
}

/// Refuses what this broker does not take: transactions, control records, sequences without a
/// producer's number.
fn check_kind(header: &Header, version: i16) -> Result<(), Refused> {
    if header.control() {
        return Err(invalid("clients may not write control records"));
    }
    if header.transactional() {
        let why = "this broker has no transactions".to_owned();
        return Err(Refused { code: ErrorCode::INVALID_TXN_STATE, why });
    }
    if header.count == 0 {
        return Err(invalid("a record batch must hold records"));
    }
    if header.append_time() {
        return Err(Refused {
            code: ErrorCode::INVALID_TIMESTAMP,
            why: "only the broker sets the append time".to_owned(),
        });
    }
    if header.producer_id >= 0 && (header.base_sequence < 0 || header.producer_epoch < 0) {
        return Err(invalid("a producer with an id must give epoch and sequence"));
    }
    if version < ZSTD_FROM && header.compression() == Ok(Compression::Zstd) {
        return Err(Refused {
            code: ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            why: format!("zstd needs Produce of version {ZSTD_FROM} or later"),
        });
    }
    Ok(())
}

fn invalid(why: &str) -> Refused {
    Refused { code: ErrorCode::INVALID_RECORD, why: why.to_owned() }
}

fn malformed(malformed: Malformed) -> Refused {
    let code = match malformed.fault {
        Fault::Checksum | Fault::Truncated => ErrorCode::CORRUPT_MESSAGE,
        Fault::TooLarge => ErrorCode::MESSAGE_TOO_LARGE,
        Fault::Compression => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        Fault::Magic | Fault::Count | Fault::Invalid => ErrorCode::INVALID_RECORD,
    };
    Refused { code, why: malformed.to_string() }
}

/// The checksum holds, so it is the client that made the records so: it should not try again.
fn malformed_records(malformed: Malformed) -> Refused {
    let code = match malformed.fault {
        Fault::TooLarge => ErrorCode::MESSAGE_TOO_LARGE,
        _ => ErrorCode::INVALID_RECORD,
    };
    Refused { code, why: malformed.to_string() }
}
