use super::*;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<i16>().prop_map(Value::I16),
        any::<i32>().prop_map(Value::I32),
        any::<i64>().prop_map(Value::I64),
        any::<u8>().prop_map(Value::U8),
        any::<u16>().prop_map(Value::U16),
        any::<u32>().prop_map(Value::U32),
        any::<f32>().prop_map(Value::F32),
        any::<f64>().prop_map(Value::F64),
        (any::<u8>(), any::<i32>())
            .prop_map(|(scale, unscaled)| Value::Decimal { scale, unscaled }),
        ".{0,12}".prop_map(Value::String),
        vec(any::<u8>(), 0..12).prop_map(|bytes| Value::Bytes(Bytes::from(bytes))),
        any::<i64>().prop_map(|time| Value::Timestamp(Millis(time))),
    ];
    scalar.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Array),
            vec((".{0,6}", inner), 0..5).prop_map(Value::Table),
        ]
    })
}

fn user() -> impl Strategy<Value = Vec<(String, Value)>> {
    let name = prop_oneof![
        "[a-c]{1,2}",
        Just("message-id".to_owned()),
        Just("priority".to_owned()),
        Just("exchange".to_owned()),
        Just("_mc".to_owned()),
    ];
    vec((name, value()), 0..24)
}

fn bytes_of(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out);
    out
}

/// Encodes the headers of a message whose key and value are null.
fn encoded(block: &Block<'_>) -> Vec<u8> {
    let mut out = vec![1, 1];
    push(&mut out, block).unwrap();
    out
}

fn headers(tail: &[u8]) -> Headers<'_> {
    tail::decode(tail).unwrap().headers
}

fn with_user(user: &[(String, Value)]) -> Block<'_> {
    Block {
        properties: Properties::default(),
        address: Address::default(),
        user,
        origin: Origin::Amqp091,
        raw: None,
        copies: &[],
    }
}

fn full() -> Properties<'static> {
    Properties {
        message_id: Some(b"m"),
        correlation_id: Some(b""),
        reply_to: Some(b"r"),
        content_type: Some(b"text/plain"),
        content_encoding: Some(b"\xff\xfe"),
        kind: Some(b"t"),
        app_id: Some(b"a"),
        user_id: Some(b"guest"),
        priority: Some(255),
        expiration: Some(b"60000"),
        delivery_mode: Some(2),
        timestamp: Some(Millis(1_700_000_000_000)),
    }
}

fn plain<'a>(list: &[(&'a [u8], Option<&'a [u8]>)]) -> Vec<u8> {
    let mut out = Vec::new();
    tail::encode(&mut out, None, None, list.iter().copied());
    out
}

