//! Rules about queues.

use crate::change::{Action, DeclareQueue, DeleteQueue};
use crate::entry::{Keep, Overflow, QueueKind, QueueOptions, Serving, Unsaid};
use crate::outcome::{Deleted, LogChange, Outcome, Refusal, Setting, Thing};
use crate::value::Value;
use crate::world::{World, arguments, delete_queue, name, owner, text};
use types::{Millis, SubscriptionId};

#[test]
fn a_queue_is_a_log_and_its_own_subscription() {
    let mut world = World::new();
    let options = QueueOptions {
        message_ttl: Some(Millis(5)),
        expires: Some(Millis(6)),
        max_len: Some(7),
        overflow: Overflow::DropOldest,
        max_bytes: Some(8),
        serving: Serving {
            single_active: true,
            priority_max: 9,
            oldest_every: Some(10),
            order_key: Some("customer".into()),
            ..Serving::default()
        },
        returns_max: None,
        dead_letter: None,
        dedup: None,
        keep: Keep { age: Some(Millis(11)), bytes: Some(12), key_index: false }.or_nothing(),
        kind: QueueKind::Quorum,
        unsaid: Unsaid::default(),
    };
    let declare = DeclareQueue { options: options.clone(), ..world.queue("q") };
    let (outcome, work) = world.run(Action::DeclareQueue(declare.clone()));
    let Ok(Outcome::Queue { id, log, subscription, created: true }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(id, declare.id);
    let [LogChange::CreateLog { log: created, config }, subscribed] = &work[..] else {
        panic!("{work:?}")
    };
    assert_eq!(*created, log);
    assert!(config.trim_settled);
    assert_eq!((config.retention_ms, config.retention_bytes), (Some(Millis(11)), Some(12)));
    let LogChange::CreateSubscription { subscription: made, over, options: given } = subscribed
    else {
        panic!("{work:?}")
    };
    assert_eq!((*made, &over[..]), (subscription, &[log][..]));
    assert_eq!((given.primary, &*given.queue), (true, &options));
    assert_eq!(work[0].shard(), work[1].shard());

    let (outcome, work) = world.run(delete_queue("q", None));
    let queues = vec![(name("/"), name("q"))];
    assert_eq!(outcome, Ok(Outcome::Deleted(Deleted { queues, ..Deleted::default() })));
    assert_eq!(work, [LogChange::DropSubscription(subscription), LogChange::DropLog(log)]);
}

#[test]
fn settling_takes_nothing_from_a_stream_queue() {
    let mut world = World::new();
    let options = QueueOptions {
        max_bytes: Some(1_000),
        message_ttl: Some(Millis(1)),
        kind: QueueKind::Stream,
        ..QueueOptions::default()
    };
    let declare = DeclareQueue { options, ..world.queue("q") };
    let (_, work) = world.run(Action::DeclareQueue(declare));
    let [LogChange::CreateLog { config, .. }, LogChange::CreateSubscription { options, .. }] =
        &work[..]
    else {
        panic!("{work:?}")
    };
    assert!(!config.trim_settled && !options.primary);
    assert_eq!(config.retention_bytes, Some(1_000));
    let QueueOptions { max_bytes, message_ttl, .. } = *options.queue;
    assert_eq!((max_bytes, message_ttl), (None, None));
}

#[test]
fn declaring_a_queue_again_compares_it() {
    let mut world = World::new();
    let stored = arguments(&[("x-expires", Value::I32(60_000)), ("x-note", text("n"))]);
    let first = DeclareQueue { arguments: stored.clone(), ..world.queue("q") };
    let Outcome::Queue { id, log, subscription, .. } =
        world.ok(Action::DeclareQueue(first.clone()))
    else {
        panic!()
    };
    let found = Outcome::Queue { id, log, subscription, created: false };
    let wider = arguments(&[("x-note", text("n")), ("x-expires", Value::I64(60_000))]);
    let classic = [&stored[..], &arguments(&[("x-queue-type", text("classic"))])].concat();
    for same in [stored.clone(), wider, classic] {
        let again = DeclareQueue { arguments: same, ..first.clone() };
        assert_eq!(world.ok(Action::DeclareQueue(again)), found);
    }

    let quorum = QueueOptions { kind: QueueKind::Quorum, ..QueueOptions::default() };
    let with = |extra: &[(&str, Value)]| [&stored[..], &arguments(extra)].concat();
    let value = |value: &Value| Setting::Argument(value.clone());
    let cases = [
        (
            DeclareQueue { auto_delete: true, ..first.clone() },
            ("auto_delete", Setting::Flag(true), Setting::Flag(false)),
        ),
        (
            DeclareQueue { durable: false, auto_delete: true, ..first.clone() },
            ("durable", Setting::Flag(false), Setting::Flag(true)),
        ),
        (
            DeclareQueue {
                arguments: arguments(&[("x-note", text("n")), ("x-expires", Value::I32(1))]),
                ..first.clone()
            },
            ("x-expires", value(&Value::I32(1)), value(&Value::I32(60_000))),
        ),
        (
            DeclareQueue {
                arguments: arguments(&[("x-expires", Value::I32(60_000))]),
                ..first.clone()
            },
            ("x-note", Setting::Absent, value(&text("n"))),
        ),
        (
            DeclareQueue { arguments: with(&[("x-max", Value::U8(1))]), ..first.clone() },
            ("x-max", value(&Value::U8(1)), Setting::Absent),
        ),
        (
            DeclareQueue {
                arguments: with(&[("x-queue-type", text("quorum"))]),
                options: quorum,
                ..first
            },
            ("x-queue-type", value(&text("quorum")), Setting::Absent),
        ),
    ];
    for (declare, (field, declared, current)) in cases {
        let refusal = Refusal::Mismatch {
            what: Thing::Queue,
            name: name("q"),
            field: field.to_owned(),
            declared,
            current,
        };
        assert_eq!(world.refused(Action::DeclareQueue(declare)), refusal);
    }
}

#[test]
fn an_exclusive_queue_is_its_connections_alone() {
    let mut world = World::new();
    let mine = world.exclusive("mine", 1);
    world.ok(Action::DeclareQueue(mine.clone()));
    world.ok(Action::DeclareQueue(mine.clone()));
    let refusal = Refusal::Exclusive { name: name("mine") };
    for exclusive in [None, Some(owner(2))] {
        let other = DeclareQueue { exclusive, ..mine.clone() };
        assert_eq!(world.refused(Action::DeclareQueue(other)), refusal);
        assert_eq!(world.refused(delete_queue("mine", exclusive)), refusal);
    }
    world.ok(delete_queue("mine", Some(owner(1))));

    let open = world.queue("open");
    world.ok(Action::DeclareQueue(open.clone()));
    let mine = DeclareQueue { exclusive: Some(owner(1)), ..open };
    assert_eq!(
        world.refused(Action::DeclareQueue(mine)),
        Refusal::Exclusive { name: name("open") }
    );
}

#[test]
fn an_expiry_does_not_hit_the_next_queue_of_the_name() {
    let mut world = World::new();
    let subscription = |world: &mut World| {
        let declare = world.exclusive("q", 1);
        match world.ok(Action::DeclareQueue(declare)) {
            Outcome::Queue { subscription, .. } => subscription.subscription,
            other => panic!("{other:?}"),
        }
    };
    let expire = |only: SubscriptionId| {
        Action::DeleteQueue(DeleteQueue { name: name("q"), by: None, only: Some(only) })
    };
    let first = subscription(&mut world);
    world.ok(expire(first));
    let second = subscription(&mut world);
    let gone = Refusal::NotFound { what: Thing::Queue, name: name("q") };
    assert_eq!(world.refused(expire(first)), gone);
    world.ok(expire(second));
}

#[test]
fn names_of_queues_are_checked_when_they_are_created() {
    let mut world = World::new();
    let long = "ä".repeat(257);
    let what = Thing::Queue;
    let cases = [
        ("", Refusal::IllegalName { what, name: name("") }),
        (&long, Refusal::IllegalName { what, name: name(&long) }),
        ("amq.x", Refusal::Reserved { what, name: name("amq.x") }),
    ];
    for (queue, refusal) in cases {
        let declare = world.queue(queue);
        assert_eq!(world.refused(Action::DeclareQueue(declare)), refusal);
    }
    let first = world.queue("first");
    world.ok(Action::DeclareQueue(first.clone()));
    let same_id = DeclareQueue { name: name("second"), ..first };
    assert!(
        matches!(world.refused(Action::DeclareQueue(same_id)), Refusal::Invalid { why, .. } if why.contains("taken"))
    );

    let named = DeclareQueue { server_named: true, ..world.queue("amq.gen-1") };
    world.ok(Action::DeclareQueue(named.clone()));
    let again = DeclareQueue { server_named: false, ..named };
    world.ok(Action::DeclareQueue(again));
    world.declare_queue(&"ä".repeat(256));
}

#[test]
fn a_missing_namespace_refuses_everything() {
    let mut world = World::new();
    let refusal = Refusal::NotFound { what: Thing::Namespace, name: name("nowhere") };
    let queue = world.queue("q");
    let exclusive = world.exclusive("q", 1);
    let topic = world.topic("t", 1);
    let actions = [
        Action::DeclareQueue(queue),
        Action::DeclareQueue(exclusive),
        topic,
        delete_queue("q", None),
    ];
    for action in actions {
        assert_eq!(world.run_in("nowhere", action).0, Err(refusal.clone()));
    }
}
