//! The clients: publishers on both sides, and consumers that fail. All outlive the broker's kills.

use super::super::amqp::{Amqp, Message, Settle, Table, publish_with};
use super::super::broker::{Broker, http};
use super::records::{Did, Due, Fate, Plan, Seen, Sent, mix, now_us, number_of};
use super::{EXCHANGE, QUEUE};
use anyhow::{Context as _, Result, bail};
use std::fmt::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Half of them publish by AMQP, and half over HTTP.
pub(super) const PUBLISHERS: u32 = 4;
const TICK: Duration = Duration::from_millis(20);
const PREFETCH: u16 = 10;
/// A consumer drops its connection about once in so many deliveries.
const DROPS_ONCE_IN: u64 = 250;
/// One in so many of these does not look what it holds.
const BLIND_ONCE_IN: u64 = 10;
/// A consumer works on one in so many messages, so long.
const WORKS_ONCE_IN: u64 = 10;
const WORK: Duration = Duration::from_millis(2);
/// How long a client waits for a broker after its connection ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the broker listens in one of its lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    life: u8,
    amqp: u16,
    admin: u16,
}

impl Place {
    pub(super) fn of(broker: &Broker, life: u8) -> Place {
        Place { life, amqp: broker.amqp, admin: broker.admin }
    }
}

/// What all clients share.
pub(super) struct Load {
    plan: Plan,
    /// Messages that were confirmed.
    pub(super) confirmed: AtomicU64,
    /// Connections that consumers dropped.
    pub(super) dropped: AtomicU64,
    place: Mutex<Place>,
    moved: Condvar,
    stopping: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
    failure: Mutex<Option<String>>,
}

impl Load {
    pub(super) fn new(plan: Plan, place: Place) -> Load {
        Load {
            plan,
            confirmed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            place: Mutex::new(place),
            moved: Condvar::new(),
            stopping: AtomicBool::new(false),
            streams: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    /// Tells the clients that the broker has come back.
    pub(super) fn moved(&self, place: Place) {
        *self.place.lock().expect("no panic") = place;
        self.moved.notify_all();
    }

    /// Ends the consumers.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Relaxed);
        for stream in self.streams.lock().expect("no panic").drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.lock().expect("no panic").is_some()
    }

    pub(super) fn why(&self) -> String {
        self.failure.lock().expect("no panic").clone().unwrap_or_default()
    }

    fn failed<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.failure.lock().expect("no panic").get_or_insert(format!("{error:#}"));
        }
        result
    }

    fn place(&self) -> Place {
        *self.place.lock().expect("no panic")
    }

    /// The broker's next life; `error` is how the last one ended for this client.
    fn await_life(&self, last: u8, error: anyhow::Error) -> Result<Place> {
        let place = self.place.lock().expect("no panic");
        let is_same = |place: &mut Place| place.life == last;
        let waited = self.moved.wait_timeout_while(place, PATIENCE, is_same);
        let (place, timeout) = waited.expect("no panic");
        if timeout.timed_out() {
            return Err(error.context("it ended, and nobody had killed the broker"));
        }
        Ok(*place)
    }

    /// Publishes this publisher's share, and gives what it sent.
    pub(super) fn publish(&self, index: u32) -> Result<Vec<Sent>> {
        self.failed(self.publish_share(index))
    }

    fn publish_share(&self, index: u32) -> Result<Vec<Sent>> {
        let share = (self.plan.messages / PUBLISHERS) as usize;
        let ticks_per_second = 1_000 / TICK.as_millis() as u32;
        let together = (self.plan.per_second / PUBLISHERS / ticks_per_second).max(1) as usize;
        let mut all: Vec<Sent> = Vec::with_capacity(share);
        let (mut confirmed, mut place) = (0, self.place());
        let mut amqp = None;
        let mut tick = Instant::now();
        while confirmed < share {
            let first = all.len();
            let sent = now_us();
            for at in first..first + together {
                let number = at as u32 * PUBLISHERS + index;
                all.push(self.invent(number, sent));
            }
            let batch = &mut all[first..];
            let result = match index % 2 {
                0 => by_amqp(&mut amqp, place, batch),
                _ => over_http(place, batch),
            };
            match result {
                Ok(()) => {
                    let now = now_us();
                    for sent in batch {
                        sent.confirmed = Some(now);
                        // By AMQP a delay counts from when the broker reads it.
                        if let (0, Some(due)) = (index % 2, &mut sent.due) {
                            due.last += (now / 1_000 - sent.sent / 1_000) * 1_000;
                        }
                    }
                    confirmed += together;
                    self.confirmed.fetch_add(together as u64, Relaxed);
                }
                Err(error) => {
                    amqp = None;
                    place = self.await_life(place.life, error)?;
                }
            }
            tick += TICK;
            std::thread::sleep(tick.saturating_duration_since(Instant::now()));
            tick = tick.max(Instant::now() - TICK);
        }
        Ok(all)
    }

    fn invent(&self, number: u32, sent: i64) -> Sent {
        let roll = |salt| mix(u64::from(number), salt);
        let due = (roll(5) % 10 < 4).then(|| {
            let delay_ms = (50 + roll(6) % self.plan.delay_ms_max) as i64;
            let first = (sent / 1_000 + delay_ms) * 1_000;
            Due { first, last: first }
        });
        let key = (roll(7) % u64::from(self.plan.keys)) as u32;
        let priority = (roll(8) % u64::from(self.plan.priorities)) as u8;
        Sent { number, key, priority, sent, confirmed: None, due }
    }

    /// Consumes until it is stopped; gives what it saw, and when it dropped a connection with what it never read.
    pub(super) fn consume(&self, index: usize) -> Result<(Vec<Seen>, Vec<i64>)> {
        let (mut seen, mut dropped) = (Vec::new(), Vec::new());
        let result = self.consume_on(index, &mut seen, &mut dropped);
        self.failed(result)?;
        Ok((seen, dropped))
    }

    fn consume_on(&self, index: usize, seen: &mut Vec<Seen>, drops: &mut Vec<i64>) -> Result<()> {
        let mut place = self.place();
        while !self.stopping.load(Relaxed) {
            match self.consume_once(index, place, seen, drops) {
                Ok(()) => {}
                Err(_) if self.stopping.load(Relaxed) => {}
                Err(error) => {
                    let now = now_us();
                    // What it held when the connection ended by itself.
                    if let Some(last) = seen.last_mut().filter(|last| last.ended == 0) {
                        (last.did, last.ended) = (Did::Lost, now);
                    }
                    place = self.await_life(place.life, error)?;
                }
            }
        }
        Ok(())
    }

    /// Consumes on one connection until it drops it.
    fn consume_once(
        &self,
        index: usize,
        place: Place,
        seen: &mut Vec<Seen>,
        drops: &mut Vec<i64>,
    ) -> Result<()> {
        let mut amqp = Amqp::connect(place.amqp)?;
        let stream = amqp.another()?;
        self.streams.lock().expect("no panic").push(amqp.another()?);
        if self.stopping.load(Relaxed) {
            return Ok(());
        }
        amqp.consume(QUEUE, PREFETCH)?;
        loop {
            let message = amqp.message()?;
            seen.push(noted(&message, place.life)?);
            let count = seen.len() as u64;
            if mix(count, index as u64).is_multiple_of(DROPS_ONCE_IN) {
                // What it has settled shall be, so that it loses what it holds. Most read all that
                // they hold before that; what the others were sent last they never see.
                let is_blind = mix(count, index as u64 + 2_000).is_multiple_of(BLIND_ONCE_IN);
                let more = if is_blind { amqp.round_trip(QUEUE)? } else { amqp.cancel(QUEUE)? };
                let first = seen.len() - 1;
                for message in &more {
                    seen.push(noted(message, place.life)?);
                }
                let now = now_us();
                for lost in &mut seen[first..] {
                    (lost.did, lost.ended) = (Did::Lost, now);
                }
                drops.extend(is_blind.then_some(now));
                self.dropped.fetch_add(1, Relaxed);
                stream.shutdown(Shutdown::Both).context("cannot drop a connection")?;
                return Ok(());
            }
            if mix(count, index as u64 + 1_000).is_multiple_of(WORKS_ONCE_IN) {
                std::thread::sleep(WORK);
            }
            let last = seen.last_mut().expect("just pushed");
            let did = decide(self.plan.fate(last.number), last);
            (last.did, last.ended) = (did, now_us());
            let how = match did {
                Did::Acked => Settle::Ack,
                Did::Returned => Settle::Return,
                Did::Failed => Settle::Reject { requeue: true },
                Did::Refused => Settle::Reject { requeue: false },
                Did::Lost => bail!("nobody decides to lose a message"),
            };
            amqp.settle(message.tag, how)?;
        }
    }
}

