//! Entries that several replicas have agreed on: applied by whoever leads the shard as its own, by all
//! others as they come.
//!
//! Who follows keeps the state and where batches lie. Nobody waits there and nothing is handed out; time
//! is in the frames.

use super::Worker;
use super::apply::{note_base, run_of};
use super::store::Waiter;
use crate::api::Verdict;
use crate::cache;
use crate::command::{self, Activation, Command};
use crate::envelope::Envelope;
use crate::index::{Look, Run};
use crate::replication::Committed;
use crate::shard::{Effect, Entry, Keys, Schedule};
use catalog::LogChange;
use journal::{Dest, FrameDraft, FrameKind, Placed};
use ledger::Span;
use record::batch::Header;
use std::collections::BTreeMap;
use types::{LogId, Millis, Offset, ShardId};

/// What of schedules an entry activates, by schedule and entry.
type Activated = BTreeMap<(LogId, Offset), Run>;

impl Worker {
    /// Applies a committed entry; gives it back if something has to come from the disk before.
    pub(super) fn committed(
        &mut self,
        shard: ShardId,
        entry: Committed,
    ) -> Result<(), Box<Committed>> {
        let Some(seat) = self.seat_of(shard) else { return Ok(()) };
        if entry.frame.index <= seat.shard.applied {
            return Ok(());
        }
        match self.seats.contains_key(&shard) {
            true if self.is_own(shard, &entry) => {
                self.note_applied(shard, &entry);
                self.own_committed(shard, entry);
                Ok(())
            }
            true => self.foreign_committed(shard, entry),
            false => self.follow_committed(shard, entry),
        }
    }

    /// Whether an entry is the next one that this node has proposed as the leader, or nobody's frame.
    fn is_own(&self, shard: ShardId, Committed { frame, .. }: &Committed) -> bool {
        let Some(seat) = self.seats.get(&shard) else { return false };
        let is_next = |sealed: &crate::draft::Sealed| {
            sealed.time == frame.leader_ts
                && sealed.dests == frame.dests
                && sealed.index <= frame.index
        };
        frame.kind != FrameKind::Entry
            || frame.term == seat.term && seat.in_flight.front().is_some_and(is_next)
    }

    /// This node leads, and something else was committed than it has proposed: it begins anew.
    fn foreign_committed(
        &mut self,
        shard: ShardId,
        entry: Committed,
    ) -> Result<(), Box<Committed>> {
        let term = self.seats.get(&shard).map_or(0, |seat| seat.term);
        tracing::warn!(%shard, term, "an entry that was not expected is committed");
        self.end_leading(shard, None);
        if let Some(replica) = self.replica_of(shard) {
            replica.steps.push_front(super::Step::Lead(term));
        }
        self.follow_committed(shard, entry)
    }

    fn own_committed(&mut self, shard: ShardId, Committed { frame, placed }: Committed) {
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        seat.bases_told(&frame.applied);
        let expected = seat.in_flight.front().map_or(seat.shard.applied + 1, |it| it.index);
        match frame.kind {
            FrameKind::Entry => {
                seat.shift(frame.index.saturating_sub(expected));
                self.entry_placed(placed);
            }
            _ => {
                seat.shard.pass(frame.index);
                seat.position = placed.position;
                seat.shift((frame.index + 1).saturating_sub(expected.max(frame.index)));
            }
        }
    }

    /// Notes what consensus wants to know of an entry that is applied.
    fn note_applied(&mut self, shard: ShardId, entry: &Committed) {
        if let Some(replica) = self.replica_of(shard) {
            replica.applied(entry);
        }
    }

    fn follow_committed(&mut self, shard: ShardId, entry: Committed) -> Result<(), Box<Committed>> {
        if entry.frame.kind != FrameKind::Entry {
            self.note_applied(shard, &entry);
            if let Some(seat) = self.followed.get_mut(&shard) {
                seat.shard.pass(entry.frame.index);
                seat.position = entry.placed.position;
            }
            return Ok(());
        }
        let decoded = command::decode(&entry.frame.commands);
        let commands = decoded.expect("a frame of a cluster has commands of its machine version");
        if !self.find_activated(shard, &commands) {
            return Err(Box::new(entry));
        }
        self.note_applied(shard, &entry);
        self.apply_followed(shard, entry, &commands);
        Ok(())
    }

    /// Finds what commands activate; false if something of it has to come from the disk.
    fn find_activated(&mut self, shard: ShardId, commands: &[Command]) -> bool {
        let mut is_here = true;
        for command in commands {
            let Command::Activate { log, entries } = command else { continue };
            let id = Schedule::id_of(*log);
            for Activation { offset, .. } in entries {
                let Some(replica) = self.replica_of(shard) else { return true };
                if replica.found.contains_key(&(*log, *offset)) {
                    continue;
                }
                match self.store.index.log(id).map_or(Look::None, |runs| runs.at(*offset)) {
                    Look::Run(run) if run.first == *offset => {
                        if let Some(replica) = self.replica_of(shard) {
                            replica.found.insert((*log, *offset), run);
                        }
                    }
                    Look::Page(page) => {
                        self.store.load_page(id, page, Waiter::Steps(shard));
                        is_here = false;
                        break;
                    }
                    Look::Run(_) | Look::None => {}
                }
            }
        }
        is_here
    }

