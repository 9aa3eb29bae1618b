//! Keys beyond what the model has of them: their bound.

use crate::{Assignment, ConsumerKey, ConsumerOptions, Dispatch, Ledger, Span};
use types::{ClientId, ConsumerId, Offset};

const ME: ConsumerKey = ConsumerKey { client: ClientId(1), consumer: ConsumerId(1) };
/// The first is handed out, and as many as that may wait for it.
const PARKED: i64 = 100_000;

/// All but the last message have one key.
fn next(dispatch: &mut Dispatch, ledger: &Ledger, end: Offset) -> Option<Assignment> {
    loop {
        let given = dispatch.next(ledger, end, 64, |_| Some(1));
        if given.is_some() {
            return given;
        }
        let wanted = dispatch.take_wanted()?;
        let keys = (wanted.0..end.0).map(|at| Some(if at == end.0 - 1 { 2 } else { 1 }));
        dispatch.tell_keys(wanted, keys);
    }
}

#[test]
fn delivery_stops_where_too_many_wait_for_a_key_and_goes_on_when_one_goes() {
    let (mut ledger, end) = (Ledger::new(Offset(0)), Offset(PARKED + 3));
    let mut dispatch = Dispatch::new(&ledger, None);
    dispatch.order_by_key(&ledger, 1);
    dispatch.add(ME, ConsumerOptions::default()).unwrap();
    assert_eq!(next(&mut dispatch, &ledger, end).map(|it| it.span), Some(Span::one(Offset(0))));
    assert_eq!(next(&mut dispatch, &ledger, end), None);
    assert_eq!(dispatch.ready_count(end), PARKED as u64 + 2);
    let mut freed = Vec::new();
    dispatch.settled(ME, Span::one(Offset(0)), &mut freed);
    freed.iter().for_each(|span| {
        ledger.settle(*span);
    });
    for offset in [1, PARKED + 2] {
        let given = next(&mut dispatch, &ledger, end);
        assert_eq!(given.map(|it| it.span), Some(Span::one(Offset(offset))));
    }
    assert_eq!(next(&mut dispatch, &ledger, end), None);
    assert_eq!((dispatch.ready_count(end), dispatch.unacked_count()), (PARKED as u64, 2));
}
