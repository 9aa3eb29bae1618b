//! Whatever a turn brings, each frame fits a round.

use super::*;
use crate::api::{Append, Disposition, LeaseRange, Payload, Source};
use crate::draft::BATCH_BYTES;
use bytes::Bytes;
use journal::Queue;
use record::{tail, tails};
use types::{ConsumerId, LogRef, Offset, SubscriptionRef};

/// Far up, where a range is at its longest.
const FAR: i64 = 1 << 60;
const SPANS: i64 = 300_000;

fn seat() -> Seat {
    seat_for(journal::Options::new(0).round_bytes_max)
}

fn seat_for(round_bytes_max: u32) -> Seat {
    Seat::new(Shard::new(ShardId(1), None, 8), FrameRoom::of_round(round_bytes_max))
}

fn scattered(count: i64) -> Vec<Span> {
    (0..count).map(|at| Span::new(Offset(FAR + 2 * at), Offset(FAR + 2 * at + 1))).collect()
}

/// Seals everything; each frame is one that the journal takes.
fn sealed(seat: &mut Seat) -> Vec<Sealed> {
    sealed_for(seat, &journal::Options::new(0))
}

fn sealed_for(seat: &mut Seat, options: &journal::Options) -> Vec<Sealed> {
    let mut queue = Queue::new(usize::MAX, options);
    while let Some(frame) = seat.seal(Millis(1), true) {
        assert!(queue.push(frame).is_ok(), "no round can hold the frame");
    }
    seat.in_flight.drain(..).collect()
}

/// A settle of everything in a row, of which a consumer may hold every second one.
fn settle_all(count: i64) -> Settle {
    let subscription = SubscriptionRef { shard: ShardId(1), subscription: SubscriptionId(1) };
    Settle {
        consumer: ConsumerId(1),
        source: Source::Subscription(subscription),
        ranges: vec![LeaseRange { log: LogId(2), first: Offset(0), last: Offset(count - 1) }],
        disposition: Disposition::Done,
    }
}

fn ranges_of(command: &Command) -> &[Range] {
    match command {
        Command::Settle { ranges, .. } | Command::Return { ranges, .. } => ranges,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_settle_of_very_many_spans_is_spread_over_frames() {
    let mut seat = seat();
    seat.settle(SubscriptionId(1), LogId(1), &scattered(SPANS));
    seat.wait_frame(ClientId(1), Token(7));
    assert!(seat.next_index() > 1);
    let last = seat.next_index();
    let frames = sealed(&mut seat);
    let ranges: Vec<Range> =
        frames.iter().flat_map(|frame| &frame.commands).flat_map(ranges_of).copied().collect();
    assert_eq!(ranges.len() as i64, SPANS);
    assert!(ranges.is_sorted_by_key(|range| range.first));
    let waited: Vec<u64> =
        frames.iter().filter(|frame| !frame.pending.is_empty()).map(|frame| frame.index).collect();
    assert_eq!(waited, [last], "who asked waits for the last frame");
    assert!(seat.is_idle());
}

#[test]
fn a_return_of_very_many_spans_is_spread_over_frames() {
    let mut seat = seat();
    seat.give_back(SubscriptionId(1), LogId(1), &scattered(SPANS), true);
    let frames = sealed(&mut seat);
    assert!(frames.len() > 1);
    let ranges = frames.iter().flat_map(|frame| &frame.commands).flat_map(ranges_of).count();
    assert_eq!(ranges as i64, SPANS);
}

#[test]
fn a_transaction_is_one_frame_or_refused() {
    let mut seat = seat();
    seat.settle(SubscriptionId(1), LogId(1), &scattered(50_000));
    let before = seat.next_index();
    seat.begin_atomic((1, 0), &[settle_all(120_000)]).expect("a frame can hold it");
    let begun = seat.next_index();
    assert_eq!(begun, before + 1, "what was there leaves no room for it");
    seat.settle(SubscriptionId(1), LogId(2), &scattered(60_000));
    assert_eq!(seat.next_index(), begun);
    seat.end_atomic();
    for (dests, settles) in [(1, vec![settle_all(200_000)]), (8_193, Vec::new())] {
        let refused = seat.begin_atomic((dests, 0), &settles).map_err(|error| error.kind);
        assert_eq!(refused, Err(Kind::TooLarge));
    }
    let frames = sealed(&mut seat);
    assert_eq!(frames.last().map(|frame| ranges_of(&frame.commands[0]).len()), Some(60_000));
}

#[test]
fn appends_to_very_many_logs_are_spread_over_frames() {
    let mut seat = seat();
    let mut tail = Vec::new();
    tail::encode(&mut tail, None, Some(b"x"), std::iter::empty());
    let mut bytes = Vec::new();
    tails::push(&mut bytes, None, &tail);
    for set in 0..20 {
        let to = (0..5_000).map(|log| LogRef { shard: ShardId(1), log: LogId(set + log) });
        let payload = Payload::Tails { bytes: Bytes::from(bytes.clone()), expiring: false };
        let append = Append { to: to.collect(), payload, waits: true };
        seat.make_room(append.to.len(), 0);
        seat.draft.append(&append, (Millis(1), false), BATCH_BYTES);
    }
    seat.bases =
        (0..100_000).map(|index| AppliedBase { index, dest: 0, base: Offset(1) }).collect();
    let frames = sealed(&mut seat);
    let dests: usize = frames.iter().map(|frame| frame.dests.len()).sum();
    assert_eq!((frames.len(), dests), (20, 100_000));
    assert!(seat.bases.is_empty(), "every base is told");
}

#[test]
fn frames_fit_rounds_of_any_length() {
    let (round_bytes_max, part_bytes) = (64 << 10, 16 << 10);
    let options = journal::Options { round_bytes_max, part_bytes, ..journal::Options::new(0) };
    let mut seat = seat_for(options.round_bytes_max);
    seat.settle(SubscriptionId(1), LogId(1), &scattered(5_000));
    seat.give_back(SubscriptionId(1), LogId(1), &scattered(5_000), true);
    let mut tail = Vec::new();
    tail::encode(&mut tail, None, Some(&[b'x'; 200]), std::iter::empty());
    let mut bytes = Vec::new();
    tails::push(&mut bytes, None, &tail);
    for log in 0..2_000 {
        let to = [LogRef { shard: ShardId(1), log: LogId(log) }];
        let payload = Payload::Tails { bytes: Bytes::from(bytes.clone()), expiring: false };
        let append = Append { to: to.into(), payload, waits: true };
        seat.make_room(append.to.len(), 0);
        seat.draft.schedule(&append, Millis(9), (Millis(1), false), false);
    }
    seat.bases = (0..9_000).map(|index| AppliedBase { index, dest: 0, base: Offset(1) }).collect();
    let frames = sealed_for(&mut seat, &options);
    let dests: usize = frames.iter().map(|frame| frame.dests.len()).sum();
    assert_eq!(dests, 2_000);
}
