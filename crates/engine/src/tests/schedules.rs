//! What is scheduled comes once, when it is due, whatever ends the process; or not, if cancelled.

use super::{Stage, append};
use crate::api::{
    Append, Extent, Op, Read, ReadFrom, Reply, Schedule, Scheduled, ScheduledEntry, Source, Take,
    Unschedule,
};
use catalog::{Action, DeleteQueue, QueueOptions};
use io::{Clock, Disk};
use types::{ConsumerId, LogRef, Millis, Offset, SubscriptionRef};

fn schedule(to: &[LogRef], values: &[&str], due: Millis) -> Op {
    let Op::Append(append) = append(to, values, None) else { unreachable!("it is an append") };
    Op::Schedule(Schedule { append, due })
}

/// Schedules values for `ms` from now; gives the first one's offset in the schedule.
fn plan(stage: &mut Stage, log: LogRef, values: &[&str], ms: i64) -> Offset {
    let due = stage.clock.now().plus(Millis(ms));
    match stage.call(schedule(&[log], values, due)) {
        Ok(Reply::Appended(appended)) => appended.base_offset,
        other => panic!("not scheduled: {other:?}"),
    }
}

fn cancel(stage: &mut Stage, log: LogRef, offsets: &[i64]) -> Vec<i64> {
    let offsets = offsets.iter().copied().map(Offset).collect();
    match stage.call(Op::Unschedule(Unschedule { log, offsets })) {
        Ok(Reply::Unscheduled(offsets)) => offsets.into_iter().map(|offset| offset.0).collect(),
        other => panic!("not cancelled: {other:?}"),
    }
}

fn list(stage: &mut Stage, log: LogRef) -> Vec<i64> {
    let (mut found, mut from) = (Vec::new(), Offset(0));
    loop {
        match stage.call(Op::Scheduled(Scheduled { log, from, count_max: 1_000 })) {
            Ok(Reply::Scheduled { entries, next, total }) => {
                found.extend(entries.into_iter().map(|entry| entry.offset.0));
                match next {
                    Some(next) => from = next,
                    None => {
                        assert_eq!(found.len() as u64, total);
                        return found;
                    }
                }
            }
            other => panic!("not a listing: {other:?}"),
        }
    }
}

/// Schedules `count` values over some minutes, in an order that has nothing to do with when they are
/// due, and has the segments that they lie in sealed. Gives the values by due time.
fn plan_many(stage: &mut Stage, log: LogRef, count: i64) -> Vec<String> {
    let (other, noise) = stage.queue("noise", QueueOptions::default());
    let now = stage.clock.now();
    let mut wanted = Vec::new();
    for number in 0..count {
        let due = now.plus(Millis(1_000_000 + number * 7_919 % 100_003 * 3));
        stage.send(schedule(&[log], &[&number.to_string()], due));
        wanted.push((due, number));
        if number % 40 == 39 {
            churn(stage, other);
        }
    }
    churn(stage, other);
    stage.call(Op::Purge(noise)).expect("purged");
    checkpoint(stage);
    wanted.sort_unstable();
    wanted.into_iter().map(|(_, number)| number.to_string()).collect()
}

/// Lets the time come of whatever `plan_many` has scheduled; gives what is delivered meanwhile.
fn pass_all(stage: &mut Stage) -> Vec<String> {
    let mut delivered = Vec::new();
    for _ in 0..70 {
        pass(stage, 20_000);
        delivered.extend(stage.delivered());
    }
    delivered
}

