//! Messages for later over HTTP: scheduled, listed, cancelled, delivered, over an end of the process.

use crate::running::{Running, Scratch};
use serde_json::{Value, json};

/// A year.
const FAR_MS: u64 = 365 * 24 * 3_600_000;

fn ask(broker: &Running, request: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let length = body.len();
    let answer =
        broker.http(&format!("{request} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn ids(listing: &Value) -> Vec<i64> {
    let entries = listing["scheduled"].as_array().unwrap();
    entries.iter().map(|entry| entry["id"].as_i64().unwrap()).collect()
}

#[test]
fn what_is_scheduled_is_listed_cancelled_and_kept_over_a_kill() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    assert_eq!(ask(&broker, "PUT /v1/queues/q", &json!({})).0, 201);
    let messages = json!({"messages": [
        {"value": "far", "delay_ms": 4_000_000_000u32},
        {"value": "now"},
        {"value": "farther", "due_ms": 4_000_000_000_000u64},
        {"value": "soon", "delay_ms": 1},
    ]});
    let (status, told) = ask(&broker, "POST /v1/queues/q/publish", &messages);
    let places = json!({"published": [
        {"partition": 0, "scheduled": 0},
        {"partition": 0, "offset": 0},
        {"partition": 0, "scheduled": 1},
        {"partition": 0, "scheduled": 2},
    ]});
    assert_eq!((status, told), (200, places));
    let taken = broker.ok(&["consume", "--queue", "q", "--count", "2", "--follow"], "");
    assert_eq!(taken, "now\nsoon\n");
    let (_, listing) = ask(&broker, "GET /v1/queues/q/scheduled", &Value::Null);
    assert_eq!(
        (ids(&listing), &listing["total"], &listing["next"]),
        (vec![0, 1], &json!(2), &Value::Null)
    );
    assert_eq!(listing["scheduled"][1]["due_ms"], json!(4_000_000_000_000u64));
    broker.kill();
    let broker = Running::start(&scratch.store());
    let (_, page) = ask(&broker, "GET /v1/queues/q/scheduled?count=1", &Value::Null);
    assert_eq!((ids(&page), &page["next"]), (vec![0], &json!(1)));
    assert_eq!(ask(&broker, "DELETE /v1/queues/q/scheduled/0", &Value::Null).0, 204);
    let (status, told) = ask(&broker, "DELETE /v1/queues/q/scheduled/0", &Value::Null);
    let why = "nothing with id 0 waits in the schedule of 'q'";
    assert_eq!((status, &told["error"]["message"]), (404, &json!(why)));
    let both = json!({"ids": [0, 1, 2]});
    let (_, told) = ask(&broker, "POST /v1/queues/q/scheduled/cancel", &both);
    assert_eq!(told, json!({"cancelled": [1]}));
    let (_, listing) = ask(&broker, "GET /v1/queues/q/scheduled", &Value::Null);
    assert_eq!((ids(&listing), &listing["total"]), (vec![], &json!(0)));
    broker.stop();
}

#[test]
fn a_schedule_that_is_not_right_is_refused() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    assert_eq!(ask(&broker, "PUT /v1/queues/q", &json!({})).0, 201);
    let both = json!({"messages": [{"value": "", "delay_ms": 1, "due_ms": FAR_MS}]});
    let (status, told) = ask(&broker, "POST /v1/queues/q/publish", &both);
    assert_eq!((status, &told["error"]["kind"]), (400, &json!("invalid")));
    for (request, wanted) in [
        ("GET /v1/queues/none/scheduled", 404),
        ("GET /v1/queues/q/scheduled?partition=1", 404),
        ("DELETE /v1/queues/q/scheduled/7", 404),
        ("DELETE /v1/queues/q/scheduled/x", 400),
        ("PUT /v1/queues/q/scheduled", 405),
    ] {
        assert_eq!(ask(&broker, request, &Value::Null).0, wanted, "{request}");
    }
    broker.stop();
}
