//! Users, virtual hosts and permissions, in RabbitMQ's words.

use super::client::{Broker, Client};
use crate::codec::{Method, Table};
use engine::catalog::{
    Action, HashAlgorithm, IMPERSONATOR, PasswordHash, Pattern, Permission, PutUser,
    TopicPermission,
};

fn none() -> Table<'static> {
    Table::default()
}

fn put(user: &str, tags: &[&str]) -> Action {
    let password = PasswordHash::new(HashAlgorithm::Sha256, user, *b"salt");
    let tags = tags.iter().map(|tag| (*tag).into()).collect();
    Action::PutUser(PutUser { name: user.into(), password, tags })
}

fn permit(user: &str, patterns: [&str; 3]) -> Action {
    let [configure, write, read] = patterns.map(|text| Pattern::new(text).unwrap());
    Action::Permit { user: user.into(), permission: Permission { configure, write, read } }
}

/// A broker with the user `u`, who has these permissions, and a connection of his; queues and
/// exchanges are called by the right he has on them.
fn broker(patterns: [&str; 3]) -> (Broker, Client) {
    let mut broker = Broker::new();
    broker.change("/", put("u", &[]));
    broker.change("/", permit("u", patterns));
    let mut client = broker.accept();
    let shown = broker.log_in(&mut client, "u", "/");
    assert!(shown.last().unwrap().starts_with("1 channel.open-ok"), "{shown:?}");
    (broker, client)
}

fn by_name() -> (Broker, Client) {
    broker(["configure", "write", "read"])
}

fn declare_queue<'a>(queue: &'a str, arguments: Table<'a>) -> Method<'a> {
    Method::QueueDeclare {
        ticket: 0,
        queue,
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: false,
        nowait: false,
        arguments,
    }
}

fn declare_exchange<'a>(exchange: &'a str, arguments: Table<'a>) -> Method<'a> {
    Method::ExchangeDeclare {
        ticket: 0,
        exchange,
        kind: "topic",
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        nowait: false,
        arguments,
    }
}

fn refused(what: &str, method: &str) -> String {
    format!(
        "1 channel.close 403 ACCESS_REFUSED - access to {what} in vhost '/' refused for user 'u' \
         {method}"
    )
}

/// The answer to each method, on a channel of its own.
fn answers(broker: &mut Broker, client: &mut Client, method: &Method<'_>) -> Vec<String> {
    client.method(1, method);
    let shown = broker.talk(client);
    if shown.iter().any(|frame| frame.starts_with("1 channel.close")) {
        client.method(1, &Method::ChannelCloseOk {});
        client.method(1, &Method::ChannelOpen { out_of_band: "" });
        broker.talk(client);
    }
    shown
}

#[test]
fn each_method_needs_its_rights() {
    let (mut broker, mut client) = by_name();
    let queue_bind = |queue, exchange| Method::QueueBind {
        ticket: 0,
        queue,
        exchange,
        routing_key: "k",
        nowait: false,
        arguments: none(),
    };
    let queue_unbind = |queue, exchange| Method::QueueUnbind {
        ticket: 0,
        queue,
        exchange,
        routing_key: "k",
        arguments: none(),
    };
    let exchange_bind = |destination, source| Method::ExchangeBind {
        ticket: 0,
        destination,
        source,
        routing_key: "k",
        nowait: false,
        arguments: none(),
    };
    let delete = |queue| Method::QueueDelete {
        ticket: 0,
        queue,
        if_unused: false,
        if_empty: false,
        nowait: false,
    };
    let alternate = Table::of(b"\x12alternate-exchangeS\0\0\0\x05spare");
    let cases = [
        (declare_queue("read-write", none()), "queue 'read-write'", "(50, 10)"),
        (delete("read-write"), "queue 'read-write'", "(50, 40)"),
        (declare_exchange("read-write", none()), "exchange 'read-write'", "(40, 10)"),
        (declare_exchange("configure", alternate), "exchange 'configure'", "(40, 10)"),
        (declare_exchange("configure-read", alternate), "exchange 'spare'", "(40, 10)"),
        (
            Method::ExchangeDelete { ticket: 0, exchange: "x", if_unused: false, nowait: false },
            "exchange 'x'",
            "(40, 20)",
        ),
        (queue_bind("configure-read", "read"), "queue 'configure-read'", "(50, 20)"),
        (queue_bind("write", "write"), "exchange 'write'", "(50, 20)"),
        (queue_unbind("read", "read"), "queue 'read'", "(50, 50)"),
        (queue_unbind("write", ""), "exchange 'amq.default'", "(50, 50)"),
        (exchange_bind("read", "read"), "exchange 'read'", "(40, 30)"),
        (exchange_bind("write", "write"), "exchange 'write'", "(40, 30)"),
        (
            Method::QueuePurge { ticket: 0, queue: "write", nowait: false },
            "queue 'write'",
            "(50, 30)",
        ),
        (Method::BasicGet { ticket: 0, queue: "write", no_ack: true }, "queue 'write'", "(60, 70)"),
    ];
    for (method, what, id) in &cases {
        assert_eq!(answers(&mut broker, &mut client, method), [refused(what, id)], "{method:?}");
    }
    client.consume("write", "t", true);
    assert_eq!(broker.talk(&mut client), [refused("queue 'write'", "(60, 20)")]);
}