proptest! {
    #[test]
    fn user_headers_come_back_typed_and_in_order(
        user in user(), some: bool, raw in option::of(vec(any::<u8>(), 0..20)),
    ) {
        let properties = if some { full() } else { Properties::default() };
        let address = Address { exchange: Some(b""), routing_key: some.then_some(&b"q"[..]) };
        let block = Block { properties, address, raw: raw.as_deref(), ..with_user(&user) };
        let tail = encoded(&block);
        let decoded = decode(headers(&tail));
        prop_assert_eq!(decoded.properties, properties);
        prop_assert_eq!(decoded.address, address);
        prop_assert_eq!(decoded.raw, raw.as_deref());
        prop_assert_eq!(decoded.user_count, user.len());
        prop_assert_eq!(decoded.user().count(), user.len());
        for (found, (name, value)) in decoded.user().zip(&user) {
            prop_assert_eq!(found.name, name.as_bytes());
            // As bytes: a NaN equals itself there.
            prop_assert_eq!(bytes_of(&found.value()), bytes_of(value));
        }
    }

    #[test]
    fn a_value_decodes_to_what_was_encoded(value in value()) {
        let bytes = bytes_of(&value);
        prop_assert_eq!(bytes_of(&Value::decode(&bytes).unwrap()), bytes);
    }

    #[test]
    fn any_bytes_are_a_value_or_refused(bytes in vec(prop_oneof![0u8..20, any::<u8>()], 0..60)) {
        if let Ok(value) = Value::decode(&bytes) {
            prop_assert!(value.depth() <= DEPTH_MAX);
        }
    }

    #[test]
    fn any_mc_of_a_kafka_client_is_survived(
        mut mc in vec(prop_oneof![0u8..20, any::<u8>()], 0..60), version: bool,
        names in vec("[a-z]{0,3}|message-id|priority", 0..5), text in vec(any::<u8>(), 0..5),
    ) {
        if version && !mc.is_empty() {
            mc[0] = 1;
        }
        let mut list = vec![(MC, Some(&mc[..]))];
        list.extend(names.iter().map(|name| (name.as_bytes(), Some(&text[..]))));
        let tail = plain(&list);
        let decoded = decode(headers(&tail));
        prop_assert_eq!(decoded.user().count(), decoded.user_count);
        for header in decoded.user() {
            prop_assert!(header.value().depth() <= DEPTH_MAX);
        }
    }

    #[test]
    fn the_form_of_scalars_equals_the_general_one(
        user in proptest::collection::btree_map("[a-z]{1,5}x", number_or_text(), 0..300), some: bool,
    ) {
        let properties = if some { full() } else { Properties::default() };
        let address = Address { exchange: Some(b"e"), routing_key: Some(b"k") };
        let user: Vec<_> = user.into_iter().collect();
        let general = encoded(&Block { properties, address, ..with_user(&user) });
        let mut fast = vec![1, 1];
        let scalars: Vec<_> =
            user.iter().map(|(name, value)| (name.as_bytes(), scalar_of(value))).collect();
        push_scalars(&mut fast, &properties, &address, Origin::Amqp091, &scalars);
        prop_assert_eq!(fast, general);
    }
}

fn number_or_text() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i8>().prop_map(Value::I8),
        any::<i16>().prop_map(Value::I16),
        any::<i32>().prop_map(Value::I32),
        prop_oneof![any::<i64>(), Just(i64::MIN), Just(0)].prop_map(Value::I64),
        any::<u8>().prop_map(Value::U8),
        any::<u16>().prop_map(Value::U16),
        any::<u32>().prop_map(Value::U32),
        ".{0,12}".prop_map(Value::String),
    ]
}

fn scalar_of(value: &Value) -> Scalar<'_> {
    match value {
        Value::I8(number) => Scalar::I8(*number),
        Value::I16(number) => Scalar::I16(*number),
        Value::I32(number) => Scalar::I32(*number),
        Value::I64(number) => Scalar::I64(*number),
        Value::U8(number) => Scalar::U8(*number),
        Value::U16(number) => Scalar::U16(*number),
        Value::U32(number) => Scalar::U32(*number),
        Value::String(text) => Scalar::Text(text.as_bytes()),
        other => panic!("{other:?} is no scalar"),
    }
}

