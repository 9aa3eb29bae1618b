//! Holds what consumers saw against what was published: each fault in words.
//!
//! What is verified, of every message and every pair of messages of one key:
//!
//! - A confirmed message is done or among the dead letters, there at most once, and for its reason: refused by a
//!   consumer, or after more failures than are forgiven. What it says of its failures
//!   is what consumers know of: no less, and more only by as many brokers, and connections with unread deliveries,
//!   as ended meanwhile.
//! - What was settled comes again only if that was shortly before a kill: its acknowledgement was on its way.
//! - It comes neither before its due time nor, after a failure, before its retry is due.
//! - Of a key one message is with a consumer. One that came back comes again before any other of its key but those of a
//!   higher priority, over kills, too; and those come only when its retry is due, until when it holds its key.
//! - Of two messages of a key with one priority, where it is sure which came first, the first is finished before the
//!   other is delivered, and after a kill neither overtakes the other. Of two with
//!   different priorities the higher one goes first where it was sure to be there when the one before them was finished.

use super::records::{Did, Records, Seen, Sent};
use std::collections::BTreeMap;

/// An acknowledgement this long before a kill may not have been written.
const ON_ITS_WAY_US: i64 = 500_000;
/// The broker's clock has whole milliseconds.
const CLOCK_US: i64 = 1_000;
/// How much later than any other a delivery may have been that nobody read.
const MARGIN_US: i64 = 200_000;
/// Kinds of faults that are told in words.
const TOLD_MAX: usize = 10;

/// Lateness, or how long before a kill something was settled.
#[derive(Debug, Default)]
pub(super) struct Spread(Vec<i64>);

impl Spread {
    fn part(&self, share: f64) -> i64 {
        let place = (self.0.len() as f64 * share) as usize;
        self.0.get(place.min(self.0.len().saturating_sub(1))).copied().unwrap_or(0)
    }

    pub(super) fn median(&self) -> i64 {
        self.part(0.5)
    }

    fn told(&mut self) -> String {
        format!("{:.1}/{:.1} ms", ms(self.part(0.5)), ms(self.part(0.99)))
    }
}

fn ms(us: i64) -> f64 {
    us as f64 / 1e3
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) faults: Vec<String>,
    pub(super) late_us: Spread,
    pub(super) retry_late_us: Spread,
    done: usize,
    dead: usize,
    /// Settled messages that came again, and the longest time before a kill.
    again: usize,
    again_us_max: i64,
    pairs: u64,
}

impl Found {
    fn fault(&mut self, text: String) {
        self.faults.push(text);
    }

    /// All of it in a line.
    pub(super) fn figure(&self, records: &Records) -> String {
        let (mut late, mut retry) =
            (Spread(self.late_us.0.clone()), Spread(self.retry_late_us.0.clone()));
        let back = records.kills.iter().map(|kill| kill.back - kill.at).max().unwrap_or(0);
        let mut figure = format!(
            "{} deliveries: {} done, {} dead letters, {} left; {} kills ({:.0} ms to be back), {} \
             connections dropped; {} came again, acknowledged up to {:.0} ms before a kill; \
             {} ordered pairs; late p50/p99 {}, retries {}",
            records.seen.len(),
            self.done,
            self.dead,
            records.left,
            records.kills.len(),
            ms(back),
            records.dropped,
            self.again,
            ms(self.again_us_max),
            self.pairs,
            late.told(),
            retry.told(),
        );
        if !self.faults.is_empty() {
            let mut kinds: BTreeMap<String, (usize, &str)> = BTreeMap::new();
            for fault in &self.faults {
                let kind = fault.replace(|letter: char| letter.is_ascii_digit(), "");
                kinds.entry(kind).or_insert((0, fault)).0 += 1;
            }
            let told = kinds.values().map(|(count, fault)| format!("{count} times as {fault}"));
            let told: Vec<String> = told.take(TOLD_MAX).collect();
            figure = format!("{} faults: {}; {figure}", self.faults.len(), told.join("; "));
        }
        figure
    }
}

/// A message with all that became of it.
struct Course<'a> {
    sent: Sent,
    /// Its deliveries, in their order.
    seen: Vec<&'a Seen>,
    /// How often it is among the dead letters.
    dead: &'a [bool],
    /// When it was sure to be in the queue.
    arrived: i64,
}