fn noted(message: &Message, life: u8) -> Result<Seen> {
    Ok(Seen {
        number: number_of(&message.body)?,
        life,
        at: now_us(),
        ended: 0,
        did: Did::Lost,
        failures: message.number("x-delivery-count").unwrap_or(0),
        redelivered: message.redelivered,
    })
}

fn decide(fate: Fate, seen: &Seen) -> Did {
    match fate {
        Fate::Done => Did::Acked,
        Fate::DoneAfter(times) if seen.failures >= times => Did::Acked,
        Fate::ReturnedOnce if seen.redelivered => Did::Acked,
        Fate::ReturnedOnce => Did::Returned,
        Fate::DoneAfter(_) | Fate::NeverDone => Did::Failed,
        Fate::Refused => Did::Refused,
    }
}

/// Publishes some messages, those with a due time through the exchange that delays, and waits for
/// their confirms.
fn by_amqp(amqp: &mut Option<(Amqp, u64)>, place: Place, batch: &[Sent]) -> Result<()> {
    let (amqp, published) = match amqp {
        Some(open) => open,
        None => {
            let mut opened = Amqp::connect(place.amqp)?;
            opened.confirm()?;
            amqp.insert((opened, 0))
        }
    };
    let mut frames = Vec::new();
    for sent in batch {
        let headers = Table::default().text("key", &sent.key.to_string());
        let (exchange, headers) = match sent.due {
            Some(due) => {
                let delay = due.first / 1_000 - sent.sent / 1_000;
                (EXCHANGE, headers.number("x-delay", delay as i32))
            }
            None => ("", headers),
        };
        let body = sent.number.to_string();
        publish_with(&mut frames, (exchange, QUEUE), &headers, sent.priority, body.as_bytes());
    }
    amqp.send(&frames)?;
    *published += batch.len() as u64;
    amqp.await_confirms(*published)
}

/// Publishes some messages in one request, which is answered when they are durable.
fn over_http(place: Place, batch: &[Sent]) -> Result<()> {
    let mut body = String::from("{\"messages\":[");
    for (at, sent) in batch.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let (number, key, priority) = (sent.number, sent.key, sent.priority);
        write!(
            body,
            "{comma}{{\"value\":\"{number}\",\"headers\":{{\"key\":\"{key}\",\"priority\":\"{priority}\"}}"
        )?;
        if let Some(due) = sent.due {
            write!(body, ",\"due_ms\":{}", due.first / 1_000)?;
        }
        body.push('}');
    }
    body.push_str("]}");
    http(place.admin, "POST", &format!("/v1/queues/{QUEUE}/publish"), &body).map(drop)
}
