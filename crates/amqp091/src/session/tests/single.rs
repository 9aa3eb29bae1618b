//! A single active consumer, as clients see it.

use super::client::{Broker, Client};
use crate::codec::{Method, Table, table};
use record::properties::Value;

fn declare(client: &mut Client, queue: &str, kind: &str) {
    let list = vec![
        ("x-single-active-consumer".to_owned(), Value::Bool(true)),
        ("x-queue-type".to_owned(), Value::String(kind.to_owned())),
    ];
    let mut encoded = Vec::new();
    table::push(&mut encoded, &list);
    let declare = Method::QueueDeclare {
        ticket: 0,
        queue,
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: false,
        nowait: true,
        arguments: Table::of(&encoded[4..]),
    };
    client.method(1, &declare);
}

#[test]
fn the_next_consumer_is_served_when_the_first_is_cancelled() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    declare(&mut client, "q", "classic");
    client.consume("q", "one", false);
    client.consume("q", "two", false);
    client.publish("", "q", b"a");
    let shown = broker.talk(&mut client);
    let delivered: Vec<&String> = shown.iter().filter(|line| line.contains("deliver")).collect();
    assert_eq!(delivered, ["1 basic.deliver one 1 false"]);
    client.method(1, &Method::BasicCancel { consumer_tag: "one", nowait: true });
    client.method(1, &Method::BasicNack { delivery_tag: 1, multiple: false, requeue: true });
    assert_eq!(broker.talk(&mut client)[0], "1 basic.deliver two 2 true");
}

#[test]
fn what_does_not_go_with_it_is_refused_in_rabbitmqs_words() {
    let consume = |exclusive| Method::BasicConsume {
        ticket: 0,
        queue: "q",
        consumer_tag: "one",
        no_local: false,
        no_ack: false,
        exclusive,
        nowait: false,
        arguments: Table::default(),
    };
    let get = Method::BasicGet { ticket: 0, queue: "q", no_ack: true };
    let refused = "1 channel.close 403 ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use \
                   (60, 20)";
    let locked = "1 channel.close 405 RESOURCE_LOCKED - cannot obtain access to locked queue 'q' in \
                  vhost '/'. basic.get operations are not supported by quorum queues with single \
                  active consumer (60, 70)";
    let cases = [
        ("classic", consume(true), refused),
        ("classic", get, "1 basic.get-empty"),
        ("quorum", consume(true), "1 basic.consume-ok one"),
        ("quorum", get, locked),
    ];
    for (kind, method, wanted) in cases {
        let mut broker = Broker::new();
        let mut client = broker.connect();
        declare(&mut client, "q", kind);
        client.method(1, &method);
        assert_eq!(broker.talk(&mut client), [wanted], "{kind}");
    }
}
