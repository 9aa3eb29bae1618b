//! Dead letters as a client sees them.

use super::client::{Broker, declare};
use crate::codec::content::ContentHeader;
use crate::codec::frame::FrameKind;
use crate::codec::{Content, Frame, Method};
use record::properties::Value;

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// Headers and expiration of the one message that came.
fn headers(bytes: &[u8]) -> (Vec<(String, Value)>, Option<String>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let frame = Frame::split(rest, 131_072).expect("a good frame").expect("whole frames");
        if frame.kind == FrameKind::Header {
            let header = ContentHeader::decode(frame.payload).expect("a good header");
            let content = Content::decode(header.properties).expect("good properties");
            let list = content.headers.unwrap_or_default().decode().expect("a good table").list;
            let expiration = content.properties.expiration;
            return (list, expiration.map(|text| String::from_utf8_lossy(text).into_owned()));
        }
        rest = &rest[frame.frame_bytes()..];
    }
    panic!("no message came");
}

fn get(queue: &str) -> Method<'_> {
    Method::BasicGet { ticket: 0, queue, no_ack: true }
}

#[test]
fn an_expired_message_tells_where_it_was_in_rabbitmqs_words() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    let to = [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("grave"))];
    declare(&mut client, "source", &to);
    declare(&mut client, "grave", &[]);
    // Flags of headers, delivery mode and expiration; a table with one field.
    let mut properties = vec![0x31, 0x00, 0, 0, 0, 9];
    properties.extend_from_slice(b"\x03ownI\0\0\0\x07");
    properties.extend_from_slice(b"\x02\x03100");
    client.publish_with("source", b"a", &properties);
    broker.talk(&mut client);
    broker.clock.pass(200_000);
    broker.talk(&mut client);
    client.method(1, &get("grave"));
    let (list, expiration) = headers(&broker.exchange(&mut client));
    assert_eq!(expiration, None);
    let names: Vec<&str> = list.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = [
        "own",
        "x-death",
        "x-first-death-reason",
        "x-first-death-queue",
        "x-first-death-exchange",
        "x-last-death-reason",
        "x-last-death-queue",
        "x-last-death-exchange",
    ];
    assert_eq!(names, wanted);
    let Value::Array(deaths) = &list[1].1 else { panic!("{list:?}") };
    let [Value::Table(death)] = &deaths[..] else { panic!("{deaths:?}") };
    let time = death[4].1.clone();
    assert!(matches!(time, Value::Timestamp(_)), "{death:?}");
    let wanted = [
        ("original-expiration", text("100")),
        ("count", Value::I64(1)),
        ("reason", text("expired")),
        ("queue", text("source")),
        ("time", time),
        ("exchange", text("")),
        ("routing-keys", Value::Array(vec![text("source")])),
    ];
    let wanted: Vec<(String, Value)> =
        wanted.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    assert_eq!(*death, wanted);
    assert_eq!(list[2].1, text("expired"));
    assert_eq!(list[6].1, text("source"));
}

#[test]
fn a_quorum_queue_counts_deliveries_up_to_its_limit() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    let limited = [
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", Value::I32(1)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("grave")),
    ];
    declare(&mut client, "source", &limited);
    declare(&mut client, "grave", &[]);
    client.publish("", "source", b"a");
    broker.talk(&mut client);
    for (count, delivery_tag) in [(None, 1), (Some(1), 2)] {
        client.method(1, &Method::BasicGet { ticket: 0, queue: "source", no_ack: false });
        let (list, _) = headers(&broker.exchange(&mut client));
        let told = list.iter().find(|(name, _)| name == "x-delivery-count");
        assert_eq!(told.map(|(_, value)| value.clone()), count.map(Value::I64));
        client.method(1, &Method::BasicReject { delivery_tag, requeue: true });
        broker.talk(&mut client);
    }
    client.method(1, &get("grave"));
    let (list, _) = headers(&broker.exchange(&mut client));
    let reason = list.iter().find(|(name, _)| name == "x-first-death-reason");
    assert_eq!(reason.map(|(_, value)| value.clone()), Some(text("delivery_limit")));
}

#[test]
fn a_refused_message_goes_and_close_ok_says_that_it_has() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    let to = [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("grave"))];
    declare(&mut client, "source", &to);
    declare(&mut client, "grave", &[]);
    client.publish("", "source", b"a");
    client.consume("source", "tag", false);
    broker.talk(&mut client);
    client.method(1, &Method::BasicReject { delivery_tag: 1, requeue: false });
    let close = Method::ChannelClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 };
    client.method(1, &close);
    assert_eq!(broker.talk(&mut client), ["1 channel.close-ok"]);
    broker.crash();
    let mut client = broker.connect();
    client.method(1, &get("source"));
    client.method(1, &get("grave"));
    assert_eq!(
        broker.talk(&mut client),
        ["1 basic.get-empty", "1 basic.get-ok 1 true 0", "1 header 1", "1 body a"]
    );
}
