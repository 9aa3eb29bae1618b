use super::{Limits, Phase, Server, Shared, converse};
use crate::lines::{Lines, appended};
use crate::transcript::Desk;
use crate::{Door, Doors, Whom, listen};
use engine::api::{Call, Event};
use engine::catalog::{NodeId, Owner, TopicId};
use engine::{Names, Outbox, Wake};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use types::{ClientId, Millis, ShardId};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// An engine that answers every call at once, from another thread.
#[derive(Default)]
struct Ready {
    open: Arc<AtomicUsize>,
}

struct ReadyDoor {
    outbox: Arc<Outbox>,
    open: Arc<AtomicUsize>,
}

impl Doors for Ready {
    fn connect(&self, wake: Wake) -> Box<dyn Door> {
        self.open.fetch_add(1, Ordering::SeqCst);
        Box::new(ReadyDoor {
            outbox: Arc::new(Outbox::new(wake, Arc::default())),
            open: Arc::clone(&self.open),
        })
    }
}

impl Door for ReadyDoor {
    fn client(&self) -> ClientId {
        ClientId(1)
    }

    fn owner(&self) -> Owner {
        Owner { node: NodeId(1), client: ClientId(1) }
    }

    fn names(&self) -> Arc<Names> {
        Desk::default().names()
    }

    fn time(&self) -> Millis {
        Millis(0)
    }

    fn random(&self) -> u64 {
        4
    }

    fn new_topic_id(&self) -> TopicId {
        TopicId([0; 16])
    }

    fn submit(&self, shard: ShardId, calls: Vec<Call>) {
        let outbox = Arc::clone(&self.outbox);
        std::thread::spawn(move || {
            let mut replies = calls
                .into_iter()
                .map(|call| Event::Reply { token: call.token, result: Ok(appended(shard)) })
                .collect();
            outbox.push(&mut replies);
        });
    }

    fn events(&self) -> Vec<Event> {
        self.outbox.take()
    }

    fn written(&self, _delivered_bytes: usize) {}
}

impl Drop for ReadyDoor {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs a test against a server of the toy wire.
fn with_server<F: Future<Output = ()>>(limits: Limits, test: impl FnOnce(Server, Arc<Ready>) -> F) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let doors = Arc::new(Ready::default());
        let listeners = listen::loopback(0).await.unwrap();
        let engine: Arc<dyn Doors> = Arc::clone(&doors) as Arc<dyn Doors>;
        let server = Server::start(Arc::new(Lines), engine, listeners, limits).unwrap();
        tokio::time::timeout(PATIENCE, test(server, doors)).await.unwrap();
    });
}

async fn connect(server: &Server) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(server.addresses()[0]).await.unwrap())
}

async fn ask(stream: &mut BufReader<TcpStream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    line
}

#[test]
fn a_request_is_answered_through_the_engine_on_every_address() {
    with_server(Limits::default(), |server, _| async move {
        assert!(!server.addresses().is_empty());
        for address in server.addresses() {
            assert!(address.ip().is_loopback());
            let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
            assert_eq!(ask(&mut stream, "append 2 100\n").await, "appended 20 Appended\n");
        }
    });
}

#[test]
fn a_long_reply_arrives_whole() {
    with_server(Limits::default(), |server, _| async move {
        let mut stream = connect(&server).await;
        stream.write_all(b"big 30000000\necho end\nclose\n").await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), 30_000_000 + "end\nbye\n".len());
        assert!(all.ends_with(b".end\nbye\n"));
        assert_eq!(server.counters().sent_bytes(), all.len() as u64);
    });
}

#[test]
fn the_task_of_a_connection_is_small() {
    with_server(Limits::default(), |server, doors| async move {
        let stream = connect(&server).await.into_inner();
        let address = stream.local_addr().unwrap();
        let (_sender, phase) = watch::channel(Phase::Serving);
        let shared = Shared {
            wire: Arc::new(Lines),
            doors,
            limits: Limits::default(),
            counters: server.counters(),
            registry: server.registry(),
            phase,
        };
        let idle = converse(Arc::new(shared), stream, address);
        assert!(size_of_val(&idle) < 2048, "{} bytes", size_of_val(&idle));
    });
}

