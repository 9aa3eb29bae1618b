//! States of sessions over HTTP, over a kill of the process.

use crate::running::{Running, Scratch};
use serde_json::{Value, json};

/// `guest:guest`
const AUTHORIZED: &str = "Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=";

fn ask(broker: &Running, request: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let answer = broker.http(&format!(
        "{request} HTTP/1.0\r\n{AUTHORIZED}\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn declare(broker: &Running) {
    let arguments = json!({"x-order-key": "customer", "x-sessions": true});
    let queue = json!({"durable": true, "arguments": arguments});
    assert_eq!(ask(broker, "PUT /api/queues/%2F/q", &queue).0, 201);
}

#[test]
fn state_of_a_session_is_kept_over_a_kill_and_replaced_by_its_version() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    declare(&broker);
    let at = "/v1/queues/q/sessions/ann%2F1";
    let none = json!({"key": "ann/1", "consumer": null, "in_flight": 0, "waiting": 0,
        "version": 0, "state_bytes": 0, "state": null});
    assert_eq!(ask(&broker, &format!("GET {at}"), &Value::Null), (200, none));
    let first = json!({"state": "one", "expect_version": 0});
    assert_eq!(ask(&broker, &format!("PUT {at}"), &first), (200, json!({"version": 1})));
    let (status, told) = ask(&broker, &format!("PUT {at}"), &first);
    let why = json!({"kind": "unexpected", "message": "expected version 0, there is 1"});
    assert_eq!((status, told), (409, json!({"error": why, "version": 1})));
    let binary = json!({"state": {"base64": "/wA="}, "expect_version": 1});
    assert_eq!(ask(&broker, &format!("PUT {at}"), &binary), (200, json!({"version": 2})));
    broker.kill();
    let broker = Running::start(&scratch.store());
    let (_, told) = ask(&broker, &format!("GET {at}"), &Value::Null);
    assert_eq!((&told["version"], &told["state"]), (&json!(2), &json!({"base64": "/wA="})));
    assert_eq!(ask(&broker, &format!("DELETE {at}?expect_version=1"), &Value::Null).0, 409);
    assert_eq!(ask(&broker, &format!("DELETE {at}?expect_version=2"), &Value::Null).0, 204);
    assert_eq!(ask(&broker, &format!("PUT {at}"), &json!({"state": ""})).1, json!({"version": 3}));
    broker.stop();
}

#[test]
fn sessions_are_listed_by_their_keys_in_pages() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    declare(&broker);
    for key in ["c", "a", "b"] {
        let request = format!("PUT /v1/queues/q/sessions/{key}");
        assert_eq!(ask(&broker, &request, &json!({"state": key})).0, 200);
    }
    let binary = "PUT /v1/queues/q/sessions/_w==?key=base64".replace('_', "%2F");
    assert_eq!(ask(&broker, &binary, &json!({"state": "binary"})).0, 200);
    let list = |query: &str| {
        let (_, told) = ask(&broker, &format!("GET /v1/queues/q/sessions{query}"), &Value::Null);
        let sessions = told["sessions"].as_array().unwrap().iter();
        (sessions.map(|it| it["key"].clone()).collect::<Vec<_>>(), told["next"].clone())
    };
    assert_eq!(list("?count=2"), (vec![json!("a"), json!("b")], json!("c")));
    let last = json!({"base64": "/w=="});
    assert_eq!(list("?from=c"), (vec![json!("c"), last.clone()], Value::Null));
    assert_eq!(list("?from_base64=%2Fw%3D%3D"), (vec![last], Value::Null));
    assert_eq!(ask(&broker, "DELETE /v1/queues/q", &Value::Null).0, 204);
    declare(&broker);
    assert_eq!(list(""), (vec![], Value::Null));
    broker.stop();
}

#[test]
fn state_that_is_not_right_is_refused() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    declare(&broker);
    assert_eq!(ask(&broker, "PUT /v1/queues/plain", &json!({})).0, 201);
    let large = json!({"state": "x".repeat((256 << 10) + 1)});
    for (request, body, wanted) in [
        ("PUT /v1/queues/q/sessions/a", json!({}), 400),
        ("PUT /v1/queues/q/sessions/a", json!({"state": "", "expect_version": -1}), 400),
        ("PUT /v1/queues/q/sessions/a", large, 413),
        ("PUT /v1/queues/q/sessions/a?key=hex", json!({"state": ""}), 400),
        ("PUT /v1/queues/none/sessions/a", json!({"state": ""}), 404),
        ("PUT /v1/queues/plain/sessions/a", json!({"state": ""}), 400),
        ("GET /v1/queues/plain/sessions", Value::Null, 400),
        ("GET /v1/queues/q/sessions?from_base64=x", Value::Null, 400),
        ("POST /v1/queues/q/sessions/a", Value::Null, 405),
    ] {
        assert_eq!(ask(&broker, request, &body).0, wanted, "{request}");
    }
    broker.stop();
}
