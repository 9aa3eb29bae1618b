use super::Flights;
use crate::lines::appended;
use bytes::Bytes;
use engine::api::{Append, Appended, Call, Event, Op, Payload, Reply, Verdict};
use types::{Error, Kind, LogId, LogRef, Offset, ShardId, Token};

fn append(shards: &[u16]) -> Op {
    let to = shards.iter().map(|shard| LogRef { shard: ShardId(*shard), log: LogId(1) }).collect();
    Op::Append(Append { to, payload: Payload::Batch(Bytes::from_static(&[0; 100])), waits: true })
}

fn calls(flights: &mut Flights) -> Vec<(ShardId, Call)> {
    let batches = flights.take_batches().into_iter();
    batches.flat_map(|(shard, calls)| calls.into_iter().map(move |call| (shard, call))).collect()
}

fn reply(token: Token, result: Result<Reply, Error>) -> Event {
    Event::Reply { token, result }
}

/// Submits an append to two shards; gives its token and those of its parts.
fn split(flights: &mut Flights, wanted: bool) -> (Token, Token, Token) {
    let whole = flights.submit(append(&[0, 0, 2]), wanted);
    let parts = calls(flights);
    assert_eq!(parts.len(), 2);
    (whole, parts[0].1.token, parts[1].1.token)
}

fn gone() -> Reply {
    let Reply::Appended(at) = appended(ShardId(0)) else { unreachable!() };
    Reply::Appended(Appended { verdict: Verdict::Gone, ..at })
}

fn answer(event: Option<Event>) -> (Token, Result<(Verdict, Offset), Kind>) {
    match event {
        Some(Event::Reply { token, result: Ok(Reply::Appended(at)) }) => {
            (token, Ok((at.verdict, at.base_offset)))
        }
        Some(Event::Reply { token, result: Err(error) }) => (token, Err(error.kind)),
        other => panic!("no answer to an append: {other:?}"),
    }
}

#[test]
fn calls_of_one_shard_stay_in_order() {
    let mut flights = Flights::default();
    let tokens: Vec<Token> =
        [&[0][..], &[1], &[0], &[1]].iter().map(|to| flights.submit(append(to), true)).collect();
    let batches = flights.take_batches();
    let order: Vec<(u16, Vec<Token>)> = batches
        .iter()
        .map(|(shard, calls)| (shard.0, calls.iter().map(|call| call.token).collect()))
        .collect();
    assert_eq!(order, [(0, vec![tokens[0], tokens[2]]), (1, vec![tokens[1], tokens[3]])]);
    assert!(flights.take_batches().is_empty());
}

#[test]
fn a_split_append_is_answered_once_by_its_first_destination() {
    let mut flights = Flights::default();
    let (whole, first, second) = split(&mut flights, true);
    assert!(flights.land(reply(second, Ok(appended(ShardId(2))))).is_none());
    let event = flights.land(reply(first, Ok(appended(ShardId(0)))));
    assert_eq!(answer(event), (whole, Ok((Verdict::Appended, Offset(0)))));
    assert!(flights.answered());
    assert_eq!(flights.bytes(), 0);
}

#[test]
fn each_part_of_a_split_names_only_its_own_shard() {
    let mut flights = Flights::default();
    flights.submit(append(&[0, 0, 2]), true);
    let shards: Vec<(ShardId, usize, bool)> = calls(&mut flights)
        .into_iter()
        .map(|(shard, call)| match call.op {
            Op::Append(part) => {
                (shard, part.to.len(), part.to.iter().all(|log| log.shard == shard))
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(shards, [(ShardId(0), 2, true), (ShardId(2), 1, true)]);
}

#[test]
fn a_failed_part_fails_the_whole() {
    let mut flights = Flights::default();
    let (whole, first, second) = split(&mut flights, true);
    assert!(flights.land(reply(first, Ok(appended(ShardId(0))))).is_none());
    let event = flights.land(reply(second, Err(Error::new(Kind::Unavailable, "disk full"))));
    assert_eq!(answer(event), (whole, Err(Kind::Unavailable)));
}

#[test]
fn a_destination_that_is_gone_does_not_speak_for_the_others() {
    let mut flights = Flights::default();
    let (whole, first, second) = split(&mut flights, true);
    assert!(flights.land(reply(first, Ok(gone()))).is_none());
    let event = flights.land(reply(second, Ok(appended(ShardId(2)))));
    assert_eq!(answer(event), (whole, Ok((Verdict::Appended, Offset(20)))));
}

#[test]
fn bytes_count_until_the_reply_also_when_nobody_wants_it() {
    let mut flights = Flights::default();
    flights.submit(append(&[0]), false);
    flights.submit(append(&[0, 1]), false);
    assert!(flights.bytes() >= 300, "the payload waits in three inboxes");
    let calls = calls(&mut flights);
    assert!(calls.iter().all(|(_, call)| call.token != Token::NONE));
    for (shard, call) in calls {
        assert!(!flights.answered());
        assert!(flights.land(reply(call.token, Ok(appended(shard)))).is_none());
    }
    assert!(flights.answered());
    assert_eq!(flights.bytes(), 0);
}

#[test]
fn a_reply_nobody_waits_for_is_dropped() {
    let mut flights = Flights::default();
    let token = flights.submit(append(&[0]), true);
    assert!(flights.land(reply(token, Ok(Reply::Done))).is_some());
    assert!(flights.land(reply(token, Ok(Reply::Done))).is_none());
}

#[test]
fn a_call_without_a_reply_is_not_waited_for() {
    let mut flights = Flights::default();
    let read = Token(7);
    flights.submit(Op::Cancel { shard: ShardId(3), token: read }, false);
    assert!(flights.answered());
    assert_eq!(flights.bytes(), 0);
    let calls = calls(&mut flights);
    assert_eq!(calls.len(), 1);
    assert!(matches!(calls[0], (ShardId(3), Call { token: Token::NONE, op: Op::Cancel { .. } })));
}
