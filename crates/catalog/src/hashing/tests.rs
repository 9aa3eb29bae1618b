use crate::change::{Action, DeclareRouter};
use crate::entry::{Hashed, Property, RouterKind, RouterOptions};
use crate::outcome::{Refusal, Thing};
use crate::world::{World, arguments, binding, name, router, text, to_queue};
use std::collections::BTreeMap;
use types::LogRef;

const KEYS: usize = 20_000;

/// Where each of many keys goes.
fn spread(world: &World, source: &str) -> Vec<LogRef> {
    let key = |at: usize| world.route(source, &format!("key-{at}")).expect("it is there");
    (0..KEYS)
        .map(|at| match key(at)[..] {
            [log] => log,
            ref logs => panic!("{} destinations", logs.len()),
        })
        .collect()
}

fn counts(spread: &[LogRef]) -> BTreeMap<LogRef, usize> {
    let mut counts = BTreeMap::new();
    spread.iter().for_each(|log| *counts.entry(*log).or_default() += 1);
    counts
}

#[test]
fn consistent_hash_shares_out_by_weight() {
    let mut world = World::new();
    world.declare_router("h", RouterKind::ConsistentHash);
    assert_eq!(world.route("h", "k"), Ok(vec![]));
    let weights = [("a", 1), ("b", 1), ("c", 2), ("d", 6)];
    let logs = weights.map(|(queue, weight)| {
        let log = world.declare_queue(queue);
        world.bind("h", to_queue(queue), &weight.to_string());
        (log, weight)
    });
    let counts = counts(&spread(&world, "h"));
    for (log, weight) in logs {
        let wanted = KEYS / 10 * weight;
        let found = counts[&log];
        assert!(found.abs_diff(wanted) < wanted / 10, "{found} for {wanted}");
    }
}

#[test]
fn consistent_hash_moves_only_what_has_to_move() {
    let mut world = World::new();
    world.declare_router("h", RouterKind::ConsistentHash);
    for queue in ["a", "b", "c"] {
        world.declare_queue(queue);
        world.bind("h", to_queue(queue), "10");
    }
    let before = spread(&world, "h");
    let new = world.declare_queue("d");
    world.bind("h", to_queue("d"), "10");
    let with_new = spread(&world, "h");
    let moved = before.iter().zip(&with_new).filter(|(before, after)| before != after);
    let moved: Vec<&LogRef> = moved.map(|(_, after)| after).collect();
    assert!(moved.iter().all(|log| **log == new), "only to the new one");
    assert!(moved.len().abs_diff(KEYS / 4) < KEYS / 40, "{}", moved.len());
    world.ok(Action::Unbind(binding("h", to_queue("d"), "10")));
    assert!(spread(&world, "h") == before, "what it had is as it was");
}

#[test]
fn modulus_hash_shares_out_alike_and_counts_a_destination_once() {
    let mut world = World::new();
    world.declare_router("m", RouterKind::ModulusHash);
    for queue in ["a", "b", "c"] {
        world.declare_queue(queue);
        world.bind("m", to_queue(queue), "");
    }
    let before = spread(&world, "m");
    for (_, count) in counts(&before) {
        assert!(count.abs_diff(KEYS / 3) < KEYS / 30, "{count}");
    }
    world.bind("m", to_queue("a"), "again");
    assert!(spread(&world, "m") == before);
}

#[test]
fn a_hash_is_of_what_the_router_looks_at() {
    let mut world = World::new();
    let hashed = [
        ("by-header", Hashed::Header(name("id"))),
        ("by-property", Hashed::Property(Property::MessageId)),
    ];
    for queue in ["a", "b", "c", "d"] {
        world.declare_queue(queue);
    }
    for (source, hashed) in hashed {
        let options = RouterOptions { hashed, ..RouterOptions::default() };
        let declare = DeclareRouter { options, ..router(source, RouterKind::ConsistentHash) };
        world.ok(Action::DeclareRouter(declare));
        for queue in ["a", "b", "c", "d"] {
            world.bind(source, to_queue(queue), "1");
        }
    }
    let found = |key: &str, id: &str| {
        let headers = arguments(&[("id", text(id))]);
        let routes = world.routes("by-header", &[key], &headers).unwrap();
        assert!(routes.by_headers && routes.logs.len() == 1);
        routes.logs[0]
    };
    assert_eq!(found("k", "1"), found("other", "1"));
    let many: std::collections::BTreeSet<LogRef> =
        (0..50).map(|at| found("k", &at.to_string())).collect();
    assert_eq!(many.len(), 4);
    let none = world.routes("by-property", &["k"], &[]).unwrap();
    assert!(none.by_headers && none.logs == world.routes("by-property", &["x"], &[]).unwrap().logs);
}

#[test]
fn the_key_of_a_binding_by_consistent_hash_is_its_weight() {
    let mut world = World::new();
    world.declare_queue("q");
    world.declare_router("h", RouterKind::ConsistentHash);
    for (key, why) in [
        ("", "The binding key must be an integer: <<>>"),
        ("ten", "The binding key must be an integer: <<\"ten\">>"),
        ("0", "The binding key must be greater than 0"),
        ("-1", "The binding key must be greater than 0"),
    ] {
        let refusal = world.refused(Action::Bind(binding("h", to_queue("q"), key)));
        let wanted =
            Refusal::Invalid { what: Thing::Binding, name: name("h"), why: why.to_owned() };
        assert_eq!(refusal, wanted);
    }
}
