//! What comes with time and with wear: members that fall silent, segments that are given back, damage.

use super::script::{Script, opened};
use super::work::{Broker, append_value};
use crate::api::{Event, Op, Read, ReadFrom, Reply, Source, Take};
use crate::{GroupName, Part};
use catalog::QueueOptions;
use groups::{ClientLabel, Command, Join, JoinRules, Protocol};
use io::Disk;
use std::sync::atomic::Ordering::Relaxed;
use types::{ConsumerId, Kind, LogRef, Millis, Offset, ShardId};

const ZERO: ShardId = ShardId(0);

fn join() -> Op {
    let join = Join {
        member: String::new(),
        instance: None,
        new_member: "one".into(),
        client: ClientLabel::default(),
        session_timeout: Millis(6_000),
        rebalance_timeout: Millis(600_000),
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: bytes::Bytes::new() }],
        rules: JoinRules {
            require_known_member: false,
            can_skip_assignment: false,
            members_max: 10,
            initial_delay: Millis(0),
        },
    };
    let name = GroupName { namespace: "/".into(), group: "g".into() };
    Op::Group { shard: ZERO, name, command: Box::new(Command::Join(join)) }
}

fn members(broker: &mut Broker, node: usize) -> usize {
    let groups = Op::Groups { shard: ZERO, namespace: "/".into(), names: None };
    match broker.call(node, groups) {
        Ok(Reply::Groups(groups)) => groups.iter().map(|(_, group)| group.members.len()).sum(),
        other => panic!("not groups: {other:?}"),
    }
}

fn pass(broker: &mut Broker, ms: u64) {
    for _ in 0..ms / 500 {
        broker.script.clock.pass(500_000);
        broker.script.settle();
    }
}

#[test]
fn a_member_of_a_group_has_a_session_with_the_next_leader_and_no_longer() {
    let mut broker = Broker::new(1, 1);
    broker.elect(ZERO, 0);
    broker.call(0, join()).expect("joined");
    pass(&mut broker, 4_000);
    broker.elect(ZERO, 1);
    pass(&mut broker, 4_000);
    assert_eq!(members(&mut broker, 1), 1, "it has all of its timeout once more");
    pass(&mut broker, 8_000);
    assert_eq!(members(&mut broker, 1), 0, "it was silent for too long");
}

#[test]
fn a_consumer_and_who_waits_are_told_when_their_leader_is_none_any_more() {
    let mut broker = Broker::new(1, 1);
    broker.elect(ZERO, 0);
    let (log, subscription) = broker.queue("q");
    let take = Take {
        consumer: ConsumerId(1),
        source: Source::Subscription(subscription),
        prefetch: 1,
        window: None,
        settle_on_delivery: false,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
    };
    broker.call(0, Op::Take(take)).expect("registered");
    let client = broker.script.nodes[0].client.as_ref().expect("up");
    let from = ReadFrom { log, offset: Offset(0), bytes_max: 1 << 20 };
    let wait = Millis(1_000_000);
    let read = Read { logs: vec![from], bytes_min: 1, bytes_max: 1 << 20, wait };
    let token = types::Token(1 << 40);
    client.submit(ZERO, vec![crate::api::Call { token, op: Op::Read(read) }]);
    (0..4).for_each(|_| broker.script.run(0, None));
    broker.script.elect(ZERO, 1);
    let events = broker.script.nodes[0].client.as_ref().expect("up").outbox().take();
    let gone = |event: &Event| matches!(event, Event::ConsumerGone { consumer } if consumer.0 == 1);
    assert!(events.iter().any(gone), "{events:?}");
    let told = events.iter().find_map(|event| match event {
        Event::Reply { token: of, result: Err(error) } if *of == token => Some(error.kind),
        _ => None,
    });
    assert_eq!(told, Some(Kind::NotLeader), "{events:?}");
}

/// Publishes and takes out so much that segments fill.
fn churn(broker: &mut Broker, node: usize, log: LogRef, rounds: u32) {
    let value = "x".repeat(8 << 10);
    for round in 0..rounds {
        for _ in 0..8 {
            broker.call(node, append_value(log, &value)).expect("appended");
        }
        broker.call(node, Op::Purge(broker.subscription())).expect("purged");
        if round % 8 == 7 {
            for node in 0..3 {
                broker.script.nodes[node].engine.as_mut().expect("up").checkpoint();
            }
            pass(broker, 1_000);
            broker.script.purge(ZERO);
        }
    }
}

#[test]
fn segments_are_given_back_when_no_other_replica_can_ask_for_their_entries() {
    let mut broker = Broker::new(1, 1);
    broker.options = QueueOptions::default();
    broker.elect(ZERO, 0);
    let (log, _) = broker.queue("q");
    churn(&mut broker, 0, log, 64);
    for node in 0..3 {
        let metrics = broker.engine(node).handle();
        let recycled = metrics.metrics().recycled_segments.load(Relaxed);
        assert!(recycled > 4, "node {node} gave {recycled} segments back");
    }
    broker.call(0, append_value(log, "last")).expect("appended");
    (0..3).for_each(|node| broker.restart(node));
    broker.elect(ZERO, 2);
    assert_eq!(broker.drain(2), ["last"]);
}

#[test]
fn a_replica_whose_entries_are_damaged_says_so() {
    let mut broker = Broker::new(1, 1);
    broker.elect(ZERO, 0);
    let (log, _) = broker.queue("q");
    for value in 0..20 {
        broker.call(0, append_value(log, &format!("value {value:04}"))).expect("appended");
    }
    broker.script.run(0, Some(Part::Keeper));
    broker.script.cut(1);
    let disk = &broker.script.nodes[1].disk;
    let names = disk.list().expect("the disk works");
    let name = names.iter().find(|name| name.ends_with(".seg")).expect("a segment");
    let bytes = disk.contents(name).expect("it is there");
    let at = bytes.windows(10).position(|part| part == b"value 0010").expect("it was written");
    assert!(disk.flip_bit(name, at, 3));
    let found = opened(disk, &broker.script);
    assert_eq!(found.len(), 1);
    assert!(found[0].faulty.is_some(), "{:?}", found[0].faulty);
}

#[test]
fn a_script_is_the_same_again_with_the_same_seed() {
    let run = || {
        let mut script = Script::new(3, 1);
        script.elect(ZERO, 1);
        (0..3).map(|node| script.nodes[node].disk.calls()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
