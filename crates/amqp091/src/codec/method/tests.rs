use super::*;
use crate::codec::frame::{self, Frame};
use proptest::collection::vec;
use proptest::prelude::*;

/// Every method, with fields that tell mistakes of order and width apart.
fn samples() -> Vec<Method<'static>> {
    let table = Table::of(b"\x01aV");
    let mut all = Vec::new();
    for class in [10, 20, 30, 40, 50, 60, 85, 90] {
        for method in 0..=120 {
            if name_of((class, method)).is_some() {
                all.push(filled((class, method), table));
            }
        }
    }
    all
}

/// The method of these ids, decoded from a payload in which every octet that may vary does.
fn filled(id: MethodId, table: Table<'static>) -> Method<'static> {
    let (class, method) = id;
    let mut payload = [class.to_be_bytes(), method.to_be_bytes()].concat();
    for kind in layout(id) {
        match kind {
            'o' => payload.push(9),
            's' => payload.extend_from_slice(&[0x12, 0x34]),
            'l' => payload.extend_from_slice(&[1, 2, 3, 4]),
            'L' => payload.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]),
            't' => payload.extend_from_slice(b"\x02na"),
            'T' => payload.extend_from_slice(b"\0\0\0\x03any"),
            'F' => {
                payload.extend_from_slice(&(table.bytes().len() as u32).to_be_bytes());
                payload.extend_from_slice(table.bytes());
            }
            bits => payload.push(0b1010_1010 & ((1 << bits.to_digit(10).unwrap()) - 1)),
        }
    }
    Method::decode(Box::leak(payload.into_boxed_slice())).unwrap()
}

/// Fields as the specification lists them: octet, short, long, long long, short text, long Text,
/// Field table, or a number of bits that share an octet.
fn layout(id: MethodId) -> std::str::Chars<'static> {
    let layout = match id {
        (10, 10) => "ooFTT",
        (10, 11) => "FtTt",
        (10, 20 | 21) | (20, 11) => "T",
        (10, 30 | 31) => "sls",
        (10, 40) => "tt1",
        (10, 41 | 60) | (20, 10) | (60, 21 | 31 | 72) => "t",
        (10 | 20, 50 | 40) => "stss",
        (10, 70) => "Tt",
        (20, 20 | 21) | (60, 100 | 110) | (85, 10) => "1",
        (30, 10) => "t5",
        (30, 11) => "s",
        (40, 10) => "stt5F",
        (40, 20) => "st2",
        (40, 30 | 40) => "sttt1F",
        (50, 10) => "st5F",
        (50, 11) => "tll",
        (50, 20) => "sttt1F",
        (50, 30) => "st1",
        (50, 31 | 41) => "l",
        (50, 40) => "st3",
        (50, 50) => "stttF",
        (60, 10) => "ls1",
        (60, 20) => "stt4F",
        (60, 30) => "t1",
        (60, 40) => "stt2",
        (60, 50) => "sttt",
        (60, 60) => "tL1tt",
        (60, 70) => "st1",
        (60, 71) => "L1ttl",
        (60, 80 | 90) => "L1",
        (60, 120) => "L2",
        _ => "",
    };
    layout.chars()
}

#[test]
fn every_method_encodes_to_the_bytes_it_came_from() {
    let all = samples();
    assert_eq!(all.len(), 66);
    for method in all {
        let mut payload = Vec::new();
        method.encode(&mut payload);
        assert_eq!(Method::decode(&payload), Ok(method));
        // Cut anywhere it is refused, and so it is with a byte too many.
        for cut in 4..payload.len() {
            let refused = Method::decode(&payload[..cut]).unwrap_err();
            assert_eq!((refused.code, refused.method), (Code::FrameError, method.id()));
        }
        payload.push(0);
        assert!(Method::decode(&payload).is_err());
    }
}

#[test]
fn bits_share_octets_from_the_lowest_up() {
    let declare = filled((50, 10), Table::of(&[]));
    let Method::QueueDeclare { passive, durable, exclusive, auto_delete, nowait, .. } = declare
    else {
        panic!("{declare:?}");
    };
    assert_eq!(
        [passive, durable, exclusive, auto_delete, nowait],
        [false, true, false, true, false]
    );
}

/// Laid out by hand from the specification.
#[test]
fn publish_and_ack_have_the_bytes_of_the_specification() {
    let payload = b"\0\x3c\0\x28\0\0\x06orders\x03eu.\x01";
    let expected = Method::BasicPublish {
        ticket: 0,
        exchange: "orders",
        routing_key: "eu.",
        mandatory: true,
        immediate: false,
    };
    assert_eq!(Method::decode(payload), Ok(expected));
    let mut out = Vec::new();
    frame::push_method(&mut out, 1, &Method::BasicAck { delivery_tag: 5, multiple: true });
    assert_eq!(out, b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x50\0\0\0\0\0\0\0\x05\x01\xce");
    assert_eq!(Frame::split(&out, 4096).unwrap().unwrap().frame_bytes(), out.len());
}

#[test]
fn unknown_and_malformed_methods_are_told_apart() {
    let refused = Method::decode(&[0, 60, 0, 99]).unwrap_err();
    assert_eq!((refused.code, refused.method), (Code::CommandInvalid, (60, 99)));
    assert_eq!(Method::decode(&[0, 60]).unwrap_err().code, Code::FrameError);
    let not_text = Method::decode(b"\0\x3c\0\x28\0\0\x01\xff\0\0").unwrap_err();
    assert_eq!(not_text.reply_text(), "FRAME_ERROR - cannot decode basic.publish");
}

#[test]
fn a_name_that_is_too_long_is_cut_between_characters() {
    let long = "é".repeat(200);
    let mut payload = Vec::new();
    Method::BasicCancelOk { consumer_tag: &long }.encode(&mut payload);
    let Ok(Method::BasicCancelOk { consumer_tag }) = Method::decode(&payload) else {
        panic!("{payload:?}");
    };
    assert_eq!(consumer_tag, "é".repeat(127));
}

proptest! {
    #[test]
    fn any_payload_is_a_method_or_refused(
        which in 0usize..66, tail in vec(any::<u8>(), 0..40),
    ) {
        let (class, method) = samples()[which].id();
        let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), &tail].concat();
        match Method::decode(&payload) {
            Ok(decoded) => prop_assert_eq!(decoded.id(), (class, method)),
            Err(refused) => prop_assert_eq!(refused.code, Code::FrameError),
        }
    }
}
