//! Line 7: a message at the head of a queue that is never settled, with many behind it.

use super::amqp::{Amqp, publish_frames};
use super::broker::Broker;
use super::{Ground, Outcome};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

const BODY_BYTES: usize = 200;
/// Messages published between two waits for their confirms.
const PUBLISH_WINDOW: usize = 20_000;
const PREFETCH: u16 = 1_000;
/// What may be left on the disk of what was there at most, when the rest is consumed.
const LEFT_MAX: f64 = 0.25;
/// By the time half is consumed.
const HALF_LEFT_MAX: f64 = 0.75;
/// What the broker has to give the disk's space back.
const PATIENCE: Duration = Duration::from_secs(60);

/// What there was at a moment.
#[derive(Clone, Copy)]
struct Look {
    disk_bytes: u64,
    memory_kb: u64,
}

impl Look {
    fn at(broker: &Broker) -> Result<Look> {
        let disk_bytes = broker.metric("crossdock_journal_segment_bytes")?;
        Ok(Look { disk_bytes, memory_kb: broker.status_kb("VmRSS")? })
    }

    /// The disk has so much less, within the broker's time for it.
    fn await_less(broker: &Broker, bytes_max: u64) -> Result<Look> {
        let began = Instant::now();
        loop {
            let look = Look::at(broker)?;
            if look.disk_bytes <= bytes_max || began.elapsed() > PATIENCE {
                return Ok(look);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// One that is held and never acknowledged, and one that always goes back.
pub(super) fn poison(ground: &Ground) -> Result<Outcome> {
    let count = if ground.full { 10_000_000 } else { 1_000_000 };
    let (mut figures, mut holds) = (Vec::new(), true);
    for (name, returns) in [("held", false), ("returned", true)] {
        let data = ground.directory(&format!("poison-{name}"))?.join("data");
        let broker = Broker::start_with(ground, &data, &["--segment-bytes=16777216"])?;
        let (full, half, rest) = consume_behind(&broker, count, returns)?;
        let part = |look: Look| look.disk_bytes as f64 / full.disk_bytes.max(1) as f64;
        holds &= part(half) <= HALF_LEFT_MAX && part(rest) <= LEFT_MAX;
        // Resident memory never shrinks by itself to what it was; but it does not grow.
        holds &= rest.memory_kb <= full.memory_kb + (32 << 10);
        let told = |look: Look| {
            format!("{} MB/{} MB", look.disk_bytes / 1_000_000, look.memory_kb / 1_000)
        };
        figures.push(format!("{name}: {}, {}, {}", told(full), told(half), told(rest)));
    }
    let figure = format!(
        "disk/memory with {:.0} M behind, with half of them, with none; {}",
        count as f64 / 1e6,
        figures.join("; ")
    );
    Ok(if !holds {
        Outcome::Failed(figure)
    } else if ground.full {
        Outcome::Passed(figure)
    } else {
        Outcome::NotRun(format!("{figure}; 10 M with --full"))
    })
}

/// Publishes, has the first message poisoned, and consumes the others; gives what there was when
/// all were there, half of them, and none.
fn consume_behind(broker: &Broker, count: usize, returns: bool) -> Result<(Look, Look, Look)> {
    publish(broker.amqp, count)?;
    let full = Look::at(broker)?;
    let mut holder = Amqp::connect(broker.amqp)?;
    if !returns {
        holder.consume("poisoned", 1)?;
        ensure!(holder.delivery()?.1.starts_with(b"poison"), "the first message comes first");
    }
    let mut amqp = Amqp::connect(broker.amqp)?;
    amqp.consume("poisoned", PREFETCH)?;
    let (mut half, mut consumed, mut came_again) = (None, 1, 0u64);
    while consumed < count {
        let (tag, body) = amqp.delivery()?;
        if body.starts_with(b"poison") {
            ensure!(returns, "what is held came again");
            came_again += 1;
            amqp.nack(tag)?;
            continue;
        }
        consumed += 1;
        if consumed % 100 == 0 || consumed == count || consumed == count / 2 {
            // The poisoned one went back before, and is none of those up to here.
            amqp.ack(tag)?;
        }
        if consumed >= count / 2 && half.is_none() {
            half = Some(Look::await_less(broker, full.disk_bytes / 4 * 3)?);
        }
    }
    ensure!(!returns || came_again > 1, "what went back did not come again");
    let rest = Look::await_less(broker, full.disk_bytes / 5)?;
    Ok((full, half.unwrap_or(rest), rest))
}

fn publish(port: u16, count: usize) -> Result<()> {
    let mut amqp = Amqp::connect(port)?;
    amqp.declare("poisoned")?;
    amqp.confirm()?;
    let mut body = [b'x'; BODY_BYTES];
    body[..6].copy_from_slice(b"poison");
    amqp.publish("poisoned", &body)?;
    let mut frames = Vec::new();
    for _ in 0..100 {
        publish_frames(&mut frames, "poisoned", &[b'x'; BODY_BYTES]);
    }
    let mut sent = 1;
    while sent < count {
        amqp.send(&frames)?;
        sent += 100;
        amqp.await_confirms(sent.saturating_sub(PUBLISH_WINDOW) as u64)?;
    }
    amqp.await_confirms(sent as u64)
}
