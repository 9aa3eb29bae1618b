//! One AMQP connection: frames in, operations out; events in, frames out.
//!
//! At most one request of a connection waits for the engine at a time, and no frame is taken while
//! it does: what a client pipelines behind a declaration is routed on what it declared. Publishes,
//! acknowledgements and what they cause do not wait. A method whose answer tells what is in a queue
//! waits until the connection's earlier publishes are stored.

mod channel;
mod confirm;
mod consume;
mod declare;
mod filtering;
mod handshake;
mod holdings;
mod link;
mod publish;
mod queues;
mod report;
mod request;
mod route;
mod settle;
mod transaction;

use crate::codec::frame::FrameKind;
use crate::codec::{Frame, Method};
use crate::errors::{Code, Exception, MethodId};
use bytes::{Buf as _, BytesMut};
use channel::Channel;
use engine::api::Event;
use engine::catalog::Name;
use frontend::{Cx, Peer, Session, SessionReport, Wire};
use holdings::Settles;
use link::Link;
use publish::Publisher;
use request::{Request, Step};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{ConsumerId, RECORD_BYTES_MAX};

/// What the wire offers.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest frame, in bytes.
    pub frame_bytes_max: u32,
    /// Most channels of a connection.
    pub channel_max: u16,
    /// Proposed interval of heartbeats, in seconds.
    pub heartbeat_s: u16,
    /// Largest body, in bytes.
    pub body_bytes_max: u64,
}

impl Default for Options {
    /// RabbitMQ's, but for the largest body.
    fn default() -> Options {
        Options {
            frame_bytes_max: 131_072,
            channel_max: 2047,
            heartbeat_s: 60,
            body_bytes_max: RECORD_BYTES_MAX as u64,
        }
    }
}

/// AMQP 0-9-1 as a wire.
#[derive(Debug)]
pub struct Amqp {
    options: Arc<Options>,
}

impl Amqp {
    /// The wire with these options.
    #[must_use]
    pub fn new(options: Options) -> Amqp {
        Amqp { options: Arc::new(options) }
    }
}

impl Wire for Amqp {
    fn name(&self) -> &'static str {
        "amqp"
    }

    fn session(&self, _peer: &Peer) -> Box<dyn Session> {
        Box::new(AmqpSession::new(Arc::clone(&self.options)))
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for the protocol header.
    Header,
    /// Waits for start-ok.
    Start,
    /// Waits for tune-ok.
    Tune,
    /// Waits for connection.open.
    Open,
    Running,
    /// Close was sent; only the answer to it counts.
    Closing,
}

/// Whether a frame was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Yes,
    /// It is to come again.
    Later,
}

/// What the connection waits for beside a request.
#[derive(Debug, Default)]
struct Waits {
    /// A frame waits for earlier publishes.
    held: bool,
    /// The broker stops when publishes are answered.
    draining: bool,
}

/// Numbers that were given.
#[derive(Debug, Default)]
struct Ids {
    consumer: u32,
    epoch: u32,
}

struct AmqpSession {
    options: Arc<Options>,
    phase: Phase,
    link: Link,
    vhost: Name,
    channels: BTreeMap<u16, Channel>,
    publisher: Publisher,
    settles: Settles,
    /// Channel and place of each standing consumer.
    consumers: BTreeMap<ConsumerId, (u16, u32)>,
    request: Option<Request>,
    waits: Waits,
    ids: Ids,
    /// Something was declared exclusive to this connection.
    owns_names: bool,
}

impl Session for AmqpSession {
    fn on_open(&mut self, cx: &mut Cx<'_>) {
        cx.wake_at(cx.now().plus(handshake::HANDSHAKE));
    }

    fn on_bytes(&mut self, input: &mut BytesMut, cx: &mut Cx<'_>) {
        self.link.heard(cx.now());
        self.publisher.begin();
        let mut used = 0;
        while !cx.input_paused() && !cx.closing() {
            match self.step(&input[used..], cx) {
                0 => break,
                bytes => used += bytes,
            }
        }
        input.advance(used);
        self.finish(cx);
    }

