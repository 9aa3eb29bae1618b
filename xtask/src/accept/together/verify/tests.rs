//! Small runs, each with one fault, which has to be found.

use super::super::records::{Did, Due, Kill, Plan, Records, Seen, Sent};
use super::{ON_ITS_WAY_US, verify};

const PLAN: Plan = Plan {
    messages: 3,
    per_second: 1,
    keys: 1,
    priorities: 2,
    delay_ms_max: 1,
    retry_ms: 10,
    retry_times: 2,
    delivery_limit: 1,
};

const SECOND: i64 = 1_000_000;

fn sent(number: u32, priority: u8) -> Sent {
    let sent = i64::from(number) * 100;
    Sent { number, key: 1, priority, sent, confirmed: Some(sent + 50), due: None }
}

fn seen(number: u32, at: i64, did: Did) -> Seen {
    let ended = at + 1_000;
    Seen { number, life: 0, at, ended, did, failures: 0, redelivered: false }
}

/// Three messages of a key, of which the first fails once and the last is refused.
fn fine() -> Records {
    let again = Seen { failures: 1, redelivered: true, ..seen(1, 2 * SECOND, Did::Acked) };
    Records {
        plan: PLAN,
        sent: vec![vec![sent(1, 0), sent(2, 0), sent(3, 0)]],
        seen: vec![
            seen(1, SECOND, Did::Failed),
            again,
            seen(2, 3 * SECOND, Did::Acked),
            seen(3, 4 * SECOND, Did::Refused),
        ],
        dead: [(3, vec![true])].into(),
        kills: Vec::new(),
        dropped: 0,
        blind: Vec::new(),
        left: 0,
    }
}

fn assert_found(records: &Records, text: &str) {
    let faults = verify(records).faults;
    assert!(faults.iter().any(|fault| fault.contains(text)), "no {text:?} in {faults:?}");
}

#[test]
fn run_without_a_fault_has_none() {
    assert_eq!(verify(&fine()).faults, Vec::<String>::new());
}

#[test]
fn lost_message_is_found() {
    let mut records = fine();
    records.seen.retain(|seen| seen.number != 2);
    assert_found(&records, "2 was confirmed and is lost");
}

#[test]
fn unconfirmed_message_may_be_lost() {
    let mut records = fine();
    records.seen.retain(|seen| seen.number != 2);
    records.sent[0][1].confirmed = None;
    assert_eq!(verify(&records).faults, Vec::<String>::new());
}

#[test]
fn message_that_was_left_is_found() {
    assert_found(&Records { left: 1, ..fine() }, "1 messages were left");
}

#[test]
fn duplicate_is_found_unless_it_was_on_its_way_at_a_kill() {
    let mut records = fine();
    let (acked, at) = (records.seen[2], 5 * SECOND);
    records.seen.push(Seen { life: 1, failures: 1, ..seen(2, at, Did::Acked) });
    records.kills.push(Kill { at: acked.ended + ON_ITS_WAY_US + 1, back: at });
    assert_found(&records, "2 came again after it was settled");
    records.kills[0].at = acked.ended + 1;
    // The last one was settled in the life after.
    records.seen[3].life = 1;
    records.seen[3].at = 6 * SECOND;
    assert_eq!(verify(&records).faults, Vec::<String>::new());
    records.seen.last_mut().expect("it").life = 0;
    assert_found(&records, "in the same life");
}

#[test]
fn dead_letter_twice_is_found() {
    let mut records = fine();
    records.dead.insert(3, vec![true, true]);
    assert_found(&records, "3 is 2 times among the dead letters");
}

#[test]
fn dead_letter_without_a_reason_is_found() {
    let mut records = fine();
    records.dead.insert(3, vec![false]);
    assert_found(&records, "3 was given up after 0 failures");
    records.dead.insert(2, vec![true]);
    assert_found(&records, "2 is a dead letter as refused, and nobody did that");
}

#[test]
fn delivery_beyond_the_limit_is_found() {
    let mut records = fine();
    records.seen[1].did = Did::Failed;
    records.seen.push(Seen { failures: 2, ..seen(1, 5 * SECOND, Did::Acked) });
    assert_found(&records, "1 was delivered after 2 failures");
}

#[test]
fn failure_that_is_not_counted_is_found() {
    let mut records = fine();
    records.seen[1].failures = 0;
    assert_found(&records, "1 says 0 failures");
    records.seen[1].failures = 2;
    assert_found(&records, "1 says 2 failures");
    records.blind.push(SECOND + 2_000);
    assert_eq!(verify(&records).faults, Vec::<String>::new());
}

#[test]
fn early_message_is_found() {
    let mut records = fine();
    records.sent[0][2].due = Some(Due { first: 5 * SECOND, last: 5 * SECOND });
    assert_found(&records, "3 came 1000.0 ms early");
}

#[test]
fn early_retry_is_found() {
    let mut records = fine();
    records.seen[1].at = records.seen[0].ended + 5_000;
    assert_found(&records, "1 came 5.0 ms before its retry was due");
}

#[test]
fn two_of_a_key_at_once_are_found() {
    let mut records = fine();
    records.seen[2].ended = records.seen[3].at + 1;
    assert_found(&records, "2 and 3 of a key were out at once");
}

#[test]
fn overtaken_messages_are_found() {
    let mut records = fine();
    (records.seen[2].number, records.seen[3].number) = (3, 2);
    assert_found(&records, "3 overtook 2");
    let mut records = fine();
    (records.seen[1].at, records.seen[2].at) = (3 * SECOND, 2 * SECOND);
    assert_found(&records, "2 overtook 1, which came back");
}

#[test]
fn higher_priority_waits_for_the_retry_and_goes_first_then() {
    let mut records = fine();
    // The second has a higher priority and comes when the retry of the first is due.
    records.sent[0][1] = Sent { sent: SECOND + 500, confirmed: Some(SECOND + 600), ..sent(2, 1) };
    (records.seen[1].at, records.seen[1].ended) = (3 * SECOND, 3 * SECOND + 1);
    (records.seen[2].at, records.seen[2].ended) = (2 * SECOND, 2 * SECOND + 1);
    assert_eq!(verify(&records).faults, Vec::<String>::new());
    records.seen[2].at = records.seen[0].ended + 1_000;
    assert_found(&records, "2 overtook 1, which waited");
}

#[test]
fn lower_priority_that_goes_first_is_found() {
    let mut records = fine();
    records.sent[0][2].priority = 1;
    assert_found(&records, "2 overtook 3, which has a higher priority");
}

#[test]
fn message_that_came_again_after_its_successor_is_found() {
    let mut records = fine();
    let at = 5 * SECOND;
    records.kills.push(Kill { at: records.seen[3].ended + 1, back: at });
    records.dead.clear();
    records.seen.push(Seen { life: 1, ..seen(3, at, Did::Acked) });
    records.seen.push(Seen { life: 1, failures: 1, ..seen(2, 2 * at, Did::Acked) });
    assert_found(&records, "3 overtook 2, which came again");
}

#[test]
fn order_of_due_times_is_the_order_of_what_was_delayed() {
    let mut records = fine();
    for (at, due) in [(1, 3_000), (2, 2_000)] {
        records.sent[0][at].due = Some(Due { first: due, last: due });
    }
    assert_found(&records, "2 overtook 3");
}
