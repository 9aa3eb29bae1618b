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
        arguments.extend([0, 0]);
        long(&mut arguments, &[]);
        self.method(CHANNEL, (60, 20), &arguments)?;
        self.expect((60, 21)).map(drop)
    }

    /// The next delivery: its tag and body.
    pub(super) fn delivery(&mut self) -> Result<(u64, Vec<u8>)> {
        let deliver = self.expect((60, 60))?;
        let at = 1 + usize::from(deliver[0]);
        let tag = number(&deliver[at..at + 8]);
        let header = self.frame()?;
        ensure!(header.kind == 2, "no content header");
        let length = number(&header.payload[4..12]) as usize;
        let mut body = Vec::new();
        while body.len() < length {
            body.extend(self.frame()?.payload);
        }
        Ok((tag, body))
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