fn take(stage: &mut Stage, from: SubscriptionRef) {
    let take = Take {
        consumer: ConsumerId(1),
        source: Source::Subscription(from),
        prefetch: 0,
        window: None,
        settle_on_delivery: false,
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

fn checkpoint(stage: &mut Stage) {
    stage.engine.checkpoint();
    stage.run();
}

fn extent(stage: &mut Stage, log: LogRef) -> Option<Extent> {
    match stage.call(Op::Extent(vec![log])) {
        Ok(Reply::Extents(extents)) => extents[0],
        other => panic!("no extent: {other:?}"),
    }
}

/// Appends and consumes so much that segments are sealed, indexed and given back.
fn churn(stage: &mut Stage, log: LogRef) {
    let value = "x".repeat(12 << 10);
    for _ in 0..60 {
        stage.publish(&[log], &[&value]).expect("published");
    }
    checkpoint(stage);
}

#[test]
fn a_scheduled_record_comes_when_it_is_due_and_not_before() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    take(&mut stage, queue);
    plan(&mut stage, log, &["later"], 1_000);
    pass(&mut stage, 800);
    assert_eq!(stage.delivered(), [] as [&str; 0]);
    assert_eq!(extent(&mut stage, log).map(|extent| extent.end), Some(Offset(0)));
    stage.publish(&[log], &["now"]).expect("published");
    assert_eq!(stage.delivered(), ["now"]);
    pass(&mut stage, 200);
    assert_eq!(stage.delivered(), ["later"]);
    assert_eq!(extent(&mut stage, log).map(|extent| extent.end), Some(Offset(2)));
}

#[test]
fn what_is_due_together_goes_by_due_time_and_then_by_age() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    // More than are kept in memory, in an order that has nothing to do with when they are due.
    let mut wanted = Vec::new();
    for number in 0..200i64 {
        let ms = 100_000 + number * 37 % 50 * 100;
        let due = Millis(1_700_000_000_000 + ms);
        stage.call(schedule(&[log], &[&number.to_string()], due)).expect("scheduled");
        wanted.push((due, number));
    }
    wanted.sort_unstable();
    take(&mut stage, queue);
    pass(&mut stage, 200_000);
    for _ in 0..20 {
        pass(&mut stage, 10);
    }
    let wanted: Vec<String> = wanted.into_iter().map(|(_, number)| number.to_string()).collect();
    assert_eq!(stage.delivered(), wanted);
}

#[test]
fn what_is_due_long_ago_comes_at_once() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    take(&mut stage, queue);
    plan(&mut stage, log, &["a", "b"], -5_000);
    pass(&mut stage, 10);
    assert_eq!(stage.delivered(), ["a", "b"]);
}

#[test]
fn a_cancelled_record_never_comes_and_one_that_came_cannot_be_cancelled() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    take(&mut stage, queue);
    assert_eq!(plan(&mut stage, log, &["a", "b", "c"], 1_000), Offset(0));
    assert_eq!(plan(&mut stage, log, &["d"], 500), Offset(3));
    assert_eq!(cancel(&mut stage, log, &[1, 7, 1]), [1]);
    assert_eq!(cancel(&mut stage, log, &[1]), [0; 0], "it is cancelled already");
    assert_eq!(list(&mut stage, log), [0, 2, 3]);
    pass(&mut stage, 600);
    assert_eq!(stage.delivered(), ["d"]);
    assert_eq!(cancel(&mut stage, log, &[2, 3]), [2]);
    stage.crash();
    assert_eq!(list(&mut stage, log), [0]);
    pass(&mut stage, 1_000);
    take(&mut stage, queue);
    assert_eq!(stage.delivered(), ["d!", "a"]);
}

#[test]
fn due_times_survive_crashes_and_checkpoints() {
    for with_checkpoint in [false, true] {
        let mut stage = Stage::with_shards(2);
        let (log, queue) = stage.queue("q", QueueOptions::default());
        plan(&mut stage, log, &["a"], 60_000);
        plan(&mut stage, log, &["b"], 30_000);
        if with_checkpoint {
            churn(&mut stage, log);
            stage.call(Op::Purge(queue)).expect("purged");
            checkpoint(&mut stage);
        }
        stage.crash();
        take(&mut stage, queue);
        stage.delivered();
        pass(&mut stage, 25_000);
        assert_eq!(stage.delivered(), [] as [&str; 0]);
        stage.reopen();
        take(&mut stage, queue);
        stage.delivered();
        pass(&mut stage, 5_000);
        assert_eq!(stage.delivered(), ["b"]);
        pass(&mut stage, 30_000);
        assert_eq!(stage.delivered(), ["a"]);
    }
}

