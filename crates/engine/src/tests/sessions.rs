//! Queues whose keys are sessions, and what is kept for them.

use super::Stage;
use crate::api::{
    Append, Disposition, Event, LeaseRange, Leave, Op, Payload, Reply, SESSION_KEY_BYTES_MAX,
    STATE_BYTES_MAX, Session, SessionSet, Sessions, SetSession, Settle, Source, Take,
};
use bytes::Bytes;
use catalog::{Action, DeleteQueue, QueueOptions, Serving};
use record::{tail, tails};
use types::{ConsumerId, Error, Kind, LogRef, Offset, SubscriptionRef};

type Queue = (LogRef, SubscriptionRef);

fn options() -> QueueOptions {
    let serving =
        Serving { order_key: Some("customer".into()), sessions: true, ..Serving::default() };
    QueueOptions { serving, ..QueueOptions::default() }
}

/// Messages whose customer is their first letter.
fn publish(stage: &mut Stage, to: Queue, names: &[&str]) {
    let mut bytes = Vec::new();
    for name in names {
        let customer = Some(name.split_at(1).0.as_bytes());
        let mut out = Vec::new();
        let headers = [(&b"customer"[..], customer)];
        tail::encode(&mut out, None, Some(name.as_bytes()), headers.into_iter());
        tails::push(&mut bytes, None, &out);
    }
    let payload = Payload::Tails { bytes: Bytes::from(bytes), expiring: false };
    stage.call(Op::Append(Append { to: [to.0].into(), payload, waits: true })).expect("published");
}

fn take(stage: &mut Stage, from: Queue, consumer: u32, sessions_max: u32) {
    let take = Take {
        consumer: ConsumerId(consumer),
        source: Source::Subscription(from.1),
        prefetch: 2,
        window: None,
        settle_on_delivery: false,
        exclusive: false,
        priority: 0,
        sessions_max,
    };
    stage.call(Op::Take(take)).expect("the consumer is registered");
}

/// What has come: whom to, and what.
fn came(stage: &mut Stage) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    stage.events.retain_mut(|event| match event {
        Event::Deliver { consumer, items } => {
            found.extend(items.drain(..).map(|item| {
                let view = tail::decode(&item.tail).expect("a stored tail");
                let name = view.value.unwrap_or_default();
                (consumer.0, String::from_utf8_lossy(name).into_owned())
            }));
            false
        }
        _ => true,
    });
    found
}

fn settle(stage: &mut Stage, queue: Queue, consumer: u32, offset: i64) {
    let (first, last) = (Offset(offset), Offset(offset));
    let settle = Settle {
        consumer: ConsumerId(consumer),
        source: Source::Subscription(queue.1),
        ranges: vec![LeaseRange { log: queue.0.log, first, last }],
        disposition: Disposition::Done,
    };
    stage.call(Op::Settle(settle)).expect("settled");
}

fn set(
    stage: &mut Stage,
    queue: Queue,
    key: &str,
    (expected, state): (Option<u64>, Option<&[u8]>),
) -> Result<SessionSet, Error> {
    let (key, state) = (Bytes::from(key.to_owned()), state.map(Bytes::copy_from_slice));
    match stage.call(Op::SetSession(SetSession { subscription: queue.1, key, expected, state }))? {
        Reply::SessionSet(set) => Ok(set),
        other => panic!("not set: {other:?}"),
    }
}

fn sessions(stage: &mut Stage, queue: Queue, from: &str, count: u32) -> (Vec<Session>, String) {
    let from = Bytes::from(from.to_owned());
    let op = Sessions { subscription: queue.1, from, count, with_state: true };
    match stage.call(Op::Sessions(op)) {
        Ok(Reply::Sessions(sessions, next)) => {
            (sessions, String::from_utf8(next.unwrap_or_default().to_vec()).unwrap())
        }
        other => panic!("no sessions: {other:?}"),
    }
}

fn state(stage: &mut Stage, queue: Queue, key: &str) -> Option<(u64, Vec<u8>)> {
    let (found, _) = sessions(stage, queue, key, 1);
    let found = found.into_iter().find(|session| session.key == key.as_bytes())?;
    Some((found.version, found.state?.to_vec()))
}

fn owners(stage: &mut Stage, queue: Queue) -> Vec<(String, Option<u32>, u32)> {
    let (found, _) = sessions(stage, queue, "", 100);
    let told = found.into_iter().map(|it| {
        let key = String::from_utf8(it.key.to_vec()).unwrap();
        (key, it.owner.map(|owner| owner.consumer.0), it.in_flight)
    });
    told.collect()
}

fn to(consumer: u32, names: &[&str]) -> Vec<(u32, String)> {
    names.iter().map(|name| (consumer, (*name).to_owned())).collect()
}

fn checkpoint(stage: &mut Stage) {
    stage.engine.checkpoint();
    stage.run();
    stage.run();
}

