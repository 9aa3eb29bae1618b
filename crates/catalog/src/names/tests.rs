use crate::change::{Action, DeclareRouter};
use crate::entry::{RouterKind, RouterOptions};
use crate::names::Unroutable;
use crate::world::{
    World, arguments, binding, delete_queue, name, router, text, to_queue, to_router,
};
use crate::{Bind, Name};

#[test]
fn the_default_router_leads_to_the_name() {
    let mut world = World::new();
    let log = world.declare_queue("q");
    let topic = world.topic("t", 3);
    world.ok(topic);
    assert_eq!(world.route("", "q"), Ok(vec![log]));
    let routes = world.routes("", &["t"], &[]).unwrap();
    assert_eq!(routes.topics.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["t"]);
    assert!(routes.logs.is_empty() && !routes.is_empty());
    assert!(world.routes("", &["x"], &[]).unwrap().is_empty());
}

#[test]
fn each_kind_of_router_chooses_its_bindings() {
    let mut world = World::new();
    let a = world.declare_queue("a");
    let b = world.declare_queue("b");
    for source in ["amq.direct", "amq.fanout", "amq.topic"] {
        world.bind(source, to_queue("a"), "x.y");
        world.bind(source, to_queue("b"), "x.*");
        world.bind(source, to_queue("b"), "#");
    }
    let cases = [
        ("amq.direct", "x.y", vec![a]),
        ("amq.direct", "x.*", vec![b]),
        ("amq.direct", "z", vec![]),
        ("amq.fanout", "z", vec![a, b]),
        ("amq.topic", "x.y", vec![a, b]),
        ("amq.topic", "x.z", vec![b]),
        ("amq.topic", "x.*", vec![b]),
    ];
    for (source, key, logs) in cases {
        assert_eq!(world.route(source, key), Ok(logs), "{source} {key}");
    }
}

#[test]
fn routes_through_headers_hold_for_these_headers_only() {
    let mut world = World::new();
    let log = world.declare_queue("q");
    let wanted = arguments(&[("colour", text("red"))]);
    let bind = Bind { arguments: wanted.clone(), ..binding("amq.headers", to_queue("q"), "") };
    world.ok(Action::Bind(bind));
    let routes = world.routes("amq.headers", &["k"], &wanted).unwrap();
    assert_eq!((&routes.logs[..], routes.by_headers), (&[log][..], true));
    let routes = world.routes("amq.headers", &["k"], &[]).unwrap();
    assert!(routes.is_empty() && routes.by_headers);
    world.bind("amq.direct", to_queue("q"), "k");
    assert!(!world.routes("amq.direct", &["k"], &[]).unwrap().by_headers);
    world.bind("amq.direct", to_router("amq.headers"), "k");
    assert!(world.routes("amq.direct", &["k"], &[]).unwrap().by_headers);
}

#[test]
fn what_waits_is_routed_for_later_behind_a_router_that_delays() {
    let mut world = World::new();
    let [now, later, both] = ["now", "later", "both"].map(|it| world.declare_queue(it));
    world.declare_router("all", RouterKind::Fanout);
    for delayed in ["slow", "slower"] {
        let options = RouterOptions { delays: true, ..RouterOptions::default() };
        let declare = DeclareRouter { options, ..router(delayed, RouterKind::Fanout) };
        world.ok(Action::DeclareRouter(declare));
    }
    for (source, to) in [("all", "now"), ("all", "both"), ("slow", "both"), ("slower", "later")] {
        world.bind(source, to_queue(to), "");
    }
    world.bind("all", to_router("slow"), "");
    world.bind("slow", to_router("slower"), "");
    let found = |router: &str, waits: bool| {
        let routes = world.routes_of(router, waits);
        assert!(!routes.by_headers);
        (routes.logs.clone(), routes.later.map(|later| later.logs), routes.by_waiting)
    };
    assert_eq!(found("all", false), (vec![now, both, later], None, true));
    assert_eq!(found("all", true), (vec![now, both], Some(vec![both, later]), true));
    assert_eq!(found("slow", true), (vec![], Some(vec![both, later]), true));
    assert_eq!(found("slower", false), (vec![later], None, true));
    let names = world.names();
    let kinds = names.routers("/", Some("all")).map(|it| (&*it.name, it.kind_name()));
    let delayed: Vec<_> = kinds.filter(|(name, _)| name.starts_with("slow")).collect();
    assert_eq!(delayed, [("slow", "x-delayed-message"), ("slower", "x-delayed-message")]);
}

#[test]
fn every_key_is_routed_and_every_destination_is_named_once() {
    let mut world = World::new();
    let a = world.declare_queue("a");
    let b = world.declare_queue("b");
    let topic = world.topic("t", 1);
    world.ok(topic);
    for key in ["1", "2"] {
        world.bind("amq.direct", to_queue("b"), key);
        world.bind("amq.direct", to_queue("t"), key);
    }
    world.bind("amq.direct", to_queue("a"), "2");
    let routes = world.routes("amq.direct", &["2", "1", "x"], &[]).unwrap();
    assert_eq!(routes.logs, [a, b]);
    assert_eq!(routes.topics.len(), 1);
}

