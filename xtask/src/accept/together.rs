//! Line 4: delay, priority, per-key order, retries and dead-lettering on one queue, while its
//! consumers fail and the broker is killed.

mod load;
mod records;
mod verify;

use super::amqp::{Amqp, Table};
use super::broker::Broker;
use super::{Ground, Outcome};
use anyhow::{Context as _, Result, ensure};
use load::{Load, Place};
use records::{Kill, Plan, Records, now_us};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const QUEUE: &str = "together";
const EXCHANGE: &str = "later";
const GRAVE: &str = "grave";
const CONSUMERS: usize = 50;
const KILLS: u64 = 5;
/// Messages of one key, about.
const PER_KEY: u32 = 50;
/// What the broker has to hand out the rest once nobody publishes any more.
const PATIENCE: Duration = Duration::from_secs(120);
/// So that segments are sealed, checkpointed and recycled meanwhile.
const SMALL: &[&str] = &["--segment-bytes=4194304"];
const LATE_US_MAX: i64 = 50_000;

/// Many messages through a queue that does all of it.
pub(super) fn together(ground: &Ground) -> Result<Outcome> {
    let plan = Plan {
        messages: if ground.full { 1_000_000 } else { 20_000 },
        per_second: if ground.full { 3_000 } else { 1_500 },
        keys: if ground.full { 1_000_000 / PER_KEY } else { 20_000 / PER_KEY },
        priorities: 5,
        delay_ms_max: if ground.full { 20_000 } else { 3_000 },
        retry_ms: 100,
        retry_times: 2,
        delivery_limit: 3,
    };
    let data = ground.directory("together")?.join("data");
    let records = run(ground, &data, plan)?;
    let found = verify::verify(&records);
    let figure = found.figure(&records);
    let holds = found.faults.is_empty()
        && found.late_us.median() <= LATE_US_MAX
        && found.retry_late_us.median() <= LATE_US_MAX;
    Ok(match (holds, ground.full) {
        (true, false) => Outcome::NotRun(format!("{figure}; 1 M with --full")),
        (holds, _) => Outcome::of(holds, figure),
    })
}

fn run(ground: &Ground, data: &std::path::Path, plan: Plan) -> Result<Records> {
    let mut broker = Broker::start_with(ground, data, SMALL)?;
    declare(&broker, plan)?;
    let load = Arc::new(Load::new(plan, Place::of(&broker, 0)));
    let publishers: Vec<_> = (0..load::PUBLISHERS)
        .map(|index| {
            let load = Arc::clone(&load);
            std::thread::spawn(move || load.publish(index))
        })
        .collect();
    let consumers: Vec<_> = (0..CONSUMERS)
        .map(|index| {
            let load = Arc::clone(&load);
            std::thread::spawn(move || load.consume(index))
        })
        .collect();
    let mut kills = Vec::new();
    for number in 1..=KILLS {
        let share = u64::from(plan.messages) * number / (KILLS + 1);
        while load.confirmed.load(Relaxed) < share {
            ensure!(!load.has_failed(), "a client failed: {}", load.why());
            std::thread::sleep(Duration::from_millis(1));
        }
        let at = now_us();
        broker.kill()?;
        broker = Broker::start_with(ground, data, SMALL)?;
        kills.push(Kill { at, back: now_us() });
        load.moved(Place::of(&broker, number as u8));
    }
    let mut sent = Vec::new();
    for publisher in publishers {
        sent.push(publisher.join().expect("a publisher")?);
    }
    let drained = await_empty(&broker, &load);
    load.stop();
    let (mut seen, mut blind) = (Vec::new(), Vec::new());
    for consumer in consumers {
        let (own, drops) = consumer.join().expect("a consumer")?;
        seen.extend(own);
        blind.extend(drops);
    }
    let left = drained?;
    let dead = read_grave(&broker)?;
    blind.sort_unstable();
    let dropped = load.dropped.load(Relaxed);
    Ok(Records { plan, sent, seen, dead, kills, dropped, blind, left })
}

fn declare(broker: &Broker, plan: Plan) -> Result<()> {
    let mut amqp = Amqp::connect(broker.amqp)?;
    amqp.declare(GRAVE)?;
    let arguments = Table::default()
        .text("x-queue-type", "quorum")
        .number("x-priorities", i32::from(plan.priorities) - 1)
        .text("x-order-key", "key")
        .text("x-delayed-retry-type", "failed")
        .number("x-delayed-retry-min", plan.retry_ms as i32)
        .number("x-delayed-retry-max", 60_000)
        .number("x-delayed-retry-multiplier", plan.retry_times as i32)
        .number("x-delivery-limit", plan.delivery_limit as i32)
        .text("x-dead-letter-exchange", "")
        .text("x-dead-letter-routing-key", GRAVE);
    amqp.declare_with(QUEUE, &arguments)?;
    let direct = Table::default().text("x-delayed-type", "direct");
    amqp.declare_exchange(EXCHANGE, "x-delayed-message", &direct, QUEUE)
}

/// Waits until nothing is in the queue nor scheduled for it; gives what was left in the end.
fn await_empty(broker: &Broker, load: &Load) -> Result<u64> {
    let began = Instant::now();
    loop {
        ensure!(!load.has_failed(), "a client failed: {}", load.why());
        let queue = broker.http("GET", &format!("/v1/queues/{QUEUE}"), "")?;
        let schedule = broker.http("GET", &format!("/v1/queues/{QUEUE}/scheduled?count=1"), "")?;
        let left = field(&queue, "messages")? + field(&schedule, "total")?;
        if left == 0 || began.elapsed() > PATIENCE {
            return Ok(left);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The number of this name in a flat JSON object.
fn field(json: &str, name: &str) -> Result<u64> {
    let start = format!("\"{name}\":");
    let (_, rest) = json.split_once(&start).with_context(|| format!("no {name} in {json}"))?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("{name} is no number in {json}"))
}

/// Every dead letter: how often it is there, and whether it was refused and not given up.
fn read_grave(broker: &Broker) -> Result<BTreeMap<u32, Vec<bool>>> {
    let count = field(&broker.http("GET", &format!("/v1/queues/{GRAVE}"), "")?, "messages")?;
    let mut amqp = Amqp::connect(broker.amqp)?;
    amqp.consume(GRAVE, 1_000)?;
    let mut dead = BTreeMap::<u32, Vec<bool>>::new();
    for read in 1..=count {
        let message = amqp.message()?;
        let is_refused = message.tells("rejected");
        ensure!(is_refused || message.tells("delivery_limit"), "a dead letter for no reason");
        dead.entry(records::number_of(&message.body)?).or_default().push(is_refused);
        if read % 500 == 0 {
            amqp.ack(message.tag)?;
        }
    }
    Ok(dead)
}
