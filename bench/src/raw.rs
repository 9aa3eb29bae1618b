//! Blocking sockets, pre-encoded frames, batched writes: the cheapest client there can be. A
//! protocol supplies the bytes.

use crate::Args;
use crate::probe::{Meter, now_ns, open_loop_stamp, pace, payload, read_stamp, stamp};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Prepare,
    Publisher,
    Consumer,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Events {
    pub acked: u64,
    pub delivered: u64,
    pub synced: bool,
    pub record: bool,
    pub latencies: Vec<u64>,
}

impl Events {
    pub fn deliver(&mut self, body: &[u8]) {
        self.delivered += 1;
        if self.record {
            let time = read_stamp(body);
            if time != 0 {
                self.latencies.push(now_ns().saturating_sub(time));
            }
        }
    }
}

pub trait Protocol: Send {
    /// Authenticates, declares what is needed.
    fn handshake(&mut self, connection: &mut Connection, role: Role);
    /// Appends one publish.
    fn publish(&mut self, out: &mut Vec<u8>, body: &[u8]);
    /// Whether the server acknowledges each publish.
    fn acks(&self) -> bool;
    /// Appends a request whose answer sets `Events::synced`, where publishes are not acknowledged.
    fn sync(&mut self, out: &mut Vec<u8>);
    fn start_consume(&mut self, out: &mut Vec<u8>);
    /// Takes whole frames of `bytes`, gives how many bytes they were; answers go to `out`.
    fn parse(&mut self, bytes: &[u8], out: &mut Vec<u8>, events: &mut Events) -> usize;
    /// After each read: batched acknowledgements go here.
    fn end_batch(&mut self, out: &mut Vec<u8>);
}

pub struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    pub fn open(address: &str) -> Connection {
        let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        Connection { stream, bytes: vec![0; 1 << 19], start: 0, end: 0 }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("write");
    }

    /// Sends and empties `out`, if there is anything.
    fn flush(&mut self, out: &mut Vec<u8>) {
        if !out.is_empty() {
            self.send(out);
            out.clear();
        }
    }

    fn room(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
    }

    /// One blocking read, then all whole frames are taken.
    fn read(&mut self, protocol: &mut dyn Protocol, out: &mut Vec<u8>, events: &mut Events) {
        self.room();
        let count = self.stream.read(&mut self.bytes[self.end..]).expect("an answer within 20 s");
        assert!(count > 0, "the server closed the connection");
        self.end += count;
        self.start += protocol.parse(&self.bytes[self.start..self.end], out, events);
    }

    /// As `read`, but not waiting.
    pub fn poll(&mut self, protocol: &mut dyn Protocol, out: &mut Vec<u8>, events: &mut Events) {
        self.room();
        let free = &mut self.bytes[self.end..];
        let (start, length) = (free.as_mut_ptr().cast(), free.len());
        // SAFETY: `start` and `length` are those of a live, exclusively borrowed slice.
        let count =
            unsafe { libc::recv(self.stream.as_raw_fd(), start, length, libc::MSG_DONTWAIT) };
        if count > 0 {
            self.end += count as usize;
            self.start += protocol.parse(&self.bytes[self.start..self.end], out, events);
        }
    }

    /// Reads until `find` finds a frame and says its length.
    pub fn until<T>(&mut self, mut find: impl FnMut(&[u8]) -> Option<(usize, T)>) -> T {
        loop {
            if let Some((length, found)) = find(&self.bytes[self.start..self.end]) {
                self.start += length;
                return found;
            }
            self.room();
            let count = self.stream.read(&mut self.bytes[self.end..]).expect("a handshake");
            assert!(count > 0, "the server closed the connection in the handshake");
            self.end += count;
        }
    }
}

/// Publishes as fast as the window allows; with a window of 1, gives the time of each.
fn publish_all(
    connection: &mut Connection,
    protocol: &mut dyn Protocol,
    messages: u64,
    args: &Args,
) -> Vec<u64> {
    let window = args.number("window", 1000);
    let chunk = args.number("chunk", 65_536) as usize;
    let body = payload(args.size());
    let (mut out, mut events) = (Vec::with_capacity(chunk * 2), Events::default());
    let (mut latencies, mut sent) = (Vec::new(), 0);
    while sent < messages || (protocol.acks() && events.acked < messages) {
        let start = now_ns();
        let free = |sent: u64, acked: u64| !protocol.acks() || sent - acked < window;
        let mut due = 0;
        while sent + due < messages
            && out.len() + (due as usize) * body.len() < chunk
            && free(sent + due, events.acked)
        {
            due += 1;
        }
        for _ in 0..due {
            protocol.publish(&mut out, &body);
        }
        sent += due;
        connection.flush(&mut out);
        if !protocol.acks() {
            continue;
        }
        if sent == messages || sent - events.acked >= window {
            let before = events.acked;
            while events.acked == before {
                connection.read(protocol, &mut out, &mut events);
            }
            if window == 1 {
                latencies.push(now_ns() - start);
            }
        } else {
            connection.poll(protocol, &mut out, &mut events);
        }
    }
    if !protocol.acks() {
        protocol.sync(&mut out);
        connection.flush(&mut out);
        while !events.synced {
            connection.read(protocol, &mut out, &mut events);
        }
    }
    latencies
}

