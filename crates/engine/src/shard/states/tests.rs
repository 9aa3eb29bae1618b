use super::{OVERHEAD, SessionStates};
use crate::api::{STATE_BYTES_MAX, STATES_BYTES_MAX, SessionSet};
use crate::shard::Cut;
use bytes::Bytes;
use types::SubscriptionId;

const QUEUE: SubscriptionId = SubscriptionId(7);
const OTHER: SubscriptionId = SubscriptionId(8);

fn key(number: usize) -> Bytes {
    Bytes::from(format!("key-{number:04}"))
}

fn filled() -> SessionStates {
    let mut states = SessionStates::new();
    for number in 0..1_000 {
        let state = Bytes::from(number.to_string());
        states.set(QUEUE, &key(number), Some(&state));
        states.set(OTHER, &key(number), Some(&state));
    }
    states
}

fn keys(states: &SessionStates, from: &str, count: usize) -> Vec<String> {
    let some = states.some(QUEUE, &Bytes::copy_from_slice(from.as_bytes()), count);
    some.keys().map(|key| String::from_utf8(key.to_vec()).unwrap()).collect()
}

#[test]
fn states_are_shown_in_the_order_of_their_keys() {
    let states = filled();
    assert_eq!(keys(&states, "", 3), ["key-0000", "key-0001", "key-0002"]);
    assert_eq!(keys(&states, "key-0500", 2), ["key-0500", "key-0501"]);
    assert_eq!(keys(&states, "key-0998x", 5), ["key-0999"]);
    assert_eq!(keys(&states, "", 2_000).len(), 1_000);
}

#[test]
fn version_is_never_used_again() {
    let mut states = SessionStates::new();
    let (key, state) = (key(1), Bytes::from_static(b"state"));
    assert_eq!(states.set(QUEUE, &key, Some(&state)), SessionSet::Done(1));
    assert_eq!(states.set(QUEUE, &key, None), SessionSet::Done(0));
    assert_eq!(states.set(QUEUE, &key, Some(&state)), SessionSet::Done(2));
    assert_eq!(states.set(OTHER, &key, Some(&state)), SessionSet::Done(3));
}

#[test]
fn states_of_a_queue_have_a_bound_and_go_with_it() {
    let mut states = SessionStates::new();
    let large = Bytes::from(vec![1; STATE_BYTES_MAX]);
    let each = STATE_BYTES_MAX + key(0).len() + OVERHEAD;
    let most = STATES_BYTES_MAX / each;
    for number in 0..most {
        assert!(matches!(states.set(QUEUE, &key(number), Some(&large)), SessionSet::Done(_)));
    }
    assert_eq!(states.set(QUEUE, &key(most), Some(&large)), SessionSet::Full);
    assert!(matches!(states.set(OTHER, &key(0), Some(&large)), SessionSet::Done(_)));
    assert!(matches!(states.set(QUEUE, &key(0), Some(&large)), SessionSet::Done(_)));
    assert_eq!(states.set(QUEUE, &key(0), None), SessionSet::Done(0));
    assert!(matches!(states.set(QUEUE, &key(most), Some(&large)), SessionSet::Done(_)));
    assert!(states.is_counted());
    states.drop_all_of(QUEUE);
    assert_eq!((states.bytes(), states.len()), (each, 1));
    assert!(states.is_counted());
}

#[test]
fn cut_has_what_changed_and_gives_it_back() {
    let mut states = filled();
    let cut = |states: &mut SessionStates, number, since| {
        states.begin_cut(Cut { number, since });
        let mut chunks = Vec::new();
        assert!(states.cut_on(&mut usize::MAX.clone(), |_, bytes| chunks.push(bytes)));
        chunks
    };
    let whole = cut(&mut states, 1, None);
    let mut again = SessionStates::new();
    whole.iter().for_each(|bytes| again.restore(bytes).unwrap());
    again.recount();
    assert_eq!(again.bytes(), states.bytes());
    assert_eq!(keys(&again, "", 2_000), keys(&states, "", 2_000));
    states.set(QUEUE, &key(5), Some(&Bytes::from_static(b"new")));
    assert_eq!(cut(&mut states, 2, Some(1)).len(), 1);
}
