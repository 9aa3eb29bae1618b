//! Changes of names that concern two shards, cut off between them.

use super::Stage;
use crate::Part;
use crate::api::{Call, Extent, Op, Reply};
use catalog::{
    Action, Change, Config, ConfigChange, DeclareQueue, DeclareTopic, DeleteQueue, Found,
    QUEUE_SUBSCRIPTION, QueueOptions,
};
use types::{LogRef, ShardId, Token};

/// Has the catalog's frame written and synced, and ends the process before another shard's.
fn cut_off(stage: &mut Stage, action: Action) {
    let change = Box::new(Change::new("/", action));
    let op = Op::Change { shard: ShardId(0), change };
    stage.client.submit(ShardId(0), vec![Call { token: Token(u64::MAX), op }]);
    for part in [Part::Worker(0), Part::Journal, Part::Worker(0)] {
        stage.engine.step(part).expect("the disk works");
    }
    stage.crash();
}

fn declare_queue(stage: &Stage, name: &str) -> Action {
    Action::DeclareQueue(DeclareQueue {
        name: name.into(),
        id: stage.engine.handle().new_topic_id(),
        durable: true,
        exclusive: None,
        auto_delete: false,
        server_named: false,
        arguments: Default::default(),
        options: QueueOptions::default(),
    })
}

fn declare_topic(stage: &Stage, name: &str) -> Action {
    let id = stage.engine.handle().new_topic_id();
    let config = Config::default();
    Action::DeclareTopic(DeclareTopic { name: name.into(), id, partitions: 2, config })
}

fn found(stage: &Stage, name: &str) -> Option<Found> {
    stage.engine.handle().names().find("/", name).cloned()
}

fn extent(stage: &mut Stage, log: LogRef) -> Option<Extent> {
    match stage.call(Op::Extent(vec![log])) {
        Ok(Reply::Extents(mut extents)) => extents.remove(0),
        other => panic!("not extents: {other:?}"),
    }
}

/// A broker with two shards, whose next log goes to shard 1.
fn stage() -> Stage {
    let mut stage = Stage::with_shards(2);
    stage.queue("first", QueueOptions::default());
    stage
}

#[test]
fn a_declare_cut_off_between_two_shards_is_finished_at_the_next_start() {
    let mut stage = stage();
    let declare = declare_queue(&stage, "q");
    cut_off(&mut stage, declare);
    let Some(Found::Queue(queue)) = found(&stage, "q") else {
        panic!("the catalog's frame is gone")
    };
    assert_eq!(queue.log.shard, ShardId(1));
    stage.publish(&[queue.log], &["a"]).expect("the log is there");
    let Ok(Reply::Counts(counts)) = stage.call(Op::Count(queue.subscription)) else {
        panic!("the subscription is missing")
    };
    assert_eq!(counts.ready, 1);
    stage.crash();
    assert_eq!(extent(&mut stage, queue.log).map(|extent| extent.end.0), Some(1));
}

#[test]
fn a_delete_cut_off_between_two_shards_leaves_no_log_behind() {
    let mut stage = stage();
    let (log, subscription) = stage.queue("q", QueueOptions::default());
    stage.publish(&[log], &["a"]).expect("published");
    let delete = DeleteQueue { name: "q".into(), by: None, only: None };
    cut_off(&mut stage, Action::DeleteQueue(delete));
    assert_eq!(found(&stage, "q"), None);
    assert_eq!(extent(&mut stage, log), None);
    assert!(stage.call(Op::Count(subscription)).is_err());
}

#[test]
fn more_partitions_cut_off_between_two_shards_are_there_and_subscribed_to() {
    let mut stage = stage();
    let declare = declare_topic(&stage, "t");
    stage.change(declare).expect("declared");
    let join = declare_queue(&stage, "t");
    stage.change(join).expect("declared");
    cut_off(&mut stage, Action::AddPartitions { name: "t".into(), total: 3 });
    let Some(Found::Topic(topic)) = found(&stage, "t") else { panic!("the topic is gone") };
    assert_eq!((topic.partitions.len(), topic.partitions[2].shard), (3, ShardId(1)));
    stage.publish(&[topic.partitions[2]], &["a"]).expect("the log is there");
    let subscription = topic.subscriptions[QUEUE_SUBSCRIPTION];
    let Ok(Reply::Counts(counts)) = stage.call(Op::Count(subscription)) else {
        panic!("the subscription is missing")
    };
    assert_eq!(counts.ready, 1);
}

#[test]
fn a_retention_cut_off_between_two_shards_takes_effect() {
    let mut stage = stage();
    let declare = declare_topic(&stage, "t");
    stage.change(declare).expect("declared");
    let Some(Found::Topic(topic)) = found(&stage, "t") else { panic!("the topic is gone") };
    let log = topic.partitions[0];
    stage.publish(&[log], &["a"]).expect("published");
    let config = Config([("retention.ms".to_owned(), "1000".to_owned())].into());
    let change = ConfigChange::Replace(config);
    cut_off(&mut stage, Action::AlterConfig { name: "t".into(), change });
    stage.clock.pass(400_000_000);
    stage.run();
    assert_eq!(extent(&mut stage, log).map(|extent| extent.start.0), Some(1));
}

#[test]
fn a_start_with_nothing_left_over_writes_nothing_about_names() {
    let mut stage = stage();
    let (log, _) = stage.queue("q", QueueOptions::default());
    stage.crash();
    let before = stage.engine.handle().metrics().frames.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(before, 0);
    assert!(extent(&mut stage, log).is_some());
}
