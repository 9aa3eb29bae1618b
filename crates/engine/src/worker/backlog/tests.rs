use super::Backlog;
use crate::api::{Append, Call, Op, Payload};
use bytes::Bytes;
use types::{ClientId, Token};

fn append(number: u64, bytes: usize) -> Call {
    let payload = Payload::Batch(Bytes::from(vec![0; bytes]));
    let op = Op::Append(Append { to: [].into(), payload, waits: true });
    Call { token: Token(number), op }
}

/// Whose turn it is, and with which call.
fn next(backlog: &mut Backlog) -> Option<(u64, u64)> {
    backlog.next().map(|(client, call)| (client.0, call.token.0))
}

#[test]
fn connections_take_turns_by_bytes() {
    let mut backlog = Backlog::default();
    backlog.add(ClientId(1), (1..=40).map(|number| append(number, 30 << 10)));
    backlog.add(ClientId(2), (1..=4).map(|number| append(number, 60 << 10)));
    backlog.add(ClientId(3), (1..=2).map(|number| append(number, 100)));
    let order: Vec<(u64, u64)> = std::iter::from_fn(|| next(&mut backlog)).collect();
    let place = |wanted| order.iter().position(|it| *it == wanted).expect("it had its turn");
    assert_eq!(order.len(), 46);
    assert!(place((3, 2)) <= 5, "a light one waits for one turn of each other: {order:?}");
    let before = order[..place((2, 4))].iter().filter(|(client, _)| *client == 1).count();
    assert!((6..=10).contains(&before), "as many bytes of the one as of the other: {before}");
    for client in 1..=3 {
        let own: Vec<u64> = order.iter().filter(|it| it.0 == client).map(|it| it.1).collect();
        assert!(own.is_sorted(), "{own:?}");
    }
}

#[test]
fn what_is_larger_than_a_turn_saves_up_for_it() {
    let mut backlog = Backlog::default();
    backlog.add(ClientId(1), std::iter::once(append(1, 1 << 20)));
    backlog.add(ClientId(2), (1..=100).map(|number| append(number, 60 << 10)));
    let order: Vec<(u64, u64)> = std::iter::from_fn(|| next(&mut backlog)).collect();
    let place = order.iter().position(|it| it.0 == 1).expect("it had its turn");
    assert!((14..=20).contains(&place), "{place}");
}

#[test]
fn who_goes_takes_what_waits_along() {
    let mut backlog = Backlog::default();
    backlog.add(ClientId(1), (1..=3).map(|number| append(number, 50 << 10)));
    backlog.add(ClientId(2), std::iter::once(append(4, 100)));
    let taken: Vec<u64> = backlog.remove(ClientId(1)).iter().map(|call| call.token.0).collect();
    assert_eq!(taken, [1, 2, 3]);
    assert!(!backlog.holds(ClientId(1)) && backlog.remove(ClientId(1)).is_empty());
    assert_eq!((next(&mut backlog), next(&mut backlog)), (Some((2, 4)), None));
}
