use super::*;
use crate::codec::frame::{Frame, FrameKind};
use crate::codec::{ContentHeader, Method, table};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use record::properties::Properties;
use types::{Millis, Offset};

const FRAME_BYTES_MAX: u32 = 4096;
const NOW: Millis = Millis(1_700_000_000_123);

type List = Vec<(String, Value)>;

fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn list(pairs: &[(&str, Value)]) -> List {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// Property flags and list with a headers table.
fn flags_and_list(properties: &Properties<'_>, headers: Option<&List>) -> Vec<u8> {
    let mut out = Vec::new();
    let push = headers.map(|list| |out: &mut Vec<u8>| table::push(out, list));
    Content::push(&mut out, properties, push);
    out
}

fn publication<'a>(properties: &'a [u8], body: &'a [u8]) -> Publication<'a> {
    Publication { exchange: "ex", routing_key: "rk", mandatory: false, properties, body }
}

/// Publishes into a tail.
fn stored(publication: &Publication<'_>) -> Vec<u8> {
    let content = Content::decode(publication.properties).unwrap();
    let mut tail = Vec::new();
    push_tail(&mut tail, publication, &content, false).unwrap();
    tail
}

fn headers_of(
    list: &[(&[u8], Option<&[u8]>)],
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Vec<u8> {
    let mut out = Vec::new();
    tail::encode(&mut out, key, value, list.iter().copied());
    out
}

fn message(tail: &[u8]) -> Message<'_> {
    Message::new("queue", NOW, tail::decode(tail).unwrap())
}

/// What a client would see of a delivery.
struct Seen {
    exchange: String,
    routing_key: String,
    properties: Vec<u8>,
    body: Vec<u8>,
}

impl Seen {
    fn content(&self) -> Content<'_> {
        Content::decode(&self.properties).unwrap()
    }

    fn headers(&self) -> Option<List> {
        self.content().headers.map(|table| table.decode().unwrap().list)
    }
}

fn seen(message: &Message<'_>) -> Seen {
    let mut out = Vec::new();
    let mut writer = ContentWriter { out: &mut out, channel: 3, frame_bytes_max: FRAME_BYTES_MAX };
    writer.deliver("tag", 9, true, message);
    read(&out)
}

fn read(out: &[u8]) -> Seen {
    let mut rest = out;
    let mut next = || {
        let frame = Frame::split(rest, FRAME_BYTES_MAX - 8).unwrap()?;
        assert_eq!(frame.channel, 3);
        rest = &rest[frame.frame_bytes()..];
        Some(frame)
    };
    let method = Method::decode(next().unwrap().payload).unwrap();
    let (exchange, routing_key) = match method {
        Method::BasicDeliver { consumer_tag, delivery_tag, redelivered, exchange, routing_key } => {
            assert_eq!((consumer_tag, delivery_tag, redelivered), ("tag", 9, true));
            (exchange, routing_key)
        }
        Method::BasicGetOk { exchange, routing_key, .. }
        | Method::BasicReturn { exchange, routing_key, .. } => (exchange, routing_key),
        other => panic!("{other:?}"),
    };
    let header = next().unwrap();
    assert_eq!(header.kind, FrameKind::Header);
    let header = ContentHeader::decode(header.payload).unwrap();
    let mut body = Vec::new();
    while let Some(frame) = next() {
        assert_eq!(frame.kind, FrameKind::Body);
        body.extend_from_slice(frame.payload);
    }
    assert!(rest.is_empty());
    assert_eq!((header.class, header.body_bytes), (60, body.len() as u64));
    Seen {
        exchange: exchange.to_owned(),
        routing_key: routing_key.to_owned(),
        properties: header.properties.to_vec(),
        body,
    }
}

fn text() -> impl Strategy<Value = Option<Vec<u8>>> {
    option::of(vec(any::<u8>(), 0..6))
}