#[test]
fn session_is_one_consumers_until_nothing_of_it_is_left() {
    let mut stage = Stage::new();
    let queue = stage.queue("sessions", options());
    publish(&mut stage, queue, &["a1", "b1", "a2", "a3", "b2", "c1"]);
    take(&mut stage, queue, 1, 1);
    assert_eq!(came(&mut stage), to(1, &["a1", "a2"]));
    take(&mut stage, queue, 2, 1);
    assert_eq!(came(&mut stage), to(2, &["b1", "b2"]));
    assert_eq!(
        owners(&mut stage, queue),
        [("a".to_owned(), Some(1), 2), ("b".to_owned(), Some(2), 2)]
    );
    settle(&mut stage, queue, 1, 0);
    assert_eq!(came(&mut stage), to(1, &["a3"]));
    settle(&mut stage, queue, 2, 1);
    settle(&mut stage, queue, 2, 4);
    assert_eq!(came(&mut stage), to(2, &["c1"]));
    let leave =
        Leave { consumer: ConsumerId(1), source: Source::Subscription(queue.1), release: true };
    stage.call(Op::Leave(leave)).expect("left");
    settle(&mut stage, queue, 2, 5);
    assert_eq!(came(&mut stage), to(2, &["a2", "a3"]));
}

#[test]
fn state_is_replaced_if_it_has_the_version_that_is_expected() {
    let mut stage = Stage::new();
    let queue = stage.queue("sessions", options());
    let mut set = |key: &str, what: (Option<u64>, Option<&[u8]>)| set(&mut stage, queue, key, what);
    assert_eq!(set("a", (Some(1), Some(b"one"))), Ok(SessionSet::Unexpected(0)));
    assert_eq!(set("a", (Some(0), Some(b"one"))), Ok(SessionSet::Done(1)));
    assert_eq!(set("a", (Some(0), Some(b"two"))), Ok(SessionSet::Unexpected(1)));
    assert_eq!(set("a", (Some(1), Some(b"two"))), Ok(SessionSet::Done(2)));
    assert_eq!(set("b", (None, Some(b""))), Ok(SessionSet::Done(3)));
    assert_eq!(set("a", (Some(1), None)), Ok(SessionSet::Unexpected(2)));
    assert_eq!(set("a", (Some(2), None)), Ok(SessionSet::Done(0)));
    assert_eq!(set("a", (None, Some(b"three"))), Ok(SessionSet::Done(4)));
    assert_eq!(state(&mut stage, queue, "a"), Some((4, b"three".to_vec())));
    assert_eq!(state(&mut stage, queue, "b"), Some((3, Vec::new())));
    assert_eq!(state(&mut stage, queue, "c"), None);
}

#[test]
fn states_outlive_a_crash_and_a_checkpoint_and_go_with_their_queue() {
    let mut stage = Stage::new();
    let queue = stage.queue("sessions", options());
    set(&mut stage, queue, "a", (None, Some(b"one"))).unwrap();
    checkpoint(&mut stage);
    set(&mut stage, queue, "b", (None, Some(b"two"))).unwrap();
    stage.crash();
    assert_eq!(state(&mut stage, queue, "a"), Some((1, b"one".to_vec())));
    assert_eq!(state(&mut stage, queue, "b"), Some((2, b"two".to_vec())));
    checkpoint(&mut stage);
    stage.crash();
    assert_eq!(set(&mut stage, queue, "a", (Some(1), None)), Ok(SessionSet::Done(0)));
    assert_eq!(set(&mut stage, queue, "c", (None, Some(b"three"))), Ok(SessionSet::Done(3)));
    let name = "sessions".into();
    stage.change(Action::DeleteQueue(DeleteQueue { name, by: None, only: None })).unwrap();
    let again = stage.queue("sessions", options());
    assert_eq!(owners(&mut stage, again), []);
}

#[test]
fn sessions_are_listed_in_pages_by_their_keys() {
    let mut stage = Stage::new();
    let queue = stage.queue("sessions", options());
    for key in ["d", "b", "f"] {
        set(&mut stage, queue, key, (None, Some(key.as_bytes()))).unwrap();
    }
    publish(&mut stage, queue, &["a1", "d1", "e1"]);
    take(&mut stage, queue, 1, 0);
    let keys = |(found, next): (Vec<Session>, String)| -> (Vec<Bytes>, String) {
        (found.into_iter().map(|session| session.key).collect(), next)
    };
    let page = keys(sessions(&mut stage, queue, "", 2));
    assert_eq!(page, (vec!["a".into(), "b".into()], "d".to_owned()));
    let page = keys(sessions(&mut stage, queue, "d", 2));
    assert_eq!(page, (vec!["d".into(), "f".into()], String::new()));
    let (found, _) = sessions(&mut stage, queue, "d", 1);
    assert_eq!((found[0].in_flight, found[0].state_bytes), (1, 1));
}

#[test]
fn what_is_too_large_or_no_session_is_refused() {
    let mut stage = Stage::roomy();
    let (plain, queue) =
        (stage.queue("plain", QueueOptions::default()), stage.queue("sessions", options()));
    let kind = |result: Result<SessionSet, Error>| result.map_err(|error| error.kind);
    let large = vec![0; STATE_BYTES_MAX + 1];
    let long = "k".repeat(SESSION_KEY_BYTES_MAX + 1);
    assert_eq!(kind(set(&mut stage, plain, "a", (None, None))), Err(Kind::Invalid));
    assert_eq!(kind(set(&mut stage, queue, "a", (None, Some(&large)))), Err(Kind::TooLarge));
    assert_eq!(kind(set(&mut stage, queue, &long, (None, None))), Err(Kind::TooLarge));
    let most = &large[..STATE_BYTES_MAX];
    assert_eq!(set(&mut stage, queue, "a", (None, Some(most))), Ok(SessionSet::Done(1)));
}
