//! Which operations there are, and what is random in them.

use super::Step;
use crate::{ConsumerKey, ConsumerOptions, Window};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use types::{ClientId, ConsumerId, Offset};

/// Every 13th record is gone when delivery gets to it; the others have various lengths.
pub(super) fn len_of(offset: Offset) -> Option<u32> {
    (offset.0 % 13 != 7).then_some(1 + offset.0 as u32 % 5)
}

pub(super) fn keys() -> Vec<ConsumerKey> {
    let key =
        |client, consumer| ConsumerKey { client: ClientId(client), consumer: ConsumerId(consumer) };
    vec![key(1, 1), key(1, 2), key(2, 1), key(2, 2)]
}

pub(super) fn options() -> impl Strategy<Value = ConsumerOptions> {
    let window = prop_oneof![Just(0u32), 1..12u32];
    let bytes = prop_oneof![3 => Just(0u64), 1 => 1..30u64];
    (window, bytes, 0..3i32, proptest::bool::weighted(0.2), 0..3u32).prop_map(
        |(messages, bytes, priority, settle_now, sessions_max)| ConsumerOptions {
            window: Window { messages, bytes },
            priority,
            settle_now,
            sessions_max,
            ..ConsumerOptions::default()
        },
    )
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let key = || proptest::sample::select(keys());
    let span = || (0..150i64, 1..40i64).prop_map(|(first, len)| (first, first + len));
    prop_oneof![
        6 => (1..30i64, 0..6u8, 0..5u64)
            .prop_map(|(count, level, key)| Step::Enqueue(count, level, key)),
        10 => (1..10u8, 1..8u32).prop_map(|(times, run_max)| Step::Deliver { times, run_max }),
        3 => (key(), any::<bool>()).prop_map(|(key, settle_now)| Step::Get(key, settle_now)),
        6 => (key(), span()).prop_map(|(key, (first, end))| Step::Settle(key, first, end)),
        4 => (key(), 0..200i64).prop_map(|(key, end)| Step::SettleUpTo(key, end)),
        5 => (key(), span(), any::<bool>())
            .prop_map(|(key, (first, end), count)| Step::Return(key, first, end, count)),
        5 => (key(), span(), any::<bool>())
            .prop_map(|(key, (first, end), count)| Step::Park(key, first, end, count)),
        1 => (1..3u64).prop_map(|client| Step::ParkAll(ClientId(client))),
        5 => span().prop_map(|(first, end)| Step::Release(first, end)),
        1 => Just(Step::PurgeParked),
        6 => (key(), options()).prop_map(|(key, options)| Step::Add(key, options)),
        2 => (key(), any::<bool>()).prop_map(|(key, count)| Step::Leave(key, count)),
        2 => key().prop_map(Step::Cancel),
        1 => (1..3u64).prop_map(|client| Step::DropClient(ClientId(client))),
        1 => (key(), 0..12u32).prop_map(|(key, messages)| Step::Window(key, messages)),
        1 => (0..3u16).prop_map(Step::Overdue),
        1 => (1..60u64, proptest::option::of(0..5usize))
            .prop_map(|(count, level)| Step::Purge(count, level)),
        3 => (0..150i64).prop_map(Step::TakeAt),
        3 => (0..150i64).prop_map(Step::Rewind),
        1 => (0..150i64).prop_map(Step::Forget),
        1 => (0..150i64).prop_map(Step::Trim),
        5 => Just(Step::Sync),
        2 => Just(Step::Checkpoint),
        2 => Just(Step::Crash),
    ]
}
