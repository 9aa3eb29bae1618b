//! The broker inside a program.

use crate::running::Scratch;
use crossdock::{Broker, Kind, Message, Options, StartError};
use std::time::Duration;

async fn open(scratch: &Scratch) -> Broker {
    Broker::open(Options::embedded(scratch.store())).await.unwrap()
}

fn texts(range: std::ops::Range<u32>) -> Vec<Message> {
    range.map(|number| Message::new(number.to_string())).collect()
}

#[tokio::test]
async fn a_program_publishes_and_consumes() {
    let scratch = Scratch::new();
    let broker = open(&scratch).await;
    assert_eq!(broker.listening(), []);
    assert!(broker.declare_queue("q").await.unwrap());
    assert!(!broker.declare_queue("q").await.unwrap());
    let sent = Message::new("value").with_key("key").with_header("name", "header");
    let places = broker.publish("q", std::slice::from_ref(&sent)).await.unwrap();
    assert_eq!((places[0].partition, places[0].offset.0), (0, 0));
    let mut consumer = broker.consume("q", 1).await.unwrap();
    let got = consumer.next().await.unwrap().unwrap();
    assert_eq!(Message { timestamp: None, ..got.message.clone() }, sent);
    assert!(!got.redelivered);
    consumer.ack(&[got]).await.unwrap();
    drop(consumer);
    broker.stop().await;
}

#[tokio::test]
async fn a_window_is_kept_and_what_is_not_settled_comes_back() {
    let scratch = Scratch::new();
    let broker = open(&scratch).await;
    broker.declare_queue("q").await.unwrap();
    broker.publish("q", &texts(0..5)).await.unwrap();
    let mut consumer = broker.consume("q", 2).await.unwrap();
    let first = consumer.next().await.unwrap().unwrap();
    let second = consumer.next().await.unwrap().unwrap();
    assert_eq!((first.place.offset.0, second.place.offset.0), (0, 1));
    consumer.ack(&[first]).await.unwrap();
    let third = consumer.next().await.unwrap().unwrap();
    assert_eq!(third.place.offset.0, 2);
    consumer.give_back(&[second]).await.unwrap();
    let again = consumer.next().await.unwrap().unwrap();
    assert_eq!((again.place.offset.0, again.redelivered, again.attempts), (1, true, 1));
    drop(consumer);
    let mut other = broker.consume("q", 0).await.unwrap();
    let mut left = Vec::new();
    while left.len() < 4 {
        left.push(other.next().await.unwrap().unwrap());
    }
    let mut offsets: Vec<i64> = left.iter().map(|it| it.place.offset.0).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, [1, 2, 3, 4]);
    other.ack(&left).await.unwrap();
    drop(other);
    broker.stop().await;
}

#[tokio::test]
async fn a_topic_keeps_what_its_consumers_settle() {
    let scratch = Scratch::new();
    let broker = open(&scratch).await;
    broker.declare_topic("t", 4).await.unwrap();
    let keyed: Vec<Message> =
        (0..40).map(|n| Message::new(n.to_string()).with_key(format!("key{}", n % 7))).collect();
    let places = broker.publish("t", &keyed).await.unwrap();
    assert!(places.iter().any(|place| place.partition != places[0].partition));
    for round in 0..2 {
        let mut consumer = broker.consume("t", 0).await.unwrap();
        let taken = consumer.take(100, usize::MAX, Duration::ZERO).await.unwrap();
        assert_eq!(taken.len(), if round == 0 { 40 } else { 0 });
        consumer.ack(&taken).await.unwrap();
    }
    let all: Vec<_> = (0..4).map(|at| (at, engine::api::StartAt::First)).collect();
    let mut reader = broker.local().read("t", &all).await.unwrap();
    let mut read = Vec::new();
    while read.len() < 40 {
        let got = reader.next().await.unwrap().unwrap();
        read.push((got.place, got.message.value));
    }
    let mut sent: Vec<_> = places.into_iter().zip(keyed.into_iter().map(|it| it.value)).collect();
    let order = |entry: &(crossdock::Place, _)| (entry.0.partition, entry.0.offset);
    sent.sort_by_key(order);
    read.sort_by_key(order);
    assert_eq!(read, sent);
    drop(reader);
    broker.stop().await;
}

#[tokio::test]
async fn large_and_many_messages_keep_their_order() {
    let scratch = Scratch::new();
    let broker = open(&scratch).await;
    broker.declare_queue("q").await.unwrap();
    let large = vec![7; 10 << 20];
    let mut messages = texts(0..20_000);
    messages.insert(10_000, Message::new(large));
    let places = broker.publish("q", &messages).await.unwrap();
    assert!(places.iter().map(|place| place.offset.0).eq(0..20_001));
    let mut consumer = broker.consume("q", 500).await.unwrap();
    for sent in messages.chunks(100) {
        let mut batch = Vec::new();
        for message in sent {
            let got = consumer.next().await.unwrap().unwrap();
            assert!(got.message.value == message.value, "at {}", got.place.offset);
            batch.push(got);
        }
        consumer.ack(&batch).await.unwrap();
    }
    drop(consumer);
    broker.stop().await;
}

#[tokio::test]
async fn failures_say_what_to_do() {
    let scratch = Scratch::new();
    let broker = open(&scratch).await;
    assert_eq!(broker.publish("x", &texts(0..1)).await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(broker.consume("x", 1).await.unwrap_err().kind, Kind::NotFound);
    broker.declare_queue("q").await.unwrap();
    assert_eq!(broker.declare_topic("q", 1).await.unwrap_err().kind, Kind::Exists);
    let huge = Message::new(vec![0; types::RECORD_BYTES_MAX]);
    assert_eq!(broker.publish("q", &[huge]).await.unwrap_err().kind, Kind::TooLarge);
    let second = Broker::open(Options::embedded(scratch.store())).await.unwrap_err();
    assert!(matches!(second, StartError::Store { .. }), "{second}");
    let mut consumer = broker.consume("q", 1).await.unwrap();
    let (gone, ()) =
        tokio::join!(consumer.next(), async { while broker.local().delete("q").await.is_err() {} });
    assert_eq!(gone.unwrap(), None);
    drop(consumer);
    broker.stop().await;
}
