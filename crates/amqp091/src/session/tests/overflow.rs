//! Queues that refuse what is too much, as a client sees them.

use super::client::{Broker, declare};
use crate::codec::{Method, Table};
use record::properties::Value;

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

#[test]
fn a_publish_that_is_too_much_is_nacked_and_those_before_are_acked() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    let limited = [("x-max-length", Value::I32(2)), ("x-overflow", text("reject-publish"))];
    declare(&mut client, "q", &limited);
    client.method(1, &Method::ConfirmSelect { nowait: true });
    for body in [b"1", b"2", b"3", b"4"] {
        client.publish("", "q", body);
    }
    client.count("q");
    let shown = broker.talk(&mut client);
    let nacks: Vec<&String> = shown.iter().filter(|line| line.contains("nack")).collect();
    assert_eq!(nacks, ["1 basic.nack 4 true"], "{shown:?}");
    assert!(shown.contains(&"1 basic.ack 2 true".to_owned()), "{shown:?}");
    assert_eq!(shown.last().map(String::as_str), Some("1 queue.declare-ok q 2 0"));
}

#[test]
fn a_message_that_one_queue_refuses_is_nacked_and_in_the_others() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    let dead = [
        ("x-max-length", Value::I32(0)),
        ("x-overflow", text("reject-publish-dlx")),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("grave")),
    ];
    declare(&mut client, "full", &dead);
    declare(&mut client, "other", &[]);
    declare(&mut client, "grave", &[]);
    for queue in ["full", "other"] {
        let bind = Method::QueueBind {
            ticket: 0,
            queue,
            exchange: "amq.fanout",
            routing_key: "",
            nowait: true,
            arguments: Table::default(),
        };
        client.method(1, &bind);
    }
    client.method(1, &Method::ConfirmSelect { nowait: true });
    client.publish("amq.fanout", "", b"a");
    assert_eq!(broker.talk(&mut client), ["1 basic.nack 1 false"]);
    for (queue, count) in [("full", 0), ("other", 1), ("grave", 1)] {
        client.count(queue);
        assert_eq!(broker.talk(&mut client), [format!("1 queue.declare-ok {queue} {count} 0")]);
    }
}

#[test]
fn a_commit_with_a_message_that_is_too_much_is_refused() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    let limited = [("x-max-length", Value::I32(1)), ("x-overflow", text("reject-publish"))];
    declare(&mut client, "q", &limited);
    client.method(1, &Method::TxSelect {});
    client.publish("", "q", b"1");
    client.publish("", "q", b"2");
    client.method(1, &Method::TxCommit {});
    let shown = broker.talk(&mut client);
    let wanted = "1 channel.close 406 PRECONDITION_FAILED - partial tx completion (90, 20)";
    assert_eq!(shown.last().map(String::as_str), Some(wanted));
}
