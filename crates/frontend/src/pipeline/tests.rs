use super::Pipeline;
use proptest::prelude::*;

#[test]
fn replies_wait_for_the_ones_before_them() {
    let mut pipeline = Pipeline::new(8);
    let slots: Vec<_> = (0..3).map(|_| pipeline.reserve().unwrap()).collect();
    assert!(pipeline.fill(slots[2], "c"));
    assert!(pipeline.fill(slots[1], "b"));
    assert_eq!(pipeline.pop(), None);
    assert!(pipeline.fill(slots[0], "a"));
    assert_eq!([pipeline.pop(), pipeline.pop(), pipeline.pop()], [Some("a"), Some("b"), Some("c")]);
    assert_eq!(pipeline.pop(), None);
    assert_eq!(pipeline.waiting(), 0);
}

#[test]
fn a_full_pipeline_gives_no_slot_until_one_is_emitted() {
    let mut pipeline = Pipeline::new(2);
    let first = pipeline.reserve().unwrap();
    let second = pipeline.reserve().unwrap();
    assert_eq!(pipeline.reserve(), None);
    pipeline.fill(second, 2);
    assert_eq!(pipeline.reserve(), None, "a filled slot still waits for its turn");
    pipeline.fill(first, 1);
    pipeline.pop();
    assert!(pipeline.reserve().is_some());
}

#[test]
fn a_slot_is_filled_once() {
    let mut pipeline = Pipeline::new(2);
    let slot = pipeline.reserve().unwrap();
    assert!(pipeline.fill(slot, "first"));
    assert!(!pipeline.fill(slot, "second"));
    assert_eq!(pipeline.pop(), Some("first"));
    assert!(!pipeline.fill(slot, "late"));
    assert_eq!(pipeline.pop(), None);
}

proptest! {
    #[test]
    fn any_order_of_filling_emits_the_order_of_reserving(keys in prop::collection::vec(any::<u16>(), 0..64)) {
        let mut pipeline = Pipeline::new(64);
        let slots: Vec<_> = keys.iter().map(|_| pipeline.reserve().unwrap()).collect();
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by_key(|index| keys[*index]);
        let mut emitted = Vec::new();
        for index in order {
            pipeline.fill(slots[index], index);
            emitted.extend(std::iter::from_fn(|| pipeline.pop()));
        }
        prop_assert_eq!(emitted, (0..keys.len()).collect::<Vec<_>>());
    }
}