#[test]
fn an_activated_record_stays_readable_where_it_lay_however_often_the_process_ends() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    let (other, noise) = stage.queue("noise", QueueOptions::default());
    plan(&mut stage, log, &["a", "b"], 1_000);
    churn(&mut stage, other);
    let written = |stage: &Stage| {
        let handle = stage.engine.handle();
        handle.metrics().written_bytes.load(std::sync::atomic::Ordering::Relaxed)
    };
    let before = written(&stage);
    pass(&mut stage, 1_100);
    assert!(written(&stage) - before <= 8 << 10, "one round, with no body in it");
    for _ in 0..4 {
        churn(&mut stage, other);
        stage.call(Op::Purge(noise)).expect("purged");
        checkpoint(&mut stage);
        pass(&mut stage, 40_000);
        stage.crash();
        assert_eq!(list(&mut stage, log), [0; 0]);
        assert_eq!(extent(&mut stage, log).map(|extent| extent.end), Some(Offset(2)));
    }
    take(&mut stage, queue);
    assert_eq!(stage.delivered(), ["a!", "b!"]);
}

#[test]
fn an_index_file_made_while_a_checkpoint_is_cut_hides_none_of_its_entries() {
    let mut stage = Stage::new();
    // A turn looks at one batch: there is much time while it is cut.
    stage.sizes.checkpoint_slice_bytes = 1;
    stage.reopen();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    let (other, _) = stage.queue("noise", QueueOptions::default());
    for _ in 0..30 {
        stage.publish(&[other], &["x"]).expect("published");
    }
    for (value, ms) in [("a", 60_000), ("b", 5_000), ("c", 60_000)] {
        plan(&mut stage, log, &[value], ms);
    }
    let checkpoints = |stage: &Stage| {
        let handle = stage.engine.handle();
        handle.metrics().checkpoints.load(std::sync::atomic::Ordering::Relaxed)
    };
    let until = |stage: &mut Stage, is_so: &dyn Fn(&Stage) -> bool| {
        for _ in 0..200 {
            if is_so(stage) {
                return;
            }
            stage.engine.run(1).expect("the disk works");
        }
        panic!("it never comes to that");
    };
    let stored = checkpoints(&stage);
    stage.engine.checkpoint();
    stage.engine.run(1).expect("the disk works");
    // The one between the others is activated, and not in the segment's index any more.
    stage.clock.pass(5_000_000);
    stage.engine.run(3).expect("the disk works");
    stage.clock.pass(200_000);
    stage.engine.run(1).expect("the disk works");
    let filler = "x".repeat(40 << 10);
    for _ in 0..8 {
        stage.send(append(&[other], &[&filler], None));
    }
    let is_indexed = |stage: &Stage| {
        let names = stage.disk.list().expect("the disk works");
        names.iter().any(|name| name.ends_with(".idx"))
    };
    until(&mut stage, &is_indexed);
    assert_eq!(checkpoints(&stage), stored, "it is being cut");
    until(&mut stage, &|stage| checkpoints(stage) > stored);
    stage.crash();
    take(&mut stage, queue);
    assert_eq!(stage.delivered(), ["b!"]);
    pass(&mut stage, 60_000);
    assert_eq!(stage.delivered(), ["a", "c"]);
}

#[test]
fn a_lost_index_file_loses_no_due_time() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    let (other, _) = stage.queue("noise", QueueOptions::default());
    plan(&mut stage, log, &["a"], 5_000_000);
    churn(&mut stage, other);
    churn(&mut stage, other);
    let names = stage.disk.list().expect("the disk works");
    for name in names.iter().filter(|name| name.ends_with(".idx")) {
        stage.disk.remove(name).expect("the file is there");
    }
    stage.reopen();
    take(&mut stage, queue);
    pass(&mut stage, 4_900_000);
    assert_eq!(stage.delivered(), [] as [&str; 0]);
    pass(&mut stage, 100_000);
    assert_eq!(stage.delivered(), ["a"]);
}

