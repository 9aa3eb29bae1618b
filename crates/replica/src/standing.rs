//! Whether a node leads a shard, as far as its engine is concerned.
//!
//! The engine hears that it leads when consensus says so, an entry of the term was committed, and a
//! majority answered not long ago; and it hears it behind all that was committed before. What is told is
//! decided under one lock, so that the engine hears it in the order in which it came to be.
//!
//! A leader that was alone for a while may find a majority again in the same term, and so may one whose
//! process began anew. What its engine had proposed before may still be committed, and index and term do not
//! tell it from what it proposes anew: so it leads again when an empty entry, proposed behind all of that,
//! was committed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::replication::{Committed, NodeId, Replicas};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use types::ShardId;

use crate::types::Frame;

/// What is proposed, in order.
pub(crate) enum Proposal {
    Frame(Arc<Frame>),
    /// An empty entry, which says that what was proposed before it in the term is committed.
    Barrier(u32),
}

/// What is known of one shard.
pub(crate) struct Standing {
    shard: ShardId,
    replicas: Arc<dyn Replicas>,
    proposals: Sender<Proposal>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The term in which consensus has this node lead.
    leads: Option<u32>,
    leader: Option<NodeId>,
    /// A majority has not answered for long.
    is_alone: bool,
    /// Of the last entry that was committed.
    committed_term: u32,
    told: Option<Told>,
    barrier: Barrier,
    health: Health,
}

/// Whether a replica takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Health {
    /// Its store is empty, and it is not known whether it always was.
    #[default]
    Unknown,
    /// It may have forgotten something it acknowledged.
    Faulty,
    Sound,
}

/// Whether something may be under way that the engine proposed when it led before in the term.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Barrier {
    #[default]
    Passed,
    Needed(u32),
    Sent(u32),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Lead(u32),
    Follow(Option<NodeId>),
}

impl Standing {
    /// `led`: the term in which the store says that this node led.
    pub(crate) fn new(
        shard: ShardId,
        (replicas, proposals): (Arc<dyn Replicas>, Sender<Proposal>),
        (health, led): (Health, Option<u32>),
    ) -> Standing {
        let barrier = led.map_or(Barrier::Passed, Barrier::Needed);
        let state = Mutex::new(State { health, barrier, ..State::default() });
        Standing { shard, replicas, proposals, state }
    }

    /// Has a frame proposed that was made in `term`, unless that is over.
    pub(crate) fn propose(&self, term: u32, frame: Arc<Frame>) {
        if self.lock().told == Some(Told::Lead(term)) {
            self.send(Proposal::Frame(frame));
        }
    }

    /// What was proposed in a term before its last barrier is committed.
    pub(crate) fn passed(&self, term: u32) {
        let state = &mut *self.lock();
        if state.barrier == Barrier::Sent(term) {
            state.barrier = Barrier::Passed;
        }
        self.tell(state);
    }

    /// Entries are committed, the last one of `term`.
    pub(crate) fn commit(&self, entries: Vec<Committed>, term: u32) {
        let state = &mut *self.lock();
        if !entries.is_empty() {
            self.replicas.commit(self.shard, entries);
        }
        state.committed_term = term;
        self.tell(state);
    }

    /// Consensus has this node lead in a term, or another one, or nobody it knows.
    pub(crate) fn led(&self, leads: Option<u32>, leader: Option<NodeId>) {
        let state = &mut *self.lock();
        (state.leads, state.leader) = (leads, leader);
        self.tell(state);
    }

    /// Whether a majority has not answered for long.
    pub(crate) fn alone(&self, is_alone: bool) {
        let state = &mut *self.lock();
        state.is_alone = is_alone;
        self.tell(state);
    }

    /// The term in which the engine leads.
    pub(crate) fn leading(&self) -> Option<u32> {
        match self.lock().told {
            Some(Told::Lead(term)) => Some(term),
            _ => None,
        }
    }

    pub(crate) fn health(&self) -> Health {
        self.lock().health
    }

    pub(crate) fn set_health(&self, health: Health) {
        self.lock().health = health;
    }

    fn tell(&self, state: &mut State) {
        let leads = state.leads.filter(|term| !state.is_alone && *term == state.committed_term);
        let leads = leads.filter(|term| match state.barrier {
            Barrier::Needed(of) if of == *term => {
                state.barrier = Barrier::Sent(of);
                self.send(Proposal::Barrier(of));
                false
            }
            Barrier::Sent(of) => of != *term,
            _ => true,
        });
        let told = match leads {
            Some(term) => Told::Lead(term),
            None => Told::Follow(state.leader.filter(|_| state.leads.is_none())),
        };
        let before = state.told.replace(told);
        if before == Some(told) {
            return;
        }
        if let Some(Told::Lead(term)) = before {
            state.barrier = Barrier::Needed(term);
        }
        match told {
            Told::Lead(term) => self.replicas.lead(self.shard, term),
            Told::Follow(leader) => self.replicas.follow(self.shard, leader),
        }
    }

    /// Has something proposed behind what was before.
    fn send(&self, proposal: Proposal) {
        if let Err(TrySendError::Full(_)) = self.proposals.try_send(proposal) {
            tracing::error!(shard = %self.shard, "more is proposed than a worker has under way");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
