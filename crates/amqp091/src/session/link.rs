//! A connection's two ends: what is written, what was agreed, and signs of life.

use crate::codec::Method;
use crate::codec::frame::{self, FRAME_BYTES_MIN, HEARTBEAT};
use engine::catalog::Name;
use frontend::Cx;
use types::Millis;

/// Output of this length or longer is handed over without a copy.
const HANDED_OVER_BYTES_MIN: usize = 4 << 10;

/// What the client said it understands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capabilities {
    pub(super) authentication_failure_close: bool,
    pub(super) consumer_cancel_notify: bool,
    pub(super) blocked: bool,
}

/// Output, limits and heartbeats of one connection.
#[derive(Debug)]
pub(super) struct Link {
    /// What is to be written; [`Link::flush`] hands it over.
    pub(super) out: Vec<u8>,
    pub(super) frame_bytes_max: u32,
    pub(super) channel_max: u16,
    /// Between two signs of life; 0 is none.
    pub(super) heartbeat: Millis,
    pub(super) client: Capabilities,
    /// Who logged in.
    pub(super) user: Name,
    /// What the client says of itself: a table as it came.
    pub(super) properties: Box<[u8]>,
    /// How the user logged in.
    pub(super) mechanism: &'static str,
    /// Why publishing is blocked.
    pub(super) blocked: Option<&'static str>,
    sent: Millis,
    heard: Millis,
}

impl Default for Link {
    fn default() -> Link {
        Link {
            out: Vec::new(),
            frame_bytes_max: FRAME_BYTES_MIN,
            channel_max: 0,
            heartbeat: Millis(0),
            client: Capabilities::default(),
            user: Name::from(""),
            properties: Box::default(),
            mechanism: "",
            blocked: None,
            sent: Millis(0),
            heard: Millis(0),
        }
    }
}

impl Link {
    /// Appends a method frame.
    pub(super) fn send(&mut self, channel: u16, method: &Method<'_>) {
        frame::push_method(&mut self.out, channel, method);
    }

    /// Hands the output over.
    pub(super) fn flush(&mut self, cx: &mut Cx<'_>) {
        if self.out.is_empty() {
            return;
        }
        self.sent = cx.now();
        if self.out.len() < HANDED_OVER_BYTES_MIN {
            cx.buffer().extend_from_slice(&self.out);
            self.out.clear();
        } else {
            cx.push(std::mem::take(&mut self.out).into());
        }
    }

    /// The client sent something.
    pub(super) fn heard(&mut self, now: Millis) {
        self.heard = now;
    }

    /// Begins heartbeats of the agreed interval.
    pub(super) fn begin_heartbeats(&mut self, cx: &mut Cx<'_>) {
        self.sent = cx.now();
        self.heard = cx.now();
        match self.heartbeat {
            Millis(0) => cx.sleep_on(),
            _ => cx.wake_at(self.next_beat()),
        }
    }

    /// Sends a heartbeat if nothing was sent for half an interval. False when the client has been
    /// silent for two.
    pub(super) fn beat(&mut self, cx: &mut Cx<'_>) -> bool {
        let now = cx.now();
        if cx.unread() {
            // It is us who do not listen.
            self.heard = now;
        }
        if now.since(self.heard) >= self.silence() {
            return false;
        }
        if now.since(self.sent) >= self.half() {
            self.out.extend_from_slice(&HEARTBEAT);
            self.sent = now;
        }
        cx.wake_at(self.next_beat());
        true
    }

    fn half(&self) -> Millis {
        Millis((self.heartbeat.0 / 2).max(1))
    }

    fn silence(&self) -> Millis {
        Millis(self.heartbeat.0 * 2)
    }

    fn next_beat(&self) -> Millis {
        self.sent.plus(self.half()).min(self.heard.plus(self.silence()))
    }
}
