//! What is local and what is shared, and what follows from one layer to the other.

use crate::catalog::Layer;
use crate::change::{Action, Bind, Change, DeclareQueue, DeclareRouter};
use crate::entry::{NodeId, RouterKind};
use crate::outcome::{LogChange, Outcome, Refusal, Thing};
use crate::world::{
    World, binding, delete_queue, delete_router, name, owner, router, to_queue, to_router,
};
use types::{ClientId, ShardId};

fn remove_client(world: &mut World, client: u64) -> Vec<String> {
    let change = Change::remove_client(NodeId(7), ClientId(client));
    match world.ok(change.action) {
        Outcome::Deleted(deleted) => {
            deleted.queues.iter().map(|(_, queue)| queue.to_string()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn temporary_things_are_local_and_numbered_apart() {
    let mut world = World::new();
    let cases = [
        (DeclareQueue { ..world.queue("durable") }, Layer::Shared),
        (DeclareQueue { auto_delete: true, ..world.queue("auto") }, Layer::Shared),
        (DeclareQueue { durable: false, ..world.queue("transient") }, Layer::Local),
        (DeclareQueue { exclusive: Some(owner(1)), ..world.queue("exclusive") }, Layer::Local),
    ];
    for (declare, layer) in cases {
        let action = Action::DeclareQueue(declare.clone());
        let placed = world.names().place(&mut Change::new("/", action.clone()));
        assert_eq!(placed, Ok(layer), "{}", declare.name);
        let Outcome::Queue { log, subscription, .. } = world.ok(action) else { panic!() };
        let local = layer == Layer::Local;
        assert_eq!(log.shard == ShardId::LOCAL, local, "{}", declare.name);
        assert_eq!(log.log.0 >= 1 << 31, local, "{}", declare.name);
        assert_eq!(subscription.subscription.0 >= 1 << 31, local, "{}", declare.name);
        assert_eq!(subscription.shard, log.shard);
    }
    let names = world.names();
    let all: Vec<_> = names.list("/", None).map(|it| &**it.name()).collect();
    assert_eq!(all, ["auto", "durable", "exclusive", "transient"]);
    let later: Vec<_> = names.list("/", Some("durable")).map(|it| &**it.name()).collect();
    assert_eq!(later, ["exclusive", "transient"]);
}

#[test]
fn a_name_means_one_thing_in_both_layers() {
    let mut world = World::new();
    let transient = DeclareQueue { durable: false, ..world.queue("t") };
    world.ok(Action::DeclareQueue(transient.clone()));
    let durable = DeclareQueue { durable: true, ..transient };
    let refusal = world.refused(Action::DeclareQueue(durable));
    assert!(matches!(refusal, Refusal::Mismatch { field, .. } if field == "durable"));
    let topic = world.topic("t", 1);
    let clash = Refusal::KindClash { name: name("t"), current: Thing::Queue };
    assert_eq!(world.refused(topic), clash);

    world.declare_queue("d");
    let transient = DeclareQueue { durable: false, ..world.queue("d") };
    let refusal = world.refused(Action::DeclareQueue(transient));
    assert!(matches!(refusal, Refusal::Mismatch { field, .. } if field == "durable"));

    world.declare_router("r", RouterKind::Direct);
    let transient = DeclareRouter { durable: false, ..router("r", RouterKind::Direct) };
    let refusal = world.refused(Action::DeclareRouter(transient));
    assert!(matches!(refusal, Refusal::Mismatch { field, .. } if field == "durable"));
}

#[test]
fn a_connection_takes_its_exclusive_queues_with_it() {
    let mut world = World::new();
    for (queue, client) in [("a", 1), ("b", 1), ("c", 2), ("d", 1)] {
        let declare = world.exclusive(queue, client);
        world.ok(Action::DeclareQueue(declare));
    }
    world.ok(delete_queue("d", Some(owner(1))));
    let open = DeclareQueue { durable: false, ..world.queue("d") };
    world.ok(Action::DeclareQueue(open));
    let own = Bind { by: Some(owner(1)), ..binding("amq.direct", to_queue("a"), "k") };
    world.ok(Action::Bind(own));
    assert_eq!(remove_client(&mut world, 1), ["a", "b"]);
    assert_eq!(remove_client(&mut world, 1), [""; 0]);
    assert_eq!(world.names().bindings("/", None).count(), 0);
    for stays in ["c", "d"] {
        assert!(world.names().find("/", stays).is_some(), "{stays}");
    }
    let (outcome, work) = world.run(Action::RemoveNode(NodeId(7)));
    assert!(matches!(outcome, Ok(Outcome::Deleted(deleted)) if deleted.queues.len() == 1));
    assert!(matches!(work[..], [LogChange::DropSubscription(_), LogChange::DropLog(_)]));
    assert!(world.names().find("/", "c").is_none());
}

#[test]
fn a_shared_router_reaches_local_and_shared_queues() {
    let mut world = World::new();
    let shared = world.declare_queue("shared");
    let mine = world.exclusive("mine", 1);
    let Outcome::Queue { log: local, .. } = world.ok(Action::DeclareQueue(mine)) else { panic!() };
    world.bind("amq.topic", to_queue("shared"), "a.*");
    let own = Bind { by: Some(owner(1)), ..binding("amq.topic", to_queue("mine"), "#") };
    world.ok(Action::Bind(own));
    assert_eq!(world.route("amq.topic", "a.b"), Ok(vec![shared, local]));
    assert_eq!(world.route("amq.topic", "b"), Ok(vec![local]));
    remove_client(&mut world, 1);
    assert_eq!(world.route("amq.topic", "a.b"), Ok(vec![shared]));
}

#[test]
fn a_local_router_reaches_shared_things_until_they_are_gone() {
    let mut world = World::new();
    let transient = DeclareRouter { durable: false, ..router("local", RouterKind::Fanout) };
    world.ok(Action::DeclareRouter(transient));
    let log = world.declare_queue("q");
    world.declare_router("r", RouterKind::Fanout);
    let behind = world.declare_queue("behind");
    world.bind("local", to_queue("q"), "");
    world.bind("local", to_router("r"), "");
    world.bind("r", to_queue("behind"), "");
    assert_eq!(world.route("local", ""), Ok(vec![log, behind]));

    world.ok(delete_queue("q", None));
    world.ok(delete_router("r", false));
    assert_eq!(world.names().bindings("/", None).count(), 0);
    world.declare_queue("q");
    world.declare_router("r", RouterKind::Fanout);
    world.bind("r", to_queue("behind"), "");
    assert_eq!(world.route("local", ""), Ok(vec![]), "the new ones are not bound");
}

/// The other layer changes a moment before this one hears of it.
#[test]
fn a_binding_to_what_was_made_anew_does_not_hold() {
    let mut world = World::new();
    let transient = DeclareRouter { durable: false, ..router("local", RouterKind::Fanout) };
    world.ok(Action::DeclareRouter(transient));
    let mine = world.exclusive("mine", 1);
    world.ok(Action::DeclareQueue(mine));
    world.declare_queue("q");
    world.declare_router("r", RouterKind::Fanout);
    world.bind("local", to_queue("q"), "");
    let own = Bind { by: Some(owner(1)), ..binding("r", to_queue("mine"), "a") };
    world.ok(Action::Bind(own.clone()));
    let old = Bind { by: Some(owner(1)), ..binding("r", to_queue("mine"), "old") };
    world.ok(Action::Bind(old));
    assert_eq!(world.route("r", "").unwrap().len(), 1);

    for action in [delete_queue("q", None), delete_router("r", false)] {
        world.shared.apply(&Change::new("/", action), types::Millis(2)).0.unwrap();
    }
    world.declare_queue("q");
    world.declare_router("r", RouterKind::Direct);
    assert_eq!(world.route("local", ""), Ok(vec![]));
    assert_eq!(world.route("r", "a"), Ok(vec![]));
    assert_eq!(world.names().bindings("/", None).count(), 0);

    assert_eq!(world.ok(Action::Bind(own)), Outcome::Declared { created: true });
    assert_eq!(world.route("r", "a").unwrap().len(), 1, "bound to the new router");
    assert_eq!(world.route("r", "b"), Ok(vec![]), "which is a direct one");
    assert_eq!(world.route("r", "old"), Ok(vec![]), "and knows nothing of the old one's");
}

#[test]
fn a_shared_auto_delete_router_is_released_with_its_last_local_binding() {
    let mut world = World::new();
    let auto = DeclareRouter { auto_delete: true, ..router("auto", RouterKind::Direct) };
    world.ok(Action::DeclareRouter(auto));
    let mine = world.exclusive("mine", 1);
    world.ok(Action::DeclareQueue(mine));
    let own = Bind { by: Some(owner(1)), ..binding("auto", to_queue("mine"), "k") };
    world.ok(Action::Bind(own.clone()));
    let Outcome::Unbound { removed: true, deleted } = world.ok(Action::Unbind(own)) else {
        panic!()
    };
    assert_eq!(deleted.released, [(name("/"), name("auto"))]);
    assert!(world.names().router("/", "auto").is_none());
}

#[test]
fn groups_are_placed_by_slots_over_all_shards() {
    let world = World::new();
    let names = world.names();
    let shard = |group: &str| names.group_shard("/", group);
    assert_eq!(shard("g"), shard("g"));
    let on_first = (0..1_000).filter(|n| shard(&format!("g{n}")) == ShardId(0)).count();
    assert!((400..600).contains(&on_first), "{on_first} of 1000");
}
