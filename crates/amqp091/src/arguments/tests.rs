use super::*;
use types::Millis;

const QUEUE: Resource<'_> = Resource { kind: "queue", name: "q", vhost: "/" };

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn list(pairs: &[(&str, Value)]) -> Vec<(String, Value)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn refusal(name: &str, value: Value) -> Option<String> {
    let refused = QueueArguments::parse(QUEUE, &list(&[(name, value)])).err()?;
    assert_eq!(refused.code, Code::PreconditionFailed);
    let why =
        refused.text.strip_prefix(&format!("invalid arg '{name}' for queue 'q' in vhost '/': "));
    Some(why.expect("the text names argument and queue").to_owned())
}

#[test]
fn what_works_is_parsed_whatever_the_integer_width() {
    let arguments = list(&[
        ("x-queue-type", text("quorum")),
        ("x-message-ttl", Value::U8(0)),
        ("x-expires", Value::I32(1_800_000)),
        ("x-max-length", Value::I64(10)),
        ("x-max-length-bytes", Value::U16(1000)),
        ("x-keep-settled-age", Value::U8(5)),
        ("x-keep-settled-bytes", Value::U8(6)),
        ("x-overflow", text("drop-head")),
        ("x-single-active-consumer", Value::Bool(true)),
        ("x-delivery-limit", Value::I32(3)),
        ("x-dead-letter-exchange", text("dlx")),
        ("x-dead-letter-routing-key", text("key")),
        ("x-dead-letter-strategy", text("at-least-once")),
    ]);
    let expected = QueueArguments {
        kind: QueueKind::Quorum,
        message_ttl_ms: Some(0),
        expires_ms: Some(1_800_000),
        length_max: Some(10),
        length_bytes_max: Some(1000),
        age_ms_max: None,
        keep: KeepArguments { age_ms: Some(5), bytes: Some(6), key_index: false },
        overflow: Overflow::DropHead,
        serving: ServingArguments { single_active: true, ..ServingArguments::default() },
        is_deduplicating: false,
        returns_max: Some(3),
        dead_letter: Some(("dlx".to_owned(), Some("key".to_owned()))),
    };
    assert_eq!(QueueArguments::parse(QUEUE, &arguments), Ok(expected));
}

#[test]
fn an_age_is_a_number_and_a_unit() {
    let age = |value: Value| {
        let given = list(&[("x-queue-type", text("stream")), ("x-max-age", value)]);
        QueueArguments::parse(QUEUE, &given).map(|parsed| parsed.age_ms_max).ok().flatten()
    };
    for (spelled, seconds) in [("2Y", 63_072_000), ("1M", 2_592_000), ("7D", 604_800)] {
        assert_eq!(age(text(spelled)), Some(seconds * 1_000), "{spelled}");
    }
    for (spelled, seconds) in [("1h", 3_600), ("5m", 300), ("0s", 0)] {
        assert_eq!(age(text(spelled)), Some(seconds * 1_000), "{spelled}");
    }
    for spelled in ["", "D", "7", "-1D", "7d", "1.5h", "9999999999999999999s", "1ü"] {
        assert_eq!(age(text(spelled)), None, "{spelled}");
    }
    assert_eq!(age(Value::I32(7)), None);
}

#[test]
fn a_queue_says_how_much_it_keeps_of_what_is_settled() {
    const AGE: &str = "x-keep-settled-age";
    const BYTES: &str = "x-keep-settled-bytes";
    let age = |value: Value| {
        let parsed = QueueArguments::parse(QUEUE, &list(&[(AGE, value)]));
        parsed.map(|parsed| parsed.keep.age_ms).ok().flatten()
    };
    assert_eq!(age(text("7D")), Some(604_800_000));
    assert_eq!(age(Value::I32(1_500)), Some(1_500));
    for value in [text("0s"), text("x"), Value::I32(0), Value::I32(-1), Value::Bool(true)] {
        assert_eq!(age(value.clone()), None, "{value:?}");
        assert_eq!(refusal(AGE, value).as_deref(), Some("invalid_age"));
    }
    assert_eq!(refusal(BYTES, Value::I32(0)).as_deref(), Some("{value_zero,0}"));
    assert_eq!(refusal(BYTES, Value::I32(-3)).as_deref(), Some("{value_negative,-3}"));
}