proptest! {
    #[test]
    fn what_is_published_is_delivered_unchanged(
        texts in vec(text(), 9), delivery_mode: Option<u8>, priority: Option<u8>,
        seconds in option::of(0i64..1 << 40),
        headers in option::of(table::tests::list()),
        body in vec(any::<u8>(), 0..9000),
    ) {
        let text = |at: usize| texts[at].as_deref();
        let properties = Properties {
            message_id: text(0),
            correlation_id: text(1),
            reply_to: text(2),
            content_type: text(3),
            content_encoding: text(4),
            kind: text(5),
            app_id: text(6),
            user_id: text(7),
            priority,
            expiration: text(8),
            delivery_mode,
            timestamp: seconds.map(|seconds| Millis(seconds * 1000)),
        };
        let sent = flags_and_list(&properties, headers.as_ref());
        let tail = stored(&publication(&sent, &body));
        let seen = seen(&message(&tail));
        prop_assert_eq!(&seen.properties, &sent);
        prop_assert_eq!(seen.body, body);
        prop_assert_eq!((seen.exchange.as_str(), seen.routing_key.as_str()), ("ex", "rk"));
    }

    #[test]
    fn any_properties_are_given_back_or_refused(
        flags in any::<u16>(), rest in vec(prop_oneof![0u8..6, any::<u8>()], 0..60),
    ) {
        let sent = [&(flags & !3).to_be_bytes()[..], &rest].concat();
        if let Ok(content) = Content::decode(&sent) {
            let publication = publication(&sent, b"body");
            let mut tail = Vec::new();
            if push_tail(&mut tail, &publication, &content, false).is_ok() {
                let seen = seen(&message(&tail));
                prop_assert_eq!(seen.content().properties, content.properties);
            }
        }
    }

    #[test]
    fn any_record_of_another_protocol_is_delivered(
        headers in vec(("[a-c]{0,2}|message-id|x-kafka-offset|_mc", option::of(vec(any::<u8>(), 0..300))), 0..12),
        key in text(), value in text(), mc in option::of(vec(prop_oneof![0u8..20, any::<u8>()], 0..40)),
    ) {
        let mut list: Vec<(&[u8], Option<&[u8]>)> =
            headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect();
        let mc = mc.map(|mc| [&[1, 1][..], &mc].concat());
        if let Some(mc) = &mc {
            list.insert(0, (b"_mc", Some(mc)));
        }
        let tail = headers_of(&list, key.as_deref(), value.as_deref());
        let annotations = [("x-delivery-count", Value::I64(1))];
        let message = message(&tail).at(2, Offset(77)).annotated(&annotations);
        let seen = seen(&message);
        prop_assert_eq!(&seen.body, &value.unwrap_or_default());
        let headers = seen.headers().unwrap();
        let count = |name: &str| headers.iter().filter(|(found, _)| found == name).count();
        prop_assert_eq!(count("x-delivery-count"), 1);
    }
}

