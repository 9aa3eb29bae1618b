//! What recurs comes once for each time that it is due, whatever ends the process.

use super::Stage;
use crate::api::{
    Missed, Op, RECURRENCES_MAX, Recur, RecurStep, Recurred, Recurrence, RecurrenceEntry,
    Recurrences, Reply, Source, Take,
};
use bytes::Bytes;
use calendar::{Rhythm, Timetable};
use catalog::{Action, DeleteQueue, QueueOptions, Serving};
use io::Clock;
use record::tail;
use std::collections::BTreeSet;
use types::{ConsumerId, Error, Kind, LogRef, Millis, SubscriptionRef};

fn every(to: LogRef, seconds: i64) -> Recurrence {
    let rhythm = Rhythm::Every(Millis(seconds * 1_000));
    let mut bytes = Vec::new();
    let headers: [(&[u8], Option<&[u8]>); 1] = [(b"priority", Some(b"3"))];
    tail::encode(&mut bytes, None, Some(b"tick"), headers.into_iter());
    Recurrence {
        to: to.log,
        timetable: Timetable { rhythm, start: None, end: None },
        missed: Missed::Once,
        count: None,
        id: None,
        tail: Bytes::from(bytes),
    }
}

fn ask(stage: &mut Stage, home: LogRef, name: &str, step: RecurStep) -> Result<Recurred, Error> {
    match stage.call(Op::Recur(Recur { home, name: name.into(), step })) {
        Ok(Reply::Recurred(recurred, _)) => Ok(recurred),
        Ok(other) => panic!("not an answer: {other:?}"),
        Err(error) => Err(error),
    }
}

fn put(stage: &mut Stage, home: LogRef, name: &str, what: Recurrence) -> Result<Recurred, Error> {
    ask(stage, home, name, RecurStep::Put(Box::new(what)))
}

fn list(stage: &mut Stage, home: LogRef) -> Vec<RecurrenceEntry> {
    let list = Recurrences { home, from: None, count_max: 100 };
    match stage.call(Op::Recurrences(list)) {
        Ok(Reply::Recurrences { entries, .. }) => entries,
        other => panic!("not a listing: {other:?}"),
    }
}

fn take(stage: &mut Stage, from: SubscriptionRef) {
    let take = Take {
        consumer: ConsumerId(1),
        source: Source::Subscription(from),
        prefetch: 0,
        window: None,
        settle_on_delivery: true,
        exclusive: false,
        priority: 0,
        sessions_max: 0,
    };
    stage.call(Op::Take(take)).expect("the consumer is registered");
}

fn pass(stage: &mut Stage, ms: u64) {
    stage.clock.pass(ms * 1_000);
    stage.run();
    stage.run();
}

/// The times that the messages since the last call were due.
fn dues(stage: &mut Stage) -> Vec<i64> {
    let mut dues = Vec::new();
    for event in std::mem::take(&mut stage.events) {
        let crate::api::Event::Deliver { items, .. } = event else { continue };
        for item in items {
            let view = tail::decode(&item.tail).expect("a stored tail");
            let mut due = view.headers.filter(|(name, _)| *name == b"x-recurrence-due");
            let (_, value) = due.next().expect("it says for when it was due");
            let text = std::str::from_utf8(value.expect("a value")).expect("text");
            dues.push(text.parse().expect("a number"));
        }
    }
    dues
}

#[test]
fn a_message_comes_each_time_it_is_due_and_says_for_when() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    take(&mut stage, queue);
    assert_eq!(put(&mut stage, log, "tick", every(log, 5)), Ok(Recurred::Made));
    let first = list(&mut stage, log)[0].due.expect("it is due").0;
    pass(&mut stage, 4_000);
    assert_eq!(dues(&mut stage), []);
    pass(&mut stage, 1_000);
    assert_eq!(dues(&mut stage), [first]);
    pass(&mut stage, 5_000);
    pass(&mut stage, 5_000);
    assert_eq!(dues(&mut stage), [first + 5_000, first + 10_000]);
    let entry = list(&mut stage, log).remove(0);
    assert_eq!((entry.fired, entry.due), (3, Some(Millis(first + 15_000))));
}

#[test]
fn each_time_has_one_message_over_kills_and_power_cuts() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    put(&mut stage, log, "tick", every(log, 1)).expect("it is made");
    let first = list(&mut stage, log)[0].due.expect("it is due").0;
    let mut all = Vec::new();
    take(&mut stage, queue);
    for round in 0..40 {
        // What was written and not handed out yet is with the next life.
        pass(&mut stage, 300 + 137 * (round % 7));
        all.extend(dues(&mut stage));
        match round % 3 {
            0 => stage.reopen(),
            1 => stage.crash(),
            _ => stage.engine.checkpoint(),
        }
        if round % 3 != 2 {
            take(&mut stage, queue);
        }
    }
    pass(&mut stage, 100);
    all.extend(dues(&mut stage));
    let found: BTreeSet<i64> = all.iter().copied().collect();
    let last = *all.last().expect("some came");
    let wanted: BTreeSet<i64> =
        (0..).map(|at| first + at * 1_000).take_while(|due| *due <= last).collect();
    assert!(found.len() > 15 && found == wanted, "{all:?}");
    let entry = list(&mut stage, log).remove(0);
    assert_eq!(entry.fired, found.len() as u64, "each was appended once");
}

