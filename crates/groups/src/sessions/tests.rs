//! Sessions by themselves; with groups they are in the scripts of `group::tests`.

use super::{Due, Sessions};
use crate::{Command, Effect};
use types::Millis;

fn started(member: &str, timeout: i64) -> Effect {
    Effect::SessionStarted { member: member.to_owned(), timeout: Millis(timeout) }
}

fn expire(group: &str, member: &str) -> Due {
    let command = Command::Expire { member: member.to_owned() };
    Due { group: group.to_owned(), command }
}

#[test]
fn a_heartbeat_moves_the_due_time() {
    let mut sessions = Sessions::default();
    sessions.apply("g", &started("a", 10), Millis(0));
    sessions.apply("g", &started("b", 10), Millis(0));
    sessions.heartbeat("g", "a", Millis(7));
    sessions.heartbeat("g", "nobody", Millis(7));
    sessions.heartbeat("h", "a", Millis(7));
    assert_eq!(sessions.due(Millis(9)), []);
    assert_eq!(sessions.due(Millis(10)), [expire("g", "b")]);
    assert_eq!(sessions.next_due(), Some(Millis(17)));
    assert_eq!(sessions.due(Millis(16)), []);
    assert_eq!(sessions.due(Millis(17)), [expire("g", "a")]);
    assert_eq!(sessions.next_due(), None);
}

#[test]
fn a_session_that_starts_anew_counts_from_then_with_its_new_timeout() {
    let mut sessions = Sessions::default();
    sessions.apply("g", &started("a", 1000), Millis(0));
    sessions.apply("g", &started("a", 10), Millis(5));
    assert_eq!(sessions.due(Millis(15)), [expire("g", "a")]);
    sessions.apply("g", &started("a", 50), Millis(20));
    sessions.apply("g", &started("a", 2000), Millis(30));
    assert_eq!(sessions.due(Millis(1500)), []);
    assert_eq!(sessions.due(Millis(2030)), [expire("g", "a")]);
}

#[test]
fn an_ended_session_is_not_due() {
    let mut sessions = Sessions::default();
    sessions.apply("g", &started("a", 10), Millis(0));
    sessions.apply("g", &Effect::SessionEnded { member: "a".to_owned() }, Millis(1));
    assert_eq!(sessions.due(Millis(100)), []);
    assert!(sessions.groups.is_empty());
}

#[test]
fn a_deadline_that_was_moved_or_lifted_is_not_due() {
    let mut sessions = Sessions::default();
    let due = Due { group: "g".to_owned(), command: Command::RebalanceTimeout };
    sessions.apply("g", &Effect::Deadline(Some(Millis(10))), Millis(0));
    sessions.apply("g", &Effect::Deadline(Some(Millis(20))), Millis(0));
    assert_eq!(sessions.due(Millis(19)), []);
    assert_eq!(sessions.due(Millis(20)), [due]);
    assert_eq!(sessions.due(Millis(20)), []);
    sessions.apply("g", &Effect::Deadline(Some(Millis(30))), Millis(20));
    sessions.apply("g", &Effect::Deadline(None), Millis(20));
    assert_eq!(sessions.due(Millis(40)), []);
    assert!(sessions.groups.is_empty());
}

#[test]
fn the_queue_holds_one_entry_for_a_member_however_often_its_timeout_changes() {
    let mut sessions = Sessions::default();
    for round in 0..50 {
        let now = Millis(round * 7);
        sessions.apply("g", &started("a", 1000 - round * 19), now);
        sessions.heartbeat("g", "a", now);
    }
    for now in 350..3000 {
        sessions.heartbeat("g", "a", Millis(now));
        assert_eq!(sessions.due(Millis(now)), []);
    }
    assert_eq!(sessions.queue.len(), 1);
}
