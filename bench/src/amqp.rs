//! AMQP 0-9-1, as few bytes and branches as the protocol allows. Bodies go in one frame: `--size`
//! up to 128 KiB less 8.
//!
//! Options: `--queue NAME --qtype classic|quorum|stream --durable 1 --persistent 1 --confirm 1
//! --noack 0 --prefetch 1000`, and those of `marks.rs`. `--exchange NAME --etype TYPE` publishes to an
//! exchange that the queue is bound to; `--held MS` to a queue whose messages expire then, and come from there as
//! dead letters: how RabbitMQ delays without a plugin.

use crate::Args;
use crate::marks::{self, Marks};
use crate::raw::{Connection, Events, Protocol, Role};
use std::collections::BTreeSet;

const FRAME_END: u8 = 0xCE;
const CHANNEL: u16 = 1;

const CONNECTION_START: (u16, u16) = (10, 10);
const CONNECTION_TUNE: (u16, u16) = (10, 30);
const CONNECTION_OPEN_OK: (u16, u16) = (10, 41);
const CHANNEL_OPEN_OK: (u16, u16) = (20, 11);
const QUEUE_DECLARE_OK: (u16, u16) = (50, 11);
const QUEUE_DELETE_OK: (u16, u16) = (50, 41);
const BASIC_QOS_OK: (u16, u16) = (60, 11);
const BASIC_CONSUME_OK: (u16, u16) = (60, 21);
const BASIC_DELIVER: (u16, u16) = (60, 60);
const BASIC_GET_OK: (u16, u16) = (60, 71);
const BASIC_GET_EMPTY: (u16, u16) = (60, 72);
const BASIC_ACK: (u16, u16) = (60, 80);
const CONFIRM_SELECT_OK: (u16, u16) = (85, 11);

pub struct Amqp {
    queue: String,
    /// Arguments of the queue.
    table: Vec<u8>,
    durable: bool,
    confirm: bool,
    automatic: bool,
    prefetch: u16,
    /// The basic.publish method frame, as sent before each body.
    method: Vec<u8>,
    marks: Marks,
    route: Route,
    confirmed: Confirmed,
    delivering: Delivering,
}

/// Where messages are published to.
enum Route {
    /// To the queue itself.
    Queue,
    /// To an exchange of a type.
    Exchange(String, String),
    /// To a queue that holds them so many milliseconds.
    Held(String, u64),
}

/// Which publishes are confirmed: all up to `low`, and `sparse`.
#[derive(Default)]
struct Confirmed {
    low: u64,
    sparse: BTreeSet<u64>,
}

/// The delivery that is being read, and which are to be acknowledged.
#[derive(Default)]
struct Delivering {
    tag: u64,
    left: usize,
    head: Vec<u8>,
    ack_to: u64,
    acked_to: u64,
}

fn short(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend(text.as_bytes());
}

fn long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

fn frame(out: &mut Vec<u8>, kind: u8, channel: u16, payload: &[u8]) {
    out.push(kind);
    out.extend(channel.to_be_bytes());
    long(out, payload);
    out.push(FRAME_END);
}

