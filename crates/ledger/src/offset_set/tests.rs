use super::*;
use proptest::prelude::{Strategy, any, proptest};
use std::collections::BTreeSet;

/// Short ones and ones that cover whole chunks; true adds, false takes out.
fn change() -> impl Strategy<Value = (bool, i64, i64)> {
    let len = proptest::prop_oneof![3 => 1..200i64, 1 => 1..14_000i64];
    (any::<bool>(), 0..20_000i64, len)
}

proptest! {
    #[test]
    fn adding_and_taking_out_agree_with_a_plain_set(
        changes in proptest::collection::vec(change(), 1..40),
    ) {
        let (mut set, mut model) = (OffsetSet::default(), BTreeSet::new());
        for (add, first, len) in changes {
            let span = Span::new(Offset(first), Offset(first + len));
            if add {
                let new = span.offsets().filter(|&offset| model.insert(offset)).count();
                assert_eq!(set.insert(span), new as u64);
            } else {
                let mut taken: Vec<Span> = Vec::new();
                set.remove(span, |run| taken.push(run));
                assert!(taken.iter().all(|run| !run.is_empty()));
                let taken: Vec<Offset> = taken.iter().flat_map(|run| run.offsets()).collect();
                let wanted: Vec<Offset> = model.extract_if(span.first..span.end, |_| true).collect();
                assert_eq!(taken, wanted);
            }
            assert_eq!(set.len(), model.len() as u64);
        }
        let mut from = Offset(i64::MIN);
        for &offset in &model {
            assert_eq!(set.next_present(from), Some(offset));
            from = offset.next();
        }
        assert_eq!(set.next_present(from), None);
        set.remove(Span::new(Offset(i64::MIN), Offset(i64::MAX)), |_| {});
        assert_eq!(set, OffsetSet::default());
    }
}
