//! RabbitMQ's management API: declaring, binding, publishing, getting, deleting.

use super::{GUEST, ask, get, put};
use crate::running::{Running, Scratch};

/// A user `m`, who may configure what begins with `a`, and nothing else; `m:m`.
const LIMITED: &str = "bTpt";

fn status(broker: &Running, request: &str, body: &str) -> u16 {
    ask(broker, GUEST, request, body).0
}

fn post(broker: &Running, path: &str, body: &str) -> String {
    let (status, answer) = ask(broker, GUEST, &format!("POST /api/{path}"), body);
    assert_eq!(status, 200, "{path} {body}: {answer}");
    answer
}

fn refused(broker: &Running, user: &str, request: &str, body: &str, wanted: (u16, &str)) {
    let (status, answer) = ask(broker, user, request, body);
    assert_eq!((status, answer.contains(wanted.1)), (wanted.0, true), "{request}: {answer}");
}

#[test]
fn what_is_declared_and_published_outlives_a_kill() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    let queue = r#"{"durable":"true","arguments":{"x-message-ttl":3600000,"x-l":[1,{"a":null}]}}"#;
    assert_eq!(put(&broker, "queues/%2F/q", queue), 201);
    assert_eq!(put(&broker, "queues/%2F/q", queue), 204);
    assert_eq!(put(&broker, "exchanges/%2F/x", r#"{"type":"topic","durable":true}"#), 201);
    assert_eq!(put(&broker, "exchanges/%2F/x", r#"{"type":"topic","durable":true}"#), 204);
    let bind = "POST /api/bindings/%2F/e/x/q/q HTTP/1.0\r\nAuthorization: Basic ";
    let body = r#"{"routing_key":"a.#"}"#;
    let answer = broker.http(&format!("{bind}{GUEST}\r\nContent-Length: 21\r\n\r\n{body}"));
    assert!(answer.starts_with("HTTP/1.0 201"), "{answer}");
    assert!(answer.contains("location: q/a.%2523\r\n"), "{answer}");
    let message = r#"{"properties":{"headers":{"n":1},"delivery_mode":"2","timestamp":17},"routing_key":"a.b","payload":"one","payload_encoding":"string"}"#;
    assert_eq!(post(&broker, "exchanges/%2F/x/publish", message), r#"{"routed":true}"#);
    let lost = message.replace("a.b", "b");
    assert_eq!(post(&broker, "exchanges/%2F/x/publish", &lost), r#"{"routed":false}"#);
    broker.kill();

    let broker = Running::start(&scratch.store());
    let shown = get(&broker, "queues/%2F/q");
    assert!(shown.contains(r#""x-l":[1,{"a":null}],"x-message-ttl":3600000"#), "{shown}");
    assert!(get(&broker, "bindings/%2F/e/x/q/q/a.%23").contains(r#""routing_key":"a.#""#));
    let look = r#"{"count":"5","ackmode":"ack_requeue_true","encoding":"auto","truncate":2}"#;
    let looked = post(&broker, "queues/%2F/q/get", look);
    for part in [
        r#""payload":"on","payload_bytes":3,"payload_encoding":"string""#,
        r#""properties":{"delivery_mode":2,"headers":{"n":1},"timestamp":17}"#,
        r#""exchange":"x""#,
        r#""message_count":0"#,
    ] {
        assert!(looked.contains(part), "no {part} in {looked}");
    }
    let take = r#"{"count":1,"ackmode":"ack_requeue_false","encoding":"base64"}"#;
    let taken = post(&broker, "queues/%2F/q/get", take);
    assert!(taken.contains(r#""payload":"b25l""#) && taken.contains(r#""redelivered":true"#));
    assert_eq!(post(&broker, "queues/%2F/q/get", take), "[]");
    broker.kill();

    let broker = Running::start(&scratch.store());
    assert_eq!(post(&broker, "queues/%2F/q/get", take), "[]");
    for path in ["bindings/%2F/e/x/q/q/a.%23", "exchanges/%2F/x", "queues/%2F/q"] {
        assert_eq!(status(&broker, &format!("DELETE /api/{path}"), ""), 204, "{path}");
        assert_eq!(status(&broker, &format!("DELETE /api/{path}"), ""), 404, "{path}");
    }
    broker.stop();
}

#[test]
fn a_queue_is_deleted_when_it_is_empty_and_unused_if_so_asked() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    assert_eq!(put(&broker, "queues/%2F/q", "{}"), 201);
    let message =
        r#"{"properties":[],"routing_key":"q","payload":"/w==","payload_encoding":"base64"}"#;
    assert_eq!(post(&broker, "exchanges/%2F/amq.default/publish", message), r#"{"routed":true}"#);
    let delete = "DELETE /api/queues/%2F/q?if-empty=true&if-unused=true";
    refused(&broker, GUEST, delete, "", (400, "queue 'q' in vhost '/' not empty"));
    assert_eq!(status(&broker, "DELETE /api/queues/%2F/q/contents", ""), 204);
    assert_eq!(status(&broker, delete, ""), 204);
    assert_eq!(put(&broker, "exchanges/%2F/x", "{}"), 201);
    assert_eq!(status(&broker, "POST /api/bindings/%2F/e/x/e/amq.fanout", "{}"), 201);
    let delete = "DELETE /api/exchanges/%2F/x?if-unused=true";
    refused(&broker, GUEST, delete, "", (400, "exchange 'x' in vhost '/' in use"));
    broker.stop();
}

#[test]
fn a_user_changes_what_the_permissions_allow() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    assert_eq!(put(&broker, "users/m", r#"{"password":"m","tags":"management"}"#), 201);
    assert_eq!(put(&broker, "vhosts/other", ""), 201);
    let configure_a = r#"{"configure":"^a","write":"","read":""}"#;
    assert_eq!(put(&broker, "permissions/%2F/m", configure_a), 201);
    assert_eq!(put(&broker, "queues/%2F/q", "{}"), 201);
    assert_eq!(ask(&broker, LIMITED, "PUT /api/queues/%2F/a", "{}").0, 201);
    assert_eq!(ask(&broker, LIMITED, "PUT /api/exchanges/%2F/a", "{}").0, 201);
    let message = r#"{"properties":{},"routing_key":"a","payload":"","payload_encoding":"string"}"#;
    let look = r#"{"count":1,"ackmode":"ack_requeue_true","encoding":"auto"}"#;
    let access = (401, "Access refused.");
    let yours = (401, "User not authorised to access virtual host");
    let write = (400, "403 ACCESS_REFUSED - access to exchange 'a' in vhost '/' refused for user");
    let read = (401, "ACCESS_REFUSED - access to queue 'a' in vhost '/' refused for user 'm'");
    for (request, body, wanted) in [
        ("PUT /api/queues/%2F/b", "{}", access),
        ("PUT /api/exchanges/%2F/b", "{}", access),
        ("PUT /api/queues/other/a", "{}", yours),
        ("DELETE /api/queues/%2F/q", "", access),
        ("DELETE /api/queues/%2F/a/contents", "", access),
        ("POST /api/bindings/%2F/e/a/q/a", "{}", access),
        ("POST /api/exchanges/%2F/a/publish", message, write),
        ("POST /api/queues/%2F/a/get", look, read),
    ] {
        refused(&broker, LIMITED, request, body, wanted);
    }
    broker.stop();
}

#[test]
fn what_cannot_be_is_told_as_rabbitmq_tells_it() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    assert_eq!(put(&broker, "queues/%2F/q", "{}"), 201);
    let publish = "POST /api/exchanges/%2F/amq.default/publish";
    let get = "POST /api/queues/%2F/q/get";
    for (request, body, status, reason) in [
        (
            "PUT /api/queues/%2F/q",
            r#"{"durable":true}"#,
            400,
            "inequivalent arg 'durable' for queue",
        ),
        ("PUT /api/queues/%2F/n", r#"{"durable":"x"}"#, 400, r#"["not_boolean","x"]"#),
        (
            "PUT /api/queues/%2F/n",
            r#"{"arguments":{"x-expires":0}}"#,
            400,
            "invalid arg 'x-expires'",
        ),
        ("PUT /api/queues/%2F/amq.q", "{}", 401, "Access refused."),
        ("PUT /api/queues/none/q", "{}", 404, "vhost_not_found"),
        ("PUT /api/exchanges/%2F/x", r#"{"type":"no"}"#, 400, "unknown exchange type 'no'"),
        ("PUT /api/exchanges/%2F/amq.default", "{}", 401, "Access refused."),
        ("DELETE /api/exchanges/%2F/amq.direct", "", 401, "Access refused."),
        ("POST /api/bindings/%2F/e/no/q/q", "{}", 404, "no exchange 'no' in vhost '/'"),
        ("POST /api/bindings/%2F/e/amq.direct/q/no", "{}", 404, "no queue 'no' in vhost '/'"),
        ("POST /api/bindings/%2F/e/amq.default/q/q", "{}", 401, "Access refused."),
        (publish, r#"{"routing_key":"q"}"#, 400, "[{key_missing,properties}]"),
        (get, r#"{"count":1,"encoding":"auto"}"#, 400, "[{key_missing,ackmode}]"),
        (get, r#"{"count":"x","ackmode":"","encoding":""}"#, 400, r#"["not_int","count"]"#),
        ("POST /api/queues/%2F/q/actions", r#"{"action":"z"}"#, 400, r#"["unknown","z"]"#),
    ] {
        refused(&broker, GUEST, request, body, (status, reason));
    }
    broker.stop();
}