    fn on_events(&mut self, events: Vec<Event>, cx: &mut Cx<'_>) {
        for event in events {
            match event {
                Event::Reply { token, result } => self.replied(token, result, cx),
                Event::Deliver { consumer, items } => self.deliver(consumer, items, cx),
                Event::ConsumerGone { consumer } => self.consumer_gone(consumer),
                Event::Blocked(why) => self.blocked(why),
            }
        }
        self.resume(cx);
        self.finish(cx);
        if self.waits.draining && self.publisher.idle() {
            self.stop(cx);
        }
    }

    fn held_bytes(&self) -> usize {
        self.publisher.held.bytes
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>) {
        if self.phase != Phase::Running || !self.link.beat(cx) {
            tracing::debug!(peer = %cx.peer(), phase = self.phase.name(), "client is silent");
            cx.close_now();
        }
        self.finish(cx);
    }

    fn on_dismiss(&mut self, why: &str, cx: &mut Cx<'_>) {
        match self.phase {
            Phase::Header => cx.close_now(),
            Phase::Closing => {}
            _ => self.close_connection(&Exception::new(Code::ConnectionForced, why), cx),
        }
        self.finish(cx);
    }

    fn report(&self) -> SessionReport {
        self.told()
    }

    fn on_drain(&mut self, cx: &mut Cx<'_>) {
        if self.publisher.idle() {
            self.stop(cx);
        } else {
            self.waits.draining = true;
            cx.pause_input();
        }
    }
}

impl AmqpSession {
    fn new(options: Arc<Options>) -> AmqpSession {
        AmqpSession {
            options,
            phase: Phase::Header,
            link: Link::default(),
            vhost: Name::from("/"),
            channels: BTreeMap::new(),
            publisher: Publisher::default(),
            settles: Settles::default(),
            consumers: BTreeMap::new(),
            request: None,
            waits: Waits::default(),
            ids: Ids::default(),
            owns_names: false,
        }
    }

    /// Takes one frame from the front of `bytes`; gives how many bytes it took, 0 for none.
    #[inline]
    fn step(&mut self, bytes: &[u8], cx: &mut Cx<'_>) -> usize {
        if self.phase == Phase::Header {
            return self.protocol_header(bytes, cx);
        }
        match Frame::split(bytes, self.link.frame_bytes_max) {
            Ok(None) => 0,
            Ok(Some(frame)) => match self.frame(&frame, cx) {
                Ok(Taken::Yes) => frame.frame_bytes(),
                Ok(Taken::Later) => 0,
                Err(exception) => {
                    self.fail(frame.channel, exception, cx);
                    frame.frame_bytes()
                }
            },
            Err(exception) => {
                // What follows is out of step: nothing more can be read.
                if self.phase != Phase::Closing {
                    self.close_connection(&exception, cx);
                }
                cx.close_after_flush();
                0
            }
        }
    }

    #[inline]
    fn frame(&mut self, frame: &Frame<'_>, cx: &mut Cx<'_>) -> Result<Taken, Exception> {
        if frame.channel != 0 {
            return match self.phase {
                Phase::Running => self.channel_frame(frame, cx),
                Phase::Closing => Ok(Taken::Yes),
                _ => Err(frame.unexpected()),
            };
        }
        match frame.kind {
            FrameKind::Heartbeat => Ok(Taken::Yes),
            FrameKind::Method => {
                let method = Method::decode(frame.payload)?;
                let close = matches!(method, Method::ConnectionClose { .. });
                if close && self.phase == Phase::Running && self.publishes_wait(cx) {
                    return Ok(Taken::Later);
                }
                self.connection_method(&method, cx).map(|()| Taken::Yes)
            }
            _ if self.phase == Phase::Closing => Ok(Taken::Yes),
            _ => Err(frame.unexpected()),
        }
    }

    #[inline]
    fn channel_frame(&mut self, frame: &Frame<'_>, cx: &mut Cx<'_>) -> Result<Taken, Exception> {
        let Some(channel) = self.channels.get_mut(&frame.channel) else {
            return self.unopened(frame);
        };
        if channel.closing {
            return self.closing_channel(frame);
        }
        let site = publish::Site { vhost: &self.vhost, link: &mut self.link };
        let publication = match frame.kind {
            FrameKind::Method if channel.assembly.idle() => return self.method(frame, cx),
            FrameKind::Method => return Err(channel.assembly.unexpected()),
            FrameKind::Header => {
                channel.assembly.header(frame.payload, self.options.body_bytes_max)?
            }
            FrameKind::Body => {
                let whole = channel.assembly.body(frame.payload)?;
                self.publisher.held.changed |= whole.is_none();
                whole
            }
            FrameKind::Heartbeat => return Err(frame.unexpected()),
        };
        if let Some(publication) = publication {
            self.publisher.held.changed |= channel.lane.transaction.is_some();
            self.publisher
                .publish(&mut channel.lane, &publication, site, cx)
                .map_err(|exception| blame(exception, crate::codec::method::BASIC_PUBLISH))?;
        }
        Ok(Taken::Yes)
    }

