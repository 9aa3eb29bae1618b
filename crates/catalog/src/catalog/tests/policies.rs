//! Rules about policies, limits and parameters.

use crate::access::Pattern;
use crate::change::{Action, DeclareQueue, DeclareRouter, Parameter};
use crate::entry::{Found, Overflow, Queue, QueueKind, QueueOptions, RouterKind, Unsaid};
use crate::outcome::{LogChange, Outcome, Refusal, Thing};
use crate::policy::{AppliesTo, Governed, Policy, PolicySettings};
use crate::snapshot::Limit;
use crate::value::Value;
use crate::world::{World, bytes, delete_queue, name, router, text};
use std::sync::Arc;
use types::Millis;

fn policy(called: &str, pattern: &str, settings: PolicySettings) -> Policy {
    Policy {
        name: name(called),
        pattern: Pattern::new(pattern).expect("it is a pattern"),
        applies_to: AppliesTo::All,
        priority: 0,
        definition: vec![("as".to_owned(), text("given"))],
        settings,
    }
}

fn put(policy: Policy, operator: bool) -> Action {
    Action::PutPolicy { operator, policy: Box::new(policy) }
}

fn ttl(span: i64) -> PolicySettings {
    PolicySettings { message_ttl: Some(Millis(span)), ..PolicySettings::default() }
}

fn governing(queue: &Queue) -> Governed {
    queue.governed.as_deref().cloned().unwrap_or_default()
}

fn queue(world: &World, called: &str) -> Arc<Queue> {
    match world.names().find("/", called) {
        Some(Found::Queue(queue)) => Arc::clone(queue),
        other => panic!("{other:?}"),
    }
}

fn governed(created: bool) -> Outcome {
    Outcome::Governed { namespace: name("/"), created }
}

#[test]
fn a_policy_is_for_what_matches_whether_it_is_there_or_comes() {
    let mut world = World::new();
    world.declare_queue("q1");
    world.declare_queue("other");
    let (outcome, work) = world.run(put(policy("p", "^q", ttl(5)), false));
    assert_eq!(outcome, Ok(governed(true)));
    let subscription = queue(&world, "q1").subscription;
    assert!(
        matches!(&work[..], [LogChange::AlterSubscription { subscription: of, options }]
            if *of == subscription && options.queue.message_ttl == Some(Millis(5))),
        "{work:?}"
    );
    world.declare_queue("q2");
    let found = ["q1", "q2", "other"].map(|it| {
        let queue = queue(&world, it);
        (queue.options.message_ttl, governing(&queue).policy)
    });
    let under = (Some(Millis(5)), Some(name("p")));
    assert_eq!(found, [under.clone(), under, (None, None)]);
    let (outcome, work) = world.run(put(policy("p", "^q", ttl(5)), false));
    assert_eq!((outcome, work.len()), (Ok(governed(false)), 0));
    let delete = Action::DeletePolicy { operator: false, name: name("p") };
    world.ok(delete.clone());
    assert_eq!(*queue(&world, "q1").options, QueueOptions::default());
    let gone = Refusal::NotFound { what: Thing::Policy, name: name("p") };
    assert_eq!(world.refused(delete), gone);
}

#[test]
fn of_those_that_match_the_highest_priority_counts() {
    let mut world = World::new();
    world.declare_queue("q");
    world.ok(put(Policy { priority: 1, ..policy("low", "q", ttl(1)) }, false));
    world.ok(put(Policy { priority: 9, ..policy("high", "q", ttl(9)) }, false));
    world.ok(put(Policy { priority: 99, ..policy("other", "x", ttl(99)) }, false));
    let routers = Policy { applies_to: AppliesTo::Routers, ..policy("routers", "q", ttl(7)) };
    world.ok(put(Policy { priority: 999, ..routers }, false));
    assert_eq!(queue(&world, "q").options.message_ttl, Some(Millis(9)));
    assert_eq!(governing(&queue(&world, "q")).policy, Some(name("high")));
    world.ok(Action::DeletePolicy { operator: false, name: name("high") });
    assert_eq!(queue(&world, "q").options.message_ttl, Some(Millis(1)));
}

#[test]
fn of_limits_the_lowest_counts_and_else_what_was_declared() {
    let mut world = World::new();
    let own = QueueOptions {
        message_ttl: Some(Millis(50)),
        max_len: Some(10),
        overflow: Overflow::Refuse,
        ..QueueOptions::default()
    };
    let declare = DeclareQueue { options: own.clone(), ..world.queue("said") };
    world.ok(Action::DeclareQueue(declare));
    let unsaid = Unsaid { overflow: true, returns_max: true };
    let quorum =
        QueueOptions { kind: QueueKind::Quorum, returns_max: Some(20), unsaid, ..own.clone() };
    let quorum = QueueOptions { overflow: Overflow::DropOldest, ..quorum };
    let declare = DeclareQueue { options: quorum, ..world.queue("unsaid") };
    world.ok(Action::DeclareQueue(declare));
    let settings = PolicySettings {
        message_ttl: Some(Millis(100)),
        max_len: Some(5),
        max_bytes: Some(1000),
        overflow: Some(Overflow::RefuseAsDead),
        dead_router: Some(name("dead")),
        returns_max: Some(50),
        ..PolicySettings::default()
    };
    world.ok(put(policy("p", ".*", settings), false));
    let operator = PolicySettings {
        message_ttl: Some(Millis(70)),
        max_bytes: Some(10),
        ..PolicySettings::default()
    };
    world.ok(put(policy("o", ".*", operator), true));
    for (called, ttl, overflow, returns_max) in
        [("said", 50, Overflow::Refuse, None), ("unsaid", 50, Overflow::DropOldest, Some(50))]
    {
        let options = queue(&world, called).options.clone();
        assert_eq!(options.message_ttl, Some(Millis(ttl)), "{called}");
        assert_eq!((options.max_len, options.max_bytes), (Some(5), Some(10)), "{called}");
        assert_eq!((options.overflow, options.returns_max), (overflow, returns_max), "{called}");
        assert_eq!(&*options.dead_letter.as_ref().expect("there is one").router, "dead");
    }
    assert_eq!(governing(&queue(&world, "said")).operator, Some(name("o")));
    // The same declaration still fits.
    let again = DeclareQueue { options: own, ..world.queue("said") };
    world.ok(Action::DeclareQueue(again));
}