impl Course<'_> {
    /// When it was finished for the first time, if a consumer saw that: a life and a time.
    fn finished(&self) -> Option<(u8, i64)> {
        let settled = self.seen.iter().find(|seen| matches!(seen.did, Did::Acked | Did::Refused));
        // A dead letter's last failure was its end.
        let last = (!self.dead.is_empty()).then(|| self.seen.last()).flatten();
        settled.or(last).map(|seen| (seen.life, seen.ended))
    }

    fn began(&self) -> Option<(u8, i64)> {
        self.seen.first().map(|seen| (seen.life, seen.at))
    }
}

pub(super) fn verify(records: &Records) -> Found {
    let mut found = Found::default();
    if records.left > 0 {
        found.fault(format!("{} messages were left in the queue", records.left));
    }
    let mut seen: Vec<&Seen> = records.seen.iter().collect();
    seen.sort_by_key(|seen| (seen.life, seen.at));
    let sent: BTreeMap<u32, Sent> =
        records.sent.iter().flatten().map(|sent| (sent.number, *sent)).collect();
    let mut by_number: BTreeMap<u32, Vec<&Seen>> = BTreeMap::new();
    let mut by_key: BTreeMap<u32, Vec<&Seen>> = BTreeMap::new();
    for seen in &seen {
        match sent.get(&seen.number) {
            Some(sent) => {
                by_number.entry(seen.number).or_default().push(seen);
                by_key.entry(sent.key).or_default().push(seen);
            }
            None => found.fault(format!("{} was never published", seen.number)),
        }
    }
    let arrivals = arrivals(&sent, &by_number);
    let mut keys: BTreeMap<u32, Vec<Course<'_>>> = BTreeMap::new();
    for sent in sent.into_values() {
        let seen = by_number.remove(&sent.number).unwrap_or_default();
        let dead = records.dead.get(&sent.number).map(Vec::as_slice).unwrap_or_default();
        let arrived = arrivals.get(&sent.number).copied().unwrap_or(i64::MAX);
        let course = Course { sent, seen, dead, arrived };
        verify_one(&course, records, &mut found);
        keys.entry(sent.key).or_default().push(course);
    }
    let late_us_max = found.retry_late_us.0.iter().max().copied().unwrap_or(0) + MARGIN_US;
    for (key, courses) in keys {
        for course in &courses {
            verify_end(course, records, late_us_max, &mut found);
        }
        verify_order(&courses, &mut found);
        let deliveries = by_key.remove(&key).unwrap_or_default();
        let courses = courses.iter().map(|course| (course.sent.number, course)).collect();
        verify_holding(&deliveries, &courses, records, &mut found);
    }
    found.late_us.0.sort_unstable();
    found.retry_late_us.0.sort_unstable();
    found
}

/// When each message was in the queue at the latest: confirmed, where it was not delayed; else when one
/// that was due no earlier was delivered, as what is scheduled comes in the order of due times.
fn arrivals(sent: &BTreeMap<u32, Sent>, seen: &BTreeMap<u32, Vec<&Seen>>) -> BTreeMap<u32, i64> {
    let first = |number| seen.get(&number).map_or(i64::MAX, |all| all[0].at);
    let mut delayed: Vec<&Sent> = sent.values().filter(|sent| sent.due.is_some()).collect();
    let last = |sent: &Sent| sent.due.map_or(0, |due| due.last);
    // From the last on: `passed` is when something with a later due time was there.
    delayed.sort_by_key(|sent| std::cmp::Reverse(sent.due.map(|due| due.first)));
    let (mut arrivals, mut passed, mut at) = (BTreeMap::new(), i64::MAX, 0);
    let mut by_last: Vec<&Sent> = delayed.iter().copied().filter(|sent| is_ahead(sent)).collect();
    by_last.sort_by_key(|sent| std::cmp::Reverse(last(sent)));
    for sent in by_last {
        while at < delayed.len() && delayed[at].due.is_some_and(|due| due.first > last(sent)) {
            if is_ahead(delayed[at]) {
                passed = passed.min(first(delayed[at].number));
            }
            at += 1;
        }
        arrivals.insert(sent.number, passed.min(first(sent.number)));
    }
    for sent in sent.values() {
        let confirmed = sent.due.is_none().then_some(sent.confirmed).flatten();
        let own = first(sent.number).min(confirmed.unwrap_or(i64::MAX));
        let arrival = arrivals.entry(sent.number).or_insert(own);
        *arrival = own.min(*arrival);
    }
    arrivals
}

/// Whether it was scheduled before it was due, so that due times alone say when it comes.
fn is_ahead(sent: &Sent) -> bool {
    matches!((sent.confirmed, sent.due), (Some(confirmed), Some(due)) if confirmed < due.first)
}

