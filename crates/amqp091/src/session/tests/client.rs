//! A client of the real engine on a simulated disk: methods as Rust values in, frames as text out.

use crate::codec::frame::{self, FrameKind, PROTOCOL_HEADER};
use crate::codec::{ContentHeader, Frame, Method, Table, table};
use crate::{Amqp, Options};
use engine::Stepped;
use engine::api::{Call, Event, Op, Reply};
use engine::catalog::{Action, Change};
use frontend::transcript::peer;
use frontend::{Connection, Door, Wire as _};
use io::sim::{SimClock, SimDisk, SimRandom};
use record::properties::Value;
use std::io::IoSlice;
use std::sync::Arc;
use types::{Millis, Token};

/// A broker without threads.
pub(super) struct Broker {
    pub(super) disk: Arc<SimDisk>,
    pub(super) clock: Arc<SimClock>,
    pub(super) engine: Stepped,
    wire: Amqp,
}

/// One connection to it.
pub(super) struct Client {
    connection: Connection,
    door: Box<dyn Door>,
    received: Vec<u8>,
    /// Written, not sent yet.
    sending: Vec<u8>,
}

impl Broker {
    pub(super) fn new() -> Broker {
        let disk = Arc::new(SimDisk::new(7));
        let clock = Arc::new(SimClock::new(Millis(1_700_000_000_000)));
        let engine = open(&disk, &clock);
        Broker { disk, clock, engine, wire: Amqp::new(Options::default()) }
    }

    /// Cuts the power and starts again.
    pub(super) fn crash(&mut self) {
        self.disk.crash_at(self.disk.calls());
        self.disk.restart();
        self.engine = open(&self.disk, &self.clock);
    }

    /// A connection that has sent nothing.
    pub(super) fn accept(&self) -> Client {
        let door: Box<dyn Door> = Box::new(self.engine.handle().connect(Arc::new(|| {})));
        let connection = Connection::new(self.wire.session(&peer()), peer());
        Client { connection, door, received: Vec::new(), sending: Vec::new() }
    }

    /// A connection with channel 1 open.
    pub(super) fn connect(&mut self) -> Client {
        let mut client = self.accept();
        let shown = self.log_in(&mut client, "guest", "/");
        assert!(
            shown.last().is_some_and(|last| last.starts_with("1 channel.open-ok")),
            "{shown:?}"
        );
        client
    }

    /// Changes names as the broker's operator does.
    pub(super) fn change(&mut self, namespace: &str, action: Action) {
        let door = self.engine.handle().connect(Arc::new(|| {}));
        let mut change = Change::new(namespace, action);
        let layer = self.engine.handle().names().place(&mut change).expect("it is allowed");
        let op = Op::Change { shard: engine::shard_of(layer), change: Box::new(change) };
        door.submit(engine::shard_of(layer), vec![Call { token: Token(1), op }]);
        for _ in 0..4 {
            self.engine.run(4).expect("the disk works");
            self.clock.pass(3_000);
        }
        let events = door.outbox().take();
        let Some(Event::Reply { result: Ok(Reply::Changed(changed)), .. }) = events.first() else {
            panic!("it is not answered: {events:?}");
        };
        assert!(changed.is_ok(), "{changed:?}");
    }

    /// A client's whole way to an open channel, with its name as its password; gives the frames that
    /// came.
    pub(super) fn log_in(&mut self, client: &mut Client, user: &str, vhost: &str) -> Vec<String> {
        client.sending.extend_from_slice(&PROTOCOL_HEADER);
        let login = format!("\0{user}\0{user}").into_bytes();
        let start_ok = Method::ConnectionStartOk {
            client_properties: Table::of(
                b"\x0ccapabilitiesF\0\0\0\x19\x16consumer_cancel_notifyt\x01",
            ),
            mechanism: "PLAIN",
            response: &login,
            locale: "en_US",
        };
        client.method(0, &start_ok);
        let tune = Method::ConnectionTuneOk { channel_max: 2047, frame_max: 131_072, heartbeat: 0 };
        client.method(0, &tune);
        let open = Method::ConnectionOpen { virtual_host: vhost, capabilities: "", insist: false };
        client.method(0, &open);
        client.method(1, &Method::ChannelOpen { out_of_band: "" });
        self.talk(client)
    }

