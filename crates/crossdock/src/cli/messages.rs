//! `crossdock publish` and `crossdock consume`.

use super::{Failed, Remote, out};
use clap::Args;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::PathBuf;
use std::process::ExitCode;

/// Messages of one request, at most; with [`BATCH_BYTES`] it bounds a request.
const BATCH_COUNT: usize = 1_000;

/// A request is sent when it has so many bytes of input.
const BATCH_BYTES: usize = 1 << 20;

/// Longest line.
const LINE_BYTES_MAX: u64 = 96 << 20;

/// How long one request of `--follow` waits.
const FOLLOW_WAIT_MS: u64 = 20_000;

/// Which queue or topic.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Named {
    /// A queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// A topic
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Publish {
    #[command(flatten)]
    to: Named,
    /// The lines; without it, standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Each line is an object: value, key, headers, timestamp_ms
    #[arg(long)]
    json: bool,
    /// The key of every message
    #[arg(long, conflicts_with = "json")]
    key: Option<String>,
    /// Create the queue or topic if it is not there
    #[arg(long)]
    create: bool,
    /// Partitions of a topic that is created
    #[arg(long, default_value_t = 1, requires = "create", value_name = "COUNT")]
    partitions: u32,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
pub(super) struct Consume {
    #[command(flatten)]
    from: Named,
    /// Stop after so many messages; without it, when there are no more
    #[arg(long, value_name = "COUNT")]
    count: Option<usize>,
    /// Wait for further messages
    #[arg(long)]
    follow: bool,
    /// Print each message as an object
    #[arg(long)]
    json: bool,
    /// Leave the messages in the queue: one look, at most 10,000 of them
    #[arg(long, conflicts_with_all = ["topic", "follow"])]
    leave: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Named {
    /// The API's word for it, and its name.
    fn parts(&self) -> (&'static str, &str) {
        match (&self.queue, &self.topic) {
            (Some(queue), _) => ("queues", queue),
            (None, topic) => ("topics", topic.as_deref().unwrap_or_default()),
        }
    }
}

/// Publishes every line; each request is durable before the next is made.
pub(super) fn publish(publish: &Publish) -> Result<ExitCode, Failed> {
    let (kind, name) = publish.to.parts();
    let remote = &publish.remote;
    if publish.create {
        let settings = match kind {
            "topics" => json!({"partitions": publish.partitions}),
            _ => json!({}),
        };
        remote.ask("PUT", &remote.path(&[kind, name]), Some(&settings))?;
    }
    let mut input: Box<dyn BufRead> = match &publish.file {
        None => Box::new(stdin().lock()),
        Some(path) => {
            let file = File::open(path)
                .map_err(|error| Failed::new(format!("cannot read {}: {error}", path.display())))?;
            Box::new(BufReader::new(file))
        }
    };
    let path = remote.path(&[kind, name, "publish"]);
    let (mut sent, mut number) = (0, 0);
    loop {
        let (messages, ended) = batch(&mut *input, publish, &mut number)?;
        if !messages.is_empty() {
            let count = messages.len();
            remote.ask("POST", &path, Some(&json!({"messages": messages})))?;
            sent += count;
        }
        if ended {
            break;
        }
    }
    out::print(&format!("published {sent} messages to {name}"));
    Ok(ExitCode::SUCCESS)
}

/// Some lines as messages, and whether they were the last.
fn batch(
    input: &mut dyn BufRead,
    publish: &Publish,
    number: &mut usize,
) -> Result<(Vec<Value>, bool), Failed> {
    let mut messages = Vec::new();
    let mut bytes = 0;
    while messages.len() < BATCH_COUNT && bytes < BATCH_BYTES {
        let mut line = Vec::new();
        *number += 1;
        std::io::Read::take(&mut *input, LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|error| Failed::new(format!("cannot read line {number}: {error}")))?;
        if line.is_empty() {
            return Ok((messages, true));
        }
        bytes += line.len();
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() as u64 == LINE_BYTES_MAX {
            return Err(Failed::new(format!(
                "line {number} is longer than {LINE_BYTES_MAX} bytes"
            )));
        }
        messages.push(message(&line, publish, *number)?);
    }
    Ok((messages, false))
}

fn message(line: &[u8], publish: &Publish, number: usize) -> Result<Value, Failed> {
    if publish.json {
        let message: Map<String, Value> = serde_json::from_slice(line)
            .map_err(|error| Failed::new(format!("line {number} is no JSON object: {error}")))?;
        return Ok(Value::Object(message));
    }
    let text = admin::Text(bytes::Bytes::copy_from_slice(line));
    Ok(json!({"value": text, "key": publish.key}))
}

/// Prints messages until there are enough of them, or no more.
pub(super) fn consume(consume: &Consume) -> Result<ExitCode, Failed> {
    let (kind, name) = consume.from.parts();
    let mut left = consume.count.unwrap_or(usize::MAX);
    // By partition, the offset to read next; of a topic nothing is taken away.
    let mut positions: Map<String, Value> = Map::new();
    if kind == "topics" {
        positions = starts(consume, name)?;
    }
    let path = match kind {
        "topics" => consume.remote.path(&[kind, name, "read"]),
        _ => consume.remote.path(&[kind, name, "consume"]),
    };
    while left > 0 {
        let wait_ms = if consume.follow { FOLLOW_WAIT_MS } else { patience(kind) };
        let count = left.min(if consume.leave { 10_000 } else { BATCH_COUNT });
        let mut wanted = json!({"count": count, "wait_ms": wait_ms});
        match kind {
            "topics" => wanted["positions"] = Value::Object(positions.clone()),
            _ => wanted["ack"] = json!(!consume.leave),
        }
        let answer = consume.remote.ask("POST", &path, Some(&wanted))?;
        let shown = show(&answer, consume.json, &mut positions)?;
        left -= shown.min(left);
        if consume.leave || shown == 0 && !consume.follow {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How long to wait for a message when no more are expected: records of a topic may have to come
/// from the disk first.
fn patience(kind: &str) -> u64 {
    if kind == "topics" { 300 } else { 0 }
}

/// Every partition of a topic from its start.
fn starts(consume: &Consume, name: &str) -> Result<Map<String, Value>, Failed> {
    let topic = consume.remote.ask_json("GET", &consume.remote.path(&["topics", name]), None)?;
    let partitions = topic["partitions"].as_array().cloned().unwrap_or_default();
    let start =
        |(at, partition): (usize, Value)| (at.to_string(), partition["start_offset"].clone());
    Ok(partitions.into_iter().enumerate().map(start).collect())
}

/// Prints the messages of an answer; gives how many there were.
fn show(answer: &[u8], as_json: bool, positions: &mut Map<String, Value>) -> Result<usize, Failed> {
    let mut count = 0;
    let mut page = Vec::new();
    for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: Value = serde_json::from_slice(line)
            .map_err(|error| Failed::new(format!("the broker sent no JSON: {error}")))?;
        if let (Some(partition), Some(offset)) =
            (message["partition"].as_u64(), message["offset"].as_i64())
        {
            positions.insert(partition.to_string(), json!(offset + 1));
        }
        if as_json {
            page.extend_from_slice(line);
        } else {
            let value = message.get("value").cloned().unwrap_or_default();
            let text: Option<admin::Text> = serde_json::from_value(value)
                .map_err(|error| Failed::new(format!("the broker sent a broken value: {error}")))?;
            page.extend_from_slice(&text.unwrap_or_default().0);
        }
        page.push(b'\n');
        count += 1;
    }
    if count > 0 && !out::emit(&page) {
        return Err(Failed::new("standard output is closed"));
    }
    Ok(count)
}
