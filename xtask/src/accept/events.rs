//! A topic as an event store: reads of one key among many, and appends by many at once.

use super::broker::Broker;
use super::{Ground, Outcome};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const TOPIC: &str = "events";
const EVENTS: usize = 1_000_000;
const KEYS: usize = 100_000;
/// Events of one request, and clients that send them.
const TOGETHER: usize = 1_000;
const CLIENTS: usize = 4;
/// What an event says.
const BODY_BYTES: usize = 100;
const READS: usize = 20_000;
const MEDIAN_MAX: Duration = Duration::from_millis(1);

/// Who appends to the same keys at once, and how often each does.
const WRITERS: usize = 32;
const APPENDS: usize = 250;
const HOT_KEYS: usize = 8;
/// Most events of one answer.
const PAGE: usize = 1_000;
/// Longest wait for an answer, and for a broker that was killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that is kept.
struct Http {
    stream: BufReader<TcpStream>,
}

/// An event as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    offset: i64,
    value: String,
}

/// What a publish was answered with.
enum Answer {
    Appended(i64),
    /// The last event of the key is there.
    Conflict(Option<i64>),
}

/// Line 7: a million events of many keys, reads of single keys, then writers that contend.
pub(super) fn store(ground: &Ground) -> Result<Outcome> {
    let data = ground.directory("events")?.join("data");
    let broker = Broker::start(ground, &data)?;
    let config = "{\"config\":{\"crossdock.key.index\":\"true\",\"retention.ms\":\"-1\"}}";
    broker.http("PUT", &format!("/v1/topics/{TOPIC}"), config)?;
    let began = Instant::now();
    let port = broker.admin;
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|client| scope.spawn(move || fill(port, client))).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client"))
    })?;
    let filled_in = began.elapsed();
    let warm = read_keys(port)?;
    broker.kill()?;
    let broker = Broker::start(ground, &data)?;
    let cold = read_keys(broker.admin)?;
    let resident = broker.status_kb("VmRSS")?;
    let contended = contend(ground, broker)?;
    let figure = format!(
        "{:.1} M events over {KEYS} keys in {:.0} s; a key's events read in {:.2} ms at the median, \
         p99 {:.2} ms, after a SIGKILL {:.2} and {:.2} ms, {} MB resident; {contended}",
        EVENTS as f64 / 1e6,
        filled_in.as_secs_f64(),
        ms(warm[READS / 2]),
        ms(warm[READS * 99 / 100]),
        ms(cold[READS / 2]),
        ms(cold[READS * 99 / 100]),
        resident / 1_000,
    );
    Ok(Outcome::of(warm[READS / 2].max(cold[READS / 2]) < MEDIAN_MAX, figure))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The key of an event: each comes once in as many events in a row as there are keys.
fn key_of(event: usize) -> usize {
    event * 7_919 % KEYS
}

/// Publishes a client's part of the events.
fn fill(port: u16, client: usize) -> Result<()> {
    let mut http = Http::connect(port)?;
    let path = format!("/v1/topics/{TOPIC}/publish");
    let events = client * (EVENTS / CLIENTS)..(client + 1) * (EVENTS / CLIENTS);
    let mut body = String::new();
    for first in events.step_by(TOGETHER) {
        body.clear();
        body.push_str("{\"messages\":[");
        for event in first..first + TOGETHER {
            let comma = if event == first { "" } else { "," };
            let key = key_of(event);
            write!(body, "{comma}{{\"key\":\"k{key}\",\"value\":\"{event:0BODY_BYTES$}\"}}")?;
        }
        body.push_str("]}");
        let (status, answer) = http.ask("POST", &path, &body)?;
        ensure!(status == 200, "{status}: {answer}");
    }
    Ok(())
}

