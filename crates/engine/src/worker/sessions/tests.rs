use super::{NAMED_BYTES_MAX, OVERHEAD, SessionNames};
use crate::api::Delivery;
use crate::worker::queue::hash;
use bytes::Bytes;
use ledger::{ConsumerKey, ConsumerOptions, Dispatch, Ledger, Span};
use record::tail;
use types::{ClientId, ConsumerId, LogId, Millis, Offset};

const ME: ConsumerKey = ConsumerKey { client: ClientId(1), consumer: ConsumerId(1) };
const KEY_BYTES: usize = 1_000;

fn key(offset: i64) -> String {
    format!("{offset:01000}")
}

/// Hands out so many messages, each of a session of its own, and notes their keys.
fn deliver(dispatch: &mut Dispatch, names: &mut SessionNames, range: std::ops::Range<i64>) {
    let (ledger, end) = (Ledger::new(Offset(0)), Offset(range.end));
    for offset in range {
        dispatch.tell_keys(Offset(offset), [Some(hash(key(offset).as_bytes()))].into_iter());
        assert!(dispatch.next(&ledger, end, 1, |_| Some(1)).is_some());
        let mut bytes = Vec::new();
        tail::encode(&mut bytes, Some(key(offset).as_bytes()), None, std::iter::empty());
        let item = Delivery {
            log: LogId(1),
            offset: Offset(offset),
            attempts: 0,
            redelivered: false,
            timestamp: Millis(0),
            tail: Bytes::from(bytes),
        };
        names.note(dispatch, b"", &item);
    }
}

#[test]
fn keys_are_known_up_to_a_bound_and_those_of_sessions_that_are_over_make_room() {
    let ledger = Ledger::new(Offset(0));
    let mut dispatch = Dispatch::new(&ledger, None);
    dispatch.order_by_key(&ledger, u32::MAX);
    dispatch.keep_sessions();
    dispatch.add(ME, ConsumerOptions::default()).unwrap();
    let mut names = SessionNames::default();
    let most = NAMED_BYTES_MAX / (KEY_BYTES + OVERHEAD);
    deliver(&mut dispatch, &mut names, 0..1_200);
    assert_eq!(names.by_number.len(), most);
    dispatch.settled(ME, Span::new(Offset(0), Offset(1_200)), &mut Vec::new());
    // Nothing more comes: what was idle is free.
    assert!(dispatch.next(&ledger, Offset(1_200), 1, |_| Some(1)).is_none());
    deliver(&mut dispatch, &mut names, 1_200..3_000);
    assert_eq!(names.by_number.len(), most);
    let is_live = |number: &u64| dispatch.session(*number).is_some();
    assert!(names.by_number.keys().all(is_live));
    assert_eq!(names.bytes, most * (KEY_BYTES + OVERHEAD));
}
