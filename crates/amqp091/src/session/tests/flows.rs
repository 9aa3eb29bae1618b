use super::client::Broker;
use crate::codec::{Method, Table};

const CLOSE: Method<'_> =
    Method::ChannelClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 };

#[test]
fn a_pipelined_declare_bind_publish_reaches_what_it_declared() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    let exchange = Method::ExchangeDeclare {
        ticket: 0,
        exchange: "x",
        kind: "topic",
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        nowait: true,
        arguments: Table::default(),
    };
    client.method(1, &exchange);
    client.declare("q", true);
    let bind = Method::QueueBind {
        ticket: 0,
        queue: "",
        exchange: "x",
        routing_key: "a.*",
        nowait: true,
        arguments: Table::default(),
    };
    client.method(1, &bind);
    client.publish("x", "a.b", b"1");
    client.publish("", "q", b"2");
    client.count("q");
    assert_eq!(broker.talk(&mut client), ["1 queue.declare-ok q 0 0", "1 queue.declare-ok q 2 0"]);
}

#[test]
fn order_holds_across_queues_and_reads() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    client.declare("a", true);
    client.declare("b", true);
    for number in 0..6 {
        let queue = if number % 3 == 0 { "a" } else { "b" };
        client.publish("", queue, number.to_string().as_bytes());
        if number == 3 {
            broker.talk(&mut client);
        }
    }
    client.consume("a", "a", true);
    client.consume("b", "b", true);
    let frames = broker.talk(&mut client);
    let bodies: Vec<&str> =
        frames.iter().filter_map(|frame| frame.strip_prefix("1 body ")).collect();
    assert_eq!(bodies, ["0", "3", "1", "2", "4", "5"]);
}

#[test]
fn a_transaction_is_done_when_it_is_committed_and_never_when_it_is_rolled_back() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    client.declare("source", true);
    client.declare("sink", true);
    client.publish("", "source", b"task");
    client.method(1, &Method::TxSelect {});
    client.method(1, &Method::BasicGet { ticket: 0, queue: "source", no_ack: false });
    broker.talk(&mut client);
    client.ack(1, false);
    client.publish("", "sink", b"never");
    client.method(1, &Method::TxRollback {});
    client.count("sink");
    assert_eq!(broker.talk(&mut client), ["1 tx.rollback-ok", "1 queue.declare-ok sink 0 0"]);
    client.ack(1, false);
    client.publish("", "sink", b"answer");
    client.publish("", "nowhere", b"lost");
    client.count("sink");
    assert_eq!(broker.talk(&mut client), ["1 queue.declare-ok sink 0 0"]);
    client.method(1, &Method::TxCommit {});
    assert_eq!(
        broker.talk(&mut client),
        ["1 basic.return 312 nowhere", "1 header 4", "1 body lost", "1 tx.commit-ok"]
    );
    broker.crash();
    let mut client = broker.connect();
    client.count("source");
    client.count("sink");
    assert_eq!(
        broker.talk(&mut client),
        ["1 queue.declare-ok source 0 0", "1 queue.declare-ok sink 1 0"]
    );
}

#[test]
fn what_a_closed_channel_held_returns_and_what_it_settled_does_not() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    client.declare("q", true);
    for body in [b"1", b"2", b"3"] {
        client.publish("", "q", body);
    }
    client.consume("q", "c", false);
    broker.talk(&mut client);
    client.ack(2, false);
    client.method(1, &CLOSE);
    client.method(1, &Method::ChannelOpen { out_of_band: "" });
    client.consume("q", "c", true);
    let frames = broker.talk(&mut client);
    assert_eq!(
        frames,
        [
            "1 channel.close-ok",
            "1 channel.open-ok",
            "1 basic.consume-ok c",
            "1 basic.deliver c 1 true",
            "1 header 1",
            "1 body 1",
            "1 basic.deliver c 2 true",
            "1 header 1",
            "1 body 3"
        ]
    );
}

#[test]
fn a_deleted_queue_cancels_its_consumers() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    client.declare("q", true);
    client.consume("q", "c", false);
    broker.talk(&mut client);
    let delete = Method::QueueDelete {
        ticket: 0,
        queue: "q",
        if_unused: false,
        if_empty: false,
        nowait: true,
    };
    client.method(1, &delete);
    assert_eq!(broker.talk(&mut client), ["1 basic.cancel c"]);
    client.consume("q", "c", false);
    let frames = broker.talk(&mut client);
    assert!(frames[0].starts_with("1 channel.close 404"), "{frames:?}");
}

#[test]
fn replies_come_back_without_a_queue_being_declared() {
    let mut broker = Broker::new();
    let mut asking = broker.connect();
    asking.declare("requests", true);
    asking.consume("amq.rabbitmq.reply-to", "replies", true);
    asking.publish_with("requests", b"question", b"\x02\0\x15amq.rabbitmq.reply-to");
    let frames = broker.talk(&mut asking);
    assert_eq!(frames, ["1 queue.declare-ok requests 0 0", "1 basic.consume-ok replies"]);
    let mut answering = broker.connect();
    answering.method(1, &Method::BasicGet { ticket: 0, queue: "requests", no_ack: true });
    let header = broker.exchange(&mut answering);
    let at = header.windows(22).position(|bytes| bytes == b"amq.rabbitmq.reply-to.").unwrap();
    let reply_to = String::from_utf8(header[at..at + 44].to_vec()).unwrap();
    answering.publish("", &reply_to, b"answer");
    assert!(broker.talk(&mut answering).is_empty(), "it is routed");
    assert_eq!(
        broker.settle(&mut asking),
        ["1 basic.deliver replies 1 false", "1 header 6", "1 body answer"]
    );
    asking.method(1, &CLOSE);
    broker.talk(&mut asking);
    answering.publish("", &reply_to, b"late");
    assert!(broker.talk(&mut answering)[0].starts_with("1 basic.return 312"));
}

#[test]
fn what_was_exclusive_is_gone_when_close_is_answered() {
    let mut broker = Broker::new();
    let mut first = broker.connect();
    let declare = Method::QueueDeclare {
        ticket: 0,
        queue: "mine",
        passive: false,
        durable: false,
        exclusive: true,
        auto_delete: false,
        nowait: true,
        arguments: Table::default(),
    };
    first.method(1, &declare);
    broker.talk(&mut first);
    let mut second = broker.connect();
    second.count("mine");
    assert!(broker.talk(&mut second)[0].starts_with("1 channel.close 405"));
    let close =
        Method::ConnectionClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 };
    first.method(0, &close);
    assert_eq!(broker.talk(&mut first), ["0 connection.close-ok"]);
    let names = broker.engine.handle().names();
    assert!(names.find("/", "mine").is_none());
}