#[test]
fn what_is_local_is_under_the_same_policies() {
    let mut world = World::new();
    let mine = world.exclusive("mine", 1);
    world.ok(Action::DeclareQueue(mine));
    world.ok(put(policy("p", "", ttl(5)), false));
    world.ok(put(policy("p", ".*", ttl(5)), false));
    let later = world.exclusive("later", 1);
    world.ok(Action::DeclareQueue(later));
    for called in ["mine", "later"] {
        assert_eq!(queue(&world, called).options.message_ttl, Some(Millis(5)), "{called}");
    }
}

#[test]
fn an_alternate_comes_from_a_policy_where_none_was_declared() {
    let mut world = World::new();
    let log = world.declare_queue("q");
    world.declare_router("r", RouterKind::Direct);
    let own =
        DeclareRouter { alternate: Some(name("amq.direct")), ..router("own", RouterKind::Direct) };
    world.ok(Action::DeclareRouter(own.clone()));
    let alternate = Some(name("amq.fanout"));
    let settings = PolicySettings { alternate, ..PolicySettings::default() };
    world.ok(put(policy("p", "^(r|own)$", settings), false));
    world.bind("amq.fanout", crate::world::to_queue("q"), "");
    assert_eq!(world.route("r", "k"), Ok(vec![log]));
    assert_eq!(world.route("own", "k"), Ok(vec![]));
    world.ok(Action::DeclareRouter(own));
    world.ok(Action::DeclareRouter(router("r", RouterKind::Direct)));
}

#[test]
fn a_namespace_has_as_many_queues_as_it_may() {
    let mut world = World::new();
    world.declare_queue("q1");
    world.ok(Action::PutLimit { limit: Limit::Queues, most: 2 });
    let mine = world.exclusive("mine", 1);
    world.ok(Action::DeclareQueue(mine.clone()));
    let refusal = Refusal::LimitReached { name: name("q2"), limit: 2 };
    let more = world.queue("q2");
    assert_eq!(world.refused(Action::DeclareQueue(more.clone())), refusal);
    world.ok(Action::DeclareQueue(mine));
    world.ok(delete_queue("q1", None));
    world.ok(Action::DeclareQueue(more));
    world.ok(Action::PutLimit { limit: Limit::Queues, most: -1 });
    world.declare_queue("q3");
    assert_eq!(world.names().limits("/").collect::<Vec<_>>(), [(Limit::Queues, -1)]);
    world.ok(Action::DeleteLimit(Limit::Queues));
    let gone = Refusal::NotFound { what: Thing::Limit, name: name("max-queues") };
    assert_eq!(world.refused(Action::DeleteLimit(Limit::Queues)), gone);
}

#[test]
fn what_is_kept_is_stored_and_read_back() {
    let mut world = World::new();
    world.declare_queue("q");
    world.ok(put(policy("p", "q", ttl(5)), false));
    world.ok(put(policy("o", "q", ttl(3)), true));
    world.ok(Action::PutLimit { limit: Limit::Connections, most: 7 });
    for component in [None, Some(name("shovel"))] {
        let parameter = Parameter { component, name: name("n") };
        let value = Value::Table(vec![("a".to_owned(), Value::I64(1))]);
        world.ok(Action::PutParameter { parameter, value });
    }
    let stored = bytes(&world.shared);
    let read: crate::Catalog = postcard::from_bytes(&stored).expect("it is whole");
    assert_eq!(bytes(&read), stored);
    world.shared = read;
    let names = world.names();
    assert_eq!(names.policies("/").map(|set| set.policies.len()), Some(1));
    assert_eq!(names.global_parameters().count(), 1);
    assert_eq!(names.parameters("/").count(), 1);
    assert_eq!(queue(&world, "q").options.message_ttl, Some(Millis(3)));
    let mut local = crate::Catalog::new(crate::Layer::Local, &[types::ShardId::LOCAL]);
    local.begin_under(&world.shared);
    world.local = local;
    let mine = world.exclusive("q-mine", 1);
    world.ok(Action::DeclareQueue(mine));
    assert_eq!(queue(&world, "q-mine").options.message_ttl, Some(Millis(3)));
    let parameter = Parameter { component: None, name: name("n") };
    world.ok(Action::DeleteParameter(parameter.clone()));
    let gone = Refusal::NotFound { what: Thing::Parameter, name: name("n") };
    assert_eq!(world.refused(Action::DeleteParameter(parameter)), gone);
}
