//! RabbitMQ's management API: users, virtual hosts and permissions.

mod changes;
mod checks;
mod connections;
mod definitions;
mod things;

use crate::running::{Running, Scratch};

/// `guest:guest`.
pub(crate) const GUEST: &str = "Z3Vlc3Q6Z3Vlc3Q=";

/// Asks as a user, whose `name:password` is given in base64; gives the status and the body.
pub(crate) fn ask(broker: &Running, user: &str, request: &str, body: &str) -> (u16, String) {
    let (length, line) = (body.len(), format!("{request} HTTP/1.0\r\n"));
    let answer = broker.http(&format!(
        "{line}Authorization: Basic {user}\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

pub(crate) fn put(broker: &Running, path: &str, body: &str) -> u16 {
    ask(broker, GUEST, &format!("PUT /api/{path}"), body).0
}

fn get(broker: &Running, path: &str) -> String {
    let (status, body) = ask(broker, GUEST, &format!("GET /api/{path}"), "");
    assert_eq!(status, 200, "{path}: {body}");
    body
}

#[test]
fn nobody_is_let_in_without_name_and_password() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    let answer = broker.http("GET /api/whoami HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 401 "), "{answer}");
    let lower = answer.to_lowercase();
    assert!(lower.contains("www-authenticate: basic realm=\"rabbitmq management\""), "{answer}");
    assert!(answer.ends_with(r#"{"error":"not_authorised","reason":"Login failed"}"#), "{answer}");
    for user in ["Z3Vlc3Q6d3Jvbmc=", "bm9ib2R5Og==", "Z3Vlc3Q=", "!"] {
        assert_eq!(ask(&broker, user, "GET /api/users", "").0, 401, "{user}");
    }
    assert_eq!(get(&broker, "whoami"), r#"{"name":"guest","tags":["administrator"]}"#);
    assert_eq!(ask(&broker, GUEST, "GET /api/nowhere", "").0, 404);
    assert_eq!(ask(&broker, GUEST, "POST /api/whoami", "").0, 405);
    broker.stop();
}

#[test]
fn tags_say_what_a_user_may_ask() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    // Each user's password is the name: `u:u`, `m:m`.
    let (u, m) = ("dTp1", "bTpt");
    assert_eq!(put(&broker, "users/u", r#"{"password":"u","tags":""}"#), 201);
    assert_eq!(put(&broker, "users/m", r#"{"password":"m","tags":["management"]}"#), 201);
    let (status, body) = ask(&broker, u, "GET /api/whoami", "");
    assert_eq!(status, 401);
    assert_eq!(body, r#"{"error":"not_authorised","reason":"Not management user"}"#);
    let whoami = ask(&broker, m, "GET /api/whoami", "");
    assert_eq!(whoami, (200, r#"{"name":"m","tags":["management"]}"#.to_owned()));
    let (status, body) = ask(&broker, m, "GET /api/users", "");
    assert_eq!(status, 401);
    assert_eq!(body, r#"{"error":"not_authorised","reason":"Not administrator user"}"#);
    assert_eq!(ask(&broker, m, "GET /api/vhosts", ""), (200, "[]".to_owned()));
    assert_eq!(ask(&broker, m, "GET /api/vhosts/%2F", "").0, 401);
    let all = r#"{"configure":".*","write":".*","read":".*"}"#;
    assert_eq!(put(&broker, "permissions/%2F/m", all), 201);
    assert_eq!(ask(&broker, m, "GET /api/vhosts/%2F", "").0, 200);
    assert_eq!(ask(&broker, m, "PUT /api/vhosts/mine", "{}").0, 401);
    broker.stop();
}

#[test]
fn users_and_permissions_outlive_a_kill() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    let hash = r#""hashing_algorithm":"rabbit_password_hashing_sha256","#;
    let stored = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";
    let user = format!(r#"{{"password_hash":"{stored}",{hash}"tags":"monitoring, policymaker"}}"#);
    assert_eq!(put(&broker, "users/u", &user), 201);
    assert_eq!(put(&broker, "users/u", &user), 204);
    assert_eq!(put(&broker, "vhosts/team", r#"{"description":"ours","tags":"a,b"}"#), 201);
    assert_eq!(put(&broker, "vhosts/team", ""), 204);
    let permission = r#"{"configure":"^u-","write":"","read":".*"}"#;
    assert_eq!(put(&broker, "permissions/team/u", permission), 201);
    assert_eq!(put(&broker, "permissions/team/u", permission), 204);
    let keys = r#"{"exchange":"amq.topic","write":"^{username}","read":""}"#;
    assert_eq!(put(&broker, "topic-permissions/team/u", keys), 201);
    broker.kill();

    let broker = Running::start(&scratch.store());
    let shown = get(&broker, "users/u");
    for part in [hash, stored, r#""tags":["monitoring","policymaker"]"#] {
        assert!(shown.contains(part), "{shown}");
    }
    // u:test12
    assert_eq!(ask(&broker, "dTp0ZXN0MTI=", "GET /api/whoami", "").0, 200);
    let vhost = get(&broker, "vhosts/team");
    assert!(vhost.contains(r#""description":"ours""#), "{vhost}");
    assert!(vhost.contains(r#""tags":["a","b"]"#), "{vhost}");
    let one = r#"{"configure":"^u-","read":".*","user":"u","vhost":"team","write":""}"#;
    assert_eq!(get(&broker, "permissions/team/u"), one);
    assert_eq!(get(&broker, "users/u/permissions"), format!("[{one}]"));
    assert_eq!(get(&broker, "vhosts/team/permissions").matches("\"user\"").count(), 2);
    let keys =
        r#"[{"exchange":"amq.topic","read":"","user":"u","vhost":"team","write":"^{username}"}]"#;
    for path in ["topic-permissions", "topic-permissions/team/u", "users/u/topic-permissions"] {
        assert_eq!(get(&broker, path), keys, "{path}");
    }
    for path in ["permissions/team/u", "topic-permissions/team/u", "vhosts/team", "users/u"] {
        let delete = format!("DELETE /api/{path}");
        assert_eq!(ask(&broker, GUEST, &delete, "").0, 204, "{path}");
        assert_eq!(ask(&broker, GUEST, &delete, "").0, 404, "{path}");
    }
    broker.stop();
}

#[test]
fn what_is_not_right_is_told_in_rabbitmqs_shape() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    for (request, body, status, reason) in [
        ("PUT /api/users/u", "{", 400, "Failed to decode JSON"),
        ("PUT /api/users/u", r#"{"password":"p"}"#, 400, "tags_not_present"),
        ("PUT /api/users/u", r#"{"password_hash":"?","tags":""}"#, 400, "password_hash is not"),
        ("PUT /api/permissions/%2F/guest", r#"{"configure":"("}"#, 400, "missing field"),
        (
            "PUT /api/permissions/%2F/guest",
            r#"{"configure":"(","write":"","read":""}"#,
            400,
            "'(' is no pattern: unclosed group",
        ),
        ("PUT /api/permissions/none/guest", "{}", 400, "missing field"),
        ("GET /api/users/none", "", 404, "Not Found"),
        ("GET /api/permissions/%2F/none", "", 404, "Not Found"),
        ("DELETE /api/vhosts/none", "", 404, "Not Found"),
        ("DELETE /api/vhosts/%2F", "", 400, "namespace name '/' is reserved"),
    ] {
        let (got, answer) = ask(&broker, GUEST, request, body);
        assert_eq!(got, status, "{request}: {answer}");
        let right = answer.starts_with(r#"{"error":""#) && answer.contains(reason);
        assert!(right, "{request} {body}: {answer}");
    }
    broker.stop();
}
