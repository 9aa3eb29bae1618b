use super::{SWEEP_MIN, Sharing};
use crate::entry::QueueOptions;
use std::sync::Arc;

fn limited(max_len: u64) -> Arc<QueueOptions> {
    Arc::new(QueueOptions { max_len: Some(max_len), ..QueueOptions::default() })
}

#[test]
fn equal_options_are_one() {
    let mut sharing = Sharing::default();
    let first = sharing.share(&limited(1));
    assert!(Arc::ptr_eq(&first, &sharing.share(&limited(1))));
    assert!(!Arc::ptr_eq(&first, &sharing.share(&limited(2))));
}

#[test]
fn what_no_queue_has_any_more_is_not_kept() {
    let mut sharing = Sharing::default();
    let kept = sharing.share(&limited(0));
    for max_len in 1..10_000 {
        sharing.share(&limited(max_len));
    }
    assert!(sharing.known.len() <= 2 * SWEEP_MIN);
    assert!(Arc::ptr_eq(&kept, &sharing.share(&limited(0))));
}