#[test]
fn a_queue_says_how_many_priorities_it_has() {
    let parsed = |given: &[(&str, Value)]| {
        QueueArguments::parse(QUEUE, &list(given)).map(|parsed| parsed.serving.priority_max)
    };
    assert_eq!(parsed(&[("x-max-priority", Value::U8(255))]), Ok(255));
    assert_eq!(parsed(&[("x-max-priority", Value::I64(0))]), Ok(0));
    let quorum = ("x-queue-type", text("quorum"));
    assert_eq!(parsed(&[quorum.clone(), ("x-priorities", Value::I32(9))]), Ok(9));
    assert!(parsed(&[quorum, ("x-max-priority", Value::I32(9))]).is_err());
    assert!(parsed(&[("x-queue-type", text("stream")), ("x-priorities", Value::I32(9))]).is_err());
    let why = |name, value| refusal(name, value);
    let too_high = why("x-max-priority", Value::I32(256));
    assert_eq!(too_high.as_deref(), Some("{max_value_exceeded,256}"));
    let negative = why("x-max-priority", Value::I32(-1));
    assert_eq!(negative.as_deref(), Some("{value_negative,-1}"));
    assert!(why("x-max-priority", text("high")).is_some());
    assert_eq!(why("x-oldest-every", Value::I32(0)).as_deref(), Some("{value_zero,0}"));
}

#[test]
fn sessions_need_a_key_and_a_consumer_says_how_many_it_takes() {
    let parsed = |given: &[(&str, Value)]| {
        QueueArguments::parse(QUEUE, &list(given)).map(|parsed| parsed.serving.sessions)
    };
    let (key, flag) = (("x-order-key", text("k")), ("x-sessions", Value::Bool(true)));
    assert_eq!(parsed(&[key.clone(), flag.clone()]), Ok(true));
    assert_eq!(parsed(&[key.clone(), ("x-sessions", Value::Bool(false))]), Ok(false));
    assert_eq!(parsed(std::slice::from_ref(&key)), Ok(false));
    let why = parsed(std::slice::from_ref(&flag)).map_err(|refused| refused.text);
    assert_eq!(
        why,
        Err("invalid arg 'x-sessions' for queue 'q' in vhost '/': requires_x-order-key".into())
    );
    assert!(parsed(&[key.clone(), ("x-sessions", Value::I32(1))]).is_err());
    assert!(parsed(&[key, flag, ("x-queue-type", text("stream"))]).is_err());
    let most = |value| {
        let arguments = list(&[("x-max-sessions", value)]);
        ConsumeArguments::parse(QUEUE, &arguments).map(|parsed| parsed.sessions_max)
    };
    assert_eq!(most(Value::I32(3)), Ok(3));
    assert!(most(Value::I32(0)).is_err());
    assert!(most(text("three")).is_err());
}

#[test]
fn a_queue_says_what_becomes_of_too_much() {
    let parsed = |kind: &str, word: &str| {
        let given = list(&[("x-queue-type", text(kind)), ("x-overflow", text(word))]);
        QueueArguments::parse(QUEUE, &given).map(|parsed| parsed.overflow)
    };
    assert_eq!(parsed("classic", "reject-publish"), Ok(Overflow::RejectPublish));
    assert_eq!(parsed("classic", "reject-publish-dlx"), Ok(Overflow::RejectPublishDlx));
    assert_eq!(parsed("quorum", "reject-publish"), Ok(Overflow::RejectPublish));
    assert_eq!(parsed("quorum", "reject-publish-dlx"), Ok(Overflow::DropHead));
    assert!(parsed("stream", "drop-head").is_err(), "a stream has no overflow");
}

#[test]
fn what_is_inert_or_unknown_passes() {
    for (name, value) in [
        ("x-queue-mode", text("lazy")),
        ("x-quorum-initial-group-size", Value::I32(3)),
        ("x-queue-leader-locator", text("balanced")),
        ("x-queue-version", Value::I32(2)),
        ("x-single-active-consumer", Value::Bool(false)),
        ("my-own", Value::Array(vec![])),
    ] {
        assert_eq!(refusal(name, value), None, "{name}");
    }
}