#[test]
fn what_was_missed_has_one_message_or_none_or_all() {
    for (missed, wanted) in
        [(Missed::Once, vec![0, 13]), (Missed::Skip, vec![13]), (Missed::All, (0..14).collect())]
    {
        let mut stage = Stage::new();
        let (log, queue) = stage.queue("q", QueueOptions::default());
        let tick = Recurrence { missed, ..every(log, 5) };
        put(&mut stage, log, "tick", tick).expect("it is made");
        let first = list(&mut stage, log)[0].due.expect("it is due").0;
        stage.disk.kill();
        stage.clock.pass(66_000_000);
        stage.reopen();
        take(&mut stage, queue);
        for _ in 0..20 {
            stage.run();
        }
        pass(&mut stage, 5_000);
        let dues: Vec<i64> = dues(&mut stage).iter().map(|due| (due - first) / 5_000).collect();
        assert_eq!(dues, wanted, "{missed:?}");
    }
}

#[test]
fn it_ends_by_count_by_time_and_when_it_is_cancelled() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    take(&mut stage, queue);
    let counted = Recurrence { count: Some(2), ..every(log, 1) };
    put(&mut stage, log, "counted", counted).expect("it is made");
    for _ in 0..4 {
        pass(&mut stage, 1_000);
    }
    assert_eq!(dues(&mut stage).len(), 2);
    assert_eq!(list(&mut stage, log), []);
    let mut timed = every(log, 1);
    timed.timetable.end = Some(stage.clock.now().plus(Millis(2_500)));
    put(&mut stage, log, "timed", timed).expect("it is made");
    for _ in 0..4 {
        pass(&mut stage, 1_000);
    }
    assert_eq!(dues(&mut stage).len(), 2);
    put(&mut stage, log, "endless", every(log, 1)).expect("it is made");
    pass(&mut stage, 1_000);
    assert_eq!(dues(&mut stage).len(), 1);
    assert_eq!(ask(&mut stage, log, "endless", RecurStep::Cancel), Ok(Recurred::Changed));
    assert_eq!(ask(&mut stage, log, "endless", RecurStep::Cancel), Ok(Recurred::Absent));
    pass(&mut stage, 3_000);
    assert_eq!(dues(&mut stage), []);
    assert_eq!(list(&mut stage, log), []);
}

#[test]
fn one_that_is_stopped_has_missed_nothing_when_it_goes_on() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    take(&mut stage, queue);
    put(&mut stage, log, "tick", every(log, 1)).expect("it is made");
    assert_eq!(ask(&mut stage, log, "tick", RecurStep::Pause), Ok(Recurred::Changed));
    assert_eq!(ask(&mut stage, log, "tick", RecurStep::Pause), Ok(Recurred::Unchanged));
    pass(&mut stage, 30_000);
    stage.reopen();
    take(&mut stage, queue);
    pass(&mut stage, 5_000);
    assert_eq!(dues(&mut stage), []);
    assert_eq!(ask(&mut stage, log, "tick", RecurStep::Resume), Ok(Recurred::Changed));
    assert_eq!(ask(&mut stage, log, "tick", RecurStep::Resume), Ok(Recurred::Unchanged));
    assert_eq!(ask(&mut stage, log, "tack", RecurStep::Resume), Ok(Recurred::Absent));
    assert_eq!(dues(&mut stage), []);
    pass(&mut stage, 1_000);
    assert_eq!(dues(&mut stage).len(), 1);
}

#[test]
fn the_same_again_changes_nothing_and_another_one_begins_anew() {
    let mut stage = Stage::new();
    let (log, _) = stage.queue("q", QueueOptions::default());
    put(&mut stage, log, "tick", every(log, 10)).expect("it is made");
    pass(&mut stage, 15_000);
    let before = list(&mut stage, log);
    assert_eq!(put(&mut stage, log, "tick", every(log, 10)), Ok(Recurred::Unchanged));
    assert_eq!(list(&mut stage, log), before);
    assert_eq!(put(&mut stage, log, "tick", every(log, 20)), Ok(Recurred::Changed));
    let after = list(&mut stage, log).remove(0);
    assert_eq!((after.fired, after.what), (0, every(log, 20)));
}

#[test]
fn what_was_decided_for_a_former_one_is_not_carried_out() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    take(&mut stage, queue);
    put(&mut stage, log, "tick", every(log, 1)).expect("it is made");
    // The time comes while another one in its place is on its way to the disk.
    let what = Recurrence { count: Some(7), ..every(log, 1) };
    let step = RecurStep::Put(Box::new(what));
    stage.send(Op::Recur(Recur { home: log, name: "tick".into(), step }));
    stage.clock.pass(1_000_000);
    for _ in 0..3 {
        pass(&mut stage, 1_000);
    }
    let entry = list(&mut stage, log).remove(0);
    assert_eq!(entry.fired as usize, dues(&mut stage).len());
}

