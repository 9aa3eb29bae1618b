//! The least AMQP 0-9-1 client that checks need: one channel, the default exchange.

use anyhow::{Context as _, Result, bail, ensure};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

const FRAME_END: u8 = 0xCE;
const CHANNEL: u16 = 1;
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection with one open channel.
pub(super) struct Amqp {
    stream: TcpStream,
    input: Vec<u8>,
    taken: usize,
    confirmed: u64,
}

/// Arguments of a declaration, or headers of a message.
#[derive(Default)]
pub(super) struct Table(Vec<u8>);

impl Table {
    pub(super) fn text(mut self, name: &str, value: &str) -> Table {
        short(&mut self.0, name);
        self.0.push(b'S');
        long(&mut self.0, value.as_bytes());
        self
    }

    pub(super) fn number(mut self, name: &str, value: i32) -> Table {
        short(&mut self.0, name);
        self.0.push(b'I');
        self.0.extend(value.to_be_bytes());
        self
    }
}

/// A delivery.
pub(super) struct Message {
    pub(super) tag: u64,
    pub(super) redelivered: bool,
    /// The content header with the properties.
    header: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// Whether the properties hold this text.
    pub(super) fn tells(&self, text: &str) -> bool {
        self.header.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// The header of this name, if it is there and a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let mut field = Vec::new();
        short(&mut field, name);
        let at = self.header.windows(field.len()).position(|window| window == field)?;
        let value = self.header.get(at + field.len()..)?;
        let bytes = match value.first()? {
            b'l' => 8,
            b'I' | b'i' => 4,
            b's' => 2,
            b'b' => 1,
            _ => return None,
        };
        Some(number(value.get(1..=bytes)?))
    }
}

/// What becomes of a delivery.
pub(super) enum Settle {
    Ack,
    /// basic.nack with `requeue`.
    Return,
    /// basic.reject.
    Reject {
        requeue: bool,
    },
}

struct Frame {
    kind: u8,
    payload: Vec<u8>,
}

