//! What the keeper does without being asked.

use super::Stage;
use catalog::QueueOptions;
use std::sync::atomic::Ordering;

#[test]
fn lives_too_short_for_a_checkpoint_make_one_between_them() {
    let mut stage = Stage::new();
    let (log, _) = stage.queue("q", QueueOptions::default());
    let value = "x".repeat(100_000);
    let mut stored = Vec::new();
    for _ in 0..16 {
        stage.reopen();
        for _ in 0..3 {
            stage.publish(&[log], &[&value]).expect("published");
        }
        let handle = stage.engine.handle();
        stored.push(handle.metrics().checkpoints.load(Ordering::Relaxed));
    }
    let total: u64 = stored.iter().sum();
    assert!((3..=6).contains(&total), "one for each MiB of journal: {stored:?}");
}