    /// A method of an open channel.
    #[inline]
    fn method(&mut self, frame: &Frame<'_>, cx: &mut Cx<'_>) -> Result<Taken, Exception> {
        let method = Method::decode(frame.payload)?;
        let done = match method {
            Method::BasicPublish { immediate: true, .. } => {
                Err(Exception::new(Code::NotImplemented, "immediate=true"))
            }
            Method::BasicPublish { .. } if self.link.blocked.is_some() => {
                cx.pause_input();
                return Ok(Taken::Later);
            }
            Method::BasicPublish { exchange, routing_key, mandatory, .. } => {
                if let Some(channel) = self.channels.get_mut(&frame.channel) {
                    channel.assembly.publish(exchange, routing_key, mandatory);
                }
                Ok(Taken::Yes)
            }
            Method::BasicAck { delivery_tag, multiple } => {
                let done = engine::api::Disposition::Done;
                self.settle(frame.channel, delivery_tag, multiple, done)
            }
            _ => self.channel_method(frame.channel, &method, cx),
        };
        done.map_err(|exception| blame(exception, method.id()))
    }

    /// Whether a method has to wait for this connection's publishes; if so, no frame is taken
    /// until they are answered.
    fn publishes_wait(&mut self, cx: &mut Cx<'_>) -> bool {
        self.publisher.flush(cx);
        let wait = !self.publisher.idle();
        if wait {
            self.waits.held = true;
            cx.pause_input();
        }
        wait
    }

    /// Takes frames again if nothing is waited for any more.
    fn resume(&mut self, cx: &mut Cx<'_>) {
        self.waits.held &= !self.publisher.idle();
        if self.request.is_none() && !self.waits.held && !self.waits.draining {
            cx.resume_input();
        }
    }

    /// Ends a call: sends what was gathered.
    #[inline]
    fn finish(&mut self, cx: &mut Cx<'_>) {
        self.publisher.flush(cx);
        self.publisher.rest();
        self.settles.flush(cx);
        for number in self.publisher.dirty.drain(..) {
            if let Some(confirms) =
                self.channels.get_mut(&number).and_then(|channel| channel.lane.confirms.as_mut())
            {
                confirms.answer(&mut self.link.out, number);
            }
        }
        self.link.flush(cx);
        let held = &mut self.publisher.held;
        if held.changed || held.bytes > 0 {
            held.bytes = self.channels.values().map(Channel::held_bytes).sum();
            held.changed = false;
        }
    }

    /// Closes the channel or the connection because of `exception`.
    fn fail(&mut self, number: u16, exception: Exception, cx: &mut Cx<'_>) {
        tracing::debug!(peer = %cx.peer(), channel = number, %exception, "closing");
        match self.channels.remove(&number) {
            Some(channel) if !exception.hard() && self.phase == Phase::Running => {
                self.close_channel(channel, &exception, cx);
            }
            _ if self.phase == Phase::Closing => {}
            _ => self.close_connection(&exception, cx),
        }
    }

    /// The broker stops.
    fn stop(&mut self, cx: &mut Cx<'_>) {
        self.waits.draining = false;
        if self.phase != Phase::Closing {
            let text = "broker forced connection closure with reason 'shutdown'";
            self.close_connection(&Exception::new(Code::ConnectionForced, text), cx);
        }
        self.finish(cx);
    }
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Header => "pre_init",
            Phase::Start => "starting",
            Phase::Tune => "tuning",
            Phase::Open => "opening",
            Phase::Running => "running",
            Phase::Closing => "closing",
        }
    }
}

/// Blames an exception on a method unless it blames one already.
fn blame(exception: Exception, method: MethodId) -> Exception {
    match exception.method {
        (0, 0) => exception.in_method(method),
        _ => exception,
    }
}

#[cfg(test)]
mod tests;