#[test]
fn entries_of_sealed_segments_come_by_due_time_with_few_in_memory() {
    for with_crash in [false, true] {
        let mut stage = Stage::new();
        let (log, queue) = stage.queue("q", QueueOptions::default());
        let wanted = plan_many(&mut stage, log, 200);
        if with_crash {
            stage.crash();
        }
        take(&mut stage, queue);
        stage.delivered();
        assert_eq!(pass_all(&mut stage), wanted, "{with_crash}");
        stage.engine.audit().expect("what is counted as live is what there is");
    }
}

#[test]
fn entries_of_sealed_segments_are_listed_and_cancelled() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    let mut wanted = plan_many(&mut stage, log, 100);
    assert_eq!(list(&mut stage, log), Vec::from_iter(0..100));
    let third: Vec<i64> = (0..100).step_by(3).collect();
    assert_eq!(cancel(&mut stage, log, &third), third);
    stage.reopen();
    assert_eq!(list(&mut stage, log), Vec::from_iter((0..100).filter(|offset| offset % 3 > 0)));
    wanted.retain(|number| number.parse::<i64>().expect("a number") % 3 > 0);
    take(&mut stage, queue);
    assert_eq!(pass_all(&mut stage), wanted);
    stage.engine.audit().expect("what is counted as live is what there is");
}

#[test]
fn a_replay_finds_what_it_activates_in_sealed_segments_without_their_index_too() {
    for without_index in [false, true] {
        let mut stage = Stage::new();
        let (log, queue) = stage.queue("q", QueueOptions::default());
        let wanted = plan_many(&mut stage, log, 100);
        assert_eq!(pass_all(&mut stage), [] as [&str; 0], "nobody takes them");
        let names = stage.disk.list().expect("the disk works");
        for name in names.iter().filter(|name| without_index && name.ends_with(".idx")) {
            stage.disk.remove(name).expect("the file is there");
        }
        stage.reopen();
        assert_eq!(list(&mut stage, log), [0; 0]);
        take(&mut stage, queue);
        (0..20).for_each(|_| stage.run());
        let wanted: Vec<String> = wanted.iter().map(|number| format!("{number}!")).collect();
        assert_eq!(stage.delivered(), wanted, "{without_index}");
    }
}

#[test]
fn what_a_lost_index_file_had_of_a_schedule_comes_by_due_time() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    let wanted = plan_many(&mut stage, log, 100);
    let names = stage.disk.list().expect("the disk works");
    for name in names.iter().filter(|name| name.ends_with(".idx")) {
        stage.disk.remove(name).expect("the file is there");
    }
    for _ in 0..2 {
        stage.reopen();
    }
    take(&mut stage, queue);
    assert_eq!(pass_all(&mut stage), wanted);
    stage.engine.audit().expect("what is counted as live is what there is");
}

#[test]
fn a_schedule_goes_with_its_queue() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    plan(&mut stage, log, &["a"], 1_000);
    let delete = DeleteQueue { name: "q".into(), by: None, only: None };
    stage.change(Action::DeleteQueue(delete)).expect("deleted");
    let listed = stage.call(Op::Scheduled(Scheduled { log, from: Offset(0), count_max: 1 }));
    assert!(listed.is_err(), "{listed:?}");
    let asked = stage.call(Op::Unschedule(Unschedule { log, offsets: vec![Offset(0)] }));
    assert!(asked.is_err(), "{asked:?}");
    pass(&mut stage, 2_000);
    let live = stage.engine.state();
    stage.reopen();
    assert_eq!(stage.engine.state(), live);
    let (again, _) = stage.queue("q", QueueOptions::default());
    assert_ne!(again, log);
    assert_eq!(list(&mut stage, again), [0; 0]);
    let _ = queue;
}

