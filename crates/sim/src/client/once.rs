//! Messages that a queue takes once, however often they are sent.

use super::{Asked, SENT_AGAIN_MAX, SimClient, encode, pick};
use crate::world::{ONCE, World};
use bytes::Bytes;
use engine::api::{Append, MessageId, Once, Op, Payload};
use io::Clock as _;
use record::tails;

/// As many are kept to be sent again.
const KEPT: usize = 16;

impl SimClient {
    /// Sends a message with an id to the queue that takes none twice: a new one, or one that it may
    /// have.
    pub(super) fn append_once(&mut self, world: &mut World) {
        let log = world.queues[ONCE].log;
        if self.is_enough(world, log.log) {
            return self.consume(world);
        }
        let now = world.clock.now();
        self.sent_once.retain(|(_, sent)| now.since(*sent) <= SENT_AGAIN_MAX);
        let again = !self.sent_once.is_empty() && world.random.chance(50);
        let id = match again {
            true => self.sent_once[pick(&world.random, self.sent_once.len())].0,
            false => {
                let id = self.new_ids(1)[0].unordered();
                world.model.log(log.log).asked(&[id]);
                self.sent_once.push((id, now));
                let excess = self.sent_once.len().saturating_sub(KEPT);
                self.sent_once.drain(..excess);
                id
            }
        };
        let mut bytes = Vec::new();
        tails::push(&mut bytes, None, &encode(&world.random, id));
        let once = Once { id: MessageId::of(&id.0.to_be_bytes()), within: None };
        let payload = Payload::Once { bytes: Bytes::from(bytes), expiring: false, once };
        let append = Append { to: [log].into(), payload, waits: true };
        let asked = Asked::Append { logs: vec![log.log], ids: vec![id] };
        self.send(world, Op::Append(append), asked);
    }
}