#[test]
fn what_goes_on_as_it_becomes_another_one_is_asked_again() {
    let mut stage = Stage::new();
    let (log, _) = stage.queue("q", QueueOptions::default());
    put(&mut stage, log, "tick", every(log, 7)).expect("it is made");
    for (was_there, name) in [(true, "tick"), (false, "tack")] {
        let send = |stage: &mut Stage, step| {
            stage.send(Op::Recur(Recur { home: log, name: name.into(), step }))
        };
        send(&mut stage, RecurStep::Put(Box::new(every(log, 1_000))));
        send(&mut stage, RecurStep::Pause);
        let resumed = send(&mut stage, RecurStep::Resume);
        stage.run();
        let answer = stage.answer(resumed).expect("it is answered");
        let unsure = answer.expect_err("the time was computed for another one");
        assert_eq!(unsure.kind, Kind::Throttled, "{was_there}");
        assert_eq!(ask(&mut stage, log, name, RecurStep::Resume), Ok(Recurred::Changed));
        let now = stage.clock.now();
        let dues = list(&mut stage, log).into_iter().filter(|entry| *entry.name == *name);
        let due = dues.map(|entry| entry.due.expect("it goes on")).next().expect("it is listed");
        assert!(due.since(now) > Millis(900_000), "by its own timetable: {due} at {now}");
    }
}

#[test]
fn it_has_its_priority_and_goes_with_its_queue() {
    let mut stage = Stage::new();
    let serving = Serving { priority_max: 9, ..Serving::default() };
    let options = QueueOptions { serving, ..QueueOptions::default() };
    let (log, queue) = stage.queue("q", options);
    put(&mut stage, log, "tick", every(log, 1)).expect("it is made");
    stage.publish(&[log], &["low"]).expect("published");
    pass(&mut stage, 1_000);
    take(&mut stage, queue);
    assert_eq!(stage.delivered(), ["tick", "low"]);
    let delete = DeleteQueue { name: "q".into(), by: None, only: None };
    stage.change(Action::DeleteQueue(delete)).expect("deleted");
    pass(&mut stage, 2_000);
    stage.reopen();
    pass(&mut stage, 2_000);
    let gone = put(&mut stage, log, "tick", every(log, 1)).expect_err("there is no such log");
    assert_eq!(gone.kind, Kind::NotFound);
}

#[test]
fn what_is_wrong_or_too_much_is_refused() {
    let mut stage = Stage::new();
    let (log, _) = stage.queue("q", QueueOptions::default());
    let mut refused = |name: &str, what: Recurrence| {
        put(&mut stage, log, name, what).expect_err("it is refused").kind
    };
    assert_eq!(refused("", every(log, 1)), Kind::Invalid);
    assert_eq!(refused(&"n".repeat(256), every(log, 1)), Kind::Invalid);
    assert_eq!(refused("n", every(log, 0)), Kind::Invalid);
    assert_eq!(refused("n", Recurrence { count: Some(0), ..every(log, 1) }), Kind::Invalid);
    let mut over = every(log, 1);
    over.timetable.end = Some(Millis(7));
    assert_eq!(refused("n", over), Kind::Invalid);
    let tail = Bytes::from(vec![0; (64 << 10) + 1]);
    assert_eq!(refused("n", Recurrence { tail, ..every(log, 1) }), Kind::TooLarge);
    let tail = Bytes::from_static(&[7]);
    assert_eq!(refused("n", Recurrence { tail, ..every(log, 1) }), Kind::Invalid);
    for number in 0..RECURRENCES_MAX {
        put(&mut stage, log, &number.to_string(), every(log, 3_600)).expect("there is room");
    }
    let full = put(&mut stage, log, "more", every(log, 1)).expect_err("there is no room");
    assert_eq!(full.kind, Kind::Full);
    assert_eq!(put(&mut stage, log, "7", every(log, 60)), Ok(Recurred::Changed));
}

#[test]
fn all_of_them_have_a_bound_in_memory() {
    let mut stage = Stage::with_memory(128 << 20);
    let (log, _) = stage.queue("q", QueueOptions::default());
    let mut tail = Vec::new();
    tail::encode(&mut tail, None, Some(&vec![b'x'; 60 << 10]), std::iter::empty());
    let large = Recurrence { tail: Bytes::from(tail), ..every(log, 3_600) };
    let mut taken = 0;
    let error = loop {
        match put(&mut stage, log, &taken.to_string(), large.clone()) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind, taken), (Kind::Full, 34));
    ask(&mut stage, log, "0", RecurStep::Cancel).expect("cancelled");
    put(&mut stage, log, "again", large).expect("there is room again");
}
