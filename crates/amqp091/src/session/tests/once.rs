//! Messages that are taken once, as a client sees them.

use super::client::{Broker, Client, declare, encoded};
use crate::codec::{Method, Table};
use record::properties::Value;

fn declare_exchange(client: &mut Client, arguments: &[(&str, Value)]) {
    let arguments = encoded(arguments);
    let declare = Method::ExchangeDeclare {
        ticket: 0,
        exchange: "once",
        kind: "x-message-deduplication",
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        nowait: true,
        arguments: Table::of(&arguments[4..]),
    };
    client.method(1, &declare);
}

/// Property flags and list with headers.
fn with(headers: &[(&str, Value)]) -> Vec<u8> {
    let mut properties = vec![0x20, 0x00];
    properties.extend_from_slice(&encoded(headers));
    properties
}

fn id(id: &str) -> (&'static str, Value) {
    ("x-deduplication-header", Value::String(id.to_owned()))
}

#[test]
fn a_duplicate_is_confirmed_and_not_in_the_queue() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    declare(&mut client, "q", &[("x-message-deduplication", Value::Bool(true))]);
    client.method(1, &Method::ConfirmSelect { nowait: true });
    for key in ["a", "b", "a"] {
        client.publish_with("q", b"1", &with(&[id(key)]));
    }
    client.publish("", "q", b"no id");
    client.publish_with("q", b"1", &with(&[id("b")]));
    client.count("q");
    let shown = broker.talk(&mut client);
    assert!(!shown.iter().any(|line| line.contains("nack")), "{shown:?}");
    assert!(shown.iter().any(|line| line.starts_with("1 basic.ack 5")), "{shown:?}");
    assert!(shown.contains(&"1 queue.declare-ok q 3 0".to_owned()), "{shown:?}");
    broker.crash();
    let mut client = broker.connect();
    client.method(1, &Method::BasicGet { ticket: 0, queue: "q", no_ack: true });
    broker.talk(&mut client);
    client.publish_with("q", b"1", &with(&[id("b")]));
    client.publish_with("q", b"1", &with(&[id("a")]));
    client.count("q");
    assert_eq!(broker.talk(&mut client), ["1 queue.declare-ok q 3 0"]);
}

#[test]
fn an_exchange_remembers_as_long_and_as_much_as_it_says() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    let ttl = ("x-cache-ttl", Value::I32(10_000));
    declare_exchange(&mut client, &[("x-cache-size", Value::I32(2)), ttl]);
    declare(&mut client, "q", &[]);
    let bind = Method::QueueBind {
        ticket: 0,
        queue: "q",
        exchange: "once",
        routing_key: "ignored",
        nowait: true,
        arguments: Table::default(),
    };
    client.method(1, &bind);
    let own = ("x-cache-ttl", Value::String("30000".to_owned()));
    let mut publish = |broker: &mut Broker, headers: &[(&str, Value)]| {
        client.publish_all("once", "k", b"1", &with(headers));
        client.count("q");
        let shown = broker.talk(&mut client);
        let count = shown.last().and_then(|line| line.split(' ').nth(3)).map(str::to_owned);
        count.and_then(|count| count.parse::<u32>().ok()).expect("it is counted")
    };
    assert_eq!(publish(&mut broker, &[id("a")]), 1);
    assert_eq!(publish(&mut broker, &[id("a")]), 1);
    assert_eq!(publish(&mut broker, &[id("b"), own]), 2);
    broker.clock.pass(11_000_000);
    assert_eq!(publish(&mut broker, &[id("b")]), 2);
    assert_eq!(publish(&mut broker, &[id("a")]), 3);
    assert_eq!(publish(&mut broker, &[id("c")]), 4);
    // Two are remembered, and three came.
    assert_eq!(publish(&mut broker, &[id("a")]), 5);
    assert_eq!(publish(&mut broker, &[]), 6);
}

#[test]
fn what_an_exchange_remembers_has_to_be_said() {
    let mut broker = Broker::new();
    let size = || ("x-cache-size", Value::I32(5));
    for (arguments, text) in [
        (vec![], "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0"),
        (
            vec![("x-cache-size", Value::I32(0))],
            "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0",
        ),
        (
            vec![size(), ("x-cache-ttl", Value::String("x".to_owned()))],
            "Invalid argument, 'x-cache-ttl' must be an integer greater than 0",
        ),
        (
            vec![size(), ("x-cache-persistence", Value::String("tape".to_owned()))],
            "Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'",
        ),
    ] {
        let mut client = broker.connect();
        declare_exchange(&mut client, &arguments);
        let shown = broker.talk(&mut client);
        assert_eq!(shown, [format!("1 channel.close 406 PRECONDITION_FAILED - {text} (40, 10)")]);
    }
}

#[test]
fn a_transaction_takes_a_duplicate_once() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    declare(&mut client, "q", &[("x-message-deduplication", Value::Bool(true))]);
    client.method(1, &Method::TxSelect {});
    client.publish_with("q", b"1", &with(&[id("a")]));
    client.publish_with("q", b"2", &with(&[id("a")]));
    client.publish("", "q", b"3");
    client.method(1, &Method::TxCommit {});
    client.count("q");
    let shown = broker.talk(&mut client);
    assert_eq!(shown[1..], ["1 tx.commit-ok", "1 queue.declare-ok q 2 0"]);
}
