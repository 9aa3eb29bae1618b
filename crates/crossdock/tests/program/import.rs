//! `crossdock import rabbitmq`, from one broker of ours into another: the source is asked for nothing
//! that RabbitMQ has not, and the client cases do the same with a RabbitMQ.

use crate::management::{GUEST, ask, put};
use crate::running::{Ended, Running, Scratch, program, run};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const BOTH: &[&str] = &["--listen=amqp=127.0.0.1:0", "--listen=admin=127.0.0.1:0", "--workers=3"];

/// Messages of the queue that is imported with interruptions.
const MANY: usize = 20_000;

/// A broker to import from and one to import into.
struct Pair {
    source: Running,
    target: Running,
    scratch: [Scratch; 2],
}

impl Pair {
    fn start() -> Pair {
        let scratch = [Scratch::new(), Scratch::new()];
        let [source, target] =
            [0, 1].map(|at: usize| Running::start_with(&scratch[at].store(), BOTH));
        Pair { source, target, scratch }
    }

    /// The arguments of an import, up to how.
    fn arguments(&self) -> Vec<String> {
        let at = |broker: &Running, wire: &str| broker.addresses(wire)[0].to_string();
        [
            "import".to_owned(),
            "rabbitmq".to_owned(),
            format!("amqp://guest:guest@{}", at(&self.source, "amqp")),
            format!("--management=http://{}", at(&self.source, "admin")),
            format!("--to=amqp://guest:guest@{}", at(&self.target, "amqp")),
            format!("--admin={}", at(&self.target, "admin")),
        ]
        .into()
    }

    fn import(&self, how: &[&str]) -> Ended {
        let own = self.arguments();
        let all: Vec<&str> = own.iter().map(String::as_str).chain(how.iter().copied()).collect();
        run(&all)
    }

    fn import_ok(&self, how: &[&str]) -> String {
        let ended = self.import(how);
        assert_eq!(ended.code, Some(0), "{how:?}: {} {}", ended.stderr, ended.stdout);
        ended.stdout
    }

    fn begin(&self, how: &str) -> Child {
        let mut command = program();
        command.args(self.arguments()).arg(how).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }
}

/// Publishes lines `0`, `1` … to a queue.
fn fill(broker: &Running, queue: &str, count: usize) {
    let lines: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    broker.ok(&["publish", "--queue", queue, "--create"], &lines.join("\n"));
}

/// The queues of a broker and what is ready in them.
fn ready(broker: &Running) -> BTreeMap<String, usize> {
    let list = broker.ok(&["list", "queues"], "");
    let row = |line: &str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        (cells[0].to_owned(), cells[2].parse().unwrap())
    };
    list.lines().skip(1).map(row).collect()
}

fn queues<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts.map(|(name, count)| (name.to_owned(), count)).into()
}

/// Takes everything out of a queue, and counts how often each line came.
fn counted(broker: &Running, queue: &str) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for line in broker.ok(&["consume", "--queue", queue], "").lines() {
        *counts.entry(line.parse().unwrap()).or_default() += 1;
    }
    counts
}

#[test]
fn drained_queue_is_here_and_no_longer_there() {
    let pair = Pair::start();
    fill(&pair.source, "orders", 50);
    let told = pair.import_ok(&["--drain"]);
    assert!(told.contains("definitions: 1 vhosts, 1 users, 0 exchanges, 1 queues"), "{told}");
    assert!(told.contains("50 messages of 1 queues"), "{told}");
    assert_eq!(ready(&pair.source), queues([("orders", 0)]));
    assert_eq!(ready(&pair.target), queues([("orders", 50)]));
    let all: Vec<String> = (0..50).map(|number| format!("{number}\n")).collect();
    assert_eq!(pair.target.ok(&["consume", "--queue", "orders"], ""), all.concat());
    // What came since then comes with the next one.
    fill(&pair.source, "orders", 2);
    pair.import_ok(&["--drain"]);
    assert_eq!(ready(&pair.target), queues([("orders", 2)]));
}