#[test]
fn a_kafka_client_reads_what_amqp_published() {
    let properties = Properties {
        content_type: Some(b"application/json"),
        delivery_mode: Some(2),
        timestamp: Some(Millis(1_700_000_000_000)),
        ..Properties::default()
    };
    let headers = list(&[("trace", string("t1")), ("tries", Value::I32(3))]);
    let sent = flags_and_list(&properties, Some(&headers));
    let tail = stored(&publication(&sent, b"body"));
    let view = tail::decode(&tail).unwrap();
    assert_eq!((view.key, view.value), (None, Some(&b"body"[..])));
    let plain: Vec<(String, String)> = view
        .headers
        .filter(|(name, _)| *name != b"_mc")
        .map(|(name, value)| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (text(name), text(value.unwrap()))
        })
        .collect();
    let expected = [
        ("content-type", "application/json"),
        ("delivery-mode", "2"),
        ("timestamp", "1700000000000"),
        ("exchange", "ex"),
        ("routing-key", "rk"),
        ("trace", "t1"),
        ("tries", "3"),
    ];
    assert_eq!(plain, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn an_amqp_client_reads_what_kafka_published() {
    let long = vec![b'l'; 300];
    let tail = headers_of(
        &[
            (b"message-id", Some(b"m1")),
            (b"content-type", Some(&long)),
            (b"tag", Some(b"a")),
            (b"null", None),
            (b"tag", Some(b"b")),
            (b"binary", Some(b"\xff")),
        ],
        Some(b"key"),
        Some(b"body"),
    );
    let seen = seen(&message(&tail).at(4, Offset(1 << 33)));
    let expected = Properties {
        message_id: Some(b"m1"),
        timestamp: Some(Millis(1_700_000_000_000)),
        ..Properties::default()
    };
    assert_eq!(seen.content().properties, expected);
    assert_eq!((seen.exchange.as_str(), seen.routing_key.as_str()), ("", "queue"));
    let headers = list(&[
        ("content-type", string(&String::from_utf8(long).unwrap())),
        ("tag", Value::Array(vec![string("a"), string("b")])),
        ("null", Value::Null),
        ("binary", Value::Bytes(Bytes::from_static(b"\xff"))),
        (KAFKA_KEY, string("key")),
        (KAFKA_PARTITION, Value::I32(4)),
        (KAFKA_OFFSET, Value::I64(1 << 33)),
        (KAFKA_TIMESTAMP, Value::I64(NOW.0)),
    ]);
    assert_eq!(seen.headers(), Some(headers));
}

#[test]
fn null_and_empty_values_and_keys_are_told_apart() {
    let read = |key, value| {
        let tail = headers_of(&[(b"exchange", Some(b""))], key, value);
        let seen = seen(&message(&tail));
        assert_eq!(seen.body, b"");
        seen.headers()
    };
    assert_eq!(read(None, Some(b"")), None);
    assert_eq!(read(None, None), Some(list(&[(KAFKA_VALUE_NULL, Value::Bool(true))])));
    assert_eq!(read(Some(b""), Some(b"")), Some(list(&[(KAFKA_KEY, string(""))])));
    let binary = Value::Bytes(Bytes::from_static(b"\xff\0"));
    assert_eq!(read(Some(b"\xff\0"), Some(b"")), Some(list(&[(KAFKA_KEY, binary)])));
}

#[test]
fn a_publisher_sets_key_and_null_value_by_header() {
    let write = |headers: &[(&str, Value)], body: &[u8]| {
        let headers = list(headers);
        let sent = flags_and_list(&Properties::default(), Some(&headers));
        let tail = stored(&publication(&sent, body));
        let view = tail::decode(&tail).unwrap();
        let given_back = seen(&message(&tail)).headers();
        assert_eq!(given_back, Some(headers));
        (view.key.map(<[u8]>::to_vec), view.value.map(<[u8]>::to_vec))
    };
    let null = (KAFKA_VALUE_NULL, Value::Bool(true));
    assert_eq!(
        write(&[(KAFKA_KEY, string("k"))], b"v"),
        (Some(b"k".to_vec()), Some(b"v".to_vec()))
    );
    assert_eq!(write(&[(KAFKA_KEY, string("k")), null.clone()], b""), (Some(b"k".to_vec()), None));
    assert_eq!(write(&[null], b"body"), (None, Some(b"body".to_vec())));
    assert_eq!(write(&[(KAFKA_KEY, Value::I32(1))], b""), (None, Some(vec![])));
}

#[test]
fn an_empty_headers_table_is_not_none() {
    for headers in [None, Some(vec![])] {
        let sent = flags_and_list(&Properties::default(), headers.as_ref());
        let tail = stored(&publication(&sent, b"x"));
        assert_eq!(seen(&message(&tail)).headers(), headers);
    }
}

#[test]
fn repeated_fields_of_an_amqp_publisher_stay_repeated() {
    let headers = list(&[("a", string("1")), ("a", string("2"))]);
    let sent = flags_and_list(&Properties::default(), Some(&headers));
    let tail = stored(&publication(&sent, b"x"));
    assert_eq!(seen(&message(&tail)).headers(), Some(headers));
}

#[test]
fn the_broker_adds_headers_to_any_kind_of_message() {
    let annotations = [("x-delivery-count", Value::I64(2))];
    let cluster_id = |headers: Option<&List>| {
        let properties =
            Properties { content_type: Some(b"t"), priority: Some(1), ..Properties::default() };
        let mut sent = flags_and_list(&properties, headers);
        sent[1] |= 0x04;
        sent.extend_from_slice(b"\x01c");
        sent
    };
    let own = list(&[("own", Value::Bool(true))]);
    let plain = flags_and_list(&Properties::default(), None);
    let typed = flags_and_list(&Properties::default(), Some(&own));
    for (sent, expected) in [
        (plain, list(&[])),
        (typed, own.clone()),
        (cluster_id(None), list(&[])),
        (cluster_id(Some(&own)), own.clone()),
    ] {
        let tail = stored(&publication(&sent, b"x"));
        let seen = seen(&message(&tail).annotated(&annotations));
        let mut expected = expected;
        expected.push(("x-delivery-count".to_owned(), Value::I64(2)));
        assert_eq!(seen.headers(), Some(expected));
        let before = Content::decode(&sent).unwrap();
        assert_eq!(seen.content().properties, before.properties);
        assert_eq!(seen.content().exact, before.exact);
    }
}

#[test]
fn copies_are_routed_and_bcc_is_not_stored() {
    let headers = list(&[
        ("CC", Value::Array(vec![string("a"), string("b")])),
        ("BCC", Value::Array(vec![string("c")])),
        ("kept", string("k")),
    ]);
    let sent = flags_and_list(&Properties::default(), Some(&headers));
    let content = Content::decode(&sent).unwrap();
    let copies = asked(&content).map(|asked| asked.copies);
    assert_eq!(copies, Ok(vec!["a".to_owned(), "b".into(), "c".into()]));
    let tail = stored(&publication(&sent, b"x"));
    let left = seen(&message(&tail)).headers().unwrap();
    assert_eq!(left, [headers[0].clone(), headers[2].clone()]);
    let bad = flags_and_list(&Properties::default(), Some(&list(&[("CC", string("a"))])));
    let refused = asked(&Content::decode(&bad).unwrap()).unwrap_err();
    assert_eq!((refused.code, refused.method), (Code::PreconditionFailed, (60, 40)));
}

#[test]
fn a_replaced_reply_to_is_stored_even_beside_raw_properties() {
    let properties = Properties { reply_to: Some(b"amq.rabbitmq.reply-to"), ..Default::default() };
    for inexact in [false, true] {
        let mut sent = flags_and_list(&properties, None);
        if inexact {
            sent[1] |= 0x04;
            sent.extend_from_slice(b"\x01c");
        }
        let mut content = Content::decode(&sent).unwrap();
        content.properties.reply_to = Some(b"amq.rabbitmq.reply-to.g1");
        let mut tail = Vec::new();
        push_tail(&mut tail, &publication(&sent, b""), &content, false).unwrap();
        let seen = seen(&message(&tail));
        assert_eq!(seen.content().properties.reply_to, Some(&b"amq.rabbitmq.reply-to.g1"[..]));
    }
}

proptest! {
    #[test]
    fn what_waits_is_stored_as_if_it_were_published_when_it_has_waited(
        before in vec(("[a-c]{1,2}", plain_value()), 0..3), after in vec(("[d-f]", plain_value()), 0..3),
        delay in prop_oneof![(1..i32::MAX).prop_map(Value::I32), (1..i64::MAX).prop_map(Value::I64),
            (1u32..).prop_map(Value::U32), (1..9_999i64).prop_map(|delay| string(&delay.to_string()))],
    ) {
        let waited = waited(delay_of(&delay).unwrap());
        let properties = Properties { priority: Some(3), message_id: Some(b"m"), ..Properties::default() };
        let headers = |delay| [&before[..], &[(DELAY.to_owned(), delay)], &after[..]].concat();
        let sent = flags_and_list(&properties, Some(&headers(delay.clone())));
        let then = flags_and_list(&properties, Some(&headers(waited)));
        let (published, content) = (publication(&sent, b"x"), Content::decode(&sent).unwrap());
        let mut tail = Vec::new();
        push_tail(&mut tail, &published, &content, true).unwrap();
        prop_assert_eq!(tail, stored(&publication(&then, b"x")));
    }
}

fn plain_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i32>().prop_map(Value::I32),
        any::<i64>().prop_map(Value::I64),
        any::<u8>().prop_map(Value::U8),
        any::<bool>().prop_map(Value::Bool),
        ".{0,5}".prop_map(Value::String),
        Just(Value::Array(vec![Value::Null])),
    ]
}

