use super::*;

#[test]
fn keys_go_where_kafka_sends_them() {
    // From Apache Kafka's UtilsTest.testMurmur2.
    for (key, hash) in [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ] {
        assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
    }
}

#[test]
fn a_message_comes_back_as_it_was_given() {
    let message = Message { timestamp: Some(Millis(7)), ..Message::new("value") }
        .with_key("key")
        .with_header("a", "1")
        .with_header("a", "2");
    let mut tail = Vec::new();
    message.push_tail(&mut tail);
    let delivery = Delivery {
        log: LogId(1),
        offset: Offset(3),
        attempts: 1,
        redelivered: true,
        timestamp: Millis(7),
        tail: tail.into(),
    };
    let received = Received::read(delivery.clone(), 2).unwrap();
    assert_eq!(received.message, message);
    assert_eq!(received.place, Place { partition: 2, offset: Offset(3) });
    let broken = Delivery { tail: Bytes::from_static(&[9]), ..delivery };
    assert_eq!(Received::read(broken, 2).unwrap_err().kind, Kind::Corrupt);
}