#[test]
fn types_and_ranges_are_checked() {
    let cases = [
        ("x-message-ttl", text("5"), "\"expected integer, got longstr\""),
        ("x-message-ttl", Value::I32(-1), "{value_negative,-1}"),
        ("x-message-ttl", Value::I64(315_360_000_001), "{value_too_large,315360000001}"),
        ("x-expires", Value::I32(0), "{value_zero,0}"),
        ("x-max-length", Value::F64(1.0), "\"expected integer, got double\""),
        ("x-queue-type", text("mirrored"), "\"unsupported queue type 'mirrored'\""),
        ("x-queue-type", Value::I32(1), "{unacceptable_type,signedint}"),
        ("x-overflow", text("nonsense"), "invalid_overflow"),
        ("x-single-active-consumer", text("yes"), "{unacceptable_type,longstr}"),
        ("x-message-deduplication", Value::I32(1), "{unacceptable_type,signedint}"),
        ("x-dead-letter-routing-key", text("key"), "routing_key_but_no_dlx_defined"),
        ("x-dead-letter-routing-key", Value::I32(1), "{unacceptable_type,signedint}"),
        ("x-dead-letter-strategy", text("often"), "invalid_dlx_strategy"),
        ("x-delivery-limit", text("5"), "\"expected integer, got longstr\""),
        ("x-delayed-retry-type", text("often"), "invalid_delayed_retry_type"),
        ("x-delayed-retry-type", Value::I32(1), "{unacceptable_type,signedint}"),
        ("x-delayed-retry-min", Value::I32(0), "{value_zero,0}"),
        ("x-delayed-retry-max", Value::I32(-1), "{value_negative,-1}"),
        ("x-delayed-retry-multiplier", text("2"), "\"expected integer, got longstr\""),
        ("x-delayed-retry-jitter", Value::I32(101), "{value_too_large,101}"),
    ];
    for (name, value, why) in cases {
        assert_eq!(refusal(name, value).as_deref(), Some(why));
    }
}

#[test]
fn messages_that_come_back_wait_as_the_arguments_say() {
    let parsed = |pairs: &[(&str, Value)]| {
        let parsed = QueueArguments::parse(QUEUE, &list(pairs)).map_err(|refused| refused.text)?;
        Ok::<_, String>((parsed.serving.retry, parsed.returns_max))
    };
    let (kind, min) =
        (("x-delayed-retry-type", text("failed")), ("x-delayed-retry-min", Value::I32(5)));
    let steady = RetryArguments {
        kind: RetryType::Failed,
        min_ms: 5,
        max_ms: 5,
        multiplier: None,
        jitter: 0,
    };
    assert_eq!(parsed(&[kind.clone(), min.clone()]), Ok((Some(steady), Some(20))));
    let max = ("x-delayed-retry-max", Value::I64(60));
    let jitter = ("x-delayed-retry-jitter", Value::I32(10));
    let limit = ("x-delivery-limit", Value::I32(3));
    assert_eq!(
        parsed(&[kind.clone(), min.clone(), max.clone(), jitter, limit]),
        Ok((Some(RetryArguments { max_ms: 60, jitter: 10, ..steady }), Some(3)))
    );
    let doubled = RetryArguments {
        kind: RetryType::All,
        max_ms: 315_360_000_000,
        multiplier: Some(2),
        ..steady
    };
    let multiplier = ("x-delayed-retry-multiplier", Value::I32(2));
    assert_eq!(parsed(&[multiplier, min.clone()]), Ok((Some(doubled), Some(20))));
    assert_eq!(parsed(&[min, ("x-delayed-retry-type", text("disabled"))]), Ok((None, None)));
    assert_eq!(
        parsed(&[kind]).unwrap_err(),
        "invalid arg 'x-delayed-retry-min' for queue 'q' in vhost '/': required_by_delayed_retry_type"
    );
    let low = ("x-delayed-retry-min", Value::I32(70));
    assert!(parsed(&[max, low]).unwrap_err().ends_with("{value_less_than_min,60,70}"));
    let stream = [("x-queue-type", text("stream")), ("x-delayed-retry-min", Value::I32(5))];
    assert!(parsed(&stream).unwrap_err().ends_with("rabbit_stream_queue"));
}

#[test]
fn an_argument_of_another_kind_of_queue_is_refused() {
    let refused = |pairs: &[(&str, Value)]| {
        QueueArguments::parse(QUEUE, &list(pairs)).map_err(|refused| refused.text).unwrap_err()
    };
    assert_eq!(
        refused(&[("x-dead-letter-strategy", text("at-most-once"))]),
        "invalid arg 'x-dead-letter-strategy' for queue 'q' in vhost '/' of queue type \
         rabbit_classic_queue"
    );
    assert_eq!(
        refused(&[("x-queue-type", text("stream")), ("x-dead-letter-exchange", text("dlx"))]),
        "invalid arg 'x-dead-letter-exchange' for queue 'q' in vhost '/' of queue type \
         rabbit_stream_queue"
    );
    assert_eq!(
        refused(&[("x-dead-letter-exchange", Value::I32(1))]),
        "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'"
    );
}

