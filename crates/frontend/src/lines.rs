//! A toy wire for tests: a line is a request, a line is a reply.

use crate::{Cx, Peer, Session, Wire};
use bytes::{Bytes, BytesMut};
use engine::api::{Append, Event, Op, Payload, Reply, Source, Take};
use engine::catalog::{Action, Change, DeclareQueue, Found, QueueOptions};
use record::{tail, tails};
use std::collections::BTreeMap;
use types::{ConsumerId, LogId, LogRef, Millis, Offset, ShardId, Token};

pub(crate) struct Lines;

impl Wire for Lines {
    fn name(&self) -> &'static str {
        "lines"
    }

    fn session(&self, _peer: &Peer) -> Box<dyn Session> {
        Box::new(LineSession::default())
    }
}

#[derive(Default)]
pub(crate) struct LineSession {
    asked: BTreeMap<Token, &'static str>,
}

impl LineSession {
    fn request(&mut self, line: &str, cx: &mut Cx<'_>) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "echo" => say(cx, rest),
            "append" => {
                let token = cx.submit(append(rest));
                self.asked.insert(token, "appended");
            }
            "silent" => cx.submit_unanswered(append(rest)),
            "declare" => {
                let token = cx.submit(Op::Extent(vec![log(0)]));
                self.asked.insert(token, "declared");
                cx.pause_input();
            }
            "queue" => {
                let (change, shard) = queue(rest, cx);
                let token = cx.submit(Op::Change { shard, change: Box::new(change) });
                self.asked.insert(token, "declared");
                cx.pause_input();
            }
            "publish" => {
                let (queue, text) = rest.split_once(' ').unwrap();
                let token = cx.submit(publish(log_of(queue, cx), text));
                self.asked.insert(token, "appended");
            }
            "take" => cx.submit_unanswered(Op::Take(take(rest, cx))),
            "big" => cx.push(Bytes::from(vec![b'.'; rest.parse().unwrap()])),
            "wake" => cx.wake_at(cx.now().plus(Millis(rest.parse().unwrap()))),
            "close" => {
                say(cx, "bye");
                cx.close_after_flush();
            }
            "panic" => panic!("asked to"),
            other => say(cx, &format!("what is {other}")),
        }
    }
}

impl Session for LineSession {
    fn on_bytes(&mut self, input: &mut BytesMut, cx: &mut Cx<'_>) {
        while !cx.input_paused() && !cx.closing() {
            let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
            let line = input.split_to(end + 1);
            self.request(std::str::from_utf8(&line[..end]).unwrap(), cx);
        }
    }

    fn on_events(&mut self, events: Vec<Event>, cx: &mut Cx<'_>) {
        for event in events {
            match event {
                Event::Reply { token, result } => {
                    let what = self.asked.remove(&token).unwrap();
                    match result {
                        Ok(Reply::Appended(at)) => {
                            say(cx, &format!("{what} {} {:?}", at.base_offset, at.verdict));
                        }
                        Ok(_) => say(cx, what),
                        Err(error) => say(cx, &format!("not {what}: {error}")),
                    }
                    cx.resume_input();
                }
                Event::Deliver { items, .. } => {
                    for item in items {
                        if let Ok(view) = tail::decode(&item.tail) {
                            let again = if item.redelivered { " again" } else { "" };
                            let text = String::from_utf8_lossy(view.value.unwrap_or_default());
                            say(cx, &format!("message {text}{again}"));
                            continue;
                        }
                        say(cx, &format!("message {}", item.tail.len()));
                        cx.push(item.tail);
                    }
                }
                Event::ConsumerGone { .. } | Event::Blocked(_) => {}
            }
        }
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>) {
        say(cx, "tick");
    }
}

fn say(cx: &mut Cx<'_>, line: &str) {
    cx.buffer().extend_from_slice(line.as_bytes());
    cx.buffer().extend_from_slice(b"\n");
}

/// The declaration of a durable queue.
fn queue(name: &str, cx: &Cx<'_>) -> (Change, ShardId) {
    let declare = DeclareQueue {
        name: name.into(),
        id: cx.new_topic_id(),
        durable: true,
        exclusive: None,
        auto_delete: false,
        server_named: false,
        arguments: Default::default(),
        options: QueueOptions::default(),
    };
    let mut change = Change::new("/", Action::DeclareQueue(declare));
    let layer = cx.names().place(&mut change).unwrap();
    (change, engine::shard_of(layer))
}

fn log_of(queue: &str, cx: &Cx<'_>) -> LogRef {
    match cx.names().find("/", queue) {
        Some(Found::Queue(queue)) => queue.log,
        other => panic!("no such queue: {other:?}"),
    }
}

fn take(queue: &str, cx: &Cx<'_>) -> Take {
    let names = cx.names();
    let Some(Found::Queue(queue)) = names.find("/", queue) else { panic!("no such queue") };
    Take {
        consumer: ConsumerId(1),
        source: Source::Subscription(queue.subscription),
        prefetch: 0,
        window: None,
        settle_on_delivery: false,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
    }
}

fn publish(to: LogRef, text: &str) -> Op {
    let (mut encoded, mut bytes) = (Vec::new(), Vec::new());
    tail::encode(&mut encoded, None, Some(text.as_bytes()), std::iter::empty());
    tails::push(&mut bytes, None, &encoded);
    let payload = Payload::Tails { bytes: bytes.into(), expiring: false };
    Op::Append(Append { to: [to].into(), payload, waits: true })
}

/// `SHARD,SHARD BYTES`
fn append(text: &str) -> Op {
    let (shards, bytes) = text.split_once(' ').unwrap();
    let to: Vec<LogRef> = shards.split(',').map(|shard| log(shard.parse().unwrap())).collect();
    let bytes = Bytes::from(vec![0; bytes.parse().unwrap()]);
    Op::Append(Append {
        to: to.into(),
        payload: Payload::Tails { bytes, expiring: false },
        waits: true,
    })
}

fn log(shard: u16) -> LogRef {
    LogRef { shard: ShardId(shard), log: LogId(7) }
}

/// What a shard says to an append: the offset is ten times the shard's number.
pub(crate) fn appended(shard: ShardId) -> Reply {
    Reply::Appended(engine::api::Appended {
        verdict: engine::api::Verdict::Appended,
        base_offset: Offset(i64::from(shard.0) * 10),
        time: Millis(0),
        start: Offset(0),
    })
}
