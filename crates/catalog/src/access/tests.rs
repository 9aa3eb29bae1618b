use super::{
    Demand, Guarded, HashAlgorithm, LoginRefused, PasswordHash, Pattern, Permission, Right,
    TopicPermission,
};
use crate::change::{Action, Bind, Change, DeclareRouter, PutUser};
use crate::entry::{Destination, RouterKind};
use crate::outcome::{Outcome, Refusal, Thing};
use crate::world::{World, binding, bytes, name, router, to_queue};
use crate::{Catalog, Name};

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

fn permission(configure: &str, write: &str, read: &str) -> Permission {
    Permission { configure: pattern(configure), write: pattern(write), read: pattern(read) }
}

fn put(user: &str, password: &str) -> Action {
    let password = PasswordHash::new(HashAlgorithm::Sha256, password, *b"abcd");
    Action::PutUser(PutUser { name: name(user), password, tags: vec![name("management")] })
}

fn permit(user: &str, permission: Permission) -> Action {
    Action::Permit { user: name(user), permission }
}

#[test]
fn a_pattern_matches_as_rabbitmqs_do() {
    for (text, matching, other) in [
        (".*", &["", "q", "a\nb"][..], &[][..]),
        ("", &[""], &["q"]),
        ("^$", &[""], &["q"]),
        ("q", &["q", "aqb"], &["", "Q"]),
        ("^q", &["q", "qa"], &["aq"]),
        ("^(a|b)$", &["a", "b"], &["ab", ""]),
        ("^amq\\.", &["amq.gen-x", "amq.default"], &["amqx"]),
        ("^\\w+$", &["abc_1"], &["a-b", "é"]),
        ("é", &["café"], &["cafe"]),
        ("(?i)^q$", &["Q", "q"], &["x"]),
    ] {
        let pattern = pattern(text);
        assert_eq!(&**pattern.text(), text);
        matching.iter().for_each(|name| assert!(pattern.matches(name), "{text} {name:?}"));
        other.iter().for_each(|name| assert!(!pattern.matches(name), "{text} {name:?}"));
    }
}

#[test]
fn what_is_no_pattern_or_too_large_is_refused_and_says_why() {
    let nested = "(".repeat(1_000) + &")".repeat(1_000);
    let long = "a".repeat(5_000);
    for text in ["(", "*", "a{2,1}", "(?=a)", r"(a)\1", "(.{1000}){1000}", &nested, &long] {
        let bad = Pattern::new(text).unwrap_err();
        assert!(!bad.why.is_empty() && !bad.why.contains('\n'), "{bad}");
        assert_eq!(bad.text, *text);
    }
}

#[test]
fn a_users_pattern_has_his_name_and_namespace_in_it() {
    let pattern = Pattern::for_user("^{username}-{vhost}\\.", "a.b", "/").unwrap();
    assert_eq!(&**pattern.text(), "^{username}-{vhost}\\.");
    assert!(pattern.matches("a.b-/.x"));
    assert!(!pattern.matches("aXb-/.x"), "a name is no expression");
    assert!(Pattern::for_user("{username", "u", "/").is_err());
    let stored = postcard::to_allocvec(&pattern).unwrap();
    let read: Pattern = postcard::from_bytes(&stored).unwrap();
    assert!(read == pattern && read.matches("a.b-/.x"));
}

#[test]
fn passwords_are_kept_as_rabbitmq_keeps_them() {
    // The example of RabbitMQ's documentation: password test12, salt 908D C60A.
    let salt = [0x90, 0x8d, 0xc6, 0x0a];
    let hash = PasswordHash::new(HashAlgorithm::Sha256, "test12", salt);
    let hex: String = hash.salted().iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = "908dc60aa5b924b3096b8897d65a3b5f80fa5db62a94b83122cdf4f8fead10d515d8f391";
    assert_eq!(hex, expected);
    assert!(hash.is_of(b"test12") && !hash.is_of(b"test1") && !hash.is_of(b""));
    let other = PasswordHash::new(HashAlgorithm::Sha512, "test12", salt);
    assert!(other.salted().len() == 68 && other.is_of(b"test12") && !other.is_of(b"test13"));
    assert!(!PasswordHash::none().is_of(b""));
    assert!(!PasswordHash::new(HashAlgorithm::Sha256, "", salt).is_of(b""));
    for length in 0..40 {
        let cut = &hash.salted()[..hash.salted().len().min(length)];
        let stored = PasswordHash::stored(HashAlgorithm::Sha256, cut);
        assert_eq!(stored.is_of(b"test12"), length >= 36, "{length}");
    }
    assert!(!format!("{hash:?}").contains("144"), "a hash is not for logs");
}