fn verify_one(course: &Course<'_>, records: &Records, found: &mut Found) {
    let number = course.sent.number;
    let is_done = course.seen.iter().any(|seen| seen.did == Did::Acked);
    found.done += usize::from(is_done);
    found.dead += usize::from(!course.dead.is_empty());
    if course.sent.confirmed.is_some() && !is_done && course.dead.is_empty() {
        found.fault(format!("{number} was confirmed and is lost"));
    }
    if course.dead.len() > 1 {
        found.fault(format!("{number} is {} times among the dead letters", course.dead.len()));
    }
    if let (Some(due), Some(first)) = (course.sent.due, course.seen.first()) {
        let late = first.at - due.first;
        if late < 0 {
            found.fault(format!("{number} came {:.1} ms early", ms(-late)));
        }
        found.late_us.0.push(late);
    }
    verify_settled(course, records, found);
    verify_failures(course, records, found);
}

/// What a message says of its failures, and when it comes again after each.
fn verify_failures(course: &Course<'_>, records: &Records, found: &mut Found) {
    let number = course.sent.number;
    let mut known = Failures::default();
    let mut before = course.sent.sent;
    for (index, seen) in course.seen.iter().enumerate() {
        known.perhaps += ended_between(records, before, seen.at);
        let (told, Failures { sure, perhaps }) = (seen.failures, known);
        if told < sure || told > sure + perhaps {
            found.fault(format!(
                "{number} says {told} failures at its delivery {index}, and has {sure}, or {perhaps} more"
            ));
        }
        if sure > records.plan.delivery_limit {
            found.fault(format!("{number} was delivered after {sure} failures"));
        }
        known.after(seen, records);
        before = seen.ended;
        let next = course.seen.get(index + 1).filter(|_| known.sure > sure);
        if let Some(next) = next {
            let late = next.at - records.retry_at(seen, known.sure);
            if late < -CLOCK_US {
                let early = ms(-late);
                found.fault(format!("{number} came {early:.1} ms before its retry was due"));
            }
            if seen.life == next.life && next.failures == known.sure {
                found.retry_late_us.0.push(late);
            }
        }
    }
}

/// How often a message has failed, and how often it may have without a consumer's knowing.
#[derive(Clone, Copy, Default)]
struct Failures {
    sure: u64,
    perhaps: u64,
}

impl Failures {
    fn after(&mut self, seen: &Seen, records: &Records) {
        match seen.did {
            Did::Failed | Did::Lost => self.sure += 1,
            // One that did not get through is a failure in the end.
            Did::Acked | Did::Refused | Did::Returned => {
                self.perhaps += u64::from(is_on_its_way(seen, records));
            }
        }
    }
}

/// Whether a message is a dead letter for its reason. Where a last delivery was read by nobody, that was no
/// later than deliveries came at all.
fn verify_end(course: &Course<'_>, records: &Records, late_us_max: i64, found: &mut Found) {
    let Some(is_refused) = course.dead.first() else { return };
    let number = course.sent.number;
    let mut known = Failures::default();
    let mut before = course.sent.sent;
    for seen in &course.seen {
        known.perhaps += ended_between(records, before, seen.at);
        known.after(seen, records);
        before = seen.ended;
    }
    if *is_refused {
        if !course.seen.iter().any(|seen| seen.did == Did::Refused) {
            found.fault(format!("{number} is a dead letter as refused, and nobody did that"));
        }
        return;
    }
    while known.sure + known.perhaps <= records.plan.delivery_limit {
        let unread = course.seen.last().map_or(course.arrived, |last| {
            records.retry_at(last, known.sure + known.perhaps).max(before)
        });
        let until = unread.saturating_add(late_us_max);
        if ended_between(records, before, until) == 0 {
            found.fault(format!("{number} was given up after {} failures", known.sure));
            return;
        }
        (known.perhaps, before) = (known.perhaps + 1, until);
    }
}

fn is_on_its_way(seen: &Seen, records: &Records) -> bool {
    let kill = records.kills.get(usize::from(seen.life));
    kill.is_some_and(|kill| kill.at - seen.ended <= ON_ITS_WAY_US)
}