#[test]
fn a_kafka_client_sees_names_and_text() {
    let user = [
        ("n".to_owned(), Value::I32(-5)),
        ("z".to_owned(), Value::Null),
        ("list".to_owned(), Value::Array(vec![Value::String("a\"\n".into()), Value::F64(1.5)])),
        ("t".to_owned(), Value::Table(vec![("k".into(), Value::Bool(true))])),
    ];
    let properties = Properties { priority: Some(7), timestamp: Some(Millis(12)), ..full() };
    let tail = encoded(&Block { properties, ..with_user(&user) });
    let seen: Vec<(String, Option<String>)> = headers(&tail)
        .skip(1)
        .map(|(name, value)| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (text(name), value.map(text))
        })
        .collect();
    let expected = [
        ("message-id", Some("m")),
        ("correlation-id", Some("")),
        ("reply-to", Some("r")),
        ("content-type", Some("text/plain")),
        ("content-encoding", Some("\u{fffd}\u{fffd}")),
        ("type", Some("t")),
        ("app-id", Some("a")),
        ("user-id", Some("guest")),
        ("priority", Some("7")),
        ("expiration", Some("60000")),
        ("delivery-mode", Some("2")),
        ("timestamp", Some("12")),
        ("n", Some("-5")),
        ("z", None),
        ("list", Some(r#"["a\"\u000a",1.5]"#)),
        ("t", Some(r#"{"k":true}"#)),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
    assert_eq!(seen, expected);
}

#[test]
fn mc_is_written_only_when_plain_headers_do_not_suffice() {
    let string = |name: &str| (name.to_owned(), Value::String("v".into()));
    let check = |user: &[(String, Value)], raw: Option<&[u8]>, expected: bool| {
        let tail = encoded(&Block { raw, ..with_user(user) });
        assert_eq!(decode(headers(&tail)).origin.is_some(), expected, "{user:?}");
    };
    check(&[], None, false);
    check(&[string("a"), string("b"), ("c".into(), Value::Null)], None, false);
    check(&[("b".into(), Value::Bytes(Bytes::from_static(b"\xff")))], None, false);
    check(&[("b".into(), Value::Bytes(Bytes::from_static(b"text")))], None, true);
    check(&[("b".into(), Value::Bool(true))], None, true);
    check(&[string("a"), string("a")], None, true);
    check(&[string("type")], None, true);
    check(&[], Some(b""), true);
}

#[test]
fn what_a_kafka_client_sends_is_read_without_types() {
    let list: [(&[u8], Option<&[u8]>); 9] = [
        (b"priority", Some(b"high")),
        (b"priority", Some(b"9")),
        (b"message-id", None),
        (b"message-id", Some(b"1")),
        (b"message-id", Some(b"2")),
        (b"delivery-mode", Some(b"02")),
        (b"timestamp", Some(b"99999999999999999999")),
        (b"binary", Some(b"\xff")),
        (b"_mc", Some(b"\x09")),
    ];
    let tail = plain(&list);
    let decoded = decode(headers(&tail));
    let expected =
        Properties { priority: Some(9), message_id: Some(b"1"), ..Properties::default() };
    assert_eq!(decoded.properties, expected);
    assert_eq!(decoded.origin, None);
    let user: Vec<_> = decoded.user().map(|header| header.value()).collect();
    let text = |text: &str| Value::String(text.to_owned());
    let expected = [
        text("high"),
        Value::Null,
        text("2"),
        text("02"),
        text("99999999999999999999"),
        Value::Bytes(Bytes::from_static(b"\xff")),
        text("\t"),
    ];
    assert_eq!(user, expected);
}

#[test]
fn a_changed_plain_value_wins_over_its_old_type() {
    let tail = encoded(&with_user(&[("n".to_owned(), Value::U8(200))]));
    let mc = headers(&tail).next().unwrap().1;
    let changed = plain(&[(MC, mc), (b"n", Some(b"300"))]);
    let header = decode(headers(&changed)).user().next().unwrap();
    assert_eq!(header.value(), Value::String("300".into()));
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]))
}

#[test]
fn nesting_is_capped_both_ways() {
    assert_eq!(nested(DEPTH_MAX).depth(), DEPTH_MAX);
    let deepest = bytes_of(&nested(DEPTH_MAX));
    assert_eq!(bytes_of(&Value::decode(&deepest).unwrap()), deepest);
    let mut hostile = [15, 1].repeat(50_000);
    hostile.push(0);
    assert_eq!(Value::decode(&hostile).unwrap_err().fault, Fault::TooLarge);
    let user = [("deep".to_owned(), nested(DEPTH_MAX + 1))];
    let refused = push(&mut Vec::new(), &with_user(&user));
    assert_eq!(refused.unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn counts_and_sizes_are_held_against_the_bytes() {
    let check = |bytes: &[u8], fault| assert_eq!(Value::decode(bytes).unwrap_err().fault, fault);
    check(&[15, 0xff, 0xff, 0xff, 0xff, 0x0f], Fault::Truncated);
    check(&[16, 0xff, 0xff, 0xff, 0xff, 0x0f, 0], Fault::Truncated);
    check(&[12, 0xff, 0xff, 0xff, 0xff, 0x0f, 0], Fault::Truncated);
    check(&[12, 1, 0xff], Fault::Invalid);
    check(&[0, 0], Fault::Count);
    check(&[17], Fault::Invalid);
    check(&vec![0; VALUE_BYTES_MAX + 1], Fault::TooLarge);
}