/// How long reads of all events of keys took, sorted; what they give is checked.
fn read_keys(port: u16) -> Result<Vec<Duration>> {
    let mut http = Http::connect(port)?;
    let mut took = Vec::with_capacity(READS);
    for read in 0..READS {
        let key = read * 48_611 % KEYS;
        let path = format!("/v1/topics/{TOPIC}/events?key=k{key}");
        let began = Instant::now();
        let (status, answer) = http.ask("GET", &path, "")?;
        took.push(began.elapsed());
        ensure!(status == 200, "{status}: {answer}");
        let events = events_of(&answer)?;
        let own = |event: &Event| event.value.parse().is_ok_and(|event| key_of(event) == key);
        let ordered = events.is_sorted_by(|one, next| one.offset < next.offset);
        let whole = events.len() == EVENTS / KEYS && ordered && events.iter().all(own);
        ensure!(whole, "key {key} is read as {events:?}");
    }
    took.sort_unstable();
    Ok(took)
}

/// Many writers append to few keys, each behind the last event it knows; the broker is killed in the
/// middle. What they were told is held against what is there.
fn contend(ground: &Ground, broker: Broker) -> Result<String> {
    let (port, done) = (AtomicU16::new(broker.admin), AtomicUsize::new(0));
    let data = broker.data.clone();
    let (written, broker) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let (port, done) = (&port, &done);
                scope.spawn(move || Writer { number, ..Writer::default() }.write(port, done))
            })
            .collect();
        let halfway = Instant::now();
        while done.load(SeqCst) < WRITERS * APPENDS / 2 && halfway.elapsed() < 4 * PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        broker.kill()?;
        let broker = Broker::start(ground, &data)?;
        port.store(broker.admin, SeqCst);
        let written = writers.into_iter().map(|writer| writer.join().expect("a writer"));
        Ok::<_, anyhow::Error>((written.collect::<Result<Vec<Writer>>>()?, broker))
    })?;
    let mut there = BTreeMap::new();
    for key in 0..HOT_KEYS {
        let mut last = None;
        for event in Http::connect(broker.admin)?.history(&hot(key))? {
            let told: Vec<&str> = event.value.split(' ').collect();
            let [writer, append, after] = told[..] else { bail!("an event of nobody: {event:?}") };
            ensure!(after == spelled(last), "{event:?} follows the one at {last:?}");
            last = Some(event.offset);
            let name = (writer.to_owned(), append.to_owned());
            let again = there.insert(name, event.offset);
            ensure!(again.is_none(), "{event:?} is there twice");
        }
    }
    let told: usize = written.iter().map(|writer| writer.appended.len()).sum();
    ensure!(
        told == WRITERS * APPENDS && there.len() == told,
        "{} of {told} are there",
        there.len()
    );
    for writer in &written {
        for (append, offset) in writer.appended.iter().enumerate() {
            let name = (writer.number.to_string(), append.to_string());
            ensure!(there.get(&name) == Some(offset), "{name:?} was to be at {offset}");
        }
    }
    let sum = |of: fn(&Writer) -> usize| written.iter().map(of).sum::<usize>();
    Ok(format!(
        "{told} appends of {WRITERS} writers to {HOT_KEYS} keys, each once and behind what it expected: \
         {} conflicts, {} unanswered at a SIGKILL, of which {} were there",
        sum(|writer| writer.conflicts),
        sum(|writer| writer.unanswered),
        sum(|writer| writer.found),
    ))
}

#[derive(Default)]
struct Writer {
    number: usize,
    /// Where each append is.
    appended: Vec<i64>,
    conflicts: usize,
    unanswered: usize,
    /// Unanswered, and there all the same.
    found: usize,
}

