//! RabbitMQ's management API: queues, exchanges and bindings.

use super::{GUEST, ask, get, put};
use crate::running::{Running, Scratch};

/// A user `m` with the tag `management`, who may enter `/` only; `m:m`.
const MANAGEMENT: &str = "bTpt";

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

fn create_queues(broker: &Running, names: &[&str]) {
    for name in names {
        let answer = broker.http(&format!("PUT /v1/queues/{name} HTTP/1.0\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.0 201"), "{answer}");
    }
}

#[test]
fn what_is_there_is_shown() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    create_queues(&broker, &["q1"]);
    broker.ok(&["publish", "--queue", "q1"], "one\ntwo\n");
    let queue = get(&broker, "queues/%2F/q1");
    has(
        &queue,
        &[
            r#""messages":2"#,
            r#""messages_ready":2"#,
            r#""messages_unacknowledged":0"#,
            r#""messages_details":{"rate":0.0}"#,
            r#""publish":2"#,
            r#""publish_details":{"rate":0.0}"#,
            r#""name":"q1""#,
            r#""vhost":"/""#,
            r#""type":"classic""#,
            r#""durable":true"#,
            r#""state":"running""#,
            r#""consumers":0"#,
        ],
    );
    has(&get(&broker, "overview"), &[r#""queues":1"#, r#""exchanges":6"#, r#""messages":2"#]);
    has(&get(&broker, "nodes"), &[r#""running":true"#, r#""mem_alarm":false"#]);
    has(&get(&broker, "exchanges/%2F/amq.default"), &[r#""name":"""#, r#""type":"direct""#]);
    let bound = r#"{"arguments":{},"destination":"q1","destination_type":"queue","properties_key":"q1","routing_key":"q1","source":"","vhost":"/"}"#;
    for path in [
        "bindings",
        "bindings/%2F",
        "queues/%2F/q1/bindings",
        "exchanges/%2F/amq.default/bindings/source",
        "bindings/%2F/e/amq.default/q/q1",
    ] {
        assert_eq!(get(&broker, path), format!("[{bound}]"), "{path}");
    }
    assert_eq!(get(&broker, "bindings/%2F/e/amq.default/q/q1/q1"), bound);
    for path in [
        "queues/%2F/none",
        "queues/none",
        "exchanges/%2F/none",
        "bindings/none",
        "bindings/%2F/e/amq.direct/q/q1/k",
        "bindings/%2F/e/amq.direct/z/q1",
        "nodes/none",
    ] {
        let (status, body) = ask(&broker, GUEST, &format!("GET /api/{path}"), "");
        let missing = r#"{"error":"Object Not Found","reason":"Not Found"}"#;
        assert_eq!((status, body.as_str()), (404, missing), "{path}");
    }
    broker.stop();
}

#[test]
fn a_list_is_cut_to_what_is_asked() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    create_queues(&broker, &["Abc", "abd", "x1"]);
    let page = get(&broker, "queues?page=1&page_size=1&name=%5Eab&use_regex=true&columns=name");
    has(&page, &[r#""filtered_count":2"#, r#""total_count":3"#, r#""items":[{"name":"Abc"}]"#]);
    let names = get(&broker, "queues/%2F?sort=name&sort_reverse=true&columns=name");
    assert_eq!(names, r#"[{"name":"x1"},{"name":"abd"},{"name":"Abc"}]"#);
    let (status, body) = ask(&broker, GUEST, "GET /api/queues?page=9", "");
    let reason = "Page out of range, page: 9 page size: 100, len: 3";
    assert_eq!(status, 400);
    assert_eq!(body, format!(r#"{{"error":"page_out_of_range","reason":"{reason}"}}"#));
    broker.stop();
}

#[test]
fn a_user_sees_the_virtual_hosts_that_may_be_entered() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    assert_eq!(put(&broker, "users/m", r#"{"password":"m","tags":"management"}"#), 201);
    create_queues(&broker, &["q1"]);
    let queues = || ask(&broker, MANAGEMENT, "GET /api/queues?columns=name", "");
    let within = || ask(&broker, MANAGEMENT, "GET /api/queues/%2F?columns=name", "");
    assert_eq!(queues(), (200, "[]".to_owned()));
    assert_eq!(within().0, 401);
    let none = r#"{"configure":"","write":"","read":""}"#;
    assert_eq!(put(&broker, "permissions/%2F/m", none), 201);
    assert_eq!(queues(), (200, r#"[{"name":"q1"}]"#.to_owned()));
    assert_eq!(within(), queues());
    let (status, body) = ask(&broker, MANAGEMENT, "GET /api/nodes", "");
    assert_eq!(status, 401);
    assert_eq!(body, r#"{"error":"not_authorised","reason":"Not monitor user"}"#);
    broker.stop();
}
