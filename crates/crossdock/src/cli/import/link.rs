//! A blocking AMQP 0-9-1 client, as far as moving messages needs one: a connection with one channel.
//!
//! Properties of messages are passed on as the bytes that they came as.

use super::address::Address;
use amqp091::codec::frame::{self, OVERHEAD_BYTES, PROTOCOL_HEADER};
use amqp091::codec::{ContentHeader, Frame, FrameKind, Method, Table, method::BASIC_CLASS, table};
use amqp091::errors::MethodId;
use record::properties::Value;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than a broker takes for any answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Frames that we send and take at most.
const FRAME_BYTES_MAX: u32 = 131_072;

/// Seconds without a sign of life of ours after which a peer may give up.
const HEARTBEAT_S: u16 = 300;

/// The largest body that is taken.
const BODY_BYTES_MAX: u64 = 256 << 20;

/// What is read from the socket at once.
const READ_BYTES: usize = 64 << 10;

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The broker refused it and closed the channel: other queues may go on.
    Refused(String),
    /// The connection is over.
    Lost(String),
}

/// A message that was taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) tag: u64,
    pub(super) redelivered: bool,
    pub(super) exchange: String,
    pub(super) key: String,
    pub(super) properties: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// A queue as a broker declares it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depth {
    pub(super) ready: u64,
    pub(super) consumers: u32,
}

/// A connection with one channel at a time.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    input: Vec<u8>,
    taken: usize,
    out: Vec<u8>,
    channel: u16,
    /// How many there have been.
    consumers: u32,
    frame_bytes_max: u32,
    /// Deliveries that came while something else was waited for.
    arrived: VecDeque<Taken>,
    /// How many messages were given back as unroutable.
    returned: u64,
    name: String,
}

enum Event {
    Method(Vec<u8>),
    Message(Taken),
}

impl Link {
    /// Logs in and opens the virtual host and a channel.
    pub(super) fn open(at: &Address, vhost: &str) -> Result<Link, Trouble> {
        let name = at.to_string();
        let failed = |error: std::io::Error| Trouble::Lost(format!("{name}: {error}"));
        let stream = TcpStream::connect((at.host.as_str(), at.port)).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut link = Link {
            stream,
            input: Vec::new(),
            taken: 0,
            out: PROTOCOL_HEADER.to_vec(),
            channel: 0,
            consumers: 0,
            frame_bytes_max: FRAME_BYTES_MAX,
            arrived: VecDeque::new(),
            returned: 0,
            name,
        };
        link.handshake(at, vhost)?;
        link.open_channel()?;
        Ok(link)
    }

    fn handshake(&mut self, at: &Address, vhost: &str) -> Result<(), Trouble> {
        self.send()?;
        self.expect((10, 10))?;
        let mut properties = Vec::new();
        let told = [
            ("product".to_owned(), Value::String("Crossdock import".into())),
            (
                "capabilities".to_owned(),
                Value::Table(vec![
                    ("consumer_cancel_notify".to_owned(), Value::Bool(true)),
                    ("authentication_failure_close".to_owned(), Value::Bool(true)),
                ]),
            ),
        ];
        table::push(&mut properties, &told);
        let response = format!("\0{}\0{}", at.user, at.password);
        self.push(&Method::ConnectionStartOk {
            client_properties: Table::of(&properties[4..]),
            mechanism: "PLAIN",
            response: response.as_bytes(),
            locale: "en_US",
        });
        self.send()?;
        let tune = self.expect((10, 30))?;
        let Ok(Method::ConnectionTune { channel_max, frame_max, .. }) = Method::decode(&tune)
        else {
            return Err(self.senseless("connection.tune"));
        };
        let frame_max = if frame_max == 0 { u32::MAX } else { frame_max };
        let frame_max = frame_max.clamp(frame::FRAME_BYTES_MIN, FRAME_BYTES_MAX);
        self.push(&Method::ConnectionTuneOk { channel_max, frame_max, heartbeat: HEARTBEAT_S });
        self.push(&Method::ConnectionOpen { virtual_host: vhost, capabilities: "", insist: false });
        self.frame_bytes_max = frame_max;
        self.send()?;
        self.expect((10, 41)).map(drop)
    }

