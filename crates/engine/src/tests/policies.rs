//! Policies change queues that are there, with what is in them.

use super::Stage;
use crate::api::{Op, Reply};
use catalog::{Action, AppliesTo, Overflow, Pattern, Policy, PolicySettings, QueueOptions, Unsaid};
use types::{Kind, LogRef, Millis, SubscriptionRef};

fn put(stage: &mut Stage, settings: PolicySettings) {
    let policy = Policy {
        name: "p".into(),
        pattern: Pattern::new("^q").expect("it is a pattern"),
        applies_to: AppliesTo::All,
        priority: 0,
        definition: Vec::new(),
        settings,
    };
    let action = Action::PutPolicy { operator: false, policy: Box::new(policy) };
    stage.change(action).expect("it is a policy");
}

fn queue(stage: &mut Stage) -> (LogRef, SubscriptionRef) {
    let unsaid = Unsaid { overflow: true, returns_max: true };
    stage.queue("q", QueueOptions { unsaid, ..QueueOptions::default() })
}

fn ready(stage: &mut Stage, subscription: SubscriptionRef) -> Option<u64> {
    match stage.call(Op::Count(subscription)) {
        Ok(Reply::Counts(counts)) => Some(counts.ready),
        _ => None,
    }
}

#[test]
fn a_limit_of_length_drops_what_is_too_much_at_once() {
    let mut stage = Stage::with_shards(2);
    let (log, subscription) = queue(&mut stage);
    stage.publish(&[log], &["1", "2", "3", "4"]).expect("it is appended");
    put(&mut stage, PolicySettings { max_len: Some(2), ..PolicySettings::default() });
    assert_eq!(ready(&mut stage, subscription), Some(2));
    stage.publish(&[log], &["5"]).expect("it is appended");
    assert_eq!(ready(&mut stage, subscription), Some(2));
    stage.crash();
    stage.publish(&[log], &["6"]).expect("it is appended");
    assert_eq!(ready(&mut stage, subscription), Some(2));
    put(&mut stage, PolicySettings::default());
    stage.publish(&[log], &["7", "8"]).expect("it is appended");
    assert_eq!(ready(&mut stage, subscription), Some(4));
}

#[test]
fn a_time_to_live_is_for_what_is_there_too() {
    let mut stage = Stage::new();
    let (log, subscription) = queue(&mut stage);
    stage.publish(&[log], &["1"]).expect("it is appended");
    let message_ttl = Some(Millis(10_000));
    put(&mut stage, PolicySettings { message_ttl, ..PolicySettings::default() });
    assert_eq!(ready(&mut stage, subscription), Some(1));
    stage.clock.pass(11_000_000);
    stage.run();
    assert_eq!(ready(&mut stage, subscription), Some(0));
}

#[test]
fn a_queue_may_refuse_from_now_on_and_take_again() {
    let mut stage = Stage::new();
    let (log, subscription) = queue(&mut stage);
    stage.publish(&[log], &["1", "2"]).expect("it is appended");
    let refuses = PolicySettings {
        max_len: Some(2),
        overflow: Some(Overflow::Refuse),
        ..PolicySettings::default()
    };
    put(&mut stage, refuses);
    assert_eq!(ready(&mut stage, subscription), Some(2));
    let refused = stage.publish(&[log], &["3"]).expect_err("it is full");
    assert_eq!(refused.kind, Kind::Full);
    put(&mut stage, PolicySettings::default());
    stage.publish(&[log], &["4"]).expect("it is appended");
    assert_eq!(ready(&mut stage, subscription), Some(3));
}

#[test]
fn a_queue_that_nobody_uses_may_be_made_to_go() {
    let mut stage = Stage::new();
    let (_, subscription) = queue(&mut stage);
    let expires = Some(Millis(5_000));
    put(&mut stage, PolicySettings { expires, ..PolicySettings::default() });
    assert_eq!(ready(&mut stage, subscription), Some(0));
    stage.clock.pass(6_000_000);
    stage.run();
    stage.run();
    assert_eq!(ready(&mut stage, subscription), None);
}
