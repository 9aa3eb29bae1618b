//! Messages that wait at an exchange, as a client sees them.

use super::client::{Broker, Client};
use crate::codec::content::ContentHeader;
use crate::codec::frame::FrameKind;
use crate::codec::{Content, Frame, Method, Table, table};
use record::properties::Value;

/// An exchange that delays and routes by key to the queue of the same name.
fn declare(client: &mut Client, queue: &str) {
    let mut arguments = Vec::new();
    let kind = ("x-delayed-type".to_owned(), Value::String("direct".to_owned()));
    table::push(&mut arguments, &[kind]);
    let declare = Method::ExchangeDeclare {
        ticket: 0,
        exchange: "later",
        kind: "x-delayed-message",
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        nowait: true,
        arguments: Table::of(&arguments[4..]),
    };
    client.method(1, &declare);
    client.declare(queue, true);
    let bind = Method::QueueBind {
        ticket: 0,
        queue,
        exchange: "later",
        routing_key: queue,
        nowait: true,
        arguments: Table::default(),
    };
    client.method(1, &bind);
}

/// Property flags and list with one header, beside a delivery mode.
fn with_delay(delay: &Value) -> Vec<u8> {
    let mut properties = vec![0x30, 0x00];
    table::push(&mut properties, &[("x-delay".to_owned(), delay.clone())]);
    properties.push(2);
    properties
}

/// The headers of the one message that came.
fn headers(bytes: &[u8]) -> Vec<(String, Value)> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let frame = Frame::split(rest, 131_072).expect("a good frame").expect("whole frames");
        if frame.kind == FrameKind::Header {
            let header = ContentHeader::decode(frame.payload).expect("a good header");
            let content = Content::decode(header.properties).expect("good properties");
            assert_eq!(content.properties.delivery_mode, Some(2));
            return content.headers.unwrap_or_default().decode().expect("a good table").list;
        }
        rest = &rest[frame.frame_bytes()..];
    }
    panic!("no message came");
}

fn get(queue: &str) -> Method<'_> {
    Method::BasicGet { ticket: 0, queue, no_ack: true }
}

#[test]
fn a_message_waits_as_long_as_it_says_over_a_crash_and_tells_so() {
    for (delay, told) in [
        (Value::I32(60_000), Value::I32(-60_000)),
        (Value::I64(60_000), Value::I32(-60_000)),
        (Value::String("60000".to_owned()), Value::I32(-60_000)),
        (Value::F64(60_000.9), Value::I32(-60_000)),
    ] {
        let mut broker = Broker::new();
        let mut client = broker.connect();
        declare(&mut client, "q");
        client.method(1, &Method::ConfirmSelect { nowait: true });
        client.publish_all("later", "q", b"a", &with_delay(&delay));
        client.count("q");
        let shown = broker.talk(&mut client);
        let last = &shown[shown.len() - 2..];
        let mut last = last.to_vec();
        last.sort();
        assert_eq!(last, ["1 basic.ack 1 false", "1 queue.declare-ok q 0 0"], "{shown:?}");
        broker.crash();
        let mut client = broker.connect();
        broker.clock.pass(50_000_000);
        client.method(1, &get("q"));
        assert_eq!(broker.talk(&mut client), ["1 basic.get-empty"]);
        broker.clock.pass(20_000_000);
        broker.settle(&mut client);
        client.method(1, &get("q"));
        let headers = headers(&broker.exchange(&mut client));
        assert_eq!(headers, [("x-delay".to_owned(), told)]);
    }
}

#[test]
fn what_does_not_ask_to_wait_is_there_at_once() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    declare(&mut client, "q");
    for delay in [Value::I32(0), Value::I32(-5), Value::String("soon".to_owned()), Value::Null] {
        client.publish_all("later", "q", b"a", &with_delay(&delay));
        client.method(1, &get("q"));
        let headers = headers(&broker.exchange(&mut client));
        assert_eq!(headers, [("x-delay".to_owned(), delay)]);
    }
    client.publish("later", "q", b"b");
    client.count("q");
    assert_eq!(broker.talk(&mut client), ["1 queue.declare-ok q 1 0"]);
}

#[test]
fn a_delay_may_be_longer_than_any_timer() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    declare(&mut client, "q");
    client.method(1, &Method::ConfirmSelect { nowait: true });
    for delay in [3 * 365 * 86_400_000, i64::MAX] {
        client.publish_all("later", "q", b"a", &with_delay(&Value::I64(delay)));
    }
    client.count("q");
    let shown = broker.talk(&mut client);
    assert!(shown.contains(&"1 basic.ack 2 true".to_owned()), "{shown:?}");
    assert!(shown.contains(&"1 queue.declare-ok q 0 0".to_owned()), "{shown:?}");
}

#[test]
fn a_message_that_waits_is_returned_when_nothing_is_bound_and_mandatory() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    declare(&mut client, "q");
    broker.talk(&mut client);
    client.publish_all("later", "other", b"a", &with_delay(&Value::I32(1000)));
    let shown = broker.talk(&mut client);
    assert_eq!(shown, ["1 basic.return 312 other", "1 header 1", "1 body a"]);
}

#[test]
fn a_message_of_a_transaction_waits_from_the_commit_on() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    declare(&mut client, "q");
    client.method(1, &Method::TxSelect {});
    client.publish_all("later", "q", b"a", &with_delay(&Value::I32(10_000)));
    broker.talk(&mut client);
    broker.clock.pass(20_000_000);
    client.method(1, &Method::TxCommit {});
    client.method(1, &get("q"));
    assert_eq!(broker.talk(&mut client), ["1 tx.commit-ok", "1 basic.get-empty"]);
    broker.clock.pass(11_000_000);
    broker.settle(&mut client);
    client.method(1, &get("q"));
    let shown = broker.talk(&mut client);
    assert_eq!(shown, ["1 basic.get-ok 1 false 0", "1 header 1", "1 body a"]);
}

#[test]
fn an_exchange_that_delays_says_how_it_routes() {
    let mut broker = Broker::new();
    for (kind, answer) in [
        (
            None,
            "406 PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' must be an existing \
                exchange type (40, 10)",
        ),
        (
            Some("x-delayed-message"),
            "406 PRECONDITION_FAILED - Invalid argument, \
                'x-delayed-type' must be an existing exchange type (40, 10)",
        ),
        (Some("none"), "503 COMMAND_INVALID - unknown exchange type 'none' (40, 10)"),
    ] {
        let mut client = broker.connect();
        let mut arguments = Vec::new();
        let list = kind.map(|kind| ("x-delayed-type".to_owned(), Value::String(kind.to_owned())));
        table::push(&mut arguments, &list.into_iter().collect::<Vec<_>>());
        let declare = Method::ExchangeDeclare {
            ticket: 0,
            exchange: "later",
            kind: "x-delayed-message",
            passive: false,
            durable: true,
            auto_delete: false,
            internal: false,
            nowait: false,
            arguments: Table::of(&arguments[4..]),
        };
        client.method(1, &declare);
        let shown = broker.talk(&mut client);
        assert!(shown[0].ends_with(answer), "{shown:?}");
    }
}
