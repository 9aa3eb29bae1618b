//! Taking messages out of a queue, or looking at them.

use super::properties;
use crate::management::asker::Asker;
use crate::management::given::Given;
use crate::management::queues;
use crate::management::refused::Refused;
use crate::messages::Acking;
use crate::{Admin, base64};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::api::{Delivery, Disposition, Get, LeaseRange, Op, Reply, Settle, Source};
use engine::catalog::{Demand, Guarded, QueueKind};
use frontend::Caller;
use record::tail;
use serde_json::{Value, json};
use types::{ConsumerId, Error, Kind, SubscriptionRef};

/// Most messages of one answer.
const COUNT_MAX: i64 = 10_000;

/// An answer ends with the message that takes it beyond so many bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Who holds the messages meanwhile.
const HOLDER: ConsumerId = ConsumerId(0);

/// How messages are shown.
#[derive(Clone, Copy, Debug)]
struct Manner {
    base64: bool,
    /// Most bytes of a payload.
    truncate: Option<usize>,
}

/// `POST /api/queues/VHOST/NAME/get`
pub(in crate::management) async fn get(
    State(admin): State<Admin>,
    Path((vhost, name)): Path<(String, String)>,
    asker: Asker,
    body: Bytes,
) -> Result<Response, Refused> {
    let names = admin.engine().names();
    asker.enter(&names, &vhost)?;
    let given = Given::read(&body)?;
    given.need(&["ackmode", "count", "encoding"])?;
    let count = given.number("count")?.unwrap_or_default().clamp(0, COUNT_MAX);
    let disposition = disposition(&given.text("ackmode")?)?;
    let manner = manner(&given)?;
    let what = format!("queue '{name}' in vhost '{vhost}'");
    let queue = queues::find(&names, &vhost, &name)
        .map_err(|_| Refused::missing(format!("NOT_FOUND - no {what}")))?;
    let demand = Demand::read(Guarded::Queue(&name));
    names.permit(&asker.user().name, &vhost, demand).map_err(|denied| {
        let told = (admin.dialect.denied)(denied);
        Refused::not_authorised(format!("{} - {}", told.name, told.text))
    })?;
    if queue.options.kind == QueueKind::Stream {
        let text = format!("540 basic.get not supported by stream queues {what}");
        return Err(Refused::bad(text));
    }
    queues::not_locked(queue, &what)?;
    let caller = Caller::connect(admin.engine());
    let taken = take(&caller, queue.subscription, count).await?;
    let shown = taken
        .iter()
        .map(|(delivery, left)| shown(&name, delivery, *left, manner))
        .collect::<Result<Vec<Value>, Error>>()?;
    let text = Value::Array(shown).to_string().into_bytes();
    let settle = settle(queue.subscription, &taken, disposition);
    let settling = async move { caller.call(Op::Settle(settle)).await.map(drop) };
    let body = match disposition {
        _ if taken.is_empty() => Body::from(text),
        // They are in the queue again before the answer is there.
        Disposition::Returned | Disposition::Released => {
            settling.await?;
            Body::from(text)
        }
        Disposition::Done | Disposition::Rejected => Body::new(Acking::new(text, settling)),
    };
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

fn disposition(ackmode: &str) -> Result<Disposition, Refused> {
    match ackmode {
        "ack_requeue_true" => Ok(Disposition::Released),
        "reject_requeue_true" => Ok(Disposition::Returned),
        "ack_requeue_false" => Ok(Disposition::Done),
        "reject_requeue_false" => Ok(Disposition::Rejected),
        other => Err(Refused::bad(json!(["unsupported_ackmode", other]))),
    }
}

fn manner(given: &Given) -> Result<Manner, Refused> {
    let base64 = match given.text("encoding")?.as_str() {
        "auto" => false,
        "base64" => true,
        _ => return Err(Refused::bad("Unsupported encoding. Please use auto or base64.")),
    };
    let truncate = given.number("truncate")?;
    Ok(Manner { base64, truncate: truncate.and_then(|bytes| usize::try_from(bytes).ok()) })
}

/// What is ready, up to `count`, each with how many are behind it.
async fn take(
    caller: &Caller,
    subscription: SubscriptionRef,
    count: i64,
) -> Result<Vec<(Delivery, u64)>, Error> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    for _ in 0..count {
        let get = Get { consumer: HOLDER, subscription, settle_on_delivery: false };
        match caller.call(Op::Get(get)).await? {
            Reply::Got(Some(delivery), left) => {
                bytes += delivery.tail.len();
                taken.push((delivery, left));
            }
            Reply::Got(None, _) => break,
            other => return Err(Error::new(Kind::Invalid, format!("the engine said {other:?}"))),
        }
        if bytes > ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(taken)
}

fn settle(
    subscription: SubscriptionRef,
    taken: &[(Delivery, u64)],
    disposition: Disposition,
) -> Settle {
    let mut ranges: Vec<LeaseRange> = taken
        .iter()
        .map(|(delivery, _)| LeaseRange {
            log: delivery.log,
            first: delivery.offset,
            last: delivery.offset,
        })
        .collect();
    ranges.sort_unstable_by_key(|range| (range.log, range.first));
    let source = Source::Subscription(subscription);
    Settle { consumer: HOLDER, source, ranges, disposition }
}

fn shown(queue: &str, delivery: &Delivery, left: u64, manner: Manner) -> Result<Value, Error> {
    let corrupt = |_| Error::new(Kind::Corrupt, "a record cannot be read");
    let view = tail::decode(&delivery.tail).map_err(corrupt)?;
    let decoded = record::properties::decode(view.headers);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let payload = view.value.unwrap_or_default();
    let cut = &payload[..manner.truncate.unwrap_or(payload.len()).min(payload.len())];
    let (spelled, encoding) = match std::str::from_utf8(cut) {
        Ok(spelled) if !manner.base64 => (spelled.to_owned(), "string"),
        _ => (base64::encode(cut), "base64"),
    };
    Ok(json!({
        "payload_bytes": payload.len(),
        "redelivered": delivery.redelivered,
        "exchange": decoded.address.exchange.map_or_else(String::new, text),
        "routing_key": decoded.address.routing_key.map_or_else(|| queue.to_owned(), text),
        "message_count": left,
        "properties": properties::shown(&decoded),
        "payload": spelled,
        "payload_encoding": encoding,
    }))
}