    /// Sends what the client wrote as one read, lets everybody go on until nothing happens, and
    /// gives the frames that came.
    pub(super) fn talk(&mut self, client: &mut Client) -> Vec<String> {
        let received = self.exchange(client);
        client.received = received;
        client.frames()
    }

    /// The same, but gives the bytes that came.
    pub(super) fn exchange(&mut self, client: &mut Client) -> Vec<u8> {
        let bytes = std::mem::take(&mut client.sending);
        client.connection.input().extend_from_slice(&bytes);
        client.connection.received(bytes.len(), &*client.door, Millis(0));
        self.go_on(client);
        std::mem::take(&mut client.received)
    }

    /// Lets everybody go on; gives the frames that came.
    pub(super) fn settle(&mut self, client: &mut Client) -> Vec<String> {
        self.go_on(client);
        client.frames()
    }

    fn go_on(&mut self, client: &mut Client) {
        for _ in 0..8 {
            self.engine.run(4).expect("the disk works");
            self.clock.pass(3_000);
            client.connection.events(&*client.door, Millis(0));
            client.read();
        }
    }
}

impl Client {
    /// Whether the session closed the connection.
    pub(super) fn finished(&self) -> bool {
        self.connection.finished()
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.sending.extend_from_slice(bytes);
    }

    pub(super) fn method(&mut self, channel: u16, method: &Method<'_>) {
        frame::push_method(&mut self.sending, channel, method);
    }

    pub(super) fn declare(&mut self, queue: &str, durable: bool) {
        let declare = Method::QueueDeclare {
            ticket: 0,
            queue,
            passive: false,
            durable,
            exclusive: false,
            auto_delete: false,
            nowait: false,
            arguments: Table::default(),
        };
        self.method(1, &declare);
    }

    pub(super) fn count(&mut self, queue: &str) {
        let declare = Method::QueueDeclare {
            ticket: 0,
            queue,
            passive: true,
            durable: false,
            exclusive: false,
            auto_delete: false,
            nowait: false,
            arguments: Table::default(),
        };
        self.method(1, &declare);
    }

    pub(super) fn publish(&mut self, exchange: &str, routing_key: &str, body: &[u8]) {
        self.publish_all(exchange, routing_key, body, &[0x10, 0, 2]);
    }

    /// A publish to a queue; `properties`: flags and list.
    pub(super) fn publish_with(&mut self, queue: &str, body: &[u8], properties: &[u8]) {
        self.publish_all("", queue, body, properties);
    }

    pub(super) fn publish_all(
        &mut self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: &[u8],
    ) {
        let mandatory = true;
        let publish =
            Method::BasicPublish { ticket: 0, exchange, routing_key, mandatory, immediate: false };
        self.method(1, &publish);
        let mark = frame::begin(&mut self.sending, FrameKind::Header, 1);
        self.sending.extend_from_slice(&[0, 60, 0, 0]);
        self.sending.extend_from_slice(&(body.len() as u64).to_be_bytes());
        self.sending.extend_from_slice(properties);
        frame::end(&mut self.sending, mark);
        frame::push_body(&mut self.sending, 1, body, 131_072);
    }

    pub(super) fn consume(&mut self, queue: &str, consumer_tag: &str, no_ack: bool) {
        let consume = Method::BasicConsume {
            ticket: 0,
            queue,
            consumer_tag,
            no_local: false,
            no_ack,
            exclusive: false,
            nowait: false,
            arguments: Table::default(),
        };
        self.method(1, &consume);
    }

    pub(super) fn ack(&mut self, delivery_tag: u64, multiple: bool) {
        self.method(1, &Method::BasicAck { delivery_tag, multiple });
    }

