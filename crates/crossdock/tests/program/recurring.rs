//! Messages that recur over HTTP: each time has one message, over kills.

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

/// Waits until it has had more messages than that.
fn wait_for(broker: &Running, fired: u64) -> u64 {
    loop {
        let (_, entry) = ask(broker, "GET /v1/queues/q/recurring/tick", &Value::Null);
        match entry["fired"].as_u64().unwrap() {
            now if now > fired => return now,
            _ => std::thread::yield_now(),
        }
    }
}

#[test]
fn each_time_has_one_message_over_kills() {
    let scratch = Scratch::new();
    let mut broker = Running::start(&scratch.store());
    assert_eq!(ask(&broker, "PUT /v1/queues/q", &json!({})).0, 201);
    let tick = json!({"cron": "* * * * * *", "missed": "all", "message": {"value": "tick"}});
    let (status, made) = ask(&broker, "PUT /v1/queues/q/recurring/tick", &tick);
    assert_eq!((status, &made["fired"]), (201, &json!(0)));
    let mut fired = 0;
    for _ in 0..3 {
        fired = wait_for(&broker, fired);
        broker.kill();
        broker = Running::start(&scratch.store());
    }
    wait_for(&broker, fired);
    assert_eq!(ask(&broker, "DELETE /v1/queues/q/recurring/tick", &Value::Null).0, 204);
    let (_, page) = ask(&broker, "GET /v1/queues/q/messages?count=1000", &Value::Null);
    let due = |message: &Value| {
        let headers = message["headers"].as_array().unwrap();
        let due = headers.iter().find(|pair| pair[0] == json!("x-recurrence-due")).unwrap();
        due[1].as_str().unwrap().parse::<u64>().unwrap()
    };
    let dues: Vec<u64> = page["messages"].as_array().unwrap().iter().map(due).collect();
    let first = made["next_due_ms"].as_u64().unwrap();
    let wanted: Vec<u64> = (0..dues.len() as u64).map(|at| first + at * 1_000).collect();
    assert_eq!(dues, wanted);
    broker.stop();
}
