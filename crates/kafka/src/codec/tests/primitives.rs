use crate::codec::{Malformed, Reader, Wire, Writer};
use bytes::Bytes;
use proptest::prelude::*;

fn written(flexible: bool, write: impl FnOnce(&mut Writer)) -> Bytes {
    let mut w = Writer::frame(0, flexible, 0);
    write(&mut w);
    super::joined(w.finish()).slice(4..)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn lengths_and_nulls_are_written_as_the_guide_has_them() {
    let some = Some("ab".to_owned());
    let none = None::<String>;
    let list = vec![7_i32];
    assert_eq!(hex(&written(false, |w| some.write(w))), "00026162");
    assert_eq!(hex(&written(true, |w| some.write(w))), "036162");
    assert_eq!(hex(&written(false, |w| none.write(w))), "ffff");
    assert_eq!(hex(&written(true, |w| none.write(w))), "00");
    assert_eq!(hex(&written(false, |w| list.write(w))), "0000000100000007");
    assert_eq!(hex(&written(true, |w| list.write(w))), "0200000007");
    assert_eq!(hex(&written(false, |w| None::<Bytes>.write(w))), "ffffffff");
    assert_eq!(hex(&written(true, |w| w.uvarint(300))), "ac02");
}

#[test]
fn a_varint_of_more_than_32_bits_is_refused() {
    for (bytes, value) in [
        (&[0xff, 0xff, 0xff, 0xff, 0x0f][..], Ok(u32::MAX)),
        (&[0xff, 0xff, 0xff, 0xff, 0x10], Err("a varint of more than 32 bits")),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], Err("a varint of more than 32 bits")),
        (&[0x80], Err("the frame ends inside a value")),
    ] {
        let frame = Bytes::from_static(bytes);
        let read = Reader::new(&frame, 0, 0, true).uvarint();
        assert_eq!(read.map_err(|e| e.why), value, "{bytes:x?}");
    }
}

#[test]
fn a_negative_length_other_than_null_is_refused() {
    let frame = Bytes::from_static(&[0xff, 0xfe, 0, 0]);
    let refused = String::read(&mut Reader::new(&frame, 0, 0, false));
    assert_eq!(refused, Err(Malformed { at_byte: 2, why: "a negative length" }));
}

#[test]
fn text_that_is_not_utf8_is_refused_at_its_place() {
    let frame = Bytes::from_static(&[0, 2, 0xc3, 0x28]);
    let refused = String::read(&mut Reader::new(&frame, 0, 0, false));
    assert_eq!(refused, Err(Malformed { at_byte: 2, why: "a string that is not UTF-8" }));
}

#[test]
fn a_long_string_loses_its_end_at_a_character_where_lengths_have_16_bits() {
    let long = "€".repeat(20_000);
    let bytes = written(false, |w| long.write(w));
    let read = String::read(&mut Reader::new(&bytes, 0, 0, false)).unwrap();
    assert_eq!(read, "€".repeat(32_767 / 3));
    let bytes = written(true, |w| long.write(w));
    assert_eq!(String::read(&mut Reader::new(&bytes, 0, 0, true)), Ok(long));
}

#[test]
fn unknown_tagged_fields_are_stepped_over() {
    let frame = Bytes::from_static(&[2, 0, 1, 0xaa, 9, 2, 0xbb, 0xbb, 0x2a]);
    let mut reader = Reader::new(&frame, 0, 0, true);
    reader.skip_tags().unwrap();
    assert_eq!(reader.i8(), Ok(0x2a));
    for bad in [&[1, 0, 2, 0xaa][..], &[5, 0, 0], &[1, 0]] {
        let frame = Bytes::from_static(bad);
        assert!(Reader::new(&frame, 0, 0, true).skip_tags().is_err(), "{bad:x?}");
    }
}

proptest! {
    #[test]
    fn varints_come_back(value in any::<u32>()) {
        let bytes = written(true, |w| w.uvarint(value));
        prop_assert_eq!(Reader::new(&bytes, 0, 0, true).uvarint(), Ok(value));
    }

    #[test]
    fn strings_come_back(text in ".{0,300}", flexible in any::<bool>()) {
        let bytes = written(flexible, |w| text.write(w));
        prop_assert_eq!(String::read(&mut Reader::new(&bytes, 0, 0, flexible)), Ok(text));
    }
}