/// What was settled comes again only if that was shortly before a kill.
fn verify_settled(course: &Course<'_>, records: &Records, found: &mut Found) {
    let number = course.sent.number;
    for (index, seen) in course.seen.iter().enumerate() {
        let is_settled = matches!(seen.did, Did::Acked | Did::Refused);
        let is_given_up = course.dead.first() == Some(&false) && seen.did == Did::Acked;
        if !is_settled || index + 1 == course.seen.len() && !is_given_up {
            continue;
        }
        match records.kills.get(usize::from(seen.life)) {
            Some(kill) if is_on_its_way(seen, records) => {
                found.again += 1;
                found.again_us_max = found.again_us_max.max(kill.at - seen.ended);
            }
            _ => found.fault(format!("{number} came again after it was settled")),
        }
        if course.seen.get(index + 1).is_some_and(|next| next.life == seen.life) {
            found.fault(format!("{number} came again in the same life of the broker"));
        }
    }
}

/// How many connections were dropped, and brokers killed, within a time.
fn ended_between(records: &Records, from: i64, to: i64) -> u64 {
    let drops = &records.blind;
    let below = |time| drops.partition_point(|at| *at < time);
    let kills = records.kills.iter().filter(|kill| kill.at >= from && kill.at < to).count();
    (below(to).saturating_sub(below(from)) + kills) as u64
}

/// Pairs of messages of a key: whichever came first goes first.
fn verify_order(courses: &[Course<'_>], found: &mut Found) {
    for first in courses {
        for second in courses {
            let is_pair = first.sent.priority == second.sent.priority;
            if !is_pair || !comes_first(first, second) {
                continue;
            }
            let Some(began) = second.began() else { continue };
            found.pairs += 1;
            let (late, early) = (&first.sent, &second.sent);
            let names = || format!("{} overtook {}: {early:?} {late:?}", early.number, late.number);
            match first.finished() {
                Some(finished) if finished > began => found.fault(names()),
                // It went unseen, each time with a connection that ended.
                None if first.dead.is_empty() && first.sent.confirmed.is_some() => {
                    found.fault(names());
                }
                _ => {}
            }
            verify_lives(first, second, found);
        }
    }
}

/// Also of what comes again after a kill the first goes first.
fn verify_lives(first: &Course<'_>, second: &Course<'_>, found: &mut Found) {
    for again in &first.seen {
        let overtaken =
            second.seen.iter().find(|seen| seen.life == again.life && seen.at < again.at);
        if overtaken.is_some() {
            let (first, second) = (first.sent.number, second.sent.number);
            found.fault(format!("{second} overtook {first}, which came again"));
        }
    }
}

/// Whether it is sure that one message came to the queue before another.
fn comes_first(first: &Course<'_>, second: &Course<'_>) -> bool {
    let (a, b) = (&first.sent, &second.sent);
    match (a.due, b.due) {
        (None, None)
            if a.number % super::load::PUBLISHERS == b.number % super::load::PUBLISHERS =>
        {
            a.number < b.number
        }
        (Some(due), Some(later)) if is_ahead(a) && is_ahead(b) => due.last < later.first,
        (_, None) => first.arrived < b.sent,
        (_, Some(later)) => first.arrived < later.first.max(b.sent),
    }
}

/// The deliveries of a key, in their order.
fn verify_holding(
    deliveries: &[&Seen],
    courses: &BTreeMap<u32, &Course<'_>>,
    records: &Records,
    found: &mut Found,
) {
    for pair in deliveries.windows(2) {
        let (last, next) = (pair[0], pair[1]);
        let numbers = (last.number, next.number);
        if last.life == next.life && next.at < last.ended {
            found.fault(format!("{} and {} of a key were out at once", numbers.0, numbers.1));
        }
        let (before, after) = (courses[&last.number], courses[&next.number]);
        let is_over =
            !before.dead.is_empty() && std::ptr::eq(*before.seen.last().expect("seen"), last);
        let is_same = last.number == next.number;
        match last.did {
            _ if is_same || is_over => {}
            Did::Failed | Did::Lost | Did::Returned
                if after.sent.priority <= before.sent.priority =>
            {
                found.fault(format!("{} overtook {}, which came back", numbers.1, numbers.0));
            }
            Did::Failed | Did::Lost
                if next.at + CLOCK_US < records.retry_at(last, last.failures + 1) =>
            {
                found.fault(format!("{} overtook {}, which waited", numbers.1, numbers.0));
            }
            Did::Acked if last.life == next.life && next.failures == 0 && !next.redelivered => {
                let overtaken = courses.values().find(|course| {
                    course.sent.priority > after.sent.priority
                        && course.arrived < last.ended
                        && match course.began() {
                            Some(began) => began > (next.life, next.at),
                            None => course.dead.is_empty(),
                        }
                });
                if let Some(course) = overtaken {
                    let (higher, lower) = (course.sent.number, next.number);
                    found.fault(format!("{lower} overtook {higher}, which has a higher priority"));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