#[test]
fn a_new_store_lets_guest_in_from_this_machine() {
    let world = World::new();
    let names = world.names();
    assert!(names.log_in("guest", b"guest", true).unwrap().has_tag("administrator"));
    assert_eq!(names.log_in("guest", b"guest", false), Err(LoginRefused::NotLocal));
    assert_eq!(names.log_in("guest", b"wrong", true), Err(LoginRefused::WrongPassword));
    assert_eq!(names.log_in("nobody", b"guest", true), Err(LoginRefused::NoUser));
    assert!(names.may_enter("guest", "/") && !names.may_enter("guest", "n"));
    assert_eq!(names.permit("guest", "/", Demand::configure(Guarded::Queue("q"))), Ok(()));
    assert!(names.permit("guest", "n", Demand::configure(Guarded::Queue("q"))).is_err());
}

#[test]
fn users_come_change_and_go() {
    let mut world = World::new();
    assert_eq!(world.ok(put("u", "one")), Outcome::Declared { created: true });
    world.ok(permit("u", Permission::all()));
    let version = world.names().version();
    assert_eq!(world.ok(put("u", "two")), Outcome::Declared { created: false });
    assert!(world.names().version() > version);
    let names = world.names();
    assert!(names.log_in("u", b"two", false).is_ok() && names.log_in("u", b"one", true).is_err());
    assert!(names.may_enter("u", "/"), "a new password takes no permission away");
    world.ok(Action::DeleteUser { name: name("u") });
    assert!(world.names().user("u").is_none() && !world.names().may_enter("u", "/"));
    let gone = Refusal::NotFound { what: Thing::User, name: name("u") };
    assert_eq!(world.refused(Action::DeleteUser { name: name("u") }), gone);
    assert_eq!(world.refused(permit("u", Permission::all())), gone);
    assert!(matches!(world.refused(put("", "x")), Refusal::IllegalName { .. }));
    assert_eq!(world.names().users().count(), 1);
}

#[test]
fn permissions_are_of_one_namespace_and_go_with_it() {
    let mut world = World::new();
    world.ok(put("u", "p"));
    world.run_in("n", Action::DeclareNamespace).0.unwrap();
    let missing = world.run_in("missing", permit("u", Permission::all())).0;
    assert!(matches!(missing, Err(Refusal::NotFound { what: Thing::Namespace, .. })));
    world.run_in("n", permit("u", permission("^$", "w", "r"))).0.unwrap();
    let keys = TopicPermission { write: pattern("a"), read: pattern("b") };
    let keys = Action::PermitKeys { user: name("u"), router: name("amq.topic"), permission: keys };
    world.run_in("n", keys).0.unwrap();
    let names = world.names();
    assert!(names.may_enter("u", "n") && !names.may_enter("u", "/"));
    for (demand, has) in [
        (Demand::configure(Guarded::Queue("w")), false),
        (Demand::write(Guarded::Queue("w")), true),
        (Demand::write(Guarded::Router("r")), false),
        (Demand::read(Guarded::Router("r")), true),
    ] {
        assert_eq!(names.permit("u", "n", demand).is_ok(), has, "{demand:?}");
    }
    let forbid = Action::Forbid { user: name("u") };
    assert!(matches!(
        world.refused(forbid.clone()),
        Refusal::NotFound { what: Thing::Permission, .. }
    ));
    world.run_in("n", Action::DeleteNamespace).0.unwrap();
    let user = world.names().user("u").cloned().unwrap();
    assert!(user.permissions.is_empty() && user.topic_permissions.is_empty());
    world.ok(permit("u", Permission::all()));
    world.ok(forbid);
    assert!(!world.names().may_enter("u", "/"));
}

