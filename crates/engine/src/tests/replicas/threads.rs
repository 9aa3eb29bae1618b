//! An engine with threads and a replicator that is alone: what it says and is told comes from threads.

use crate::api::{Call, Event, Op, Reply};
use crate::replication::{Committed, EntryId, Found, Replicas, Replicator};
use crate::tests::options;
use crate::{Client, Engine, Replication};
use catalog::{Action, Change, Outcome};
use io::SystemClock;
use io::sim::SimDisk;
use journal::{FrameDraft, FrameKind, Placed};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use types::{ShardId, Token};

const ZERO: ShardId = ShardId(0);
const TERM: u32 = 3;

/// Agrees with itself.
#[derive(Debug, Default)]
struct Alone(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    replicas: Option<Arc<dyn Replicas>>,
    last: u64,
    writing: VecDeque<FrameDraft>,
    stopped: bool,
}

impl Log {
    fn write(&mut self, mut frame: FrameDraft) {
        self.last += 1;
        frame.index = self.last;
        self.writing.push_back(frame.clone());
        self.replicas.as_ref().expect("started").write(vec![frame]);
    }
}

impl Replicator for Alone {
    fn start(&self, replicas: Arc<dyn Replicas>, found: Vec<Found>) {
        let mut log = self.0.lock().expect("nobody panicked");
        let found = found.into_iter().find(|found| found.shard == ZERO).expect("a shard");
        let applied = found.applied.map_or(0, |applied| applied.index);
        log.last = applied;
        for kept in found.entries.iter().filter(|kept| kept.placed.index > applied) {
            let frame = replicas.read(kept.placed.place).expect("it was found");
            log.last = kept.placed.index;
            replicas.commit(ZERO, vec![Committed { frame, placed: kept.placed.clone() }]);
        }
        log.replicas = Some(replicas);
        let term = TERM + found.entries.last().map_or(0, |kept| kept.term);
        log.write(FrameDraft::bare(FrameKind::Blank, ZERO, (term, 0)));
    }

    fn propose(&self, frames: Vec<FrameDraft>) {
        let mut log = self.0.lock().expect("nobody panicked");
        frames.into_iter().for_each(|frame| log.write(frame));
    }

    fn placed(&self, placed: &[Placed]) {
        let mut log = self.0.lock().expect("nobody panicked");
        for placed in placed {
            let frame = log.writing.pop_front().expect("it was given");
            let replicas = Arc::clone(log.replicas.as_ref().expect("started"));
            let (kind, term) = (frame.kind, frame.term);
            replicas.commit(ZERO, vec![Committed { frame, placed: placed.clone() }]);
            if kind == FrameKind::Blank {
                replicas.lead(ZERO, term);
            }
        }
    }

    fn stored(&self, _: &[(ShardId, EntryId)]) {}

    fn stop(&self) {
        self.0.lock().expect("nobody panicked").stopped = true;
    }
}

/// Asks until the shard is led.
fn call(client: &Client, bell: &Receiver<()>, op: &Op) -> Reply {
    for number in 1.. {
        let token = Token(number);
        client.submit(ZERO, vec![Call { token, op: op.clone() }]);
        let answer = loop {
            let events = client.outbox().take();
            let answer = events.into_iter().find_map(|event| match event {
                Event::Reply { token: of, result } if of == token => Some(result),
                _ => None,
            });
            match answer {
                Some(answer) => break answer,
                None => bell.recv_timeout(Duration::from_secs(30)).expect("it is answered"),
            }
        };
        if let Ok(reply) = answer {
            return reply;
        }
    }
    unreachable!("numbers do not end")
}

#[test]
fn an_engine_with_threads_is_told_who_leads_and_starts_again_with_what_was_committed() {
    let disk = Arc::new(SimDisk::new(1));
    let mut log = None;
    for life in 0..3u64 {
        let options = crate::Options { clock: Arc::new(SystemClock::new()), ..options(&disk) };
        let alone: Arc<Alone> = Arc::default();
        let replication = Replication { replicator: Arc::clone(&alone) as _ };
        let engine = Engine::open_replicated(options, replication).expect("the store opens");
        let (ring, bell) = sync_channel(1024);
        let client = engine.handle().connect(Arc::new(move || ring.try_send(()).unwrap_or(())));
        let to = *log.get_or_insert_with(|| {
            let id = engine.handle().new_topic_id();
            let declare = super::work::declaration("q", id, Default::default());
            let change = Change::new("/", Action::DeclareQueue(declare));
            let change = Op::Change { shard: ZERO, change: Box::new(change) };
            match call(&client, &bell, &change) {
                Reply::Changed(result) => match result.expect("not refused") {
                    Outcome::Queue { log, .. } => log,
                    other => panic!("not a queue: {other:?}"),
                },
                other => panic!("not an answer to a change: {other:?}"),
            }
        });
        let Reply::Appended(at) = call(&client, &bell, &super::append_value(to, "one")) else {
            panic!("not appended")
        };
        assert_eq!(at.base_offset.0.unsigned_abs(), life);
        drop(client);
        engine.stop();
        assert!(alone.0.lock().expect("nobody panicked").stopped);
    }
}
