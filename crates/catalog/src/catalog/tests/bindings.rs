//! Rules about bindings.

use crate::change::{Action, Bind, DeclareRouter};
use crate::entry::{Binding, RouterKind};
use crate::outcome::{Deleted, Outcome, Refusal, Thing};
use crate::value::Value;
use crate::world::{
    World, arguments, binding, delete_queue, name, owner, router, text, to_queue, to_router,
};

const CREATED: Outcome = Outcome::Declared { created: true };
const FOUND: Outcome = Outcome::Declared { created: false };

fn unbound(removed: bool) -> Outcome {
    Outcome::Unbound { removed, deleted: Deleted::default() }
}

#[test]
fn binding_twice_is_binding_once() {
    let mut world = World::new();
    let log = world.declare_queue("q");
    let bind = binding("amq.direct", to_queue("q"), "k");
    assert_eq!(world.ok(Action::Bind(bind.clone())), CREATED);
    let version = world.names().version();
    assert_eq!(world.ok(Action::Bind(bind.clone())), FOUND);
    assert_eq!(world.names().version(), version);

    let other = Bind { arguments: arguments(&[("a", Value::Null)]), ..bind.clone() };
    assert_eq!(world.ok(Action::Bind(other.clone())), CREATED);
    assert_eq!(world.route("amq.direct", "k"), Ok(vec![log]));
    assert_eq!(world.ok(Action::Unbind(bind.clone())), unbound(true));
    assert_eq!(world.route("amq.direct", "k"), Ok(vec![log]));
    assert_eq!(world.ok(Action::Unbind(other)), unbound(true));
    assert_eq!(world.route("amq.direct", "k"), Ok(vec![]));
    assert_eq!(world.ok(Action::Unbind(bind)), unbound(false));
    let nothing = binding("missing", to_queue("missing"), "k");
    assert_eq!(world.ok(Action::Unbind(nothing)), unbound(false));
}

#[test]
fn the_order_of_arguments_does_not_make_another_binding() {
    let mut world = World::new();
    world.declare_queue("q");
    let with = |pairs: &[(&str, Value)]| Bind {
        arguments: arguments(pairs),
        ..binding("amq.headers", to_queue("q"), "")
    };
    let (a, b) = (("a", text("1")), ("b", text("2")));
    assert_eq!(world.ok(Action::Bind(with(&[a.clone(), b.clone()]))), CREATED);
    assert_eq!(world.ok(Action::Bind(with(&[b, a]))), FOUND);
}

#[test]
fn what_cannot_be_bound_is_refused() {
    let mut world = World::new();
    world.declare_queue("q");
    let mine = world.exclusive("mine", 1);
    world.ok(Action::DeclareQueue(mine));
    let missing = |what, it: &str| Refusal::NotFound { what, name: name(it) };
    let reserved = Refusal::Reserved { what: Thing::Router, name: name("") };
    let exclusive = Refusal::Exclusive { name: name("mine") };
    let cases = [
        (binding("x", to_queue("q"), "k"), missing(Thing::Router, "x")),
        (binding("amq.topic", to_queue("x"), "k"), missing(Thing::Queue, "x")),
        (binding("amq.topic", to_router("x"), "k"), missing(Thing::Router, "x")),
        (binding("x", to_queue("mine"), "k"), exclusive.clone()),
        (binding("", to_queue("q"), "k"), reserved.clone()),
        (binding("amq.topic", to_router(""), "k"), reserved),
        (binding("amq.topic", to_queue("mine"), "k"), exclusive),
    ];
    for (bind, refusal) in cases {
        assert_eq!(world.refused(Action::Bind(bind)), refusal);
    }
    for bad in [text("most"), Value::I32(1)] {
        let bind = Bind {
            arguments: arguments(&[("x-match", bad)]),
            ..binding("amq.headers", to_queue("q"), "")
        };
        assert!(matches!(
            world.refused(Action::Bind(bind)),
            Refusal::Invalid { what: Thing::Binding, .. }
        ));
    }
    let long = binding("amq.topic", to_queue("q"), &"k".repeat(513));
    assert!(matches!(world.refused(Action::Bind(long)), Refusal::Invalid { .. }));
    let foreign = binding("amq.topic", to_queue("mine"), "k");
    let bound = Bind { by: Some(owner(1)), ..foreign.clone() };
    world.ok(Action::Bind(bound));
    assert_eq!(world.refused(Action::Unbind(foreign)), Refusal::Exclusive { name: name("mine") });
}

