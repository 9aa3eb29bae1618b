use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use record::Fault;

pub(crate) fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<i16>().prop_map(Value::I16),
        any::<i32>().prop_map(Value::I32),
        any::<i64>().prop_map(Value::I64),
        any::<u8>().prop_map(Value::U8),
        any::<u16>().prop_map(Value::U16),
        any::<u32>().prop_map(Value::U32),
        (-1e30f32..1e30).prop_map(Value::F32),
        (-1e300f64..1e300).prop_map(Value::F64),
        (any::<u8>(), any::<i32>())
            .prop_map(|(scale, unscaled)| Value::Decimal { scale, unscaled }),
        ".{0,12}".prop_map(Value::String),
        vec(any::<u8>(), 0..12).prop_map(|bytes| Value::Bytes(Bytes::from(bytes))),
        (0i64..1 << 40).prop_map(|time| Value::Timestamp(Millis(time * 1000))),
    ];
    scalar.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Array),
            vec((".{0,6}", inner), 0..5).prop_map(Value::Table),
        ]
    })
}

pub(crate) fn list() -> impl Strategy<Value = Vec<(String, Value)>> {
    vec((".{0,8}", value()), 0..8)
}

fn encoded(list: &[(String, Value)]) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, list);
    out.split_off(4)
}

fn fault(bytes: &[u8]) -> Fault {
    Table::of(bytes).decode().unwrap_err().fault
}

proptest! {
    #[test]
    fn a_table_decodes_to_what_was_encoded(list in list()) {
        let bytes = encoded(&list);
        let fields = Table::of(&bytes).decode().unwrap();
        prop_assert!(fields.exact);
        prop_assert_eq!(&fields.list, &list);
        let raw: Result<Vec<_>, _> = Table::of(&bytes).raw().collect();
        for ((name, raw), (expected, value)) in raw.unwrap().into_iter().zip(&list) {
            prop_assert_eq!(name, expected.as_bytes());
            prop_assert_eq!(&raw.decode().unwrap(), value);
        }
    }

    #[test]
    fn any_bytes_are_a_table_or_refused(
        bytes in vec(prop_oneof![Just(0u8), Just(1), Just(b'F'), Just(b'A'), any::<u8>()], 0..80),
    ) {
        let table = Table::of(&bytes);
        let walked: Vec<_> = table.raw().collect();
        let whole = walked.iter().all(Result::is_ok);
        match table.decode() {
            Ok(fields) => prop_assert_eq!((whole, fields.list.len()), (true, walked.len())),
            Err(malformed) => prop_assert!(malformed.at_byte <= bytes.len()),
        }
    }

    #[test]
    fn a_mutated_table_is_survived(list in list(), at in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = encoded(&list);
        if !bytes.is_empty() {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(fields) = Table::of(&bytes).decode() {
            prop_assert!(fields.list.iter().all(|(_, value)| value.depth() <= DEPTH_MAX));
        }
    }
}

/// Laid out by hand from RabbitMQ's errata.
#[test]
fn the_types_are_rabbitmqs() {
    let bytes = [
        &b"\x01aS\0\0\0\x01v"[..],
        b"\x01bt\x01",
        b"\x01cI\xff\xff\xff\xfb",
        b"\x01dl\0\0\0\x02\0\0\0\0",
        b"\x01eV",
        b"\x01fT\0\0\0\0\x65\x53\xf1\0",
        b"\x01gd\x3f\xf8\0\0\0\0\0\0",
        b"\x01hA\0\0\0\x08b\xffs\xff\xfeu\0\x03",
        b"\x01iF\0\0\0\x04\x01kB\xff",
        b"\x01jx\0\0\0\x01\xff",
        b"\x01kD\x02\0\0\x04\xd2",
        b"\x01li\xff\xff\xff\xff",
        b"\x01mf\x3f\xc0\0\0",
    ]
    .concat();
    let fields = Table::of(&bytes).decode().unwrap();
    let values: Vec<Value> = fields.list.into_iter().map(|(_, value)| value).collect();
    assert_eq!(
        values,
        [
            Value::String("v".into()),
            Value::Bool(true),
            Value::I32(-5),
            Value::I64(1 << 33),
            Value::Null,
            Value::Timestamp(Millis(1_700_000_000_000)),
            Value::F64(1.5),
            Value::Array(vec![Value::I8(-1), Value::I16(-2), Value::U16(3)]),
            Value::Table(vec![("k".into(), Value::U8(255))]),
            Value::Bytes(Bytes::from_static(b"\xff")),
            Value::Decimal { scale: 2, unscaled: 1234 },
            Value::U32(u32::MAX),
            Value::F32(1.5),
        ]
    );
}

#[test]
fn capital_l_is_a_signed_long_too() {
    let fields = Table::of(b"\x01aL\xff\xff\xff\xff\xff\xff\xff\xff").decode().unwrap();
    assert_eq!(fields.list, [("a".to_owned(), Value::I64(-1))]);
}

#[test]
fn what_cannot_be_given_back_is_told() {
    for bytes in [&b"\x01aS\0\0\0\x01\xff"[..], b"\x01aT\xff\xff\xff\xff\xff\xff\xff\xff"] {
        assert!(!Table::of(bytes).decode().unwrap().exact);
    }
}

#[test]
fn nesting_is_capped() {
    let mut value = Value::Null;
    for _ in 0..DEPTH_MAX {
        value = Value::Array(vec![value]);
    }
    let list = [("deepest".to_owned(), value.clone())];
    assert_eq!(Table::of(&encoded(&list)).decode().unwrap().list, list);
    let list = [("deeper".to_owned(), Value::Array(vec![value]))];
    assert_eq!(fault(&encoded(&list)), Fault::TooLarge);

    // 100 kB of arrays, each around the next.
    let mut hostile = b"\x01a".to_vec();
    for depth in (0..20_000u32).rev() {
        hostile.push(b'A');
        hostile.extend_from_slice(&(depth * 5).to_be_bytes());
    }
    assert_eq!(fault(&hostile), Fault::TooLarge);
    assert_eq!(Table::of(&hostile).raw().count(), 1);
}

#[test]
fn lengths_are_held_against_the_bytes() {
    for hostile in [
        &b"\x01aS\xff\xff\xff\xff"[..],
        b"\x01aF\x7f\xff\xff\xff\x01",
        b"\x01aA\0\0\0\x02V",
        b"\xffa",
        b"\x01aT\0",
        b"\x01a",
    ] {
        assert_eq!(fault(hostile), Fault::Truncated);
    }
    assert_eq!(fault(b"\x01aZ"), Fault::Invalid);
    assert_eq!(fault(b"\x01\xffV"), Fault::Invalid);
}
