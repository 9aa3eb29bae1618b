use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

#[test]
fn entries_come_back_in_order() {
    let mut out = Vec::new();
    push(&mut out, None, b"first");
    push(&mut out, Some(Millis(0)), b"");
    let mark = begin(&mut out, Some(Millis(7)));
    out.extend_from_slice(b"dropped");
    cancel(&mut out, mark);
    let mark = begin(&mut out, Some(Millis(7)));
    out.extend_from_slice(b"in pieces");
    assert_eq!(end(&mut out, mark), 9);
    let entries: Result<Vec<_>, _> = Tails::new(&out).collect();
    let expected: Vec<(_, &[u8])> =
        vec![(None, b"first"), (Some(Millis(0)), b""), (Some(Millis(7)), b"in pieces")];
    assert_eq!(entries.unwrap(), expected);
}

#[test]
fn a_cut_buffer_ends_in_one_fault() {
    let mut out = Vec::new();
    push(&mut out, None, b"whole");
    push(&mut out, None, b"cut");
    let entries: Vec<_> = Tails::new(&out[..out.len() - 1]).collect();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0], Ok((None, &b"whole"[..])));
    assert_eq!(entries[1].unwrap_err().fault, Fault::Truncated);
}

proptest! {
    #[test]
    fn any_bytes_end_the_walk(bytes in vec(any::<u8>(), 0..200)) {
        let count = Tails::new(&bytes).count();
        prop_assert!(count <= bytes.len() / ENTRY_BYTES + 1);
    }
}
