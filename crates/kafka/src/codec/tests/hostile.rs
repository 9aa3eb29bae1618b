//! No bytes make a decoder panic, and no count makes it reserve more than there are bytes.

use super::{Subject, body, for_every_api};
use crate::codec::sample::Dice;
use crate::codec::{ELEMENTS_MAX, Malformed, Message, Reader, Wire, decode, messages};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

const HUGE: &[&[u8]] =
    &[&[0x7f, 0xff, 0xff, 0xff], &[0xff; 5], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0x80; 4]];

#[expect(clippy::extra_unused_type_parameters, reason = "the table of APIs names the oracle too")]
fn survives<O: Subject, T>() {
    let cases = ProptestConfig::with_cases(24);
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    proptest!(cases, |(seed in any::<u64>(), noise in noise)| {
        for version in O::VERSIONS {
            let _ = decode::<O>(&Bytes::from(noise.clone()), 0, version);
            let mut dice = Dice::new(seed, version);
            let written = body(&O::sample(&mut dice), version);
            truncated::<O>(&written, version);
            mutated::<O>(&written, version, &mut dice);
        }
    });
}

/// A frame that ends early is refused, unless what is missing is nothing a reader needs.
fn truncated<O: Message>(written: &Bytes, version: i16) {
    for end in 0..written.len().min(300) {
        let cut = written.slice(..end);
        assert!(decode::<O>(&cut, 0, version).is_err(), "version {version} cut at byte {end}");
    }
}

fn mutated<O: Message>(written: &Bytes, version: i16, dice: &mut Dice) {
    if written.is_empty() {
        return;
    }
    for _ in 0..8 {
        let mut bytes = BytesMut::from(&written[..]);
        for _ in 0..1 + dice.below(4) {
            let at = dice.below(bytes.len());
            bytes[at] = dice.next() as u8;
        }
        let _ = decode::<O>(&bytes.freeze(), 0, version);
    }
    for huge in HUGE {
        let at = dice.below(written.len());
        let mut bytes = BytesMut::from(&written[..at]);
        bytes.extend_from_slice(huge);
        bytes.extend_from_slice(&written[at..]);
        let _ = decode::<O>(&bytes.freeze(), 0, version);
    }
}

for_every_api!(survives);

#[test]
fn a_count_beyond_the_frame_is_refused_before_anything_is_reserved() {
    let frame = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0]);
    for version in 0..=8 {
        let refused = decode::<messages::metadata::MetadataRequest>(&frame, 0, version);
        let why = "a length beyond the end of the frame";
        assert_eq!(refused, Err(Malformed { at_byte: 4, why }));
    }
}

#[test]
fn what_is_reserved_for_an_array_is_at_most_its_bytes() {
    let mut bytes = 1_000_i32.to_be_bytes().to_vec();
    bytes.resize(4 + 1_000 * 4, 0);
    let frame = Bytes::from(bytes);
    let read = Vec::<i32>::read(&mut Reader::new(&frame, 0, 0, false)).unwrap();
    assert_eq!((read.len(), read.capacity()), (1_000, 1_000));

    let mut bytes = 3_000_i32.to_be_bytes().to_vec();
    bytes.resize(4 + 3_000, 0xff);
    let frame = Bytes::from(bytes);
    let refused = Vec::<String>::read(&mut Reader::new(&frame, 0, 0, false));
    assert_eq!(refused, Err(Malformed { at_byte: 4, why: "a null where none is allowed" }));
}

#[test]
fn the_arrays_of_a_frame_share_one_budget() {
    let count = ELEMENTS_MAX / 2 + 1;
    let one = [(count as i32).to_be_bytes().to_vec(), vec![0; count]].concat();
    let frame = Bytes::from([one.clone(), one].concat());
    let mut reader = Reader::new(&frame, 0, 0, false);
    assert_eq!(Vec::<i8>::read(&mut reader).map(|values| values.len()), Ok(count));
    let why = "more array elements than a frame may hold";
    assert_eq!(Vec::<i8>::read(&mut reader).map_err(|e| e.why), Err(why));
}