#[test]
fn headers_beyond_a_frame_are_counted_instead() {
    let big = vec![b'x'; 3000];
    let headers: Vec<(&[u8], Option<&[u8]>)> =
        vec![(b"message-id", Some(b"m")), (b"a", Some(&big)), (b"b", Some(&big))];
    let tail = headers_of(&headers, None, Some(b"body"));
    let seen = seen(&message(&tail).at(0, Offset(5)));
    let expected = list(&[
        ("x-headers-omitted", Value::I64(2)),
        (KAFKA_PARTITION, Value::I32(0)),
        (KAFKA_OFFSET, Value::I64(5)),
    ]);
    assert_eq!(seen.headers(), Some(expected));
    assert_eq!(seen.content().properties.message_id, Some(&b"m"[..]));
    assert_eq!(seen.body, b"body");
}

#[test]
fn expirations_are_checked_as_rabbitmq_does() {
    let check = |text: &str| {
        let properties = Properties { expiration: Some(text.as_bytes()), ..Default::default() };
        let content = Content { properties, ..Content::default() };
        expiration_ms(&content).map_err(|refused| refused.text)
    };
    assert_eq!(check("0"), Ok(Some(0)));
    assert_eq!(check("60000"), Ok(Some(60_000)));
    assert_eq!(expiration_ms(&Content::default()), Ok(None));
    for (text, why) in [
        ("soon", "no_integer"),
        ("", "no_integer"),
        ("5s", "{leftover_string,\"s\"}"),
        ("-1", "{value_negative,-1}"),
        ("315360000001", "{value_too_large,315360000001}"),
        ("99999999999999999999", "{value_too_large,99999999999999999999}"),
    ] {
        assert_eq!(check(text), Err(format!("invalid expiration '{text}': {why}")));
    }
}