#[test]
fn a_schedule_is_no_log_for_anyone_who_asks() {
    let mut stage = Stage::new();
    let (log, _) = stage.queue("q", QueueOptions::default());
    plan(&mut stage, log, &["a"], 1_000);
    let hidden = LogRef { log: crate::shard::Schedule::id_of(log.log), ..log };
    assert_eq!(extent(&mut stage, hidden), None);
    assert!(stage.publish(&[hidden], &["b"]).is_err());
    let from = ReadFrom { log: hidden, offset: Offset(0), bytes_max: 1_000 };
    let read = Read { logs: vec![from], bytes_max: 1_000, bytes_min: 0, wait: Millis(0) };
    match stage.call(Op::Read(read)) {
        Ok(Reply::Read(logs)) => assert!(logs[0].batches.is_err()),
        other => panic!("not an answer to a read: {other:?}"),
    }
    assert!(stage.publish(&[log, hidden], &["c"]).is_ok(), "where it can be");
    assert_eq!(list(&mut stage, log), [0], "and nowhere else");
}

#[test]
fn one_body_waits_for_several_queues() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    let (other, second) = stage.queue("r", QueueOptions::default());
    let due = stage.clock.now().plus(Millis(1_000));
    stage.call(schedule(&[log, other], &["a", "b"], due)).expect("scheduled");
    assert_eq!(cancel(&mut stage, other, &[0]), [0]);
    take(&mut stage, queue);
    pass(&mut stage, 1_000);
    assert_eq!(stage.delivered(), ["a", "b"]);
    take(&mut stage, second);
    assert_eq!(stage.delivered(), ["b"]);
}

#[test]
fn a_time_to_live_begins_when_a_record_is_activated() {
    let mut stage = Stage::new();
    let options = QueueOptions { message_ttl: Some(Millis(1_000)), ..QueueOptions::default() };
    let (log, queue) = stage.queue("q", options);
    plan(&mut stage, log, &["a"], 5_000);
    plan(&mut stage, log, &["b"], 5_000);
    pass(&mut stage, 5_010);
    pass(&mut stage, 500);
    let Ok(Reply::Counts(counts)) = stage.call(Op::Count(queue)) else { panic!("no counts") };
    assert_eq!(counts.ready, 2);
    pass(&mut stage, 600);
    let Ok(Reply::Counts(counts)) = stage.call(Op::Count(queue)) else { panic!("no counts") };
    assert_eq!(counts.ready, 0);
}

#[test]
fn a_listing_goes_on_where_it_ended() {
    let mut stage = Stage::new();
    let (log, _) = stage.queue("q", QueueOptions::default());
    for number in 0..5 {
        plan(&mut stage, log, &["x"], 10_000 - number);
    }
    let mut from = Offset(0);
    let mut found: Vec<ScheduledEntry> = Vec::new();
    loop {
        match stage.call(Op::Scheduled(Scheduled { log, from, count_max: 2 })) {
            Ok(Reply::Scheduled { entries, next, total: 5 }) => {
                found.extend(entries);
                match next {
                    Some(next) => from = next,
                    None => break,
                }
            }
            other => panic!("not a listing: {other:?}"),
        }
    }
    let offsets: Vec<i64> = found.iter().map(|entry| entry.offset.0).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    assert!(found.windows(2).all(|pair| pair[0].due > pair[1].due.plus(Millis(-100))));
}

#[test]
fn a_whole_batch_cannot_be_scheduled() {
    let mut stage = Stage::new();
    let (log, _) = stage.queue("q", QueueOptions::default());
    let mut builder = record::batch::Builder::new(Millis(0));
    builder.push(Millis(0), b"\x01\x01\x00");
    let payload = crate::api::Payload::Batch(builder.finish());
    let append = Append { to: [log].into(), payload, waits: true };
    let asked = stage.call(Op::Schedule(Schedule { append, due: Millis(0) }));
    assert!(asked.is_err(), "{asked:?}");
}