    /// Opens a channel in place of the one before, whose messages go back to their queue.
    pub(super) fn open_channel(&mut self) -> Result<(), Trouble> {
        if self.channel > 0 {
            self.push(&Method::ChannelClose {
                reply_code: 200,
                reply_text: "",
                class_id: 0,
                method_id: 0,
            });
            self.send()?;
            self.expect((20, 41))?;
        }
        self.begin_channel()
    }

    fn begin_channel(&mut self) -> Result<(), Trouble> {
        self.arrived.clear();
        self.returned = 0;
        self.channel = 1;
        self.push(&Method::ChannelOpen { out_of_band: "" });
        self.send()?;
        self.expect((20, 11)).map(drop)
    }

    /// What is ready in a queue, and how many consume from it.
    pub(super) fn depth(&mut self, queue: &str) -> Result<Depth, Trouble> {
        self.declare(queue, true, false, &[])
    }

    /// Declares a queue, or asks for it.
    pub(super) fn declare(
        &mut self,
        queue: &str,
        passive: bool,
        durable: bool,
        arguments: &[(String, Value)],
    ) -> Result<Depth, Trouble> {
        let mut encoded = Vec::new();
        table::push(&mut encoded, arguments);
        self.push(&Method::QueueDeclare {
            ticket: 0,
            queue,
            passive,
            durable,
            exclusive: false,
            auto_delete: false,
            nowait: false,
            arguments: Table::of(&encoded[4..]),
        });
        self.send()?;
        let answer = self.expect((50, 11))?;
        match Method::decode(&answer) {
            Ok(Method::QueueDeclareOk { message_count, consumer_count, .. }) => {
                Ok(Depth { ready: u64::from(message_count), consumers: consumer_count })
            }
            _ => Err(self.senseless("queue.declare-ok")),
        }
    }

    /// Sends a method and waits for its answer.
    pub(super) fn call(&mut self, method: &Method<'_>, answer: MethodId) -> Result<(), Trouble> {
        self.push(method);
        self.send()?;
        self.expect(answer).map(drop)
    }

    /// Begins to consume, beside what consumes already.
    pub(super) fn consume(
        &mut self,
        queue: &str,
        prefetch: u16,
        arguments: &[(String, Value)],
    ) -> Result<(), Trouble> {
        let qos = Method::BasicQos { prefetch_size: 0, prefetch_count: prefetch, global: false };
        self.call(&qos, (60, 11))?;
        let mut encoded = Vec::new();
        table::push(&mut encoded, arguments);
        self.consumers += 1;
        let tag = self.consumer();
        let consume = Method::BasicConsume {
            ticket: 0,
            queue,
            consumer_tag: &tag,
            no_local: false,
            no_ack: false,
            exclusive: false,
            nowait: false,
            arguments: Table::of(&encoded[4..]),
        };
        self.call(&consume, (60, 21))
    }

    /// Ends the latest consumer; what came until then can still be had.
    pub(super) fn cancel(&mut self) -> Result<(), Trouble> {
        let tag = self.consumer();
        self.call(&Method::BasicCancel { consumer_tag: &tag, nowait: false }, (60, 31))
    }

    fn consumer(&self) -> String {
        format!("crossdock-import-{}", self.consumers)
    }

    /// Asks for the next `count` messages, one by one; [`Link::got`] gives them.
    pub(super) fn get(&mut self, queue: &str, count: u64) -> Result<(), Trouble> {
        for _ in 0..count {
            self.push(&Method::BasicGet { ticket: 0, queue, no_ack: false });
        }
        self.send()
    }

    /// The answer to the next of what [`Link::get`] asked for; none: the queue was empty.
    pub(super) fn got(&mut self) -> Result<Option<Taken>, Trouble> {
        match self.event(PATIENCE)? {
            Some(Event::Message(message)) => Ok(Some(message)),
            Some(Event::Method(payload)) if id(&payload) == (60, 72) => Ok(None),
            _ => Err(self.senseless("basic.get-ok")),
        }
    }