#[test]
fn an_auto_delete_router_goes_with_its_last_binding() {
    let mut world = World::new();
    world.declare_queue("q");
    for each in ["a", "b", "c"] {
        let auto = DeclareRouter { auto_delete: true, ..router(each, RouterKind::Fanout) };
        world.ok(Action::DeclareRouter(auto));
    }
    world.declare_router("keeps", RouterKind::Fanout);
    world.bind("keeps", to_router("a"), "");
    world.bind("a", to_router("b"), "");
    world.bind("b", to_queue("q"), "1");
    world.bind("b", to_queue("q"), "2");
    world.bind("c", to_router("b"), "");
    world.bind("c", to_queue("q"), "");

    let first = Action::Unbind(binding("b", to_queue("q"), "1"));
    assert_eq!(world.ok(first), unbound(true));
    let last = Action::Unbind(binding("b", to_queue("q"), "2"));
    let routers = vec![(name("/"), name("b")), (name("/"), name("a"))];
    let deleted = Deleted { routers, ..Deleted::default() };
    assert_eq!(world.ok(last), Outcome::Unbound { removed: true, deleted });
    let names = world.names();
    let left: Vec<_> = names.bindings("/", None).map(|it| (&*it.source, &it.destination)).collect();
    assert_eq!(left, [("c", &to_queue("q"))]);
    assert!(names.router("/", "keeps").is_some() && names.router("/", "c").is_some());
}

#[test]
fn a_deleted_queue_takes_its_bindings_with_it() {
    let mut world = World::new();
    world.declare_queue("q");
    let other = world.declare_queue("other");
    let auto = DeclareRouter { auto_delete: true, ..router("auto", RouterKind::Topic) };
    world.ok(Action::DeclareRouter(auto));
    for source in ["amq.topic", "amq.direct", "auto"] {
        world.bind(source, to_queue("q"), "a.*");
    }
    world.bind("amq.topic", to_queue("other"), "a.*");
    let Outcome::Deleted(deleted) = world.ok(delete_queue("q", None)) else { panic!() };
    assert_eq!(deleted.routers, [(name("/"), name("auto"))]);
    assert_eq!(world.names().bindings("/", None).count(), 1);
    assert_eq!(world.route("amq.topic", "a.b"), Ok(vec![other]));

    world.declare_queue("q");
    assert_eq!(world.route("amq.topic", "a.b"), Ok(vec![other]), "a new queue is not bound");
}

#[test]
fn bindings_are_listed_page_by_page_and_by_end() {
    let mut world = World::new();
    for queue in ["q1", "q2"] {
        world.declare_queue(queue);
    }
    let mine = world.exclusive("q1x", 1);
    world.ok(Action::DeclareQueue(mine));
    world.bind("amq.topic", to_queue("q2"), "k");
    world.bind("amq.direct", to_queue("q2"), "b");
    world.bind("amq.direct", to_queue("q2"), "a");
    world.bind("amq.topic", to_router("amq.fanout"), "k");
    let own = Bind { by: Some(owner(1)), ..binding("amq.topic", to_queue("q1x"), "k") };
    world.ok(Action::Bind(own));

    let names = world.names();
    let show = |it: &Binding| format!("{}-{}-{}", it.source, it.key, it.destination.name());
    let all: Vec<_> = names.bindings("/", None).map(|it| show(it)).collect();
    let expected = [
        "amq.topic-k-q1x",
        "amq.direct-a-q2",
        "amq.direct-b-q2",
        "amq.topic-k-q2",
        "amq.topic-k-amq.fanout",
    ];
    assert_eq!(all, expected);
    let mut pages = Vec::new();
    let mut last: Option<&Binding> = None;
    while let Some(next) = names.bindings("/", last).next() {
        pages.push(show(next));
        last = Some(next);
    }
    assert_eq!(pages, expected);
    let from: Vec<_> = names.bindings_from("/", "amq.topic").map(|it| show(it)).collect();
    assert_eq!(from.len(), 3);
    let to: Vec<_> = names.bindings_to("/", &to_queue("q2")).map(|it| show(it)).collect();
    assert_eq!(to, expected[1..4]);
}