impl Amqp {
    pub(super) fn connect(port: u16) -> Result<Amqp> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("no AMQP listener")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut amqp = Amqp { stream, input: Vec::new(), taken: 0, confirmed: 0 };
        amqp.stream.write_all(b"AMQP\0\0\x09\x01")?;
        amqp.expect((10, 10))?;
        let mut start_ok = Vec::new();
        long(&mut start_ok, b"");
        short(&mut start_ok, "PLAIN");
        long(&mut start_ok, b"\0guest\0guest");
        short(&mut start_ok, "en_US");
        amqp.method(0, (10, 11), &start_ok)?;
        let mut tune = amqp.expect((10, 30))?;
        tune.truncate(6);
        tune.extend([0, 0]);
        amqp.method(0, (10, 31), &tune)?;
        amqp.method(0, (10, 40), &[1, b'/', 0, 0])?;
        amqp.expect((10, 41))?;
        amqp.method(CHANNEL, (20, 10), &[0])?;
        amqp.expect((20, 11))?;
        Ok(amqp)
    }

    /// Declares a durable queue.
    pub(super) fn declare(&mut self, queue: &str) -> Result<()> {
        let mut arguments = vec![0, 0];
        short(&mut arguments, queue);
        arguments.push(2);
        long(&mut arguments, &[]);
        self.method(CHANNEL, (50, 10), &arguments)?;
        self.expect((50, 11)).map(drop)
    }

    /// Asks for publisher confirms.
    pub(super) fn confirm(&mut self) -> Result<()> {
        self.method(CHANNEL, (85, 10), &[0])?;
        self.expect((85, 11)).map(drop)
    }

    /// Publishes a persistent message.
    pub(super) fn publish(&mut self, queue: &str, body: &[u8]) -> Result<()> {
        let mut out = Vec::with_capacity(body.len() + 128);
        publish_frames(&mut out, queue, body);
        self.send(&out)
    }

    /// Sends frames that were encoded before.
    pub(super) fn send(&mut self, frames: &[u8]) -> Result<()> {
        self.stream.write_all(frames).context("cannot send")
    }

    /// Waits until all publishes up to number `last`, from 1, are confirmed.
    ///
    /// Counts a confirm of one as that of all before it: good enough where none is refused.
    pub(super) fn await_confirms(&mut self, last: u64) -> Result<()> {
        while self.confirmed < last {
            let frame = self.frame()?;
            match id(&frame)? {
                (60, 80) => self.confirmed = self.confirmed.max(number(&frame.payload[4..12])),
                other => bail!("{other:?} where a confirm was due: {}", text(&frame)),
            }
        }
        Ok(())
    }

    /// Begins to consume with manual acknowledgements.
    pub(super) fn consume(&mut self, queue: &str, prefetch: u16) -> Result<()> {
        let mut qos = vec![0, 0, 0, 0];
        qos.extend(prefetch.to_be_bytes());
        qos.push(0);
        self.method(CHANNEL, (60, 10), &qos)?;
        self.expect((60, 11))?;
        let mut arguments = vec![0, 0];
        short(&mut arguments, queue);
        // The consumer's tag: there is one of each queue.
        short(&mut arguments, queue);
        arguments.push(0);
        long(&mut arguments, &[]);
        self.method(CHANNEL, (60, 20), &arguments)?;
        self.expect((60, 21)).map(drop)
    }

    /// The next delivery: its tag and body.
    pub(super) fn delivery(&mut self) -> Result<(u64, Vec<u8>)> {
        self.message().map(|message| (message.tag, message.body))
    }

    /// Declares a durable queue with arguments.
    pub(super) fn declare_with(&mut self, queue: &str, arguments: &Table) -> Result<()> {
        let mut declare = vec![0, 0];
        short(&mut declare, queue);
        declare.push(2);
        long(&mut declare, &arguments.0);
        self.method(CHANNEL, (50, 10), &declare)?;
        self.expect((50, 11)).map(drop)
    }

    /// Declares a durable exchange, and binds a queue to it by the queue's name.
    pub(super) fn declare_exchange(
        &mut self,
        name: &str,
        kind: &str,
        arguments: &Table,
        queue: &str,
    ) -> Result<()> {
        let mut declare = vec![0, 0];
        short(&mut declare, name);
        short(&mut declare, kind);
        declare.push(2);
        long(&mut declare, &arguments.0);
        self.method(CHANNEL, (40, 10), &declare)?;
        self.expect((40, 11))?;
        let mut bind = vec![0, 0];
        short(&mut bind, queue);
        short(&mut bind, name);
        short(&mut bind, queue);
        bind.push(0);
        long(&mut bind, &[]);
        self.method(CHANNEL, (50, 20), &bind)?;
        self.expect((50, 21)).map(drop)
    }

    /// The next delivery with all that is told of it.
    pub(super) fn message(&mut self) -> Result<Message> {
        let deliver = self.expect((60, 60))?;
        self.rest_of(&deliver)
    }

    /// A round trip: what was sent before has been taken by the broker; gives what came meanwhile.
    pub(super) fn round_trip(&mut self, queue: &str) -> Result<Vec<Message>> {
        let mut passive = vec![0, 0];
        short(&mut passive, queue);
        passive.push(1);
        long(&mut passive, &[]);
        self.method(CHANNEL, (50, 10), &passive)?;
        self.messages_until((50, 11))
    }

    /// Ends the consumer, and gives what came before its end.
    pub(super) fn cancel(&mut self, queue: &str) -> Result<Vec<Message>> {
        let mut cancel = Vec::new();
        short(&mut cancel, queue);
        cancel.push(0);
        self.method(CHANNEL, (60, 30), &cancel)?;
        self.messages_until((60, 31))
    }

    fn messages_until(&mut self, answer: (u16, u16)) -> Result<Vec<Message>> {
        let mut came = Vec::new();
        loop {
            let frame = self.frame()?;
            match id(&frame)? {
                (60, 60) => came.push(self.rest_of(&frame.payload[4..])?),
                found if found == answer => return Ok(came),
                other => bail!("{other:?} where an answer was due: {}", text(&frame)),
            }
        }
    }

    fn rest_of(&mut self, deliver: &[u8]) -> Result<Message> {
        let at = 1 + usize::from(deliver[0]);
        let header = self.frame()?;
        ensure!(header.kind == 2, "no content header");
        let length = number(&header.payload[4..12]) as usize;
        let mut body = Vec::new();
        while body.len() < length {
            body.extend(self.frame()?.payload);
        }
        Ok(Message {
            tag: number(&deliver[at..at + 8]),
            redelivered: deliver[at + 8] != 0,
            header: header.payload,
            body,
        })
    }

    /// Settles one delivery.
    pub(super) fn settle(&mut self, tag: u64, how: Settle) -> Result<()> {
        let mut arguments = tag.to_be_bytes().to_vec();
        let (method, bits) = match how {
            Settle::Ack => ((60, 80), 0),
            Settle::Return => ((60, 120), 2),
            Settle::Reject { requeue } => ((60, 90), u8::from(requeue)),
        };
        arguments.push(bits);
        self.method(CHANNEL, method, &arguments)
    }

    /// Acknowledges all deliveries up to `tag`.
    pub(super) fn ack(&mut self, tag: u64) -> Result<()> {
        let mut arguments = tag.to_be_bytes().to_vec();
        arguments.push(1);
        self.method(CHANNEL, (60, 80), &arguments)
    }

    /// Gives a delivery back.
    pub(super) fn nack(&mut self, tag: u64) -> Result<()> {
        let mut arguments = tag.to_be_bytes().to_vec();
        arguments.push(2);
        self.method(CHANNEL, (60, 120), &arguments)
    }

    /// The same stream, to be written or shut down by somebody else.
    pub(super) fn another(&self) -> Result<TcpStream> {
        self.stream.try_clone().context("no second handle")
    }

    /// Reads on and forgets it, until the stream ends.
    pub(super) fn read_on(&mut self) -> Result<()> {
        loop {
            self.frame()?;
        }
    }

    fn method(&mut self, channel: u16, id: (u16, u16), arguments: &[u8]) -> Result<()> {
        let mut out = Vec::new();
        method(&mut out, channel, id, arguments);
        self.send(&out)
    }

    fn expect(&mut self, wanted: (u16, u16)) -> Result<Vec<u8>> {
        let frame = self.frame()?;
        let got = id(&frame)?;
        ensure!(got == wanted, "{got:?} where {wanted:?} was due: {}", text(&frame));
        Ok(frame.payload[4..].to_vec())
    }

    fn frame(&mut self) -> Result<Frame> {
        loop {
            let rest = &self.input[self.taken..];
            if rest.len() >= 8 {
                let length = number(&rest[3..7]) as usize;
                if rest.len() >= length + 8 {
                    let frame = Frame { kind: rest[0], payload: rest[7..7 + length].to_vec() };
                    self.taken += length + 8;
                    return Ok(frame);
                }
            }
            self.input.drain(..self.taken);
            self.taken = 0;
            let mut bytes = [0; 16 << 10];
            let count = self.stream.read(&mut bytes).context("no answer")?;
            ensure!(count > 0, "the broker closed the connection");
            self.input.extend(&bytes[..count]);
        }
    }
}

