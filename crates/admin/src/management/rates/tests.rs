use super::*;
use engine::Tally;
use engine::api::Counts;
use types::{ShardId, SubscriptionRef};

fn sample(published: u64, ready: u64) -> Sample {
    let subscription = SubscriptionRef { shard: ShardId(0), subscription: SubscriptionId(1) };
    let counts = Counts { ready, ..Counts::default() };
    let tally = Tally { published, ..Tally::default() };
    [(subscription.subscription, QueueStats { subscription, counts, tally })].into()
}

fn rates(before: &Before, now: &Sample) -> (f64, f64) {
    let stats = &now[&SubscriptionId(1)];
    (before.rate(stats, |it| it.tally.published), before.rate(stats, |it| it.counts.ready))
}

#[test]
fn counts_are_compared_with_a_sample_that_is_old_enough() {
    let kept = Rates::default();
    let first = sample(100, 50);
    assert_eq!(rates(&kept.note(Millis(1_000_000), &first), &first), (0.0, 0.0));
    let soon = sample(110, 50);
    assert_eq!(rates(&kept.note(Millis(1_001_000), &soon), &soon), (0.0, 0.0));
    let later = sample(200, 30);
    assert_eq!(rates(&kept.note(Millis(1_010_000), &later), &later), (10.0, -2.0));
    let last = sample(320, 30);
    assert_eq!(rates(&kept.note(Millis(1_011_000), &last), &last), (20.0, -1.82));
}
