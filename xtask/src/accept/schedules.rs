//! Messages that are scheduled: what millions of them cost, and how late they come.

use super::amqp::Amqp;
use super::broker::Broker;
use super::{Ground, Outcome};
use anyhow::{Context as _, Result, ensure};
use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const QUEUE: &str = "scheduled";
const YEAR_MS: u64 = 365 * 24 * 3_600_000;
/// Messages of one request.
const TOGETHER: usize = 1_000;
const CLIENTS: usize = 4;
const RESIDENT_KB_MAX: u64 = 300_000;
const START_MAX: Duration = Duration::from_secs(2);
const ASKED_MAX: Duration = Duration::from_millis(10);
const ASKS: usize = 100;
/// Messages that come due in a second, and for so long.
const DUE_PER_S: u64 = 10_000;
const DUE_FOR_S: u64 = 10;
/// From scheduling the first of those to its time.
const AHEAD_MS: u64 = 20_000;
const LATE_MS_MAX: u64 = 100;

/// So many over a year, then some that come due together, beside a consumer.
pub(super) fn year(ground: &Ground) -> Result<Outcome> {
    let count = if ground.full { 10_000_000 } else { 500_000 };
    let data = ground.directory("year")?.join("data");
    let broker = Broker::start(ground, &data)?;
    Amqp::connect(broker.amqp)?.declare(QUEUE)?;
    let began = Instant::now();
    let later = now_ms() + 3_600_000;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let broker = &broker;
                scope.spawn(move || {
                    let own = (0..count / CLIENTS).map(|number| {
                        // Far apart, in an order that has nothing to do with when they are due.
                        let number = (number * CLIENTS + client) as u64;
                        later + number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % YEAR_MS
                    });
                    schedule(broker, own)
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client"))
    })?;
    let (scheduled_in, resident) = (began.elapsed(), broker.status_kb("VmRSS")?);
    broker.kill()?;
    let broker = Broker::start(ground, &data)?;
    let (started, again) = (broker.started_in, broker.status_kb("VmRSS")?);
    let asked = ask(&broker, count as u64)?;
    let (late, most) = on_time(&broker)?;
    let peak = broker.status_kb("VmHWM")?;
    let figure = format!(
        "{:.1} M scheduled in {:.0} s: {} MB resident, {} MB after a start of {} ms, {} MB at most; \
         listed or cancelled in {:.1} ms at most; {DUE_PER_S} due in a second: p99 {late} ms late, \
         {most} ms at most",
        count as f64 / 1e6,
        scheduled_in.as_secs_f64(),
        resident / 1_000,
        again / 1_000,
        started.as_millis(),
        peak / 1_000,
        asked.as_secs_f64() * 1e3,
    );
    let holds = resident.max(again).max(peak) <= RESIDENT_KB_MAX
        && started <= START_MAX
        && asked <= ASKED_MAX
        && late <= LATE_MS_MAX;
    Ok(match (holds, ground.full) {
        (true, false) => Outcome::NotRun(format!("{figure}; 10 M with --full")),
        (holds, _) => Outcome::of(holds, figure),
    })
}

fn schedule(broker: &Broker, due: impl Iterator<Item = u64>) -> Result<()> {
    let mut due = due.peekable();
    let mut body = String::new();
    while due.peek().is_some() {
        body.clear();
        body.push_str("{\"messages\":[");
        for (number, due) in due.by_ref().take(TOGETHER).enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(body, "{comma}{{\"value\":\"{due}\",\"due_ms\":{due}}}")?;
        }
        body.push_str("]}");
        broker.http("POST", &format!("/v1/queues/{QUEUE}/publish"), &body)?;
    }
    Ok(())
}

/// The longest of some requests: pages all over the schedule, and an entry cancelled in each.
fn ask(broker: &Broker, count: u64) -> Result<Duration> {
    let mut longest = Duration::ZERO;
    for number in 0..ASKS as u64 {
        let id = number * (count / ASKS as u64);
        let path = format!("/v1/queues/{QUEUE}/scheduled");
        let began = Instant::now();
        let page = broker.http("GET", &format!("{path}?from={id}&count=10"), "")?;
        longest = longest.max(began.elapsed());
        ensure!(page.contains(&format!("\"id\":{id}}}")), "{id} is not in the list: {page}");
        let began = Instant::now();
        broker.http("DELETE", &format!("{path}/{id}"), "")?;
        longest = longest.max(began.elapsed());
    }
    Ok(longest)
}

/// Milliseconds that messages come late, of which 99 % come earlier, and at most.
fn on_time(broker: &Broker) -> Result<(u64, u64)> {
    let first = now_ms() + AHEAD_MS;
    let count = DUE_PER_S * DUE_FOR_S;
    let mut consumer = Amqp::connect(broker.amqp)?;
    consumer.consume(QUEUE, 2_000)?;
    schedule(broker, (0..count).map(|number| first + number * 1_000 / DUE_PER_S))?;
    ensure!(now_ms() < first, "it took too long to schedule them");
    let mut late = Vec::new();
    for number in 1..=count {
        let (tag, body) = consumer.delivery()?;
        let now = now_ms();
        let due: u64 = std::str::from_utf8(&body)?.parse().context("a body that is no time")?;
        late.push(now.checked_sub(due).with_context(|| format!("{} ms early", due - now))?);
        if number % 500 == 0 {
            consumer.ack(tag)?;
        }
    }
    late.sort_unstable();
    Ok((late[late.len() * 99 / 100], late[late.len() - 1]))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_millis().try_into().expect("milliseconds")
}