    /// The next delivery; none when none comes for so long.
    pub(super) fn delivery(&mut self, patience: Duration) -> Result<Option<Taken>, Trouble> {
        if let Some(message) = self.arrived.pop_front() {
            return Ok(Some(message));
        }
        match self.event(patience)? {
            None => Ok(None),
            Some(Event::Message(message)) => Ok(Some(message)),
            Some(Event::Method(_)) => Err(self.senseless("basic.deliver")),
        }
    }

    /// A delivery that has arrived already.
    pub(super) fn arrived(&mut self) -> Option<Taken> {
        self.arrived.pop_front()
    }

    /// Acknowledges all deliveries up to `tag`.
    pub(super) fn ack(&mut self, tag: u64) -> Result<(), Trouble> {
        self.push(&Method::BasicAck { delivery_tag: tag, multiple: true });
        self.send()
    }

    /// Adds a publish to what is sent next.
    pub(super) fn publish(
        &mut self,
        (exchange, key): (&str, &str),
        properties: &[u8],
        body: &[u8],
    ) -> Result<(), Trouble> {
        self.push(&Method::BasicPublish {
            ticket: 0,
            exchange,
            routing_key: key,
            mandatory: true,
            immediate: false,
        });
        let mark = frame::begin(&mut self.out, FrameKind::Header, self.channel);
        self.out.extend_from_slice(&BASIC_CLASS.to_be_bytes());
        self.out.extend_from_slice(&[0, 0]);
        self.out.extend_from_slice(&(body.len() as u64).to_be_bytes());
        self.out.extend_from_slice(properties);
        frame::end(&mut self.out, mark);
        frame::push_body(&mut self.out, self.channel, body, self.frame_bytes_max);
        match self.out.len() < READ_BYTES {
            true => Ok(()),
            false => self.send(),
        }
    }

    /// Commits what was published; gives how much of it no queue took.
    pub(super) fn commit(&mut self) -> Result<u64, Trouble> {
        self.call(&Method::TxCommit {}, (90, 21))?;
        Ok(std::mem::take(&mut self.returned))
    }

    fn push(&mut self, method: &Method<'_>) {
        let channel = match method.id().0 {
            10 => 0,
            _ => self.channel,
        };
        frame::push_method(&mut self.out, channel, method);
    }

    fn send(&mut self) -> Result<(), Trouble> {
        let sent = self.stream.write_all(&self.out);
        self.out.clear();
        // Why it was closed may be there to be read.
        match sent {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(self.lost(&error)),
            _ => Ok(()),
        }
    }

    /// Waits for a method; keeps messages that come before it.
    fn expect(&mut self, wanted: MethodId) -> Result<Vec<u8>, Trouble> {
        loop {
            match self.event(PATIENCE)? {
                None => return Err(Trouble::Lost(format!("{} does not answer", self.name))),
                Some(Event::Message(message)) => self.arrived.push_back(message),
                Some(Event::Method(payload)) if id(&payload) == wanted => return Ok(payload),
                Some(Event::Method(_)) => return Err(self.senseless("another answer")),
            }
        }
    }

