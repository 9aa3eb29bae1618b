//! RabbitMQ's management API: definitions, given and taken.

use super::{GUEST, ask, get, put};
use crate::running::{Running, Scratch};

fn take(broker: &Running, path: &str, document: &str) -> (u16, String) {
    ask(broker, GUEST, &format!("POST /api/{path}"), document)
}

/// A broker with something of everything.
fn defined(store: &str) -> Running {
    let broker = Running::start(store);
    let all = r#"{"configure":"^u","write":".*","read":""}"#;
    let keys = r#"{"exchange":"x","write":"^a","read":".*"}"#;
    let queue = r#"{"durable":true,"arguments":{"x-message-ttl":60000,"x-queue-type":"quorum"}}"#;
    for (path, body) in [
        ("users/u", r#"{"password":"secret","tags":"monitoring"}"#),
        ("vhosts/v", r#"{"description":"ours","tags":"a,b"}"#),
        ("permissions/v/u", all),
        ("topic-permissions/v/u", keys),
        ("exchanges/v/x", r#"{"type":"topic","durable":true,"arguments":{"k":1}}"#),
        ("queues/v/q", queue),
        ("queues/%2F/transient", "{}"),
    ] {
        assert_eq!(put(&broker, path, body), 201, "{path}");
    }
    let bind = r#"{"routing_key":"a.#","arguments":{"h":"1"}}"#;
    assert_eq!(take(&broker, "bindings/v/e/x/q/q", bind).0, 201);
    assert_eq!(take(&broker, "bindings/v/e/x/e/amq.fanout", "{}").0, 201);
    broker
}

#[test]
fn definitions_are_the_same_where_they_were_taken() {
    let (first, second) = (Scratch::new(), Scratch::new());
    let broker = defined(&first.store());
    let document = get(&broker, "definitions");
    let of_vhost = get(&broker, "definitions/v");
    broker.stop();
    for part in ["\"u\"", "\"ours\"", "\"x-message-ttl\":60000", "\"^a\"", "\"amq.fanout\""] {
        assert!(document.contains(part), "no {part} in {document}");
    }
    assert!(!document.contains("amq.direct"), "{document}");
    assert!(!of_vhost.contains("\"vhost\""), "{of_vhost}");

    let broker = Running::start(&second.store());
    assert_eq!(take(&broker, "definitions", &document), (204, String::new()));
    assert_eq!(get(&broker, "definitions"), document);
    assert_eq!(take(&broker, "definitions", &document).0, 204);
    broker.kill();

    let broker = Running::start(&second.store());
    // What is not durable is gone.
    let again = get(&broker, "definitions");
    assert!(!again.contains("transient") && again.contains("\"q\""), "{again}");
    // u:secret
    assert_eq!(ask(&broker, "dTpzZWNyZXQ=", "GET /api/whoami", "").0, 200);
    assert_eq!(put(&broker, "vhosts/w", ""), 201);
    assert_eq!(take(&broker, "definitions/w", &of_vhost).0, 204);
    assert_eq!(get(&broker, "definitions/w"), of_vhost);
    broker.stop();
}

#[test]
fn what_a_rabbitmq_says_of_itself_is_passed_over() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    let document = r#"{"rabbit_version":"3.10.8","rabbitmq_version":"3.10.8","product_name":"RabbitMQ","product_version":"3.10.8","users":[{"name":"app","password_hash":"u9+yQZlYR00e7hjXGpI+YWm8isqXrhToj1gm2apAEghxs9kZ","hashing_algorithm":"rabbit_password_hashing_sha256","tags":["management"],"limits":{}}],"vhosts":[{"name":"/"},{"name":"v1"}],"permissions":[{"user":"app","vhost":"v1","configure":"^a","write":"","read":""}],"topic_permissions":[],"parameters":[],"global_parameters":[{"name":"cluster_name","value":"mine"},{"name":"internal_cluster_id","value":"rabbitmq-cluster-id-NZq1"}],"policies":[],"queues":[{"name":"amq.gen-x","vhost":"v1","durable":true,"auto_delete":false,"arguments":{}}],"exchanges":[],"bindings":[{"source":"amq.headers","vhost":"v1","destination":"amq.gen-x","destination_type":"queue","routing_key":"","arguments":{"h":"1","x-match":"all"}}]}"#;
    assert_eq!(take(&broker, "definitions", document), (204, String::new()));
    assert!(get(&broker, "bindings/v1").contains(r#""h":"1","x-match":"all""#));
    let other = r#"{"queues":[{"name":"amq.gen-x","vhost":"v1","durable":false}]}"#;
    assert_eq!(take(&broker, "definitions", other).0, 204);
    assert!(get(&broker, "queues/v1/amq.gen-x").contains(r#""durable":true"#));
    broker.stop();
}

#[test]
fn a_part_that_is_not_right_is_told() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    for (document, reason) in [
        ("{", "Failed to decode JSON"),
        (r#"{"queues":1}"#, r#"["not_a_list_of_objects","queues"]"#),
        (r#"{"queues":[{"name":"q","vhost":"no"}]}"#, r#"["no_such_vhost","no"]"#),
        (r#"{"queues":[{"name":"q"}]}"#, r#"["no_such_vhost","undefined"]"#),
        (r#"{"users":[{"name":"u"}]}"#, "tags_not_present"),
        (r#"{"permissions":[{"user":"no","vhost":"/"}]}"#, r#"["no_such_user","no"]"#),
        (r#"{"exchanges":[{"name":"x","vhost":"/","type":"no"}]}"#, "unknown exchange type 'no'"),
        (r#"{"policies":[{"name":"p"}],"queues":[{"name":"q","vhost":"/"}]}"#, "no_such_vhost"),
        (r#"{"policies":[{"name":"p","vhost":"/"}]}"#, "{key_missing,pattern}"),
        (r#"{"global_parameters":[{"name":"p"}]}"#, "{key_missing,value}"),
    ] {
        let (status, answer) = take(&broker, "definitions", document);
        assert_eq!((status, answer.contains(reason)), (400, true), "{document}: {answer}");
    }
    assert_eq!(get(&broker, "queues"), "[]");
    assert_eq!(take(&broker, "definitions/no", "{}").0, 404);
    broker.stop();
}