#[test]
fn copied_queue_is_in_both() {
    let pair = Pair::start();
    fill(&pair.source, "orders", 50);
    pair.import_ok(&["--copy"]);
    for broker in [&pair.source, &pair.target] {
        assert_eq!(ready(broker), queues([("orders", 50)]));
        assert_eq!(counted(broker, "orders"), (0..50).map(|number| (number, 1)).collect());
    }
}

#[test]
fn message_keeps_its_properties_and_routing_key() {
    let pair = Pair::start();
    let (source, target) = (&pair.source, &pair.target);
    assert_eq!(put(source, "exchanges/%2F/events", r#"{"type":"topic","durable":true}"#), 201);
    for queue in ["q", "other"] {
        assert_eq!(put(source, &format!("queues/%2F/{queue}"), r#"{"durable":true}"#), 201);
    }
    let bind = "POST /api/bindings/%2F/e/events/q/q";
    let (status, _) = ask(source, GUEST, bind, r##"{"routing_key":"#","arguments":{}}"##);
    assert_eq!(status, 201);
    let message = r#"{"properties":{"content_type":"text/plain","priority":3,"type":"t",
        "headers":{"n":7,"deep":{"a":[1,null,true]}}},
        "routing_key":"order.paid","payload":"body","payload_encoding":"string"}"#;
    let publish = "POST /api/exchanges/%2F/events/publish";
    assert_eq!(ask(source, GUEST, publish, message).0, 200);
    // A copy to another queue is of that queue and not of this one.
    let copied = r#"{"properties":{"headers":{"CC":["other"]}},
        "routing_key":"q","payload":"copied","payload_encoding":"string"}"#;
    assert_eq!(ask(source, GUEST, "POST /api/exchanges/%2F/amq.default/publish", copied).0, 200);
    pair.import_ok(&["--drain"]);
    assert_eq!(ready(target), queues([("other", 1), ("q", 2)]));
    let get = r#"{"count":2,"ackmode":"ack_requeue_false","encoding":"auto"}"#;
    let (status, got) = ask(target, GUEST, "POST /api/queues/%2F/q/get", get);
    assert_eq!(status, 200, "{got}");
    for part in [
        r#""routing_key":"order.paid""#,
        r#""payload":"body""#,
        r#""content_type":"text/plain""#,
        r#""priority":3"#,
        r#""type":"t""#,
        r#""n":7"#,
        r#""deep":{"a":[1,null,true]}"#,
        r#""CC":["other"]"#,
    ] {
        assert!(got.contains(part), "{part}: {got}");
    }
    // The definitions came, too, and nothing of ours stays.
    let (_, bindings) = ask(target, GUEST, "GET /api/bindings/%2F", "");
    assert!(bindings.contains(r##""source":"events","vhost":"/""##), "{bindings}");
    assert!(!bindings.contains("crossdock.import"), "{bindings}");
}

#[test]
fn chosen_queues_and_virtual_hosts_alone_are_imported() {
    let pair = Pair::start();
    for queue in ["a.1", "a.2", "b"] {
        fill(&pair.source, queue, 3);
    }
    assert_eq!(put(&pair.source, "vhosts/team", "{}"), 201);
    assert_eq!(put(&pair.source, "queues/team/a.1", r#"{"durable":true}"#), 201);
    pair.import_ok(&["--drain", "--vhost=/", "--queue=a.*", "--except=*2"]);
    assert_eq!(ready(&pair.source), queues([("a.1", 0), ("a.2", 3), ("b", 3)]));
    assert_eq!(ready(&pair.target), queues([("a.1", 3), ("a.2", 0), ("b", 0)]));
    assert_eq!(ask(&pair.target, GUEST, "GET /api/vhosts/team", "").0, 404);
    pair.import_ok(&["--definitions-only"]);
    assert_eq!(ask(&pair.target, GUEST, "GET /api/queues/team/a.1", "").0, 200);
    let ended = pair.import(&["--drain", "--queue=c"]);
    let told = "crossdock: no queue of the source is chosen; see --queue, --except, --vhost\n";
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), told));
}

/// Kills an import again and again when so much more has come, then lets one end.
fn import_with_kills(how: &str) -> Pair {
    let pair = Pair::start();
    fill(&pair.source, "orders", MANY);
    let come = || ready(&pair.target).get("orders").copied().unwrap_or(0);
    for part in 1..5 {
        let mut import = pair.begin(how);
        while come() < MANY * part / 6 && import.try_wait().unwrap().is_none() {}
        import.kill().unwrap();
        import.wait().unwrap();
    }
    let told = pair.import_ok(&[how]);
    assert!(!told.contains(&format!("{MANY} messages")), "no kill was in the middle: {told}");
    assert_eq!(ready(&pair.target), queues([("orders", MANY)]));
    pair
}

#[test]
fn nothing_is_lost_or_doubled_when_a_drain_is_killed() {
    let pair = import_with_kills("--drain");
    assert_eq!(ready(&pair.source), queues([("orders", 0)]));
    let once: BTreeMap<usize, usize> = (0..MANY).map(|number| (number, 1)).collect();
    assert_eq!(counted(&pair.target, "orders"), once);
}

#[test]
fn nothing_is_lost_or_doubled_when_a_copy_is_killed() {
    let pair = import_with_kills("--copy");
    assert_eq!(ready(&pair.source), queues([("orders", MANY)]));
    let once: BTreeMap<usize, usize> = (0..MANY).map(|number| (number, 1)).collect();
    assert_eq!(counted(&pair.target, "orders"), once);
}

#[test]
fn copy_that_was_not_finished_does_not_go_on_as_a_drain() {
    let pair = Pair::start();
    fill(&pair.source, "orders", MANY);
    let mut import = pair.begin("--copy");
    let come = || ready(&pair.target).get("orders").copied().unwrap_or(0);
    while come() < MANY / 4 && import.try_wait().unwrap().is_none() {}
    import.kill().unwrap();
    import.wait().unwrap();
    let before = come();
    let ended = pair.import(&["--drain"]);
    let told = "another import of it (copy) was not finished: finish that, or begin --afresh";
    assert!(ended.code == Some(1) && ended.stdout.contains(told), "{}", ended.stdout);
    assert_eq!((ready(&pair.source)["orders"], come()), (MANY, before));
    pair.import_ok(&["--drain", "--afresh"]);
    assert_eq!(ready(&pair.source), queues([("orders", 0)]));
    assert_eq!(ready(&pair.target), queues([("orders", MANY + before)]));
}

#[test]
fn nothing_is_lost_or_doubled_when_the_broker_that_takes_it_is_killed() {
    let pair = Pair::start();
    fill(&pair.source, "orders", MANY);
    let mut import = pair.begin("--drain");
    let come = || ready(&pair.target).get("orders").copied().unwrap_or(0);
    while come() < MANY / 3 && import.try_wait().unwrap().is_none() {}
    let Pair { source, target, scratch } = pair;
    target.kill();
    assert_eq!(import.wait().unwrap().code(), Some(1));
    let target = Running::start_with(&scratch[1].store(), BOTH);
    let pair = Pair { source, target, scratch };
    pair.import_ok(&["--drain"]);
    assert_eq!(ready(&pair.source), queues([("orders", 0)]));
    let once: BTreeMap<usize, usize> = (0..MANY).map(|number| (number, 1)).collect();
    assert_eq!(counted(&pair.target, "orders"), once);
}

#[test]
fn store_that_no_broker_has_open_takes_an_import() {
    let pair = Pair::start();
    fill(&pair.source, "orders", 5);
    let scratch = Scratch::new();
    let own = pair.arguments();
    let mut all: Vec<&str> = own[..4].iter().map(String::as_str).collect();
    let data = format!("--data={}", scratch.store());
    all.extend(["--drain", &data]);
    let ended = run(&all);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let broker = Running::start(&scratch.store());
    assert_eq!(ready(&broker), queues([("orders", 5)]));
    broker.stop();
}

#[test]
fn what_cannot_be_done_says_what_to_do() {
    let pair = Pair::start();
    fill(&pair.source, "orders", 5);
    let own = pair.arguments();
    let with = |changes: &[(usize, &str)], how: &[&str]| {
        let mut all: Vec<&str> = own.iter().map(String::as_str).collect();
        for (at, text) in changes {
            all[*at] = text;
        }
        all.extend(how);
        run(&all)
    };
    let guest = own[2].clone();
    let stranger = guest.replace("guest:guest", "stranger:x");
    let target = own[4].replace("guest:guest", "guest:wrong");
    for (ended, told) in [
        (with(&[(3, "--management=http://127.0.0.1:1")], &["--drain"]), "rabbitmq-plugins enable"),
        (with(&[(2, &stranger)], &["--drain"]), "name a user with the tag administrator"),
        (with(&[(5, "--admin=127.0.0.1:1")], &["--drain"]), "start one with `crossdock`"),
        (with(&[(4, &target)], &["--drain"]), "name an administrator with --to"),
        (with(&[(2, "amqps://h")], &["--drain"]), "name a port without TLS"),
        (with(&[], &[]), "--drain"),
        (with(&[], &["--drain", "--no-definitions"]), "1 queues are not imported whole"),
    ] {
        assert_ne!(ended.code, Some(0), "{told}");
        assert!(ended.stderr.contains(told), "{told}: {} {}", ended.stderr, ended.stdout);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    assert_eq!(ready(&pair.source), queues([("orders", 5)]));
}

/// Passes on what an import and its source say to each other; while it cuts, it ends the connection in
/// place of an acknowledgement.
struct Between {
    port: u16,
    cuts: Arc<AtomicBool>,
}

impl Between {
    fn start(source: SocketAddr) -> Between {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicBool::new(true));
        let cutting = Arc::clone(&cuts);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(source).unwrap());
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let cutting = Arc::clone(&cutting);
                std::thread::spawn(move || pass(&from, &to, &cutting));
                std::thread::spawn(move || pass(&server, &client, &AtomicBool::new(false)));
            }
        });
        Between { port, cuts }
    }
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, cuts: &AtomicBool) {
    /// Class and method of basic.ack, after the size of its frame.
    const ACK: &[u8] = &[0, 0, 0, 13, 0, 60, 0, 80];
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let is_ack = bytes[..count].windows(ACK.len()).any(|window| window == ACK);
        if cuts.load(Ordering::Relaxed) && is_ack || to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}

#[test]
fn batch_that_was_written_and_not_acknowledged_is_not_written_again() {
    let pair = Pair::start();
    fill(&pair.source, "orders", 50);
    let between = Between::start(pair.source.addresses("amqp")[0]);
    let mut own = pair.arguments();
    own[2] = format!("amqp://127.0.0.1:{}", between.port);
    let all: Vec<&str> = own.iter().map(String::as_str).chain(["--drain"]).collect();
    let ended = run(&all);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.contains("start the same command again: it goes on"), "{}", ended.stderr);
    let written = ready(&pair.target)["orders"];
    assert!((1..50).contains(&written), "{written}");
    // Somebody uses the queue here meanwhile.
    pair.target.ok(&["consume", "--queue", "orders", "--count", "3"], "");
    fill(&pair.target, "orders", 1);
    between.cuts.store(false, Ordering::Relaxed);
    let ended = run(&all);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ready(&pair.source), queues([("orders", 0)]));
    assert_eq!(ready(&pair.target), queues([("orders", 50 - 3 + 1)]));
}