#[test]
fn a_connection_tells_of_itself_and_is_ended() {
    with_server(Limits::default(), |server, _| async move {
        let registry = server.registry();
        let mut stream = connect(&server).await;
        assert_eq!(ask(&mut stream, "echo a\n").await, "a\n");
        let reports = registry.reports().await;
        let report = &reports[0];
        assert_eq!((reports.len(), report.wire, report.user.as_ref()), (1, "lines", None));
        assert_eq!((report.received_bytes, report.sent_bytes), (7, 2));
        assert_eq!(report.peer.address, stream.get_ref().local_addr().unwrap());
        registry.dismiss(&Whom::User("nobody".into()), "gone");
        registry.dismiss(&Whom::Client(ClientId(2)), "another");
        assert_eq!(ask(&mut stream, "echo b\n").await, "b\n");
        registry.dismiss(&Whom::Client(ClientId(1)), "ended");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty() && registry.reports().await.is_empty());
    });
}

#[test]
fn a_timer_fires() {
    with_server(Limits::default(), |server, _| async move {
        assert_eq!(ask(&mut connect(&server).await, "wake 5\n").await, "tick\n");
    });
}

#[test]
fn a_panic_closes_its_connection_only() {
    with_server(Limits::default(), |server, doors| async move {
        let (mut bad, mut good) = (connect(&server).await, connect(&server).await);
        assert_eq!(ask(&mut good, "echo a\n").await, "a\n");
        assert_eq!(ask(&mut bad, "panic\n").await, "", "the connection ends");
        assert_eq!(ask(&mut good, "echo b\n").await, "b\n");
        let counters = server.counters();
        while counters.panicked() == 0 || counters.open() > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(doors.open.load(Ordering::SeqCst), 1, "the engine knows that it is gone");
    });
}

#[test]
fn connections_beyond_the_limit_are_closed() {
    with_server(Limits { connections_max: 1 }, |server, _| async move {
        let mut first = connect(&server).await;
        assert_eq!(ask(&mut first, "echo a\n").await, "a\n");
        let mut rest = Vec::new();
        // Refused with a reset or an end, whichever the system makes of it.
        let _ = connect(&server).await.read_to_end(&mut rest).await;
        assert_eq!((rest.len(), server.counters().refused()), (0, 1));
        assert_eq!(ask(&mut first, "close\n").await, "bye\n");
        drop(first);
        while server.counters().open() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask(&mut connect(&server).await, "echo b\n").await, "b\n");
    });
}

#[test]
fn draining_ends_idle_connections_and_the_listeners() {
    with_server(Limits::default(), |server, doors| async move {
        let address = server.addresses()[0];
        let mut stream = connect(&server).await;
        assert_eq!(ask(&mut stream, "echo a\n").await, "a\n");
        let client = tokio::spawn(async move {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.map(|_| rest)
        });
        server.drain(PATIENCE / 2).await;
        assert_eq!(client.await.unwrap().unwrap(), b"");
        assert_eq!(doors.open.load(Ordering::SeqCst), 0);
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    });
}

#[test]
fn a_client_that_never_reads_is_cut_when_the_grace_is_over() {
    with_server(Limits::default(), |server, doors| async move {
        let mut stream = connect(&server).await;
        assert_eq!(ask(&mut stream, "echo a\n").await, "a\n");
        stream.write_all(b"big 60000000\n").await.unwrap();
        while server.counters().received_bytes() < 20 {
            tokio::task::yield_now().await;
        }
        server.drain(Duration::from_millis(50)).await;
        assert_eq!(doors.open.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_taken_port_is_named() {
    with_server(Limits::default(), |server, _| async move {
        let address = server.addresses()[0];
        let error = listen::bind(&[address]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    });
}
