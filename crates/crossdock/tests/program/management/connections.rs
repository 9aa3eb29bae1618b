//! RabbitMQ's management API: connections, channels and consumers, and ending them. What of AMQP is
//! told is shown with real clients; here the connections are Kafka's and half-open ones of AMQP.

use super::{GUEST, ask, get, put};
use crate::running::{Running, Scratch};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const WIRES: &[&str] =
    &["--listen=kafka=127.0.0.1:0", "--listen=amqp=127.0.0.1:0", "--listen=admin=127.0.0.1:0"];

fn connect(broker: &Running, wire: &str) -> (TcpStream, String) {
    let stream = TcpStream::connect(broker.addresses(wire)[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let name = format!("{} -> {}", stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    (stream, name)
}

/// The connection is in the list once its task has begun.
fn wait_for(broker: &Running, name: &str) -> String {
    loop {
        let list = get(broker, "connections");
        if list.contains(name) {
            return list;
        }
    }
}

fn encoded(name: &str) -> String {
    name.replace(' ', "%20").replace('>', "%3E").replace(':', "%3A")
}

#[test]
fn connections_are_shown_and_ended() {
    let scratch = Scratch::new();
    let broker = Running::start_with(&scratch.store(), WIRES);
    assert_eq!(get(&broker, "connections"), "[]");
    let (mut kafka, name) = connect(&broker, "kafka");
    let list = wait_for(&broker, &name);
    assert!(list.contains(r#""protocol":"Kafka""#) && list.contains(r#""channels":0"#), "{list}");
    let path = format!("connections/{}", encoded(&name));
    assert!(get(&broker, &path).contains(&name));
    assert_eq!(get(&broker, &format!("{path}/channels")), "[]");
    assert_eq!(get(&broker, "channels"), "[]");
    assert_eq!(get(&broker, "consumers"), "[]");
    // A user who does not monitor sees no connection of others.
    assert_eq!(put(&broker, "users/m", r#"{"password":"m","tags":"management"}"#), 201);
    assert_eq!(ask(&broker, "bTpt", "GET /api/connections", ""), (200, "[]".to_owned()));
    assert_eq!(ask(&broker, "bTpt", &format!("DELETE /api/{path}"), "").0, 401);
    assert_eq!(ask(&broker, GUEST, &format!("DELETE /api/{path}"), ""), (204, String::new()));
    let mut rest = Vec::new();
    kafka.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    while get(&broker, "connections") != "[]" {}
    for path in [path.as_str(), "connections/none", "channels/none"] {
        assert_eq!(ask(&broker, GUEST, &format!("GET /api/{path}"), "").0, 404, "{path}");
    }
    broker.stop();
}

#[test]
fn a_client_that_does_not_read_is_ended_too() {
    let scratch = Scratch::new();
    let broker = Running::start_with(&scratch.store(), WIRES);
    let (mut amqp, name) = connect(&broker, "amqp");
    amqp.write_all(b"AMQP\0\0\x09\x01").unwrap();
    while !wait_for(&broker, &name).contains(r#""state":"starting""#) {}
    let path = format!("DELETE /api/connections/{}", encoded(&name));
    assert_eq!(ask(&broker, GUEST, &path, "").0, 204);
    let mut said = Vec::new();
    amqp.read_to_end(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("CONNECTION_FORCED - Closed via management plugin"), "{said}");
    broker.stop();
}
