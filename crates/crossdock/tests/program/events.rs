//! A topic as an event store, over HTTP.

use crate::running::{Running, Scratch};
use serde_json::{Value, json};

fn ask(broker: &Running, request: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let length = body.len();
    let answer =
        broker.http(&format!("{request} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn publish(broker: &Running, body: &Value) -> (u16, Value) {
    ask(broker, "POST /v1/topics/events/publish", body)
}

fn values(answer: &Value) -> Vec<&str> {
    let events = answer["events"].as_array().unwrap();
    events.iter().map(|event| event["value"].as_str().unwrap()).collect()
}

fn created(scratch: &Scratch) -> Running {
    let broker = Running::start(&scratch.store());
    let topic =
        json!({"config": {"crossdock.key.index": "true", "retention.ms": "-1"}, "partitions": 3});
    assert_eq!(ask(&broker, "PUT /v1/topics/events", &topic).0, 201);
    broker
}

#[test]
fn a_key_has_its_own_history_and_appends_to_it_are_checked() {
    let scratch = Scratch::new();
    let broker = created(&scratch);
    let opened = json!({
        "messages": [{"key": "a", "value": "opened"}, {"key": "a", "value": "credited"}],
        "expect_absent": true,
    });
    let (status, told) = publish(&broker, &opened);
    assert_eq!(status, 200, "{told}");
    let last = told["published"][1]["offset"].as_i64().unwrap();
    let (status, told) = publish(&broker, &opened);
    assert_eq!((status, &told["last"]), (409, &json!(last)));
    assert_eq!(told["error"]["kind"], json!("unexpected"));
    let (status, _) = publish(&broker, &json!({"messages": [{"key": "b", "value": "other"}]}));
    assert_eq!(status, 200);
    let debited = json!({"messages": [{"key": "a", "value": "debited"}], "expect_offset": last});
    assert_eq!(publish(&broker, &debited).0, 200);
    broker.kill();
    let broker = Running::start(&scratch.store());
    assert_eq!(publish(&broker, &debited).0, 409);
    let (_, all) = ask(&broker, "GET /v1/topics/events/events?key=a", &Value::Null);
    assert_eq!((values(&all), &all["next"]), (vec!["opened", "credited", "debited"], &json!(null)));
    let (_, part) = ask(&broker, "GET /v1/topics/events/events?key=a&count=2", &Value::Null);
    assert_eq!(values(&part), ["opened", "credited"]);
    let rest = format!("GET /v1/topics/events/events?key=a&from={}", part["next"]);
    assert_eq!(values(&ask(&broker, &rest, &Value::Null).1), ["debited"]);
    let newest = "GET /v1/topics/events/events?key_base64=YQ==&count=1&order=newest";
    assert_eq!(values(&ask(&broker, newest, &Value::Null).1), ["debited"]);
    let none = ask(&broker, "GET /v1/topics/events/events?key=nobody", &Value::Null);
    assert_eq!(none, (200, json!({"events": [], "next": null})));
    broker.stop();
}

#[test]
fn a_partition_can_be_expected_to_end_somewhere() {
    let scratch = Scratch::new();
    let broker = created(&scratch);
    let first = json!({"messages": [{"value": "1"}], "expect_absent": true});
    assert_eq!(publish(&broker, &first).0, 200);
    let (status, told) = publish(&broker, &first);
    assert_eq!((status, &told["last"]), (409, &json!(0)));
    let of_partition = json!({
        "messages": [{"key": "x", "value": "2"}],
        "expect_offset": 7,
        "expect_of": "partition",
    });
    assert_eq!(publish(&broker, &of_partition).0, 409);
    broker.stop();
}

#[test]
fn what_is_not_right_is_refused() {
    let scratch = Scratch::new();
    let broker = created(&scratch);
    assert_eq!(ask(&broker, "PUT /v1/topics/plain", &json!({})).0, 201);
    assert_eq!(ask(&broker, "PUT /v1/queues/q", &json!({})).0, 201);
    let one = json!([{"key": "a", "value": "1"}]);
    for body in [
        json!({"messages": one, "expect_absent": true, "expect_offset": 1}),
        json!({"messages": one, "expect_offset": -1}),
        json!({"messages": one, "expect_of": "key"}),
        json!({"messages": [], "expect_absent": true}),
        json!({"messages": [{"key": "a"}, {"key": "b"}], "expect_absent": true}),
        json!({"messages": [{"value": "1"}], "expect_absent": true, "expect_of": "key"}),
        json!({"messages": [{"key": "a", "delay_ms": 5}], "expect_absent": true}),
        json!({"messages": [{"key": "a", "delay_ms": 5}]}),
    ] {
        let (status, told) = publish(&broker, &body);
        assert_eq!((status, &told["error"]["kind"]), (400, &json!("invalid")), "{body}");
    }
    let expecting = json!({"messages": one, "expect_absent": true});
    for (request, body, status) in [
        ("POST /v1/topics/plain/publish", &expecting, 400),
        ("POST /v1/queues/q/publish", &expecting, 400),
        ("POST /v1/topics/none/publish", &expecting, 404),
        ("GET /v1/topics/plain/events?key=a", &Value::Null, 400),
        ("GET /v1/topics/events/events", &Value::Null, 400),
        ("GET /v1/topics/events/events?key_base64=!", &Value::Null, 400),
        ("GET /v1/topics/none/events?key=a", &Value::Null, 404),
        ("PUT /v1/topics/new", &json!({"config": {"crossdock.key.index": "yes"}}), 400),
    ] {
        assert_eq!(ask(&broker, request, body).0, status, "{request}");
    }
    broker.stop();
}