    fn read(&mut self) {
        while self.connection.output_pending() > 0 {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.connection.output(&mut slices);
            let count = slices[..filled].iter().map(|slice| slice.len()).sum();
            slices[..filled].iter().for_each(|slice| self.received.extend_from_slice(slice));
            self.connection.written(count, &*self.door);
        }
    }

    fn frames(&mut self) -> Vec<String> {
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        let mut shown = Vec::new();
        while !rest.is_empty() {
            let frame = Frame::split(rest, 131_072).expect("a good frame").expect("whole frames");
            shown.push(show(&frame));
            rest = &rest[frame.frame_bytes()..];
        }
        shown
    }
}

fn show(frame: &Frame<'_>) -> String {
    let Frame { kind, channel, payload } = *frame;
    match kind {
        FrameKind::Heartbeat => "heartbeat".to_owned(),
        FrameKind::Header => {
            let header = ContentHeader::decode(payload).expect("a good header");
            format!("{channel} header {}", header.body_bytes)
        }
        FrameKind::Body => format!("{channel} body {}", String::from_utf8_lossy(payload)),
        FrameKind::Method => {
            let method = Method::decode(payload).expect("a good method");
            let what = match method {
                Method::QueueDeclareOk { queue, message_count, consumer_count } => {
                    format!("{queue} {message_count} {consumer_count}")
                }
                Method::BasicAck { delivery_tag, multiple }
                | Method::BasicNack { delivery_tag, multiple, .. } => {
                    format!("{delivery_tag} {multiple}")
                }
                Method::BasicDeliver { consumer_tag, delivery_tag, redelivered, .. } => {
                    format!("{consumer_tag} {delivery_tag} {redelivered}")
                }
                Method::BasicGetOk { delivery_tag, redelivered, message_count, .. } => {
                    format!("{delivery_tag} {redelivered} {message_count}")
                }
                Method::ChannelClose { reply_code, reply_text, class_id, method_id }
                | Method::ConnectionClose { reply_code, reply_text, class_id, method_id } => {
                    format!("{reply_code} {reply_text} ({class_id}, {method_id})")
                }
                Method::BasicReturn { reply_code, routing_key, .. } => {
                    format!("{reply_code} {routing_key}")
                }
                Method::BasicConsumeOk { consumer_tag }
                | Method::BasicCancel { consumer_tag, .. }
                | Method::BasicCancelOk { consumer_tag } => consumer_tag.to_owned(),
                _ => String::new(),
            };
            format!("{channel} {} {what}", method.name()).trim_end().to_owned()
        }
    }
}

fn open(disk: &Arc<SimDisk>, clock: &Arc<SimClock>) -> Stepped {
    let options = engine::Options {
        disk: Arc::clone(disk) as _,
        clock: Arc::clone(clock) as _,
        random: Arc::new(SimRandom::new(3)),
        workers: 1,
        shards: 2,
        memory_limit: usize::MAX,
        producer_idle: engine::PRODUCER_IDLE,
        cache_bytes: 1 << 20,
        salvage: false,
        disk_free_min: None,
        scrub_bytes: 0,
        sizes: engine::Sizes::default(),
    };
    Stepped::open(options).expect("the store opens")
}

/// A table as it goes over the wire, with its length.
pub(in crate::session) fn encoded(list: &[(&str, Value)]) -> Vec<u8> {
    let list: Vec<(String, Value)> =
        list.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let mut bytes = Vec::new();
    table::push(&mut bytes, &list);
    bytes
}

/// Declares a durable queue, and waits for nothing.
pub(in crate::session) fn declare(client: &mut Client, queue: &str, arguments: &[(&str, Value)]) {
    let arguments = encoded(arguments);
    let declare = Method::QueueDeclare {
        ticket: 0,
        queue,
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: false,
        nowait: true,
        arguments: Table::of(&arguments[4..]),
    };
    client.method(1, &declare);
}