    fn apply_followed(&mut self, shard: ShardId, entry: Committed, commands: &[Command]) {
        let Committed { frame, placed } = entry;
        let Some(seat) = self.followed.get_mut(&shard) else { return };
        let header = |batch| Header::decode(batch).expect("verified before it was written");
        let headers: Vec<Header> = frame.batches.iter().map(|batch| header(batch)).collect();
        let mut effects = Vec::new();
        seat.bases_told(&frame.applied);
        seat.shard.apply(
            Entry {
                index: frame.index,
                time: frame.leader_ts,
                commands,
                dests: &frame.dests,
                headers: &headers,
            },
            &mut effects,
        );
        seat.position = placed.position;
        let replica = seat.replica.as_deref_mut();
        let found = replica.map(|replica| std::mem::take(&mut replica.found)).unwrap_or_default();
        let shared = frame.dests.len() > frame.batches.len();
        for (location, batch) in placed.batches.iter().zip(&frame.batches) {
            self.store.cache.add(cache::key(location), batch.clone(), shared);
        }
        let (mut ways, mut changes) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Appended { dest, verdict, .. } => {
                    let Dest { log, envelope, .. } = &frame.dests[dest];
                    let way = Envelope::decode(envelope).way;
                    ways.extend(way.map(|way| (way, verdict, *log)));
                }
                Effect::Follow { ref change, .. } => changes.push(change.clone()),
                _ => {}
            }
            self.followed_effect(shard, (&frame, &headers, &placed), effect, &found);
        }
        // An outbox is sent when the index has all that the frame put into it.
        for (way, verdict, log) in ways {
            self.on_its_way(shard, way, verdict, log);
        }
        for change in changes {
            self.pass_on(frame.index, change);
        }
        if shard == ShardId(0) {
            self.give_names();
        }
    }

    fn followed_effect(
        &mut self,
        shard: ShardId,
        (frame, headers, placed): (&FrameDraft, &[Header], &Placed),
        effect: Effect,
        found: &Activated,
    ) {
        let Some(seat) = self.followed.get_mut(&shard) else { return };
        let index = &mut self.store.index;
        match effect {
            Effect::Appended { dest: at, verdict, base } => {
                note_base(seat, frame.index, at, verdict, base);
                let dest = &frame.dests[at];
                let batch = usize::from(dest.batch);
                let location = &placed.batches[batch];
                let opened_at =
                    seat.replica.as_ref().map_or_else(Default::default, |it| it.opened_at);
                let is_indexed =
                    placed.position < opened_at && index.is_known(dest.log, base, location);
                if verdict == Verdict::Appended && !is_indexed {
                    let run = run_of(dest, &headers[batch], base, frame.leader_ts, location);
                    index.insert(dest.log, run, location);
                }
            }
            Effect::Settled { log, span, .. } | Effect::Withdrawn { log, span, .. } => {
                index.mark_stale(log, span.first, span.end);
                seat.scattered.insert(log);
            }
            Effect::SettledForgotten { log, span } => {
                index.mark_stale(log, span.first, span.end);
                seat.scattered.insert(log);
            }
            Effect::Trimmed { log, start } => self.trimmed_followed(shard, log, start),
            Effect::Activated { log, proposed, moved } => {
                let spans = proposed.iter().map(|it| Span::run(it.offset, it.count)).collect();
                self.activated_followed(shard, (log, moved), frame.leader_ts, found);
                self.unscheduled_followed(shard, log, spans);
            }
            Effect::Unscheduled { log, offsets, .. } => {
                let spans = offsets.into_iter().map(Span::one).collect();
                self.unscheduled_followed(shard, log, spans);
            }
            Effect::Followed(LogChange::DropLog(log)) => {
                self.store.losses.forget(log.log);
                let hidden = [Schedule::id_of(log.log), Keys::id_of(log.log)];
                [log.log].into_iter().chain(hidden).for_each(|id| index.remove(id));
                seat.keying.remove(&log.log);
            }
            Effect::NamesFollowed { upto } => self.tell_names_followed(shard, upto),
            Effect::KeyRun { log, .. } => {
                seat.keying.entry(log).or_default().gives_up = true;
            }
            Effect::Changed { result, .. } => {
                if let Ok(outcome) = result.as_ref() {
                    self.publish_names();
                    self.tidy_after(shard, outcome);
                }
            }
            _ => {}
        }
    }

    fn trimmed_followed(&mut self, shard: ShardId, log: LogId, start: Offset) {
        let index = &mut self.store.index;
        let inside = match Schedule::log_of(log) {
            Some(_) => index.trim_pages(log, start),
            None => index.trim(log, start),
        };
        let Some(seat) = self.followed.get_mut(&shard) else { return };
        if inside {
            seat.scattered.insert(log);
        }
        if seat.shard.keys.contains_key(&log) {
            seat.keying.entry(log).or_default().gives_up = true;
        }
    }

    fn activated_followed(
        &mut self,
        shard: ShardId,
        (log, moved): (LogId, Vec<(Activation, Offset)>),
        time: Millis,
        found: &Activated,
    ) {
        if self.followed.contains_key(&shard) {
            for (entry, base) in moved {
                // What was activated long ago may be gone: nobody needed it any more.
                if let Some(run) = found.get(&(log, entry.offset)) {
                    self.store.refer(log, *run, (base, time));
                }
            }
        }
    }

    /// Entries of a schedule are settled: of pages that have some more counts as live than is.
    fn unscheduled_followed(&mut self, shard: ShardId, log: LogId, spans: Vec<Span>) {
        let id = Schedule::id_of(log);
        let Some(seat) = self.followed.get_mut(&shard) else { return };
        for span in spans {
            if self.store.index.mark_stale(id, span.first, span.end) {
                seat.scattered.insert(id);
            }
        }
    }
}