#[test]
fn the_default_router_has_a_name_for_patterns() {
    let mut world = World::new();
    world.ok(put("u", "p"));
    world.ok(permit("u", permission("", "^amq\\.default$", "")));
    let names = world.names();
    assert_eq!(names.permit_publish("u", "/", ("", "q")), Ok(()));
    let denied = names.permit_publish("u", "/", ("amq.topic", "q")).unwrap_err();
    assert_eq!(denied.right, Right::Write);
    let denied = names.permit("u", "/", Demand::read(Guarded::Router(""))).unwrap_err();
    assert_eq!(denied.to_string(), "user 'u' may not read router 'amq.default' of namespace '/'");
}

#[test]
fn keys_are_asked_of_topic_routers_only() {
    let mut world = World::new();
    world.ok(put("u", "p"));
    world.ok(permit("u", Permission::all()));
    for source in ["amq.topic", "amq.direct"] {
        let permission = TopicPermission { write: pattern("^w"), read: pattern("^r") };
        let (user, router) = (name("u"), name(source));
        world.ok(Action::PermitKeys { user, router, permission });
    }
    let names = world.names();
    let publish = |router, key| names.permit_publish("u", "/", (router, key)).is_ok();
    assert!(publish("amq.topic", "w.x") && !publish("amq.topic", "r.x"));
    assert!(publish("amq.direct", "r.x") && publish("missing", "r.x"));
    let bind = |source: &str, key: &str| {
        let bind = binding(source, to_queue("q"), key);
        names.permit_change("u", &Change::new("/", Action::Bind(bind))).is_ok()
    };
    assert!(bind("amq.topic", "r.#") && !bind("amq.topic", "w.#") && bind("amq.direct", "w"));
    let all = Action::ForbidKeys { user: name("u"), router: None };
    world.ok(Action::ForbidKeys { user: name("u"), router: Some(name("amq.topic")) });
    assert_eq!(world.names().permit_publish("u", "/", ("amq.topic", "r")), Ok(()));
    world.ok(all.clone());
    assert!(matches!(world.refused(all), Refusal::NotFound { what: Thing::Permission, .. }));
}

/// The rights that `action` needs, tried by taking each away from a user who has all others.
fn needed(world: &World, action: &Action) -> Vec<String> {
    let names = world.names();
    let change = Change::new("/", action.clone());
    super::demands(&change, &names)
        .into_iter()
        .map(|demand| {
            let denied = demand.denied("u", "/").to_string();
            let (_, what) = denied.split_once(" may not ").unwrap();
            what.trim_end_matches(" of namespace '/'").to_owned()
        })
        .collect()
}

#[test]
fn each_change_needs_its_rights() {
    let mut world = World::new();
    let queue = Action::DeclareQueue(world.queue("q"));
    assert_eq!(needed(&world, &queue), ["configure queue 'q'"]);
    let with_alternate =
        DeclareRouter { alternate: Some(name("spare")), ..router("r", RouterKind::Fanout) };
    let with_alternate = Action::DeclareRouter(with_alternate);
    let all = ["configure router 'r'", "read router 'r'", "write router 'spare'"];
    assert_eq!(needed(&world, &with_alternate), all);
    world.ok(with_alternate.clone());
    assert_eq!(needed(&world, &with_alternate), all[..1], "it is there already");
    let bind = |source: &str, to: Destination| Action::Bind(Bind { ..binding(source, to, "k") });
    assert_eq!(
        needed(&world, &bind("amq.topic", to_queue("q"))),
        ["write queue 'q'", "read router 'amq.topic'", "read with key 'k' at router 'amq.topic'"]
    );
    assert_eq!(
        needed(&world, &bind("r", Destination::Router(name("amq.direct")))),
        ["write router 'amq.direct'", "read router 'r'"]
    );
    assert_eq!(needed(&world, &put("u", "p")), Vec::<String>::new());
}

#[test]
fn users_are_stored_and_read_back() {
    let mut world = World::new();
    world.ok(put("u", "p"));
    world.ok(permit("u", permission("a", "b", "c")));
    let permission = TopicPermission {
        write: Pattern::for_user("{username}", "u", "/").unwrap(),
        read: pattern(""),
    };
    let (user, router) = (name("u"), Name::from("amq.topic"));
    world.ok(Action::PermitKeys { user, router, permission });
    let stored = bytes(&world.shared);
    let read: Catalog = postcard::from_bytes(&stored).unwrap();
    assert_eq!(bytes(&read), stored);
    let users = |catalog: &Catalog| catalog.snapshot().users.values().cloned().collect::<Vec<_>>();
    assert_eq!(users(&read), users(&world.shared));
}
