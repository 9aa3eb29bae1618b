//! The queue whose keys are sessions: what clients keep for them.

use super::{Asked, SimClient};
use crate::model::sessions::Kept;
use crate::model::{Violation, broken};
use crate::world::{MIXED, World};
use bytes::Bytes;
use engine::api::{Op, Reply, Sessions, SetSession};
use io::Random as _;
use std::collections::BTreeMap;

/// So many sessions each client keeps something for.
const KEYS: u64 = 3;
/// A state is up to so long.
const STATE_BYTES_MAX: u64 = 300;

/// What was asked of a state.
#[derive(Clone, Debug)]
pub(super) enum Stating {
    Set { key: u64, expected: Option<u64>, state: Option<Vec<u8>> },
    Read { key: u64 },
}

/// What a client has to do with sessions; the next life of it has the states still.
#[derive(Debug, Default)]
pub(super) struct States {
    /// How many sessions it takes at once; 0: without bound.
    pub(super) sessions_max: u32,
    kept: BTreeMap<u64, Kept>,
    asked: BTreeMap<u64, Stating>,
}

impl States {
    /// Nothing that was asked will be answered.
    pub(super) fn cut_off(&mut self) {
        for (key, asked) in std::mem::take(&mut self.asked) {
            if let Stating::Set { state, .. } = asked {
                self.kept.entry(key).or_default().unanswered(state);
            }
        }
    }

    pub(super) fn answered(&mut self, asked: Stating, reply: Reply) -> Result<(), Violation> {
        match (asked, reply) {
            (Stating::Set { key, expected, state }, Reply::SessionSet(set)) => {
                self.asked.remove(&key);
                self.kept.entry(key).or_default().set((expected, state), set)
            }
            (Stating::Read { key }, Reply::Sessions(sessions, _)) => {
                self.asked.remove(&key);
                let name = name_of(key);
                let found = sessions.iter().find(|session| session.key == name);
                self.kept.entry(key).or_default().read(found)
            }
            (asked, reply) => broken(format!("{asked:?} was answered {reply:?}")),
        }
    }
}

impl SimClient {
    /// Reads or writes what it keeps for one of its sessions.
    pub(super) fn keep_state(&mut self, world: &mut World) {
        if !world.shape.mixed.has_sessions() {
            return self.append(world);
        }
        let key = self.number << 8 | world.random.below(KEYS);
        if self.states.asked.contains_key(&key) {
            return;
        }
        let subscription = world.queues[MIXED].subscription;
        let (op, asked) = match world.random.chance(40) {
            true => {
                let op = Sessions { subscription, from: name_of(key), count: 1, with_state: true };
                (Op::Sessions(op), Stating::Read { key })
            }
            false => {
                let known = self.states.kept.entry(key).or_default().version();
                let expected = match world.random.below(10) {
                    0..2 => None,
                    2 => Some(known + 1_000_000),
                    _ => Some(known),
                };
                let long = usize::try_from(world.random.below(STATE_BYTES_MAX)).unwrap_or(0);
                let mut state = world.random.next().to_le_bytes().to_vec();
                state.resize(state.len() + long, 7);
                let state = (!world.random.chance(15)).then_some(state);
                let (key_name, bytes) = (name_of(key), state.clone().map(Bytes::from));
                let op = SetSession { subscription, key: key_name, expected, state: bytes };
                (Op::SetSession(op), Stating::Set { key, expected, state })
            }
        };
        self.states.asked.insert(key, asked.clone());
        self.send(world, op, Asked::State(asked));
    }
}

fn name_of(key: u64) -> Bytes {
    Bytes::from(format!("session-{key}"))
}
