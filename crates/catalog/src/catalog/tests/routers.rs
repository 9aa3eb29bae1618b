//! Rules about routers and namespaces.

use crate::change::{Action, Bind, DeclareRouter};
use crate::entry::RouterKind;
use crate::outcome::{Outcome, Refusal, Setting, Thing};
use crate::value::Value;
use crate::world::{
    World, arguments, binding, delete_router, name, owner, router, text, to_queue, to_router,
};

#[test]
fn every_namespace_has_the_predeclared_routers() {
    let mut world = World::new();
    let declared = Outcome::Declared { created: true };
    assert_eq!(world.run_in("n", Action::DeclareNamespace).0, Ok(declared));
    let found = Outcome::Declared { created: false };
    assert_eq!(world.run_in("n", Action::DeclareNamespace).0, Ok(found));
    let names = world.names();
    for namespace in ["/", "n"] {
        let routers: Vec<_> = names
            .routers(namespace, None)
            .map(|router| format!("{}={}", router.name, router.kind.name()))
            .collect();
        assert_eq!(
            routers.join(" "),
            "=direct amq.direct=direct amq.fanout=fanout amq.headers=headers amq.match=headers amq.topic=topic"
        );
    }
    assert_eq!(names.namespaces().map(|it| &**it).collect::<Vec<_>>(), ["/", "n"]);
}

#[test]
fn declaring_a_router_again_compares_it() {
    let mut world = World::new();
    let first = DeclareRouter {
        alternate: Some(name("a")),
        arguments: arguments(&[("k", text("v"))]),
        ..router("r", RouterKind::Topic)
    };
    assert_eq!(world.ok(Action::DeclareRouter(first.clone())), Outcome::Declared { created: true });
    assert_eq!(
        world.ok(Action::DeclareRouter(first.clone())),
        Outcome::Declared { created: false }
    );
    let predeclared = Action::DeclareRouter(router("amq.topic", RouterKind::Topic));
    assert_eq!(world.ok(predeclared), Outcome::Declared { created: false });

    let text_of = |value: &str| Setting::Text(value.to_owned());
    let (on, off) = (Setting::Flag(true), Setting::Flag(false));
    let cases = [
        (
            DeclareRouter { kind: RouterKind::Fanout, durable: false, ..first.clone() },
            ("type", text_of("fanout"), text_of("topic")),
        ),
        (DeclareRouter { durable: false, ..first.clone() }, ("durable", off.clone(), on.clone())),
        (
            DeclareRouter { auto_delete: true, ..first.clone() },
            ("auto_delete", on.clone(), off.clone()),
        ),
        (DeclareRouter { internal: true, ..first.clone() }, ("internal", on, off)),
        (
            DeclareRouter { arguments: arguments(&[("k", Value::Bool(true))]), ..first.clone() },
            ("k", Setting::Argument(Value::Bool(true)), Setting::Argument(text("v"))),
        ),
        (DeclareRouter { alternate: None, ..first }, ("alternate", text_of(""), text_of("a"))),
    ];
    for (declare, (field, declared, current)) in cases {
        let refusal = Refusal::Mismatch {
            what: Thing::Router,
            name: name("r"),
            field: field.to_owned(),
            declared,
            current,
        };
        assert_eq!(world.refused(Action::DeclareRouter(declare)), refusal);
    }
}

#[test]
fn predeclared_routers_cannot_be_made_or_deleted() {
    let mut world = World::new();
    let reserved = |it: &str| Refusal::Reserved { what: Thing::Router, name: name(it) };
    for taken in ["", "amq.new"] {
        let declare = Action::DeclareRouter(router(taken, RouterKind::Direct));
        assert_eq!(world.refused(declare), reserved(taken));
    }
    for taken in ["", "amq.direct", "amq.new"] {
        assert_eq!(world.refused(delete_router(taken, false)), reserved(taken));
    }
    let illegal = Action::DeclareRouter(router(&"x".repeat(513), RouterKind::Direct));
    assert!(matches!(world.refused(illegal), Refusal::IllegalName { .. }));
}

#[test]
fn a_router_in_use_is_deleted_only_if_asked_to() {
    let mut world = World::new();
    world.declare_queue("q");
    world.declare_router("r", RouterKind::Direct);
    world.declare_router("up", RouterKind::Direct);
    world.bind("up", to_router("r"), "k");
    world.bind("r", to_queue("q"), "k");
    let in_use = Refusal::InUse { what: Thing::Router, name: name("r") };
    assert_eq!(world.refused(delete_router("r", true)), in_use);
    world.ok(delete_router("r", false));
    let gone = Refusal::NotFound { what: Thing::Router, name: name("r") };
    assert_eq!(world.refused(delete_router("r", false)), gone);
    assert_eq!(world.names().bindings("/", None).count(), 0);
    world.ok(delete_router("up", true));
}

#[test]
fn a_router_bound_from_the_local_layer_is_in_use() {
    let mut world = World::new();
    let exclusive = world.exclusive("q", 1);
    world.ok(Action::DeclareQueue(exclusive));
    world.declare_router("r", RouterKind::Direct);
    let mut bind = binding("r", to_queue("q"), "k");
    bind.by = Some(owner(1));
    world.ok(Action::Bind(bind));
    let in_use = Refusal::InUse { what: Thing::Router, name: name("r") };
    assert_eq!(world.refused(delete_router("r", true)), in_use);
    world.ok(delete_router("r", false));
    assert_eq!(world.names().bindings("/", None).count(), 0);
}

#[test]
fn a_deleted_namespace_takes_everything_with_it() {
    let mut world = World::new();
    world.run_in("n", Action::DeclareNamespace).0.unwrap();
    let topic = world.topic("t", 2);
    world.run_in("n", topic).0.unwrap();
    let queue = world.queue("q");
    world.run_in("n", Action::DeclareQueue(queue)).0.unwrap();
    world.run_in("n", Action::Bind(binding("amq.topic", to_queue("q"), "#"))).0.unwrap();
    let keeper = world.declare_queue("q");
    let mine = world.exclusive("mine", 1);
    world.run_in("n", Action::DeclareQueue(mine)).0.unwrap();
    let bind = Bind { by: Some(owner(1)), ..binding("amq.topic", to_queue("mine"), "#") };
    world.run_in("n", Action::Bind(bind)).0.unwrap();

    let (outcome, work) = world.run_in("n", Action::DeleteNamespace);
    let Ok(Outcome::Deleted(deleted)) = outcome else { panic!("{outcome:?}") };
    let queues = [(name("n"), name("q")), (name("n"), name("t"))];
    assert_eq!(deleted.queues, queues);
    assert_eq!(work.len(), 4, "three logs and a subscription: {work:?}");
    assert_eq!(deleted.namespaces, [name("n")]);
    assert!(!world.names().has_namespace("n"));
    assert_eq!(world.names().list("n", None).count(), 0, "nor is anything local left");
    assert_eq!(world.names().bindings("n", None).count(), 0);
    assert_eq!(world.route("", "q"), Ok(vec![keeper]));

    let gone = Refusal::NotFound { what: Thing::Namespace, name: name("n") };
    assert_eq!(world.run_in("n", Action::DeleteNamespace).0, Err(gone));
    let reserved = Refusal::Reserved { what: Thing::Namespace, name: name("/") };
    assert_eq!(world.refused(Action::DeleteNamespace), reserved);
    assert!(matches!(
        world.run_in("", Action::DeclareNamespace).0,
        Err(Refusal::IllegalName { what: Thing::Namespace, .. })
    ));
}
