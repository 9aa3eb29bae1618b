//! What publishers and consumers noted, for the verification afterwards. Times are microseconds
//! of the system's clock, which is the broker's, too.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is published, and how the queue is declared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Messages that are to be confirmed.
    pub(super) messages: u32,
    pub(super) per_second: u32,
    pub(super) keys: u32,
    pub(super) priorities: u8,
    pub(super) delay_ms_max: u64,
    /// The wait after the first failure, and by what it grows.
    pub(super) retry_ms: u64,
    pub(super) retry_times: u64,
    /// So many failures are forgiven.
    pub(super) delivery_limit: u64,
}

impl Plan {
    /// What is to become of a message.
    pub(super) fn fate(&self, number: u32) -> Fate {
        match mix(u64::from(number), 1) % 100 {
            0..90 => Fate::Done,
            roll @ 90..94 => Fate::DoneAfter((roll - 89).min(self.delivery_limit)),
            94..96 => Fate::ReturnedOnce,
            96..98 => Fate::NeverDone,
            _ => Fate::Refused,
        }
    }
}

/// What is to become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    /// Fails so often before.
    DoneAfter(u64),
    /// Given back the first time, which is no failure.
    ReturnedOnce,
    /// Fails until it is a dead letter.
    NeverDone,
    /// Refused the first time: a dead letter at once.
    Refused,
}

/// A published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) number: u32,
    pub(super) key: u32,
    pub(super) priority: u8,
    pub(super) sent: i64,
    /// When its confirm was there, if it was.
    pub(super) confirmed: Option<i64>,
    pub(super) due: Option<Due>,
}

/// When a message is to be there: not before the first, and by the broker's clock not after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) first: i64,
    pub(super) last: i64,
}

/// What a consumer did with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Did {
    Acked,
    Returned,
    Failed,
    Refused,
    /// Its connection ended.
    Lost,
}

/// A delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) number: u32,
    /// Of the broker's lives, from 0.
    pub(super) life: u8,
    pub(super) at: i64,
    /// Just before it was settled, or its connection ended.
    pub(super) ended: i64,
    pub(super) did: Did,
    /// What it said about earlier failures.
    pub(super) failures: u64,
    pub(super) redelivered: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    pub(super) at: i64,
    pub(super) back: i64,
}

/// All of a run.
pub(super) struct Records {
    pub(super) plan: Plan,
    /// For each publisher, in the order of its publishes.
    pub(super) sent: Vec<Vec<Sent>>,
    pub(super) seen: Vec<Seen>,
    /// How often each is among the dead letters, and whether as refused.
    pub(super) dead: BTreeMap<u32, Vec<bool>>,
    pub(super) kills: Vec<Kill>,
    /// Connections that consumers dropped.
    pub(super) dropped: u64,
    /// When they dropped those with deliveries that they never read, in order.
    pub(super) blind: Vec<i64>,
    /// Messages that nobody got in time.
    pub(super) left: u64,
}

impl Records {
    /// When a delivery that failed is due again, by so many failures.
    pub(super) fn retry_at(&self, failed: &Seen, failures: u64) -> i64 {
        let kill = self.kills.get(usize::from(failed.life)).map_or(i64::MAX, |kill| kill.at);
        // What a kill gave back waits from the next start on.
        let times = self.plan.retry_times.pow(failures.saturating_sub(1) as u32);
        failed.ended.min(kill) + (self.plan.retry_ms * times * 1_000) as i64
    }
}

pub(super) fn number_of(body: &[u8]) -> Result<u32> {
    std::str::from_utf8(body).ok().and_then(|text| text.parse().ok()).context("no body of ours")
}

/// Microseconds since 1970.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_micros().try_into().expect("microseconds")
}

/// A number that looks random, the same for the same arguments.
pub(super) fn mix(number: u64, salt: u64) -> u64 {
    let mut z = number.wrapping_add(salt.wrapping_mul(0xD1B5_4A32_D192_ED03));
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