/// Appends the frames of one persistent publish.
pub(super) fn publish_frames(out: &mut Vec<u8>, queue: &str, body: &[u8]) {
    let mut arguments = vec![0, 0, 0];
    short(&mut arguments, queue);
    arguments.push(0);
    method(out, CHANNEL, (60, 40), &arguments);
    let mut header = vec![0, 60, 0, 0];
    header.extend((body.len() as u64).to_be_bytes());
    header.extend([0x10, 0, 2]);
    frame(out, 2, CHANNEL, &header);
    frame(out, 3, CHANNEL, body);
}

/// Appends the frames of one persistent publish to an exchange, with headers and a priority.
pub(super) fn publish_with(
    out: &mut Vec<u8>,
    (exchange, key): (&str, &str),
    headers: &Table,
    priority: u8,
    body: &[u8],
) {
    let mut arguments = vec![0, 0];
    short(&mut arguments, exchange);
    short(&mut arguments, key);
    arguments.push(0);
    method(out, CHANNEL, (60, 40), &arguments);
    let mut header = vec![0, 60, 0, 0];
    header.extend((body.len() as u64).to_be_bytes());
    header.extend([0x38, 0]);
    long(&mut header, &headers.0);
    header.extend([2, priority]);
    frame(out, 2, CHANNEL, &header);
    frame(out, 3, CHANNEL, body);
}

fn method(out: &mut Vec<u8>, channel: u16, (class, id): (u16, u16), arguments: &[u8]) {
    let mut payload = Vec::with_capacity(4 + arguments.len());
    payload.extend(class.to_be_bytes());
    payload.extend(id.to_be_bytes());
    payload.extend(arguments);
    frame(out, 1, channel, &payload);
}

fn frame(out: &mut Vec<u8>, kind: u8, channel: u16, payload: &[u8]) {
    out.push(kind);
    out.extend(channel.to_be_bytes());
    long(out, payload);
    out.push(FRAME_END);
}

fn short(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).expect("short names only"));
    out.extend(text.as_bytes());
}

fn long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).expect("small messages only").to_be_bytes());
    out.extend(bytes);
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn id(frame: &Frame) -> Result<(u16, u16)> {
    ensure!(frame.kind == 1 && frame.payload.len() >= 4, "no method frame");
    let half = |at: usize| u16::from_be_bytes([frame.payload[at], frame.payload[at + 1]]);
    Ok((half(0), half(2)))
}

fn text(frame: &Frame) -> String {
    String::from_utf8_lossy(&frame.payload).into_owned()
}