/// Open loop; then holds the connection until the consumer has seen everything.
fn publish_paced(
    connection: &mut Connection,
    protocol: &mut dyn Protocol,
    args: &Args,
    seen: &AtomicU64,
) {
    let (messages, rate) = (args.messages(), args.number("rate", 2000));
    let mut body = payload(args.size());
    let (mut out, mut events) = (Vec::new(), Events::default());
    let start = now_ns();
    for index in 0..messages {
        let due = start + index * 1_000_000_000 / rate;
        pace(due);
        stamp(&mut body, open_loop_stamp(due));
        protocol.publish(&mut out, &body);
        connection.flush(&mut out);
        connection.poll(protocol, &mut out, &mut events);
    }
    let end = now_ns() + PATIENCE.as_nanos() as u64;
    while seen.load(Relaxed) < messages {
        assert!(now_ns() < end, "{} of {messages} came", seen.load(Relaxed));
        connection.poll(protocol, &mut out, &mut events);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn consume_all(
    connection: &mut Connection,
    protocol: &mut dyn Protocol,
    messages: u64,
    record: bool,
    total: &AtomicU64,
    ready: &AtomicBool,
) -> Vec<u64> {
    let (mut out, mut events) = (Vec::new(), Events { record, ..Events::default() });
    protocol.start_consume(&mut out);
    connection.flush(&mut out);
    ready.store(true, Relaxed);
    let mut told = 0;
    while total.load(Relaxed) < messages {
        connection.read(protocol, &mut out, &mut events);
        protocol.end_batch(&mut out);
        connection.flush(&mut out);
        total.fetch_add(events.delivered - told, Relaxed);
        told = events.delivered;
    }
    events.latencies
}

/// Waits until the last acknowledgement, which is the server's work too, is taken.
fn settle_all(connection: &mut Connection, protocol: &mut dyn Protocol) {
    let (mut out, mut events) = (Vec::new(), Events::default());
    protocol.sync(&mut out);
    connection.flush(&mut out);
    while !events.synced {
        connection.read(protocol, &mut out, &mut events);
    }
}

/// Runs the mode that `--mode` names: prepare, pub, con, life (publishes all, then
/// consumes all), flow (both at once) or lat.
pub fn run(driver: &str, port: u64, make: impl Fn(&Args) -> Box<dyn Protocol>) {
    let args = Args::parse();
    let (address, messages) = (args.address(port), args.messages());
    let open = |role: Role| {
        let mut connection = Connection::open(&address);
        let mut protocol = make(&args);
        protocol.handshake(&mut connection, role);
        (connection, protocol)
    };
    // SAFETY: sets this thread's timer slack and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1000) };
    let (total, ready) = (AtomicU64::new(0), AtomicBool::new(false));
    match args.mode().as_str() {
        "prepare" => {
            open(Role::Prepare);
            println!("{{\"driver\":\"{driver}\",\"mode\":\"prepare\"}}");
        }
        "pub" => {
            let (mut connection, mut protocol) = open(Role::Publisher);
            let meter = Meter::start(&args);
            let mut latencies = publish_all(&mut connection, &mut *protocol, messages, &args);
            meter.report(driver, &args, messages, &mut latencies);
        }
        "con" => {
            let (mut connection, mut protocol) = open(Role::Consumer);
            let meter = Meter::start(&args);
            consume_all(&mut connection, &mut *protocol, messages, false, &total, &ready);
            settle_all(&mut connection, &mut *protocol);
            meter.report(driver, &args, messages, &mut []);
        }
        "life" => {
            let (mut writer, mut giving) = open(Role::Publisher);
            let (mut reader, mut taking) = open(Role::Consumer);
            let meter = Meter::start(&args);
            publish_all(&mut writer, &mut *giving, messages, &args);
            consume_all(&mut reader, &mut *taking, messages, false, &total, &ready);
            settle_all(&mut reader, &mut *taking);
            meter.report(driver, &args, messages, &mut []);
        }
        "flow" => {
            let (mut writer, mut giving) = open(Role::Publisher);
            let (mut reader, mut taking) = open(Role::Consumer);
            let meter = Meter::start(&args);
            std::thread::scope(|scope| {
                let (total, ready) = (&total, &ready);
                scope.spawn(move || {
                    consume_all(&mut reader, &mut *taking, messages, false, total, ready);
                    settle_all(&mut reader, &mut *taking);
                });
                publish_all(&mut writer, &mut *giving, messages, &args);
            });
            meter.report(driver, &args, messages, &mut []);
        }
        "lat" => {
            let (mut reader, mut taking) = open(Role::Consumer);
            let (mut writer, mut giving) = open(Role::Publisher);
            std::thread::scope(|scope| {
                let (total, ready) = (&total, &ready);
                let consumer = scope.spawn(move || {
                    consume_all(&mut reader, &mut *taking, messages, true, total, ready)
                });
                while !ready.load(Relaxed) {
                    std::thread::yield_now();
                }
                std::thread::sleep(Duration::from_millis(100));
                let meter = Meter::start(&args);
                publish_paced(&mut writer, &mut *giving, &args, total);
                let mut latencies = consumer.join().expect("the consumer ends well");
                meter.report(driver, &args, messages, &mut latencies);
            });
        }
        other => panic!("--mode {other}: want prepare, pub, con, life, flow or lat"),
    }
}
