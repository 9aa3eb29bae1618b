//! RabbitMQ's management API: health checks, and what is the same for everybody.

use super::{GUEST, ask, get, put};
use crate::running::{Running, Scratch};

#[test]
fn checks_say_what_is_so() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    let port = broker.addresses("admin")[0].port();
    for (path, answer) in [
        ("health/checks/alarms", r#"{"status":"ok"}"#.to_owned()),
        ("health/checks/local-alarms", r#"{"status":"ok"}"#.to_owned()),
        ("health/checks/virtual-hosts", r#"{"status":"ok"}"#.to_owned()),
        ("health/checks/certificate-expiration/1/months", r#"{"status":"ok"}"#.to_owned()),
        ("health/checks/protocol-listener/http", r#"{"protocol":"http","status":"ok"}"#.to_owned()),
        (
            "health/checks/node-is-quorum-critical",
            r#"{"reason":"single node cluster","status":"ok"}"#.to_owned(),
        ),
        ("healthchecks/node", r#"{"status":"ok"}"#.to_owned()),
        ("aliveness-test/%2F", r#"{"status":"ok"}"#.to_owned()),
        ("aliveness-test/%2F", r#"{"status":"ok"}"#.to_owned()),
    ] {
        assert_eq!(get(&broker, path), answer, "{path}");
    }
    let listener = get(&broker, &format!("health/checks/port-listener/{port}"));
    assert_eq!(listener, format!(r#"{{"port":{port},"status":"ok"}}"#));
    for (path, status, part) in [
        ("health/checks/port-listener/1", 503, r#""missing":1"#),
        ("health/checks/port-listener/x", 400, "Invalid port"),
        ("health/checks/protocol-listener/mqtt", 503, r#""protocols":["http"]"#),
        ("health/checks/certificate-expiration/x/days", 400, "Invalid expiration value."),
        ("health/checks/none", 404, "Not Found"),
        ("aliveness-test/none", 404, "Not Found"),
    ] {
        let (got, answer) = ask(&broker, GUEST, &format!("GET /api/{path}"), "");
        assert_eq!((got, answer.contains(part)), (status, true), "{path}: {answer}");
    }
    broker.stop();
}

#[test]
fn what_there_is_none_of_is_an_empty_list() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    for path in ["parameters", "policies/%2F", "operator-policies", "vhost-limits", "user-limits"] {
        assert_eq!(get(&broker, path), "[]", "{path}");
    }
    assert!(get(&broker, "feature-flags").contains(r#""name":"quorum_queue""#));
    assert_eq!(ask(&broker, "eDp5", "GET /api/whoami", "").0, 401);
    let attempts = get(&broker, "auth/attempts/crossdock@localhost");
    assert!(attempts.contains(r#""auth_attempts_failed":1"#), "{attempts}");
    assert_eq!(put(&broker, "users/m", r#"{"password":"m","tags":"management"}"#), 201);
    let (status, _) = ask(&broker, "bTpt", "GET /api/auth/attempts/crossdock@localhost", "");
    assert_eq!(status, 401);
    let vhost = get(&broker, "vhosts/%2F");
    assert!(vhost.contains(r#""cluster_state":{"crossdock@localhost":"running"}"#), "{vhost}");
    broker.stop();
}