#[test]
fn what_is_permitted_works_and_passive_declares_need_nothing() {
    let (mut broker, mut client) = by_name();
    let mut guest = broker.connect();
    guest.declare("hidden", true);
    broker.talk(&mut guest);
    client.count("hidden");
    assert_eq!(broker.talk(&mut client), ["1 queue.declare-ok hidden 0 0"]);
    let name = "configure-write-read";
    assert_eq!(
        answers(&mut broker, &mut client, &declare_queue(name, none())),
        ["1 queue.declare-ok configure-write-read 0 0"]
    );
    client.publish("", name, b"x");
    assert_eq!(
        broker.talk(&mut client),
        [refused("exchange 'amq.default'", "(60, 40)")],
        "the default exchange has a name for patterns"
    );
    broker.change("/", permit("u", ["", "^amq\\.default$", "read$"]));
    client.method(1, &Method::ChannelCloseOk {});
    client.method(1, &Method::ChannelOpen { out_of_band: "" });
    client.publish("", name, b"x");
    client.consume(name, "t", true);
    assert_eq!(
        broker.talk(&mut client),
        [
            "1 channel.open-ok",
            "1 basic.consume-ok t",
            "1 basic.deliver t 1 false",
            "1 header 1",
            "1 body x"
        ]
    );
    assert_eq!(
        answers(&mut broker, &mut client, &declare_queue(name, none())),
        [refused("queue 'configure-write-read'", "(50, 10)")],
        "a changed permission holds at once"
    );
}

#[test]
fn replies_need_no_rights_on_their_queue() {
    let (mut broker, mut client) = broker(["", "", ""]);
    client.consume("amq.rabbitmq.reply-to", "t", true);
    assert_eq!(broker.talk(&mut client), ["1 basic.consume-ok t"]);
}

#[test]
fn keys_of_topic_exchanges_are_guarded() {
    let (mut broker, mut client) = broker([".*", ".*", ".*"]);
    let permission = TopicPermission {
        write: Pattern::for_user("^{username}\\.", "u", "/").unwrap(),
        read: Pattern::new("^news\\.").unwrap(),
    };
    let (user, router) = ("u".into(), "amq.topic".into());
    broker.change("/", Action::PermitKeys { user, router, permission });
    answers(&mut broker, &mut client, &declare_queue("q", none()));
    let bind = |exchange, routing_key| Method::QueueBind {
        ticket: 0,
        queue: "q",
        exchange,
        routing_key,
        nowait: false,
        arguments: none(),
    };
    assert_eq!(
        answers(&mut broker, &mut client, &bind("amq.topic", "#")),
        [refused("topic '#' in exchange 'amq.topic'", "(50, 20)")]
    );
    for (exchange, key) in [("amq.topic", "news.#"), ("amq.direct", "v.x")] {
        assert_eq!(
            answers(&mut broker, &mut client, &bind(exchange, key)),
            ["1 queue.bind-ok"],
            "{exchange} {key}"
        );
    }
    client.publish("amq.direct", "v.x", b"x");
    client.publish("amq.topic", "u.x", b"x");
    client.publish("amq.topic", "v.x", b"x");
    let shown = broker.talk(&mut client);
    assert_eq!(
        shown.last().unwrap(),
        &refused("topic 'v.x' in exchange 'amq.topic'", "(60, 40)"),
        "{shown:?}"
    );
}

#[test]
fn virtual_hosts_are_entered_with_permission_only() {
    let mut broker = Broker::new();
    broker.change("/", put("u", &[]));
    broker.change("/", Action::DeclareNamespace);
    broker.change("team", Action::DeclareNamespace);
    for (vhost, told) in
        [("/", "access to vhost '/' refused for user 'u'"), ("nowhere", "vhost nowhere not found")]
    {
        let mut client = broker.accept();
        let shown = broker.log_in(&mut client, "u", vhost);
        let wanted = format!("0 connection.close 530 NOT_ALLOWED - {told} (10, 40)");
        assert_eq!(shown.last(), Some(&wanted));
        assert!(client.finished());
    }
    broker.change("team", permit("u", [".*", ".*", ".*"]));
    let mut client = broker.accept();
    broker.log_in(&mut client, "u", "team");
    client.declare("q", true);
    client.method(1, &Method::BasicGet { ticket: 0, queue: "none", no_ack: true });
    assert_eq!(
        broker.talk(&mut client),
        [
            "1 queue.declare-ok q 0 0",
            "1 channel.close 404 NOT_FOUND - no queue 'none' in vhost 'team' (60, 70)"
        ]
    );
    let mut guest = broker.connect();
    guest.count("q");
    let shown = broker.talk(&mut guest);
    assert!(shown[0].contains("no queue 'q' in vhost '/'"), "{shown:?}");
}

#[test]
fn a_user_id_is_ones_own_unless_one_is_an_impersonator() {
    for (tags, told) in [
        (&[][..], Some("user_id property set to 'v' but authenticated user was 'u'")),
        (&[IMPERSONATOR], None),
    ] {
        let mut broker = Broker::new();
        broker.change("/", put("u", tags));
        broker.change("/", permit("u", [".*", ".*", ".*"]));
        let mut client = broker.accept();
        broker.log_in(&mut client, "u", "/");
        client.declare("q", true);
        client.publish_with("q", b"x", &[0, 0x10, 1, b'u']);
        client.publish_with("q", b"x", &[0, 0x10, 1, b'v']);
        let shown = broker.talk(&mut client);
        let wanted =
            told.map(|told| format!("1 channel.close 406 PRECONDITION_FAILED - {told} (60, 40)"));
        assert_eq!(shown.get(1), wanted.as_ref());
    }
}

#[test]
fn a_deleted_user_may_do_nothing_more() {
    let (mut broker, mut client) = broker([".*", ".*", ".*"]);
    answers(&mut broker, &mut client, &declare_queue("q", none()));
    broker.change("/", Action::DeleteUser { name: "u".into() });
    assert_eq!(
        answers(&mut broker, &mut client, &declare_queue("q", none())),
        [refused("queue 'q'", "(50, 10)")]
    );
    let mut again = broker.accept();
    broker.log_in(&mut again, "u", "/");
    assert!(again.finished());
}
