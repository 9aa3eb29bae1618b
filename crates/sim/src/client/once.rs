//! Messages that a queue takes once, however often they are sent.

use super::{Asked, SENT_AGAIN_MAX, SimClient, encode, pick};
use crate::model::{Id, Model, Violation};
use crate::world::{ONCE, World};
use bytes::Bytes;
use engine::api::{Append, Appended, MessageId, Op, Payload};
use io::Clock as _;
use record::tails;
use types::{LogId, Millis};

/// As many are kept to be sent again.
const KEPT: usize = 16;
/// As many are sent in one append, at most.
const AT_ONCE_MAX: usize = 5;

impl SimClient {
    /// Sends messages with ids to the queue that takes none twice: new ones, and such as it may have.
    pub(super) fn append_once(&mut self, world: &mut World) {
        let log = world.queues[ONCE].log;
        if self.is_enough(world, log.log) {
            return self.consume(world);
        }
        let now = world.clock.now();
        self.sent_once.retain(|(_, sent)| now.since(*sent) <= SENT_AGAIN_MAX);
        let (mut sent, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..1 + pick(&world.random, AT_ONCE_MAX) {
            let again = !self.sent_once.is_empty() && world.random.chance(50);
            let id = match again {
                true => self.sent_once[pick(&world.random, self.sent_once.len())].0,
                false => self.new_once(world, now),
            };
            tails::push(&mut bytes, None, &encode(&world.random, id));
            sent.push(id);
        }
        let ids = sent.iter().map(|id| MessageId::of(&id.0.to_be_bytes())).collect();
        let bytes = Bytes::from(bytes);
        let payload = Payload::Once { bytes, expiring: false, ids, within: None };
        let append = Append { to: [log].into(), payload, waits: true };
        let asked = Asked::Once { log: log.log, ids: sent };
        self.send(world, Op::Append(append), asked);
    }

    fn new_once(&mut self, world: &mut World, now: Millis) -> Id {
        let id = self.new_ids(1)[0].unordered();
        world.model.log(world.queues[ONCE].log.log).asked(&[id]);
        self.sent_once.push((id, now));
        let excess = self.sent_once.len().saturating_sub(KEPT);
        self.sent_once.drain(..excess);
        id
    }
}

impl Model {
    /// An append of messages that are taken once was answered, with verdict and offset of the last.
    pub(super) fn once_answered(
        &mut self,
        log: LogId,
        ids: &[Id],
        appended: &Appended,
    ) -> Result<(), Violation> {
        self.log(log).acknowledged(ids, None);
        let (_, last) = ids.split_at(ids.len() - 1);
        self.append_answered(&[log], last, appended)
    }
}