#[test]
fn a_returned_message_is_the_one_that_came() {
    let sent = flags_and_list(&Properties::default(), Some(&list(&[("BCC", string("odd"))])));
    let mut out = Vec::new();
    let mut writer = ContentWriter { out: &mut out, channel: 3, frame_bytes_max: FRAME_BYTES_MAX };
    writer.returned(Code::NoRoute, &publication(&sent, b"body"));
    let frame = Frame::split(&out, FRAME_BYTES_MAX).unwrap().unwrap();
    let expected = Method::BasicReturn {
        reply_code: 312,
        reply_text: "NO_ROUTE",
        exchange: "ex",
        routing_key: "rk",
    };
    assert_eq!(Method::decode(frame.payload), Ok(expected));
    let seen = read(&out);
    assert_eq!((seen.properties, seen.body), (sent, b"body".to_vec()));
}

#[test]
fn a_got_message_tells_how_many_are_left() {
    let sent = flags_and_list(&Properties::default(), None);
    let tail = stored(&publication(&sent, b"body"));
    let mut out = Vec::new();
    let mut writer = ContentWriter { out: &mut out, channel: 3, frame_bytes_max: FRAME_BYTES_MAX };
    writer.get_ok(7, false, 12, &message(&tail));
    let frame = Frame::split(&out, FRAME_BYTES_MAX).unwrap().unwrap();
    let Ok(Method::BasicGetOk { delivery_tag, redelivered, message_count, .. }) =
        Method::decode(frame.payload)
    else {
        panic!("{frame:?}");
    };
    assert_eq!((delivery_tag, redelivered, message_count), (7, false, 12));
    assert_eq!(read(&out).body, b"body");
}
