//! Messages that are taken only if a record is the last one, as a client sees them.

use super::client::{Broker, Client, declare, encoded};
use crate::codec::{Method, Table};
use record::properties::Value;

fn stream(client: &mut Client, queue: &str) {
    let kind = ("x-queue-type", Value::String("stream".to_owned()));
    declare(client, queue, &[kind, ("x-key-index", Value::Bool(true))]);
}

/// Property flags and list with what is expected, of a key if there is one.
fn with(offset: Value, key: Option<&str>) -> Vec<u8> {
    let mut headers = vec![("x-expect-offset", offset)];
    headers.extend(key.map(|key| ("x-kafka-key", Value::String(key.to_owned()))));
    let mut properties = vec![0x20, 0x00];
    properties.extend_from_slice(&encoded(&headers));
    properties
}

/// Publishes by itself, and gives whether that is confirmed.
fn attempt(broker: &mut Broker, client: &mut Client, offset: i64, key: Option<&str>) -> bool {
    client.publish_with("events", b"event", &with(Value::I64(offset), key));
    let shown = broker.talk(client);
    let told = |word: &str| shown.iter().any(|line| line.contains(word));
    assert!(told("basic.ack") != told("basic.nack"), "{shown:?}");
    told("basic.ack")
}

#[test]
fn a_message_is_refused_unless_the_last_of_its_key_or_stream_is_as_expected() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    stream(&mut client, "events");
    client.method(1, &Method::ConfirmSelect { nowait: true });
    broker.talk(&mut client);
    let steps = [
        (0, Some("a"), false),
        (-1, Some("a"), true),
        (-1, Some("a"), false),
        (-1, Some("b"), true),
        (0, Some("a"), true),
        (0, Some("a"), false),
        (1, None, false),
        (2, None, true),
        (2, Some("a"), true),
    ];
    for (number, (offset, key, taken)) in steps.into_iter().enumerate() {
        assert_eq!(attempt(&mut broker, &mut client, offset, key), taken, "step {number}");
    }
    broker.crash();
    let mut client = broker.connect();
    client.method(1, &Method::ConfirmSelect { nowait: true });
    broker.talk(&mut client);
    assert!(!attempt(&mut broker, &mut client, 2, Some("a")));
    assert!(attempt(&mut broker, &mut client, 4, Some("a")));
}

#[test]
fn what_expects_an_offset_goes_to_one_stream_now() {
    let mut broker = Broker::new();
    let refused = |broker: &mut Broker, client: &mut Client, text: &str| {
        let shown = broker.talk(client);
        let wanted = format!("1 channel.close 406 PRECONDITION_FAILED - {text} (60, 40)");
        assert_eq!(shown.last(), Some(&wanted));
    };
    let mut client = broker.connect();
    stream(&mut client, "events");
    let word = with(Value::String("last".to_owned()), None);
    client.publish_with("events", b"event", &word);
    refused(&mut broker, &mut client, "Invalid header, 'x-expect-offset' must be an offset, or -1");
    let mut client = broker.connect();
    client.method(1, &Method::TxSelect {});
    client.publish_with("events", b"event", &with(Value::I64(-1), None));
    let text = "a message that expects an offset is not part of a transaction";
    refused(&mut broker, &mut client, text);
    let mut client = broker.connect();
    for queue in ["events", "others"] {
        stream(&mut client, queue);
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
    client.publish_all("amq.fanout", "", b"event", &with(Value::I64(-1), None));
    refused(
        &mut broker,
        &mut client,
        "a message that expects an offset goes to one topic or stream",
    );
    let mut client = broker.connect();
    declare(&mut client, "queue", &[]);
    client.method(1, &Method::ConfirmSelect { nowait: true });
    client.publish_with("queue", b"event", &with(Value::I64(-1), None));
    let shown = broker.talk(&mut client);
    assert!(shown.iter().any(|line| line.contains("basic.nack")), "{shown:?}");
}