fn method(out: &mut Vec<u8>, channel: u16, (class, id): (u16, u16), arguments: &[u8]) {
    let mut payload = Vec::with_capacity(4 + arguments.len());
    payload.extend(class.to_be_bytes());
    payload.extend(id.to_be_bytes());
    payload.extend(arguments);
    frame(out, 1, channel, &payload);
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn id(payload: &[u8]) -> (u16, u16) {
    (number(&payload[..2]) as u16, number(&payload[2..4]) as u16)
}

/// Waits for a method, gives its arguments.
fn expect(connection: &mut Connection, wanted: (u16, u16)) -> Vec<u8> {
    connection.until(|bytes| {
        let length = number(bytes.get(3..7)?) as usize;
        let payload = bytes.get(7..7 + length + 1)?;
        let payload = &payload[..length];
        let text = String::from_utf8_lossy(&payload[4..]);
        assert_eq!(id(payload), wanted, "{text}");
        Some((length + 8, payload[4..].to_vec()))
    })
}

/// Sends a method and waits for its answer, which is numbered one higher.
fn call(connection: &mut Connection, class: u16, method_id: u16, arguments: &[u8]) {
    let mut out = Vec::new();
    method(&mut out, CHANNEL, (class, method_id), arguments);
    connection.send(&out);
    expect(connection, (class, method_id + 1));
}

/// Appends a basic.get that acknowledges by itself.
pub fn basic_get(out: &mut Vec<u8>, queue: &str) {
    let mut arguments = vec![0, 0];
    short(&mut arguments, queue);
    arguments.push(1);
    method(out, CHANNEL, (60, 70), &arguments);
}

impl Amqp {
    pub fn new(args: &Args) -> Amqp {
        Amqp::of_queue(args, &args.text("queue", "bench"))
    }

    pub fn of_queue(args: &Args, queue: &str) -> Amqp {
        let (exchange, kind, held) =
            (args.text("exchange", ""), args.text("qtype", "classic"), args.number("held", 0));
        let route = match (exchange.as_str(), held) {
            ("", 0) => Route::Queue,
            ("", held) => Route::Held(format!("{queue}-held"), held),
            _ => Route::Exchange(exchange.clone(), args.text("etype", "direct")),
        };
        let mut publish = vec![0, 0];
        short(&mut publish, &exchange);
        short(&mut publish, if let Route::Held(held, _) = &route { held } else { queue });
        publish.push(0);
        let mut frame = Vec::new();
        method(&mut frame, CHANNEL, (60, 40), &publish);
        let mut table = marks::arguments(args);
        if kind != "classic" {
            marks::text(&mut table, "x-queue-type", &kind);
        }
        Amqp {
            queue: queue.to_owned(),
            table,
            durable: args.flag("durable", true),
            confirm: args.flag("confirm", true),
            automatic: args.flag("noack", false),
            prefetch: args.number("prefetch", 1000) as u16,
            method: frame,
            marks: Marks::of(args),
            route,
            confirmed: Confirmed::default(),
            delivering: Delivering::default(),
        }
    }

    /// queue.declare: reserved, name, bits, arguments.
    fn declare(&self, name: &str, bits: u8, table: &[u8]) -> Vec<u8> {
        let mut arguments = vec![0, 0];
        short(&mut arguments, name);
        arguments.push(bits | u8::from(self.durable) << 1);
        long(&mut arguments, table);
        arguments
    }

    /// Declares what is published to, where that is not the queue.
    fn declare_route(&self, connection: &mut Connection) {
        match &self.route {
            Route::Queue => {}
            Route::Held(name, held) => {
                let mut table = Vec::new();
                marks::text(&mut table, "x-dead-letter-exchange", "");
                marks::text(&mut table, "x-dead-letter-routing-key", &self.queue);
                marks::integer(&mut table, "x-message-ttl", *held as i32);
                let declare = self.declare(name, 0, &table);
                call(connection, QUEUE_DECLARE_OK.0, QUEUE_DECLARE_OK.1 - 1, &declare);
            }
            Route::Exchange(name, kind) => {
                let mut table = Vec::new();
                if kind == "x-delayed-message" {
                    marks::text(&mut table, "x-delayed-type", "direct");
                }
                let mut declare = vec![0, 0];
                short(&mut declare, name);
                short(&mut declare, kind);
                declare.push(2);
                long(&mut declare, &table);
                call(connection, 40, 10, &declare);
                let mut bind = vec![0, 0];
                for text in [&self.queue, name, &self.queue] {
                    short(&mut bind, text);
                }
                bind.push(0);
                long(&mut bind, &[]);
                call(connection, 50, 20, &bind);
            }
        }
    }

    /// Declares the queue on a connection that is open.
    pub fn declare_on(&self, connection: &mut Connection) {
        let declare = self.declare(&self.queue, 0, &self.table);
        call(connection, QUEUE_DECLARE_OK.0, QUEUE_DECLARE_OK.1 - 1, &declare);
    }

    fn open(&self, connection: &mut Connection) {
        connection.send(b"AMQP\0\0\x09\x01");
        expect(connection, CONNECTION_START);
        let mut arguments = Vec::new();
        long(&mut arguments, b"");
        short(&mut arguments, "PLAIN");
        long(&mut arguments, b"\0guest\0guest");
        short(&mut arguments, "en_US");
        let mut out = Vec::new();
        method(&mut out, 0, (10, 11), &arguments);
        connection.send(&out);
        let mut tune = expect(connection, CONNECTION_TUNE);
        tune.truncate(6);
        tune.extend([0, 0]);
        let mut arguments = Vec::new();
        short(&mut arguments, "/");
        arguments.extend([0, 0]);
        let mut out = Vec::new();
        method(&mut out, 0, (10, 31), &tune);
        method(&mut out, 0, (10, 40), &arguments);
        connection.send(&out);
        expect(connection, CONNECTION_OPEN_OK);
        call(connection, CHANNEL_OPEN_OK.0, CHANNEL_OPEN_OK.1 - 1, &[0]);
    }

    fn on_ack(&mut self, arguments: &[u8], events: &mut Events) {
        let (tag, multiple) = (number(&arguments[..8]), arguments[8] & 1 == 1);
        let Confirmed { low, sparse } = &mut self.confirmed;
        if multiple {
            for covered in *low + 1..=tag {
                events.acked += u64::from(!sparse.remove(&covered));
            }
            *low = (*low).max(tag);
        } else {
            events.acked += 1;
            if tag == *low + 1 {
                *low = tag;
            } else {
                sparse.insert(tag);
            }
        }
        while !sparse.is_empty() && sparse.remove(&(*low + 1)) {
            *low += 1;
        }
    }

    fn on_method(&mut self, payload: &[u8], events: &mut Events) {
        let arguments = &payload[4..];
        match id(payload) {
            BASIC_ACK => self.on_ack(arguments, events),
            BASIC_DELIVER => {
                let tag = 1 + usize::from(arguments[0]);
                self.delivering.tag = number(&arguments[tag..tag + 8]);
            }
            BASIC_CONSUME_OK | BASIC_GET_OK | BASIC_GET_EMPTY => {}
            QUEUE_DECLARE_OK => events.synced = true,
            other => panic!("method {other:?}: {}", String::from_utf8_lossy(arguments)),
        }
    }

    fn on_body(&mut self, payload: &[u8], events: &mut Events) {
        let state = &mut self.delivering;
        if state.head.is_empty() {
            state.head.extend(&payload[..payload.len().min(16)]);
        }
        state.left -= payload.len();
        if state.left == 0 {
            events.deliver(&state.head);
            state.ack_to = state.tag;
        }
    }
}

impl Protocol for Amqp {
    fn handshake(&mut self, connection: &mut Connection, role: Role) {
        self.open(connection);
        if role == Role::Prepare {
            let mut arguments = vec![0, 0];
            short(&mut arguments, &self.queue);
            arguments.push(0);
            call(connection, QUEUE_DELETE_OK.0, QUEUE_DELETE_OK.1 - 1, &arguments);
        }
        self.declare_on(connection);
        self.declare_route(connection);
        if role == Role::Publisher && self.confirm {
            call(connection, CONFIRM_SELECT_OK.0, CONFIRM_SELECT_OK.1 - 1, &[0]);
        }
        if role == Role::Consumer && !self.automatic {
            let mut arguments = vec![0, 0, 0, 0];
            arguments.extend(self.prefetch.to_be_bytes());
            arguments.push(0);
            call(connection, BASIC_QOS_OK.0, BASIC_QOS_OK.1 - 1, &arguments);
        }
    }

    fn acks(&self) -> bool {
        self.confirm
    }

    fn publish(&mut self, out: &mut Vec<u8>, body: &[u8]) {
        out.extend(&self.method);
        out.extend([2, 0, CHANNEL as u8]);
        let start = out.len();
        out.extend([0, 0, 0, 0, 0, 60, 0, 0]);
        out.extend((body.len() as u64).to_be_bytes());
        self.marks.properties(out);
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        out.push(FRAME_END);
        frame(out, 3, CHANNEL, body);
    }

    fn sync(&mut self, out: &mut Vec<u8>) {
        let passive = self.declare(&self.queue, 1, &[]);
        method(out, CHANNEL, (50, 10), &passive);
    }

    fn start_consume(&mut self, out: &mut Vec<u8>) {
        let mut arguments = vec![0, 0];
        short(&mut arguments, &self.queue);
        arguments.extend([0, if self.automatic { 2 } else { 0 }]);
        long(&mut arguments, &[]);
        method(out, CHANNEL, (60, 20), &arguments);
    }

    fn parse(&mut self, bytes: &[u8], _out: &mut Vec<u8>, events: &mut Events) -> usize {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            if rest.len() < 7 {
                return taken;
            }
            let length = number(&rest[3..7]) as usize;
            if rest.len() < length + 8 {
                return taken;
            }
            let payload = &rest[7..7 + length];
            match rest[0] {
                1 => self.on_method(payload, events),
                2 => {
                    self.delivering.left = number(&payload[4..12]) as usize;
                    self.delivering.head.clear();
                }
                3 => self.on_body(payload, events),
                _ => {}
            }
            taken += length + 8;
        }
    }

    fn end_batch(&mut self, out: &mut Vec<u8>) {
        let state = &mut self.delivering;
        if !self.automatic && state.ack_to > state.acked_to {
            let mut arguments = state.ack_to.to_be_bytes().to_vec();
            arguments.push(1);
            method(out, CHANNEL, BASIC_ACK, &arguments);
            state.acked_to = state.ack_to;
        }
    }
}
