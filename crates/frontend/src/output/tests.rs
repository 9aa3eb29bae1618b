use super::{KEPT_BYTES_MAX, Output, REFERENCE_BYTES_MIN};
use bytes::Bytes;
use proptest::prelude::*;
use std::io::IoSlice;

fn front(output: &Output) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 4];
    let filled = output.slices(&mut slices);
    slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
}

#[test]
fn long_bytes_are_kept_by_reference_and_in_order() {
    let mut output = Output::default();
    let long = Bytes::from(vec![b'L'; REFERENCE_BYTES_MIN]);
    output.buffer().extend_from_slice(b"before");
    output.push(long.clone());
    output.push(Bytes::from_static(b"short"));
    output.buffer().extend_from_slice(b"after");
    let mut slices = [IoSlice::new(&[]); 4];
    assert_eq!(output.slices(&mut slices), 3);
    assert_eq!(&*slices[0], b"before");
    assert_eq!(slices[1].as_ptr(), long.as_ptr());
    assert_eq!(&*slices[2], b"shortafter");
}

#[test]
fn an_emptied_large_buffer_is_given_back() {
    let mut output = Output::default();
    output.buffer().resize(KEPT_BYTES_MAX * 4, 1);
    output.advance(KEPT_BYTES_MAX * 4);
    assert_eq!(output.buffer().capacity(), 0);
    assert_eq!((output.pending(), output.left()), (0, KEPT_BYTES_MAX as u64 * 4));
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        pieces in prop::collection::vec((any::<bool>(), 0..REFERENCE_BYTES_MIN * 2), 1..20),
        steps in prop::collection::vec(1..REFERENCE_BYTES_MIN, 1..200),
    ) {
        let mut output = Output::default();
        let (mut given, mut taken) = (Vec::new(), Vec::new());
        for (number, (by_reference, length)) in pieces.into_iter().enumerate() {
            let piece = vec![u8::try_from(number).unwrap(); length];
            given.extend_from_slice(&piece);
            if by_reference { output.push(piece.into()) } else { output.buffer().extend_from_slice(&piece) }
        }
        prop_assert_eq!(output.pending(), given.len());
        prop_assert_eq!(output.end(), given.len() as u64);
        for step in steps.into_iter().cycle() {
            let bytes = front(&output);
            if bytes.is_empty() { break }
            let step = step.min(bytes.len());
            taken.extend_from_slice(&bytes[..step]);
            output.advance(step);
        }
        prop_assert_eq!(output.left(), given.len() as u64);
        prop_assert_eq!(taken, given);
    }
}