#[test]
fn routers_are_followed_once_each_even_in_circles() {
    let mut world = World::new();
    let log = world.declare_queue("q");
    for each in ["a", "b", "c"] {
        world.declare_router(each, RouterKind::Fanout);
    }
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("a", "c"), ("b", "b")] {
        world.bind(from, to_router(to), "");
    }
    world.bind("c", to_queue("q"), "1");
    world.bind("c", to_queue("q"), "2");
    for start in ["a", "b", "c"] {
        assert_eq!(world.route(start, "x"), Ok(vec![log]), "{start}");
    }
}

#[test]
fn what_matches_nothing_goes_to_the_alternate() {
    let mut world = World::new();
    let log = world.declare_queue("q");
    let spare = world.declare_queue("spare");
    let with_alternate = |it: &str, alternate: &str| {
        let alternate = Some(Name::from(alternate));
        Action::DeclareRouter(DeclareRouter { alternate, ..router(it, RouterKind::Direct) })
    };
    world.ok(with_alternate("first", "second"));
    world.ok(with_alternate("second", "first"));
    world.ok(with_alternate("lost", "missing"));
    world.ok(with_alternate("third", "amq.fanout"));
    world.bind("first", to_queue("q"), "k");
    world.bind("amq.fanout", to_queue("spare"), "");
    world.bind("first", to_router("third"), "through");
    assert_eq!(world.route("first", "k"), Ok(vec![log]));
    assert_eq!(world.route("second", "k"), Ok(vec![log]));
    assert_eq!(world.route("first", "other"), Ok(vec![]));
    assert_eq!(world.route("lost", "k"), Ok(vec![]));
    assert_eq!(world.route("third", "k"), Ok(vec![spare]));
    assert_eq!(world.route("first", "through"), Ok(vec![spare]));
}

#[test]
fn internal_and_missing_routers_take_no_publish() {
    let mut world = World::new();
    let log = world.declare_queue("q");
    let internal = DeclareRouter { internal: true, ..router("inner", RouterKind::Fanout) };
    world.ok(Action::DeclareRouter(internal));
    world.bind("inner", to_queue("q"), "");
    world.bind("amq.fanout", to_router("inner"), "");
    assert_eq!(world.route("inner", ""), Err(Unroutable::Internal));
    assert_eq!(world.route("missing", ""), Err(Unroutable::NoRouter));
    assert_eq!(world.route("amq.fanout", ""), Ok(vec![log]));
}

#[test]
fn a_topic_bound_to_is_seen_with_its_new_partitions() {
    let mut world = World::new();
    let topic = world.topic("t", 1);
    world.ok(topic);
    world.bind("amq.direct", to_queue("t"), "k");
    world.ok(Action::AddPartitions { name: name("t"), total: 4 });
    let routes = world.routes("amq.direct", &["k"], &[]).unwrap();
    assert_eq!(routes.topics[0].partitions.len(), 4);
    world.ok(Action::DeleteTopic { name: name("t") });
    assert!(world.routes("amq.direct", &["k"], &[]).unwrap().is_empty());
}

#[test]
fn a_snapshot_stays_as_it_was_and_the_version_rises() {
    let mut world = World::new();
    let mut versions = vec![world.names().version()];
    let log = world.declare_queue("q");
    versions.push(world.names().version());
    world.bind("amq.topic", to_queue("q"), "a.#");
    versions.push(world.names().version());
    let before = world.names();
    let mine = world.exclusive("mine", 1);
    world.ok(Action::DeclareQueue(mine));
    versions.push(world.names().version());
    world.ok(delete_queue("q", None));
    versions.push(world.names().version());
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");

    let mut routes = crate::Routes::default();
    let publish =
        crate::Publish { namespace: "/", router: "amq.topic", keys: &["a.b"], headers: &() };
    before.route(&publish, &mut routes).unwrap();
    assert_eq!(routes.logs, [log], "an old snapshot still has the queue");
    world.names().route(&publish, &mut routes).unwrap();
    assert!(routes.is_empty());
}

#[test]
fn thousands_of_bindings_of_one_key_come_and_go() {
    let mut world = World::new();
    let logs: Vec<_> = (0..3_000).map(|n| world.declare_queue(&format!("q{n}"))).collect();
    for n in 0..3_000 {
        world.bind("amq.topic", to_queue(&format!("q{n}")), "all.*");
    }
    let mut expected = logs.clone();
    expected.sort_unstable();
    assert_eq!(world.route("amq.topic", "all.x"), Ok(expected));
    for n in 1..3_000 {
        world.ok(delete_queue(&format!("q{n}"), None));
    }
    assert_eq!(world.route("amq.topic", "all.x"), Ok(vec![logs[0]]));
}
