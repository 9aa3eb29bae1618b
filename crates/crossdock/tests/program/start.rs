//! Starting and stopping.

use crate::running::{OTHERS_OFF, QUIET, Running, Scratch, finish, program, run};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// One line on standard error, and an exit code that is not 0.
fn refused(arguments: &[&str], told: &[&str]) {
    let options = arguments[0].starts_with("--");
    let off = if options { OTHERS_OFF } else { &[] };
    let ended = run(&[arguments, off].concat());
    assert!(ended.code.is_some_and(|code| code != 0), "{arguments:?} ended with {:?}", ended.code);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("crossdock: "), "{}", ended.stderr);
    for part in told {
        assert!(ended.stderr.contains(part), "{part:?} is not in {}", ended.stderr);
    }
}

#[test]
fn it_prints_what_it_is_and_where_it_listens() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    assert_eq!(
        broker.printed[0],
        format!("crossdock {}, a message broker", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(broker.printed[1], format!("data   {}", scratch.store()));
    assert!(broker.addresses("admin")[0].port() != 0);
    let answer = broker.http("GET /health HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("{\"status\":\"ok\"}"), "{answer}");
    broker.stop();
}

#[test]
fn every_wire_listens_unless_it_is_off() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let broker = Running::start(&store);
    assert_eq!(broker.printed.len(), 3, "{:?}", broker.printed);
    broker.stop();
    let listen = [
        "--listen=admin=127.0.0.1:0,admin=[::1]:0",
        "--listen=kafka=127.0.0.1:0",
        "--listen=amqp=127.0.0.1:0",
    ];
    let broker = Running::start_with(&store, &listen);
    assert_eq!(broker.addresses("admin").len(), 2);
    let kafka = TcpStream::connect(broker.addresses("kafka")[0]).unwrap();
    // ApiVersions 0 with correlation id 7 and no client id.
    (&kafka).write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]).unwrap();
    let mut head = [0; 8];
    (&kafka).read_exact(&mut head).unwrap();
    assert_eq!(head[4..], [0, 0, 0, 7]);
    let amqp = TcpStream::connect(broker.addresses("amqp")[0]).unwrap();
    (&amqp).write_all(b"AMQP\x00\x00\x09\x01").unwrap();
    // A method frame on channel 0: connection.start.
    let mut head = [0; 11];
    (&amqp).read_exact(&mut head).unwrap();
    assert_eq!((&head[..3], &head[7..]), (&[1, 0, 0][..], &[0, 10, 0, 10][..]));
    broker.stop();
}

#[test]
fn a_taken_port_is_told() {
    let scratch = Scratch::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listen = format!("--listen=admin={address}");
    refused(
        &["--data", &scratch.store(), &listen],
        &["admin: cannot listen on", &address, "in use", "choose another with --listen admin="],
    );
    // The store is as good as new.
    Running::start(&scratch.store()).stop();
}

#[test]
fn an_address_that_others_reach_has_to_be_wanted() {
    let scratch = Scratch::new();
    let store = scratch.store();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9"] {
        let listen = format!("--listen=admin={address}");
        refused(&["--data", &store, &listen], &["admin: refusing", address, "--insecure-listen"]);
    }
    Running::start_with(&store, &["--listen=admin=0.0.0.0:0", "--insecure-listen"]).stop();
}

#[test]
fn a_directory_that_cannot_be_had_is_told() {
    let scratch = Scratch::new();
    let file = scratch.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("store").display().to_string();
    refused(&["--data", &below, QUIET[0]], &["cannot use the directory", &below, "--data DIR"]);
}

#[test]
fn a_store_has_one_process() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let broker = Running::start(&store);
    refused(&["--data", &store, QUIET[0]], &[&store, "in use by another process", "--data DIR"]);
    assert_eq!(broker.command(&["list", "queues"]).code, Some(0));
    broker.stop();
}

#[test]
fn a_bad_option_is_told() {
    refused(&["--wrokers=1"], &["unexpected argument '--wrokers'", "--help"]);
    refused(&["--listen", "gopher=127.0.0.1:70"], &["there is no wire 'gopher'", "admin"]);
    refused(&["frobnicate"], &["unrecognized subcommand 'frobnicate'"]);
}

#[test]
fn variables_and_the_file_count() {
    let scratch = Scratch::new();
    let file = scratch.path().join("crossdock.toml");
    let store = scratch.store();
    std::fs::write(&file, "log = \"loud\"\n").unwrap();
    let named = file.display().to_string();
    refused(&["--config", &named], &[&named, "invalid value 'loud'"]);
    let mut command = program();
    command.args(["serve", "--data", &store]).env("CROSSDOCK_WORKERS", "many");
    let ended = finish(&mut command, "");
    assert!(ended.stderr.starts_with("crossdock: invalid value 'many'"), "{}", ended.stderr);
    std::fs::write(&file, format!("data = {store:?}\nlisten = [\"admin=127.0.0.1:0\"]\n")).unwrap();
    let broker = Running::start_with("elsewhere", &["--config", &named, "--data", &store]);
    assert_eq!(broker.printed[1], format!("data   {store}"));
    broker.stop();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long a real process takes is the matter here")]
fn a_signal_stops_it_within_a_second() {
    for signal in ["TERM", "INT"] {
        let scratch = Scratch::new();
        let broker = Running::start(&scratch.store());
        broker.ok(&["publish", "--queue", "q", "--create"], "one\ntwo\n");
        let begin = Instant::now();
        broker.signal(signal);
        assert_eq!(broker.end(), (Some(0), String::new()));
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long a real process takes is the matter here")]
fn a_waiting_consumer_does_not_hold_up_the_stop() {
    let scratch = Scratch::new();
    let broker = Running::start(&scratch.store());
    broker.ok(&["publish", "--queue", "q", "--create"], "");
    let admin = broker.addresses("admin")[0].to_string();
    let mut waiting = program();
    waiting.args(["consume", "--queue", "q", "--follow"]).env("CROSSDOCK_ADMIN", admin);
    let waiting = std::thread::spawn(move || finish(&mut waiting, ""));
    // It is there once the queue has a consumer.
    while !broker.ok(&["describe", "queue", "q"], "").contains("consumers     1") {}
    let begin = Instant::now();
    broker.stop();
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(waiting.join().unwrap().stderr, "crossdock: the broker is stopping\n");
}