#[test]
fn a_second_declaration_must_say_the_same() {
    let check = |stored: &[(&str, Value)], received: &[(&str, Value)]| {
        check_equivalent(QUEUE, &list(stored), &list(received)).map_err(|refused| refused.text)
    };
    let ttl = |value| ("x-message-ttl", value);
    assert_eq!(check(&[ttl(Value::I32(5))], &[ttl(Value::I64(5))]), Ok(()));
    assert_eq!(check(&[("x-queue-type", text("classic"))], &[]), Ok(()));
    assert_eq!(check(&[], &[("x-queue-type", text("classic"))]), Ok(()));
    assert_eq!(
        check(&[ttl(Value::I32(5))], &[]).unwrap_err(),
        "inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received none but current is \
         the value '5' of type 'signedint'"
    );
    assert_eq!(
        check(&[], &[("x-queue-type", text("quorum"))]).unwrap_err(),
        "inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received the value 'quorum' \
         of type 'longstr' but current is none"
    );
    assert!(check(&[("own", text("a"))], &[("own", text("b"))]).is_err());
    let property = check_property(Resource::exchange("e", "/"), "type", "direct", "fanout");
    assert_eq!(
        property.unwrap_err().text,
        "inequivalent arg 'type' for exchange 'e' in vhost '/': received 'fanout' but current is \
         'direct'"
    );
}

#[test]
fn a_consumer_says_where_it_starts_and_how_important_it_is() {
    let start = |value| {
        let arguments = list(&[("x-stream-offset", value)]);
        ConsumeArguments::parse(QUEUE, &arguments).map(|parsed| parsed.start)
    };
    assert_eq!(start(text("first")), Ok(Some(StreamStart::First)));
    assert_eq!(start(Value::I64(7)), Ok(Some(StreamStart::Offset(7))));
    assert_eq!(start(Value::Timestamp(Millis(9))), Ok(Some(StreamStart::Time(9))));
    assert_eq!(start(text("2m")), Ok(Some(StreamStart::Ago(Millis(120_000)))));
    assert!(start(text("whenever")).is_err());
    assert!(start(Value::I64(-1)).is_err());
    let priority = |value| {
        let arguments = list(&[("x-priority", value)]);
        ConsumeArguments::parse(QUEUE, &arguments).map(|parsed| parsed.priority)
    };
    assert_eq!(priority(Value::I32(-3)), Ok(-3));
    assert_eq!(priority(Value::I64(1 << 40)), Ok(i32::MAX));
    assert!(priority(text("high")).is_err());
}

#[test]
fn an_alternate_exchange_is_a_name() {
    let exchange = Resource::exchange("e", "/");
    let named = list(&[("alternate-exchange", text("ae"))]);
    assert_eq!(alternate_exchange(exchange, &named), Ok(Some("ae")));
    let number = list(&[("alternate-exchange", Value::I32(1))]);
    assert_eq!(
        alternate_exchange(exchange, &number).unwrap_err().text,
        "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'e' in vhost '/'"
    );
}

#[test]
fn a_malformed_table_is_a_syntax_error() {
    assert_eq!(decode(Table::of(b"\x01aZ")).unwrap_err().code, Code::SyntaxError);
    assert_eq!(decode(Table::of(b"")), Ok(vec![]));
}

#[test]
fn a_rate_may_be_of_the_queue_or_of_each_key() {
    let parsed = |given: &[(&str, Value)]| {
        let parsed = QueueArguments::parse(QUEUE, &list(given));
        parsed.map(|parsed| (parsed.serving.pace.rate, parsed.serving.pace.key_rate))
    };
    let key = ("x-order-key", text("k"));
    let (rate, burst) = ("x-consume-rate-per-key", "x-consume-burst-per-key");
    let seven = || Value::I32(7);
    assert_eq!(parsed(&[key.clone(), (rate, Value::I32(50))]), Ok((None, Some((50, 5)))));
    let both = [key.clone(), (rate, seven()), (burst, Value::I32(3)), ("x-consume-rate", seven())];
    assert_eq!(parsed(&both), Ok((Some((7, 1)), Some((7, 3)))));
    let why = |given: &[(&str, Value)]| parsed(given).map_err(|refused| refused.text);
    let said = |name: &str, why: &str| {
        Err(format!("invalid arg '{name}' for queue 'q' in vhost '/': {why}"))
    };
    assert_eq!(why(&[(rate, seven())]), said(rate, "requires_x-order-key"));
    assert_eq!(
        why(&[key.clone(), (burst, seven())]),
        said(burst, "requires_x-consume-rate-per-key")
    );
    assert_eq!(why(&[key.clone(), (rate, Value::I32(0))]), said(rate, "{value_zero,0}"));
    assert!(parsed(&[key.clone(), (rate, text("many"))]).is_err());
    assert!(parsed(&[key, (rate, seven()), ("x-queue-type", text("stream"))]).is_err());
}
