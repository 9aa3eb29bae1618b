//! Rules about topics, their names, configurations and subscriptions.

use crate::change::{Action, ConfigChange, DeclareTopic};
use crate::outcome::{Deleted, LogChange, Outcome, Refusal, Thing};
use crate::world::{World, config, delete_queue, name, owner, text};
use crate::{DeclareQueue, PARTITIONS_MAX, TimestampType, visible_to_streams};
use types::{LogId, LogRef, Millis, ShardId, SubscriptionRef};

fn partitions(outcome: &Outcome) -> Vec<LogRef> {
    match outcome {
        Outcome::Topic { partitions, .. } | Outcome::Subscription { partitions, .. } => {
            partitions.to_vec()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_topic_lies_on_the_shard_with_the_fewest_logs() {
    let mut world = World::new();
    let mut shards = Vec::new();
    for (topic, count) in [("a", 3), ("b", 1), ("c", 1), ("d", 1), ("e", 1)] {
        let declare = world.topic(topic, count);
        let (outcome, work) = world.run(declare);
        let logs = partitions(&outcome.unwrap());
        let created: Vec<LogRef> = work
            .iter()
            .map(|change| match change {
                LogChange::CreateLog { log, .. } => *log,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(created, logs);
        assert!(logs.iter().all(|log| log.shard == logs[0].shard), "{logs:?}");
        shards.push(logs[0].shard.0);
    }
    assert_eq!(shards, [0, 1, 1, 1, 0]);
}

#[test]
fn declaring_a_topic_again_finds_it() {
    let mut world = World::new();
    let first = world.topic("t", 2);
    let again = world.topic("t", 5);
    let Outcome::Topic { id, partitions, created: true } = world.ok(first) else { panic!() };
    assert_eq!(world.ok(again), Outcome::Topic { id, partitions, created: false });
}

#[test]
fn numbers_are_never_given_out_twice() {
    let mut world = World::new();
    let first = world.declare_queue("q");
    world.ok(delete_queue("q", None));
    assert_eq!(world.declare_queue("q").log, LogId(first.log.0 + 1));
}

#[test]
fn illegal_topics_are_refused() {
    let mut world = World::new();
    world.declare_queue("queue");
    let taken = world.topic("with.dots", 1);
    world.ok(taken.clone());
    let long = "x".repeat(250);
    let illegal = |topic: &str| Refusal::IllegalName { what: Thing::Topic, name: name(topic) };
    let invalid =
        |why: &str| Refusal::Invalid { what: Thing::Topic, name: name("t"), why: why.to_owned() };
    let cases = [
        ("", 1, illegal("")),
        (".", 1, illegal(".")),
        ("..", 1, illegal("..")),
        ("a b", 1, illegal("a b")),
        ("ä", 1, illegal("ä")),
        (&long, 1, illegal(&long)),
        ("queue", 1, Refusal::KindClash { name: name("queue"), current: Thing::Queue }),
        ("with_dots", 1, Refusal::Collides { name: name("with_dots"), with: name("with.dots") }),
        ("t", 0, invalid("a topic has at least one partition")),
        (
            "t",
            PARTITIONS_MAX + 1,
            Refusal::TooMany { what: Thing::Topic, limit: u64::from(PARTITIONS_MAX) },
        ),
    ];
    for (topic, count, refusal) in cases {
        let declare = world.topic(topic, count);
        assert_eq!(world.refused(declare), refusal, "{topic} {count}");
    }
    let Action::DeclareTopic(taken) = taken else { panic!() };
    let again = Action::DeclareTopic(DeclareTopic { name: name("t"), ..taken });
    assert!(matches!(world.refused(again), Refusal::Invalid { why, .. } if why.contains("taken")));
}

#[test]
fn a_name_is_free_for_a_colliding_topic_once_the_first_is_gone() {
    let mut world = World::new();
    for topic in ["a.b", "a_b", "a.b"] {
        let declare = world.topic(topic, 1);
        world.ok(declare);
        world.ok(Action::DeleteTopic { name: name(topic) });
    }
    assert_eq!(world.names().streams("/").count(), 0);
}

#[test]
fn deleting_a_topic_drops_its_logs_and_subscriptions() {
    let mut world = World::new();
    let declare = world.topic("t", 2);
    let logs = partitions(&world.ok(declare));
    let subscription = subscribe(&mut world, "t", "one");
    let (outcome, work) = world.run(Action::DeleteTopic { name: name("t") });
    let queues = vec![(name("/"), name("t"))];
    assert_eq!(outcome, Ok(Outcome::Deleted(Deleted { queues, ..Deleted::default() })));
    let drops = [
        LogChange::DropSubscription(subscription),
        LogChange::DropLog(logs[0]),
        LogChange::DropLog(logs[1]),
    ];
    assert_eq!(work, drops);
    assert!(world.names().find("/", "t").is_none());
    assert!(world.names().find_by_subscription(subscription.subscription).is_none());
    let gone = Refusal::NotFound { what: Thing::Topic, name: name("t") };
    assert_eq!(world.refused(Action::DeleteTopic { name: name("t") }), gone);
}

#[test]
fn a_queue_is_not_changed_as_a_topic() {
    let mut world = World::new();
    world.declare_queue("q");
    let clash = Refusal::KindClash { name: name("q"), current: Thing::Queue };
    let actions = [
        Action::DeleteTopic { name: name("q") },
        Action::AddPartitions { name: name("q"), total: 2 },
        Action::AlterConfig { name: name("q"), change: ConfigChange::Replace(config(&[])) },
        Action::DeclareSubscription { topic: name("q"), name: name("s") },
    ];
    for action in actions {
        assert_eq!(world.refused(action), clash);
    }
}

#[test]
fn more_partitions_extend_the_subscriptions() {
    let mut world = World::new();
    let elsewhere = world.topic("other", 1);
    world.ok(elsewhere);
    let declare = world.topic("t", 1);
    world.ok(declare);
    let subscription = subscribe(&mut world, "t", "one");
    let (outcome, work) = world.run(Action::AddPartitions { name: name("t"), total: 3 });
    let logs = partitions(&outcome.unwrap());
    assert_eq!(logs.len(), 3);
    assert!(logs.iter().all(|log| log.shard == ShardId(1)), "{logs:?}");
    let extend = LogChange::ExtendSubscription { subscription, over: logs[1..].to_vec() };
    assert_eq!(work.len(), 3);
    assert_eq!(work[2], extend);
    for total in [0, 1, 3] {
        let fewer = Action::AddPartitions { name: name("t"), total };
        assert!(matches!(world.refused(fewer), Refusal::Invalid { .. }), "{total}");
    }
    let many = Action::AddPartitions { name: name("t"), total: PARTITIONS_MAX + 1 };
    assert!(matches!(world.refused(many), Refusal::TooMany { .. }));
}

#[test]
fn a_changed_configuration_reaches_every_log() {
    let mut world = World::new();
    let declare = world.topic("t", 2);
    world.ok(declare);
    let mut alter = |change| {
        let (outcome, work) = world.run(Action::AlterConfig { name: name("t"), change });
        assert_eq!(partitions(&outcome.unwrap()).len(), 2);
        work.iter()
            .map(|change| match change {
                LogChange::AlterLog { config, .. } => *config,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    let set = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
    let edited = alter(ConfigChange::Edit(vec![
        set("retention.ms", Some("60000")),
        set("retention.bytes", Some("1000")),
        set("max.message.bytes", Some("77")),
        set("message.timestamp.type", Some("LogAppendTime")),
    ]));
    assert_eq!(edited.len(), 2);
    assert_eq!(edited[0].retention_ms, Some(Millis(60_000)));
    assert_eq!(edited[0].retention_bytes, Some(1_000));
    assert_eq!(edited[0].message_bytes_max, Some(77));
    assert_eq!(edited[0].timestamp_type, TimestampType::Append);

    let deleted = alter(ConfigChange::Edit(vec![set("retention.bytes", None)]));
    assert_eq!(deleted[1].retention_bytes, None);
    assert_eq!(deleted[1].retention_ms, Some(Millis(60_000)));

    let replaced = alter(ConfigChange::Replace(config(&[("retention.ms", "-1")])));
    assert_eq!(replaced[0].retention_ms, None);
    assert_eq!(replaced[0].message_bytes_max, Some(crate::MESSAGE_BYTES_MAX_DEFAULT));

    assert_eq!(alter(ConfigChange::Replace(config(&[("retention.ms", "-1")]))), []);
    assert_eq!(
        world.names().stream("/", "t").unwrap().config.as_deref(),
        Some(&config(&[("retention.ms", "-1")]))
    );
}

#[test]
fn a_queue_declared_on_a_topic_joins_its_subscription() {
    let mut world = World::new();
    let declare = world.topic("t", 2);
    let logs = partitions(&world.ok(declare));
    let join = world.queue("t");
    let (outcome, work) = world.run(Action::DeclareQueue(join.clone()));
    let Ok(Outcome::Subscription { subscription, created: true, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        matches!(&work[..], [LogChange::CreateSubscription { over, options, .. }]
            if *over == logs && !options.primary),
        "{work:?}"
    );
    let transient = DeclareQueue { durable: false, auto_delete: true, ..join.clone() };
    for again in [join.clone(), transient] {
        let (outcome, work) = world.run(Action::DeclareQueue(again));
        assert!(
            matches!(outcome, Ok(Outcome::Subscription { subscription: same, created: false, .. })
                if same == subscription)
        );
        assert_eq!(work, []);
    }
    assert_eq!(world.names().find("/", "t").unwrap().subscription(), Some(subscription));
    let by_id = world.names();
    let (_, found) = by_id.find_by_subscription(subscription.subscription).unwrap();
    assert_eq!(&**found.name(), "t");

    let arguments = vec![("x-expires".to_owned(), text("1"))];
    let with_arguments = DeclareQueue { arguments, ..join.clone() };
    let clash = Refusal::KindClash { name: name("t"), current: Thing::Topic };
    assert_eq!(world.refused(Action::DeclareQueue(with_arguments)), clash);
    let exclusive = DeclareQueue { exclusive: Some(owner(1)), ..join };
    let refusal = Refusal::Exclusive { name: name("t") };
    assert_eq!(world.refused(Action::DeclareQueue(exclusive)), refusal);

    let (outcome, work) = world.run(delete_queue("t", None));
    assert_eq!(outcome, Ok(Outcome::Deleted(Deleted::default())));
    assert_eq!(work, [LogChange::DropSubscription(subscription)]);
    assert!(world.names().find("/", "t").is_some(), "the topic stays");
    let gone = Refusal::NotFound { what: Thing::Queue, name: name("t") };
    assert_eq!(world.refused(delete_queue("t", None)), gone);
}

#[test]
fn subscriptions_of_a_topic_are_told_apart_by_name() {
    let mut world = World::new();
    let declare = world.topic("t", 1);
    world.ok(declare);
    let one = subscribe(&mut world, "t", "one");
    let two = subscribe(&mut world, "t", "two");
    assert_ne!(one, two);
    assert_eq!(subscribe(&mut world, "t", "one"), one);
    let delete = Action::DeleteSubscription { topic: name("t"), name: name("one") };
    assert_eq!(world.run(delete.clone()).1, [LogChange::DropSubscription(one)]);
    let gone = Refusal::NotFound { what: Thing::Subscription, name: name("one") };
    assert_eq!(world.refused(delete), gone);
    let nowhere = Action::DeclareSubscription { topic: name("x"), name: name("s") };
    let gone = Refusal::NotFound { what: Thing::Topic, name: name("x") };
    assert_eq!(world.refused(nowhere), gone);
}

#[test]
fn stream_readers_see_topics_and_plain_durable_queues() {
    let mut world = World::new();
    world.ok(Action::DeclareNamespace);
    world.run_in("other", Action::DeclareNamespace).0.unwrap();
    let topic = world.topic("topic", 3);
    world.ok(topic);
    let log = world.declare_queue("queue");
    world.declare_queue("not legal");
    let transient = DeclareQueue { durable: false, ..world.queue("transient") };
    world.ok(Action::DeclareQueue(transient));
    let exclusive = DeclareQueue { exclusive: Some(owner(1)), ..world.queue("exclusive") };
    world.ok(Action::DeclareQueue(exclusive));
    let elsewhere = world.queue("elsewhere");
    world.run_in("other", Action::DeclareQueue(elsewhere)).0.unwrap();

    let names = world.names();
    let streams: Vec<_> = names.streams("/").collect();
    let seen: Vec<_> = streams.iter().map(|it| (&*it.name, it.partitions.len())).collect();
    assert_eq!(seen, [("queue", 1), ("topic", 3)]);
    assert_eq!(*streams[0].partitions, [log]);
    assert!(streams[0].config.is_none() && streams[1].config.is_some());
    assert_eq!(names.streams("other").count(), 0);
    for hidden in ["not legal", "transient", "exclusive", "missing"] {
        assert_eq!(names.stream("/", hidden), None, "{hidden}");
    }
    for stream in streams {
        assert_eq!(names.stream("/", &stream.name), Some(stream.clone()));
        assert_eq!(names.stream_by_id(stream.id), Some((&name("/"), stream)));
    }
    let Some(crate::Found::Queue(queue)) = names.find("/", "queue") else { panic!() };
    assert!(visible_to_streams("/", queue) && !visible_to_streams("other", queue));
}

fn subscribe(world: &mut World, topic: &str, subscription: &str) -> SubscriptionRef {
    let declare = Action::DeclareSubscription { topic: name(topic), name: name(subscription) };
    match world.ok(declare) {
        Outcome::Subscription { subscription, .. } => subscription,
        other => panic!("{other:?}"),
    }
}
