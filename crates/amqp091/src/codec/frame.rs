//! Frames: `[type u8][channel u16][payload bytes u32][payload][0xCE]`.

#[cfg(test)]
mod tests;

use super::Method;
use crate::errors::{Code, Exception};

/// What a client sends first.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\0\0\x09\x01";

/// The protocol header of 0-9, which RabbitMQ serves as 0-9-1.
pub const PROTOCOL_HEADER_0_9: [u8; 8] = *b"AMQP\x01\x01\0\x09";

/// Frame size limit until tune-ok, and the least that may be negotiated, in bytes.
pub const FRAME_BYTES_MIN: u32 = 4096;

/// Bytes of a frame besides its payload.
pub const OVERHEAD_BYTES: usize = 8;

/// A whole heartbeat frame.
pub const HEARTBEAT: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, END];

const HEADER_BYTES: usize = 7;
const END: u8 = 0xce;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A method.
    Method,
    /// The header of a content.
    Header,
    /// A piece of a content's body.
    Body,
    /// Nothing: a sign of life.
    Heartbeat,
}

/// One frame, borrowed from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it carries.
    pub kind: FrameKind,
    /// 0 for the connection itself.
    pub channel: u16,
    /// Between header and end octet.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Bytes of the whole frame.
    pub fn frame_bytes(&self) -> usize {
        self.payload.len() + OVERHEAD_BYTES
    }

    /// The frame at the start of `input`; none while it is incomplete.
    ///
    /// Like RabbitMQ it allows a payload of `frame_bytes_max`, eight bytes more than agreed, because
    /// quite a few clients count wrong. Fails with 501 for a larger one as soon as its header is
    /// there, for a wrong end octet and for an unknown type; after that the input is out of step.
    #[inline]
    pub fn split(input: &'a [u8], frame_bytes_max: u32) -> Result<Option<Frame<'a>>, Exception> {
        let Some((header, rest)) = input.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [kind, channel_high, channel_low, size @ ..] = *header;
        let payload_bytes = u32::from_be_bytes(size);
        if payload_bytes > frame_bytes_max {
            return Err(too_large(kind, payload_bytes, frame_bytes_max));
        }
        let Some((payload, after)) = rest.split_at_checked(payload_bytes as usize) else {
            return Ok(None);
        };
        match after.first() {
            None => return Ok(None),
            Some(&END) => {}
            Some(&other) => return Err(bad_end(kind, payload, other)),
        }
        let kind = match kind {
            1 => FrameKind::Method,
            2 => FrameKind::Header,
            3 => FrameKind::Body,
            8 if payload.is_empty() => FrameKind::Heartbeat,
            other => return Err(frame_error(other, payload, "unknown_frame")),
        };
        let channel = u16::from_be_bytes([channel_high, channel_low]);
        Ok(Some(Frame { kind, channel, payload }))
    }

    /// 505: the frame is not one that may come here.
    pub fn unexpected(&self) -> Exception {
        let kind = self.kind.code();
        Exception::new(Code::UnexpectedFrame, format!("type {kind}, {}", snippet(self.payload)))
    }
}

impl FrameKind {
    fn code(self) -> u8 {
        match self {
            FrameKind::Method => 1,
            FrameKind::Header => 2,
            FrameKind::Body => 3,
            FrameKind::Heartbeat => 8,
        }
    }
}

/// Where a frame under construction began; give it back to [`end`].
#[derive(Debug)]
#[must_use]
pub struct Mark(usize);

/// Begins a frame; the caller appends the payload to `out` and then calls [`end`].
#[inline]
pub fn begin(out: &mut Vec<u8>, kind: FrameKind, channel: u16) -> Mark {
    let mark = Mark(out.len());
    let [high, low] = channel.to_be_bytes();
    out.extend_from_slice(&[kind.code(), high, low, 0, 0, 0, 0]);
    mark
}

/// Completes the frame begun at `mark`.
#[inline]
pub fn end(out: &mut Vec<u8>, mark: Mark) {
    let payload_at = mark.0 + HEADER_BYTES;
    let payload_bytes = (out.len() - payload_at) as u32;
    out[payload_at - 4..payload_at].copy_from_slice(&payload_bytes.to_be_bytes());
    out.push(END);
}

/// Appends a method frame.
pub fn push_method(out: &mut Vec<u8>, channel: u16, method: &Method<'_>) {
    let mark = begin(out, FrameKind::Method, channel);
    method.encode(out);
    end(out, mark);
}

/// Appends a body in as many frames as `frame_bytes_max` asks for; none for an empty body.
#[inline]
pub fn push_body(out: &mut Vec<u8>, channel: u16, body: &[u8], frame_bytes_max: u32) {
    for piece in body.chunks(frame_bytes_max as usize - OVERHEAD_BYTES) {
        let mark = begin(out, FrameKind::Body, channel);
        out.extend_from_slice(piece);
        end(out, mark);
    }
}

#[cold]
fn too_large(kind: u8, payload_bytes: u32, frame_bytes_max: u32) -> Exception {
    let payload_bytes_max = frame_bytes_max - OVERHEAD_BYTES as u32;
    frame_error(kind, &[], &format!("{{frame_too_large,{payload_bytes},{payload_bytes_max}}}"))
}

#[cold]
fn bad_end(kind: u8, payload: &[u8], end: u8) -> Exception {
    frame_error(kind, payload, &format!("{{invalid_frame_end_marker,{end}}}"))
}

#[cold]
fn frame_error(kind: u8, payload: &[u8], why: &str) -> Exception {
    Exception::new(Code::FrameError, format!("type {kind}, {}: {why}", snippet(payload)))
}

/// The start of a payload, spelled as Erlang prints a binary.
fn snippet(payload: &[u8]) -> String {
    const SNIPPET_BYTES: usize = 16;
    let (which, bytes) = match payload.get(..SNIPPET_BYTES) {
        Some(first) if payload.len() > SNIPPET_BYTES => ("first 16", first),
        _ => ("all", payload),
    };
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    format!("{which} octets = <<{}>>", numbers.join(","))
}
