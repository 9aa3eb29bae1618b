use super::super::{Block, Death, Place, Properties, Reason, Value, push};
use super::*;
use types::Millis;

fn history() -> History {
    let place = Place { reason: Reason::Expired, queue: "q".into(), exchange: String::new() };
    let death =
        Death { place, count: 1, time: Millis(7), keys: vec!["q".into()], expiration: None };
    History::with(None, death)
}

fn readdressed(bytes: &[u8], keeps_copies: bool) -> Vec<u8> {
    let view = tail::decode(bytes).expect("a tail");
    let address = Address { exchange: Some(b"dlx"), routing_key: Some(b"dead") };
    let history = history();
    let mut out = Vec::new();
    let new = Readdressed { address, keeps_copies, history: &history };
    readdress(&mut out, &view, &new).expect("it fits");
    out
}

#[test]
fn a_message_goes_on_with_all_it_said_but_its_time_to_live() {
    let user = [
        ("expiration".to_owned(), Value::I32(4)),
        ("text".to_owned(), Value::String("t".into())),
        ("list".to_owned(), Value::Array(vec![Value::Bool(true)])),
    ];
    let properties = Properties {
        message_id: Some(b"id"),
        expiration: Some(b"100"),
        priority: Some(3),
        ..Properties::default()
    };
    let block = Block {
        properties,
        address: Address { exchange: Some(b"ex"), routing_key: Some(b"key") },
        user: &user,
        origin: Origin::Amqp091,
        raw: Some(b"raw"),
        copies: &[("copy".to_owned(), false), ("hidden".to_owned(), true)],
    };
    let mut bytes = vec![1, 1];
    push(&mut bytes, &block).expect("it fits");
    for keeps_copies in [true, false] {
        let out = readdressed(&bytes, keeps_copies);
        let decoded = decode(tail::decode(&out).expect("a tail").headers);
        assert_eq!(decoded.properties, Properties { expiration: None, ..properties });
        assert_eq!(decoded.address.exchange, Some(&b"dlx"[..]));
        assert_eq!(decoded.address.routing_key, Some(&b"dead"[..]));
        assert_eq!((decoded.raw, decoded.origin), (None, Some(Origin::Amqp091)));
        let said: Vec<_> = decoded
            .user()
            .map(|header| (String::from_utf8_lossy(header.name).into_owned(), header.value()))
            .collect();
        assert_eq!(said, user);
        let copies: Vec<_> = decoded.copies.collect();
        let known = [(&b"copy"[..], false), (&b"hidden"[..], true)];
        assert_eq!(copies, if keeps_copies { &known[..] } else { &[] });
        assert_eq!(decoded.history(), Some(history()));
        // Once more: nothing else changes.
        assert_eq!(readdressed(&out, keeps_copies), out);
    }
}

#[test]
fn a_record_of_another_wire_stays_one_and_its_second_expiration_a_header() {
    let headers = [(&b"expiration"[..], Some(&b"5"[..])), (b"expiration", Some(b"6"))];
    let mut bytes = Vec::new();
    tail::encode(&mut bytes, Some(b"key"), None, headers.into_iter());
    let out = readdressed(&bytes, true);
    let view = tail::decode(&out).expect("a tail");
    let decoded = decode(view.headers);
    assert_eq!(
        (view.key, view.value, decoded.origin),
        (Some(&b"key"[..]), None, Some(Origin::Kafka))
    );
    assert_eq!(decoded.properties, Properties::default());
    let said: Vec<_> = decoded.user().map(|header| (header.name, header.text)).collect();
    assert_eq!(said, [(&b"expiration"[..], Some(&b"6"[..]))]);
}