#[test]
fn many_activated_records_that_stay_are_copied_to_where_index_files_have_them() {
    let mut stage = Stage::new();
    let (log, queue) = stage.queue("q", QueueOptions::default());
    let (other, noise) = stage.queue("noise", QueueOptions::default());
    for number in 0..200 {
        plan(&mut stage, log, &[&number.to_string()], 10_000);
    }
    churn(&mut stage, other);
    for _ in 0..100 {
        pass(&mut stage, 200);
    }
    churn(&mut stage, other);
    stage.call(Op::Purge(noise)).expect("purged");
    checkpoint(&mut stage);
    assert!(stage.engine.referred() <= 64, "{}", stage.engine.referred());
    stage.crash();
    assert!(stage.engine.referred() <= 64, "{}", stage.engine.referred());
    take(&mut stage, queue);
    let wanted: Vec<String> = (0..200).map(|number| format!("{number}!")).collect();
    // Page by page, there is room for few.
    (0..20).for_each(|_| stage.run());
    assert_eq!(stage.delivered(), wanted);
}

#[test]
fn what_is_cancelled_of_a_batch_is_not_delivered_and_the_rest_comes_in_order() {
    for (crashes, cancelled) in [(false, [1, 3]), (true, [0, 1]), (true, [3, 4]), (false, [0, 4])] {
        let mut stage = Stage::new();
        let (log, queue) = stage.queue("q", QueueOptions::default());
        let all = ["a", "b", "c", "d", "e"];
        plan(&mut stage, log, &all, 60_000);
        plan(&mut stage, log, &["gone", "gone"], 60_000);
        assert_eq!(list(&mut stage, log), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(cancel(&mut stage, log, &[5, 6, cancelled[0], cancelled[1]]).len(), 4);
        if crashes {
            stage.crash();
        }
        let left: Vec<i64> = (0..5).filter(|at| !cancelled.contains(at)).collect();
        assert_eq!(list(&mut stage, log), left);
        pass(&mut stage, 60_000);
        assert_eq!(ready_of(&mut stage, queue), 3);
        if crashes {
            stage.reopen();
        }
        take(&mut stage, queue);
        stage.run();
        let values = stage.delivered().into_iter();
        let values: Vec<String> = values.map(|value| value.trim_end_matches('!').into()).collect();
        let wanted: Vec<&str> = left.iter().map(|at| all[*at as usize]).collect();
        assert_eq!(values, wanted);
        assert_eq!(list(&mut stage, log), [] as [i64; 0]);
    }
}

#[test]
fn a_batch_of_which_the_first_was_cancelled_is_found_by_a_start_and_when_its_segment_is_sealed() {
    let mut stage = Stage::new();
    let (other, noise) = stage.queue("noise", QueueOptions::default());
    let (log, queue) = stage.queue("q", QueueOptions::default());
    let mut wanted = Vec::new();
    for number in 0..60 {
        let values = [format!("{number} a"), format!("{number} b"), format!("{number} c")];
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let first = plan(&mut stage, log, &values, 5_000_000 + number * 7_919 % 61 * 1_000);
        cancel(&mut stage, log, &[first.0]);
        wanted.extend(values[1..].iter().map(|value| (*value).to_owned()));
        if number % 20 == 19 {
            churn(&mut stage, other);
        }
    }
    stage.call(Op::Purge(noise)).expect("purged");
    for _ in 0..4 {
        checkpoint(&mut stage);
    }
    stage.crash();
    take(&mut stage, queue);
    let mut delivered = Vec::new();
    for _ in 0..80 {
        pass(&mut stage, 70_000);
        delivered.extend(stage.delivered());
    }
    delivered.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(delivered, wanted);
}

fn ready_of(stage: &mut Stage, queue: SubscriptionRef) -> u64 {
    match stage.call(Op::Count(queue)) {
        Ok(Reply::Counts(counts)) => counts.ready,
        other => panic!("it was not counted: {other:?}"),
    }
}