impl Writer {
    /// Appends its events, one after the other.
    fn write(mut self, port: &AtomicU16, done: &AtomicUsize) -> Result<Writer> {
        let mut http = Http::connect(port.load(SeqCst))?;
        for append in 0..APPENDS {
            let key = hot((self.number * 5 + append) % HOT_KEYS);
            let mut last = http.last(&key).ok().flatten();
            let offset = loop {
                let value = format!("{} {append} {}", self.number, spelled(last));
                match http.append(&key, &value, last) {
                    Ok(Answer::Appended(offset)) => break offset,
                    Ok(Answer::Conflict(there)) => {
                        self.conflicts += 1;
                        last = there;
                    }
                    Err(_) => {
                        self.unanswered += 1;
                        let (again, events) = read_again(port, &key)?;
                        http = again;
                        let own = format!("{} {append} ", self.number);
                        let found = events.iter().find(|event| event.value.starts_with(&own));
                        if let Some(event) = found {
                            self.found += 1;
                            break event.offset;
                        }
                        last = events.last().map(|event| event.offset);
                    }
                }
            };
            self.appended.push(offset);
            done.fetch_add(1, SeqCst);
        }
        Ok(self)
    }
}

/// Reads a key's history as soon as there is a broker.
fn read_again(port: &AtomicU16, key: &str) -> Result<(Http, Vec<Event>)> {
    let began = Instant::now();
    loop {
        let read = Http::connect(port.load(SeqCst)).and_then(|mut http| {
            let events = http.history(key)?;
            Ok((http, events))
        });
        match read {
            Ok(read) => return Ok(read),
            Err(error) if began.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn hot(key: usize) -> String {
    format!("hot-{key}")
}

fn spelled(last: Option<i64>) -> String {
    last.map_or("none".to_owned(), |last| last.to_string())
}

impl Http {
    fn connect(port: u16) -> Result<Http> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Http { stream: BufReader::new(stream) })
    }

    /// Asks; gives the status and the body of the answer.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: broker\r\nContent-Length: {length}\r\n\r\n");
        self.stream.get_mut().write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("no answer to {path}"))?;
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().context("a length that is no number")?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body)?))
    }

    /// Appends an event of a key behind its last one.
    fn append(&mut self, key: &str, value: &str, last: Option<i64>) -> Result<Answer> {
        let expected = match last {
            Some(last) => format!("\"expect_offset\":{last}"),
            None => "\"expect_absent\":true".to_owned(),
        };
        let message = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
        let body = format!("{{\"messages\":[{message}],{expected}}}");
        let (status, answer) = self.ask("POST", &format!("/v1/topics/{TOPIC}/publish"), &body)?;
        match status {
            200 => Ok(Answer::Appended(number(&answer, "offset").context("no offset")?)),
            409 => Ok(Answer::Conflict(number(&answer, "last"))),
            _ => bail!("{status}: {answer}"),
        }
    }

    /// Where the last event of a key is.
    fn last(&mut self, key: &str) -> Result<Option<i64>> {
        let path = format!("/v1/topics/{TOPIC}/events?key={key}&count=1&order=newest");
        let (status, answer) = self.ask("GET", &path, "")?;
        ensure!(status == 200, "{status}: {answer}");
        Ok(events_of(&answer)?.first().map(|event| event.offset))
    }

    /// All events of a key.
    fn history(&mut self, key: &str) -> Result<Vec<Event>> {
        let (mut events, mut from) = (Vec::new(), Some(0));
        while let Some(offset) = from {
            let path = format!("/v1/topics/{TOPIC}/events?key={key}&from={offset}&count={PAGE}");
            let (status, answer) = self.ask("GET", &path, "")?;
            ensure!(status == 200, "{status}: {answer}");
            events.extend(events_of(&answer)?);
            from = number(&answer, "next");
        }
        Ok(events)
    }
}

/// The number of a field, the first of its name.
fn number(json: &str, name: &str) -> Option<i64> {
    let rest = json.split_once(&format!("\"{name}\":"))?.1;
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The events of an answer; their values are plain.
fn events_of(json: &str) -> Result<Vec<Event>> {
    let event = |shown: &str| {
        let value = shown.split_once("\"value\":\"")?.1.split_once('"')?.0;
        Some(Event { offset: number(shown, "offset")?, value: value.to_owned() })
    };
    let shown = json.split("\"partition\":").skip(1);
    shown.map(|shown| event(shown).with_context(|| format!("no event: {shown}"))).collect()
}