    /// The next method or message of the channel; none when nothing comes for so long.
    fn event(&mut self, patience: Duration) -> Result<Option<Event>, Trouble> {
        loop {
            let Some((kind, payload)) = self.frame(patience)? else { return Ok(None) };
            match kind {
                FrameKind::Heartbeat => continue,
                FrameKind::Method => {}
                _ => return Err(self.senseless("a content without a method")),
            }
            match Method::decode(&payload) {
                Ok(Method::ConnectionClose { reply_code, reply_text, .. }) => {
                    self.push(&Method::ConnectionCloseOk {});
                    // It is closed either way.
                    let _ = self.send();
                    let name = &self.name;
                    let why = format!("{name} closed the connection: {reply_code} {reply_text}");
                    return Err(Trouble::Lost(why));
                }
                Ok(Method::ChannelClose { reply_code, reply_text, .. }) => {
                    let why = format!("{} answers {reply_code} {reply_text}", self.name);
                    self.push(&Method::ChannelCloseOk {});
                    self.begin_channel()?;
                    return Err(Trouble::Refused(why));
                }
                Ok(Method::BasicCancel { .. }) => {
                    let why = format!("{} ended the consumer: is the queue gone?", self.name);
                    self.open_channel()?;
                    return Err(Trouble::Refused(why));
                }
                Ok(Method::ConnectionBlocked { .. } | Method::ConnectionUnblocked {}) => {}
                Ok(Method::BasicReturn { .. }) => {
                    self.content()?;
                    self.returned += 1;
                }
                Ok(
                    Method::BasicDeliver {
                        delivery_tag, redelivered, exchange, routing_key, ..
                    }
                    | Method::BasicGetOk { delivery_tag, redelivered, exchange, routing_key, .. },
                ) => {
                    let (properties, body) = self.content()?;
                    return Ok(Some(Event::Message(Taken {
                        tag: delivery_tag,
                        redelivered,
                        exchange: exchange.to_owned(),
                        key: routing_key.to_owned(),
                        properties,
                        body,
                    })));
                }
                Ok(_) => return Ok(Some(Event::Method(payload))),
                Err(error) => return Err(Trouble::Lost(format!("{}: {error:?}", self.name))),
            }
        }
    }

    /// The properties and the body that follow a method.
    fn content(&mut self) -> Result<(Vec<u8>, Vec<u8>), Trouble> {
        let header = self.piece(FrameKind::Header)?;
        let Ok(ContentHeader { body_bytes, properties, .. }) = ContentHeader::decode(&header)
        else {
            return Err(self.senseless("a content header"));
        };
        if body_bytes > BODY_BYTES_MAX {
            return Err(Trouble::Lost(format!("{}: a message of {body_bytes} bytes", self.name)));
        }
        let (properties, mut body) = (properties.to_vec(), Vec::new());
        while (body.len() as u64) < body_bytes {
            body.extend_from_slice(&self.piece(FrameKind::Body)?);
        }
        Ok((properties, body))
    }

    fn piece(&mut self, wanted: FrameKind) -> Result<Vec<u8>, Trouble> {
        loop {
            match self.frame(PATIENCE)? {
                Some((FrameKind::Heartbeat, _)) => {}
                Some((kind, payload)) if kind == wanted => return Ok(payload),
                _ => return Err(self.senseless("a piece of a message")),
            }
        }
    }

    fn frame(&mut self, patience: Duration) -> Result<Option<(FrameKind, Vec<u8>)>, Trouble> {
        loop {
            match Frame::split(&self.input[self.taken..], self.frame_bytes_max) {
                Err(error) => return Err(Trouble::Lost(format!("{}: {error:?}", self.name))),
                Ok(Some(frame)) => {
                    let found = (frame.kind, frame.payload.to_vec());
                    self.taken += frame.frame_bytes();
                    return Ok(Some(found));
                }
                Ok(None) => {}
            }
            self.input.drain(..self.taken);
            self.taken = 0;
            self.stream.set_read_timeout(Some(patience)).map_err(|error| self.lost(&error))?;
            let length = self.input.len();
            self.input.resize(length + READ_BYTES, 0);
            let read = self.stream.read(&mut self.input[length..]);
            self.input.truncate(length + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => {
                    return Err(Trouble::Lost(format!("{} closed the connection", self.name)));
                }
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    fn lost(&self, error: &std::io::Error) -> Trouble {
        Trouble::Lost(format!("{}: {error}", self.name))
    }

    fn senseless(&self, what: &str) -> Trouble {
        Trouble::Lost(format!("{}: {what} makes no sense here", self.name))
    }
}

/// Class and method of a method's payload.
fn id(payload: &[u8]) -> MethodId {
    match payload {
        [a, b, c, d, ..] => (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])),
        _ => (0, 0),
    }
}

const _: () = assert!(OVERHEAD_BYTES < frame::FRAME_BYTES_MIN as usize);
