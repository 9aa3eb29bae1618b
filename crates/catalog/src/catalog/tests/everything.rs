//! What the data shards hold for the names there are.

use crate::change::{Action, ConfigChange, DeclareQueue, DeclareTopic};
use crate::entry::{QueueKind, QueueOptions};
use crate::outcome::LogChange;
use crate::world::{World, config, delete_queue, name};

/// What is created, extensions and alterations folded in, in no order.
fn sorted(work: Vec<LogChange>) -> Vec<String> {
    let mut work: Vec<String> = work.iter().map(|change| format!("{change:?}")).collect();
    work.sort();
    work
}

#[test]
fn everything_is_what_the_declarations_asked_of_the_shards() {
    let mut world = World::new();
    let mut asked = Vec::new();
    let options = QueueOptions { max_len: Some(7), kind: QueueKind::Quorum, ..Default::default() };
    let queue = DeclareQueue { options, ..world.queue("q") };
    asked.extend(world.run(Action::DeclareQueue(queue)).1);
    let options =
        QueueOptions { max_bytes: Some(9), kind: QueueKind::Stream, ..Default::default() };
    let stream = DeclareQueue { options, ..world.queue("s") };
    asked.extend(world.run(Action::DeclareQueue(stream)).1);
    let values = config(&[("retention.ms", "5000")]);
    let topic = DeclareTopic { name: name("t"), id: world.id(), partitions: 3, config: values };
    asked.extend(world.run(Action::DeclareTopic(topic)).1);
    let joined = world.queue("t");
    asked.extend(world.run(Action::DeclareQueue(joined)).1);
    assert_eq!(asked.len(), 8);
    assert_eq!(sorted(world.shared.everything().collect()), sorted(asked));
}

#[test]
fn everything_is_as_it_was_altered_and_without_what_was_deleted() {
    let mut world = World::new();
    world.declare_queue("q");
    let topic = world.topic("t", 1);
    world.ok(topic);
    world.ok(delete_queue("q", None));
    let change = ConfigChange::Replace(config(&[("retention.ms", "5000")]));
    let (_, altered) = world.run(Action::AlterConfig { name: name("t"), change });
    let [LogChange::AlterLog { log, config }] = altered[..] else { panic!("{altered:?}") };
    assert!(world.shared.everything().eq([LogChange::CreateLog { log, config }]));
}
