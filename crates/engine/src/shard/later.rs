//! What is to be appended later: into a schedule, and out of it again.

use super::{Effect, Schedule, Shard, ranking};
use crate::api::{Once, Verdict};
use crate::command::{Activation, Range};
use crate::levels::Levels;
use catalog::{Dedup, Remembered};
use ledger::Span;
use types::{LogId, Offset};

impl Shard {
    /// Appends to a schedule. An id is remembered from now on, not from when the message is due; that a
    /// queue holds a message says nothing of those that are still to come.
    pub(super) fn schedule(
        &mut self,
        id: LogId,
        records: u32,
        (levels, once): (Option<&Levels>, Option<&Once>),
    ) -> (Verdict, Offset) {
        let Some(log) = self.logs.get(&id) else { return (Verdict::Gone, Offset(0)) };
        let level_max = log.options.level_max;
        let end = self.schedules.get(&id).map_or(Offset(0), |schedule| schedule.end);
        if let (Some(once), Some(log)) = (once, self.logs.get_mut(id)) {
            let timed = |dedup: &Dedup| dedup.remembered != Remembered::WhileHeld;
            let own = log.options.dedup.filter(timed);
            let looks = log.seen.looks(once.within, own, self.time);
            if let Some(base) = looks.find(&once.id.into(), |_| true) {
                return (Verdict::Duplicate, base);
            }
            let known = log.seen.len();
            let held = (|_| true, u64::MAX);
            let ids = std::iter::once(once.id);
            log.seen.remember((ids, once.within), own, (end, self.time), held);
            self.holds.ids = self.holds.ids - known + log.seen.len();
        }
        let schedule = self.schedules.get_or_insert_with(id, || Schedule::new(level_max));
        let base = schedule.append(records);
        if level_max > 0 {
            ranking::rank_in(&mut schedule.ledger, (base, records), levels);
        }
        (Verdict::Appended, base)
    }

    /// Appends to a log what of its schedule is due and still waits.
    pub(super) fn activate(
        &mut self,
        id: LogId,
        entries: &[Activation],
        effects: &mut Vec<Effect>,
    ) {
        let schedule = self.schedules.get_mut(id);
        let (Some(schedule), Some(log)) = (schedule, self.logs.get_mut(id)) else { return };
        let (mut moved, mut cancelled) = (Vec::new(), Vec::new());
        for entry in entries.iter().copied() {
            let Activation { offset, due, count } = entry;
            let span = Span::run(offset, count);
            let early = due > self.time && !io::planted("timer-early");
            if early || !schedule.any_waits(span.first, span.end) {
                continue;
            }
            if schedule.ledger.settled_in(span) > 0 {
                let gone = span.offsets().filter(|offset| !schedule.waits(*offset));
                cancelled.extend(gone.map(|gone| Offset(log.end.0 + gone.0 - offset.0)));
            }
            if log.options.level_max > 0 {
                for (entry, to) in span.offsets().zip(Span::run(log.end, count).offsets()) {
                    let levels = Levels::one(schedule.ledger.level_of(entry));
                    let at = (id, to, 1);
                    ranking::rank(&mut self.subscriptions, &log.subscriptions, at, Some(&levels));
                }
            }
            if !(io::planted("activated-twice") && offset.0 % 5 == 2) {
                schedule.settle(span);
            }
            moved.push((entry, log.end));
            log.end = log.end.plus(count);
        }
        let start = schedule.ledger.floor();
        effects.push(Effect::Activated { log: id, proposed: entries.to_vec(), moved });
        effects.push(Effect::Trimmed { log: Schedule::id_of(id), start });
        if !cancelled.is_empty() && !io::planted("cancelled-delivered") {
            self.take_out_cancelled(id, &cancelled, effects);
        }
    }

    /// Of a batch that was appended to a log some messages had been cancelled: nobody is to have them.
    fn take_out_cancelled(&mut self, id: LogId, offsets: &[Offset], effects: &mut Vec<Effect>) {
        let range = |offset: &Offset| Range { log: id, first: *offset, last: *offset };
        let ranges: Vec<Range> = offsets.iter().map(range).collect();
        let readers = self.logs.get(&id).map(|log| log.subscriptions.clone());
        for reader in readers.unwrap_or_default() {
            self.withdraw(reader, &ranges, effects);
            let spans = ranges.iter().map(Range::span);
            effects.extend(spans.map(|span| Effect::Forgotten {
                subscription: reader,
                log: id,
                span,
            }));
        }
    }

    /// Cancels what of a schedule still waits; gives which.
    pub(super) fn unschedule(
        &mut self,
        id: LogId,
        offsets: &[Offset],
        effects: &mut Vec<Effect>,
    ) -> Vec<Offset> {
        let Some(schedule) = self.schedules.get_mut(id) else { return Vec::new() };
        let waiting = offsets.iter().filter(|offset| schedule.waits(**offset));
        let waiting: Vec<Offset> = waiting.copied().collect();
        for offset in &waiting {
            if !(io::planted("cancel-lost") && offset.0 % 3 == 0) {
                schedule.settle(Span::one(*offset));
            }
        }
        let start = schedule.ledger.floor();
        effects.push(Effect::Trimmed { log: Schedule::id_of(id), start });
        waiting
    }
}
