//! Who leads a shard changes: its leader's part is built, or dropped.
//!
//! Of what a leader keeps in memory nothing is handed over. A new one begins as the start of a process
//! does, behind every entry that was committed before; whatever may have been delivered counts as
//! delivered. Who waits for an answer of an old one hears that nobody knows.

use super::Worker;
use super::queue::tell_gone;
use super::replica::{Replica, Step};
use crate::api::{Call, Event, Op, Reply};
use crate::replication::{Found, NodeId};
use journal::Position;
use types::{ClientId, Error, Kind, ShardId};

impl Worker {
    /// From now on every shard but the local one has several replicas, as `found` at the start; none is
    /// led here.
    pub(crate) fn become_replica(&mut self, found: &[Found], opened_at: Position) {
        self.is_replica = true;
        self.clients.note_calls();
        let local = self.seats.remove(&ShardId::LOCAL);
        self.followed = std::mem::take(&mut self.seats);
        self.seats.extend(local.map(|seat| (ShardId::LOCAL, seat)));
        for found in found {
            if let Some(seat) = self.followed.get_mut(&found.shard) {
                seat.replica = Some(Box::new(Replica::of(found, opened_at)));
            }
        }
        for (shard, seat) in &self.followed {
            self.tell_names_followed(*shard, seat.shard.names_followed());
        }
    }

    /// Takes the next step of a shard, behind those that wait.
    pub(super) fn step(&mut self, shard: ShardId, step: Step) {
        if let Some(replica) = self.replica_of(shard) {
            replica.steps.push_back(step);
            self.step_on(shard);
        }
    }

    /// Goes on with a shard's steps, until one waits for the disk.
    pub(super) fn step_on(&mut self, shard: ShardId) {
        while let Some(step) = self.replica_of(shard).and_then(|replica| replica.steps.pop_front())
        {
            match step {
                Step::Apply(mut entries) => {
                    while let Some(entry) = entries.pop_front() {
                        if let Err(entry) = self.committed(shard, entry) {
                            entries.push_front(*entry);
                            if let Some(replica) = self.replica_of(shard) {
                                replica.steps.push_front(Step::Apply(entries));
                            }
                            return;
                        }
                    }
                }
                Step::Lead(term) => self.begin_leading(shard, term),
                Step::Follow(leader) => self.end_leading(shard, leader),
            }
        }
    }

    /// Whether a call is for a shard that another node leads; it is answered then.
    pub(super) fn refuses(&mut self, client: ClientId, call: &Call) -> bool {
        let shard = call.op.shard();
        if matches!(call.op, Op::Read(_) | Op::Cancel { .. }) {
            return false;
        }
        let Some(seat) = self.followed.get(&shard) else { return false };
        let leader = seat.replica.as_ref().and_then(|replica| replica.leader);
        match &call.op {
            // Whoever asks for all shards adds up what their leaders say.
            Op::Stats { .. } => {
                self.clients.reply(client, call.token, Ok(Reply::Stats(Vec::new())));
            }
            _ => self.clients.reply(client, call.token, Err(not_leader(shard, leader))),
        }
        true
    }

    /// Why a log cannot be read here, if another node leads its shard.
    pub(super) fn led_elsewhere(&self, shard: ShardId) -> Option<Error> {
        let replica = self.followed.get(&shard)?.replica.as_ref()?;
        Some(not_leader(shard, replica.leader))
    }

    fn begin_leading(&mut self, shard: ShardId, term: u32) {
        self.end_leading(shard, None);
        if self.is_stopping {
            return;
        }
        let Some(mut seat) = self.followed.remove(&shard) else { return };
        seat.begin_term(term);
        self.seats.insert(shard, seat);
        self.start_seats(&[shard], false);
        self.tell_served(shard, true);
    }

    /// Drops what the leader of a shard keeps, if this node was that.
    pub(super) fn end_leading(&mut self, shard: ShardId, leader: Option<NodeId>) {
        if let Some(replica) = self.replica_of(shard) {
            replica.leader = leader;
        }
        let Some(seat) = self.seats.remove(&shard) else { return };
        let why =
            format!("shard {shard} is led by another node now; what was asked may have been done");
        self.clients.fail_all(shard, &Error::new(Kind::NotLeader, why));
        for queue in seat.queues.values() {
            self.cancel_timers(queue);
            tell_gone(&mut self.clients, queue);
        }
        for key in seat.tailers.keys() {
            self.clients.event(key.client, Event::ConsumerGone { consumer: key.consumer });
        }
        let agendas = seat.agendas.values().filter_map(|agenda| agenda.timer);
        let rotas = seat.rotas.values().filter_map(|rota| rota.timer());
        for timer in agendas.map(|(_, timer)| timer).chain(rotas) {
            self.timers.cancel(timer);
        }
        self.tails_ready.retain(|(of, _)| *of != shard);
        self.agendas_low.retain(|(of, _)| *of != shard);
        self.agendas_swept.retain(|(of, _)| *of != shard);
        self.keys_busy.retain(|(of, _)| *of != shard);
        self.retries_low.retain(|(of, _)| of.shard != shard);
        self.moves.retain(|_, (.., op)| op.source.shard != shard);
        let reads: Vec<u64> = self.reads.of_shard(shard).collect();
        self.reads_touched.extend(reads);
        let outboxes: Vec<ShardId> = seat.shard.outboxes.keys().copied().collect();
        self.followed.insert(shard, seat.without_leader());
        self.tell_served(shard, false);
        outboxes.into_iter().for_each(|to| self.send_outbox(shard, to));
    }

    /// The broker stops: what is not committed stays so, as far as this node knows.
    pub(super) fn end_leading_all(&mut self) {
        self.is_stopping = true;
        let led = self.seats.iter().filter(|(_, seat)| seat.replica.is_some());
        let led: Vec<ShardId> = led.map(|(shard, _)| *shard).collect();
        led.into_iter().for_each(|shard| self.end_leading(shard, None));
    }
}

fn not_leader(shard: ShardId, leader: Option<NodeId>) -> Error {
    let why = match leader {
        Some(node) => format!("node {node} leads shard {shard}"),
        None => format!("it is not known which node leads shard {shard}"),
    };
    Error::new(Kind::NotLeader, why)
}
