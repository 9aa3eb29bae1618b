use super::Gather;

#[test]
fn results_come_out_in_their_order() {
    let mut gather = Gather::new(3);
    assert!(!gather.put(2, "c"));
    assert!(!gather.put(0, "a"));
    assert!(gather.put(1, "b"));
    assert_eq!(gather.into_results(), ["a", "b", "c"]);
}

#[test]
fn a_second_or_foreign_result_completes_nothing() {
    let mut gather = Gather::new(2);
    assert!(!gather.put(0, "first"));
    assert!(!gather.put(0, "second"));
    assert!(!gather.put(9, "foreign"));
    assert!(gather.put(1, "last"));
    assert_eq!(gather.into_results(), ["first", "last"]);
}

#[test]
fn nothing_to_gather_is_complete() {
    assert!(Gather::<u8>::new(0).complete());
}
