use super::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn death(queue: &str, reason: Reason) -> Death {
    Death {
        place: Place { reason, queue: queue.into(), exchange: "ex".into() },
        count: 1,
        time: Millis(5),
        keys: vec!["key".into()],
        expiration: None,
    }
}

fn grown(deaths: &[(&str, Reason)]) -> History {
    let add = |before, (queue, reason): &(&str, Reason)| {
        Some(History::with(before, death(queue, *reason)))
    };
    deaths.iter().fold(None, add).expect("some deaths")
}

#[test]
fn deaths_are_counted_by_queue_and_reason_the_newest_first() {
    use Reason::{Expired, Rejected};
    let history = grown(&[("a", Rejected), ("b", Expired), ("a", Expired), ("a", Rejected)]);
    let list: Vec<_> = history
        .deaths
        .iter()
        .map(|death| (death.place.queue.as_str(), death.place.reason, death.count))
        .collect();
    assert_eq!(list, [("a", Rejected, 2), ("a", Expired, 1), ("b", Expired, 1)]);
    assert_eq!((history.first.queue.as_str(), history.first.reason), ("a", Rejected));
}

#[test]
fn a_circle_goes_back_to_the_last_refusal() {
    use Reason::{Expired, Length, Rejected};
    let history = grown(&[("a", Expired), ("b", Rejected), ("c", Length), ("d", Expired)]);
    assert_eq!(history.circle().collect::<Vec<_>>(), ["d", "c"]);
}

#[test]
fn a_history_keeps_so_many_deaths_and_which_was_the_first() {
    let mut history = None;
    for number in 0..DEATHS_MAX + 3 {
        history = Some(History::with(history, death(&number.to_string(), Reason::Expired)));
    }
    let history = history.expect("deaths");
    assert_eq!(history.deaths.len(), DEATHS_MAX);
    assert_eq!(history.first.queue, "0");
    assert_eq!(history.deaths[0].place.queue, (DEATHS_MAX + 2).to_string());
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        deaths in vec((".{0,5}", 0..4u8, any::<u64>(), any::<i64>(), vec(".{0,5}", 0..3),
            option::of(".{0,5}")), 1..5),
    ) {
        let deaths: Vec<Death> = deaths.into_iter().map(|(queue, code, count, time, keys, ttl)| {
            let all = [Reason::Rejected, Reason::Expired, Reason::Length, Reason::Deliveries];
            let reason = all[usize::from(code)];
            prop_assert_eq!(reason.code(), code);
            let place = Place { reason, queue, exchange: "ex".into() };
            Ok(Death { place, count, time: Millis(time), keys, expiration: ttl })
        }).collect::<Result<_, _>>()?;
        let first = deaths[0].place.clone();
        let history = History { first, last_exchange: "last".into(), deaths };
        let bytes = history.encode();
        prop_assert_eq!(History::decode(&bytes), Ok(history));
        for cut in 0..bytes.len() {
            let _ = History::decode(&bytes[..cut]);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..80)) {
        let _ = History::decode(&bytes);
        Copies::of(&bytes).for_each(drop);
    }
}
