use super::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

type Header = (Vec<u8>, Option<Vec<u8>>);

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..max)
}

proptest! {
    #[test]
    fn a_tail_decodes_to_what_was_encoded(
        key in option::of(bytes(40)),
        value in option::of(bytes(300)),
        headers in vec((bytes(20), option::of(bytes(20))), 0..70),
    ) {
        let mut out = Vec::new();
        let borrowed = headers.iter().map(|(name, value)| (&name[..], value.as_deref()));
        encode(&mut out, key.as_deref(), value.as_deref(), borrowed);
        let view = decode(&out).unwrap();
        prop_assert_eq!(view.key, key.as_deref());
        prop_assert_eq!(view.value, value.as_deref());
        let back: Vec<Header> =
            view.headers.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect();
        prop_assert_eq!(back, headers);
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in bytes(200)) {
        if let Ok(view) = decode(&bytes) {
            let headers: Vec<_> = view.headers.collect();
            prop_assert_eq!(headers.len(), view.headers.count as usize);
        }
    }
}

#[test]
fn null_and_empty_are_told_apart() {
    let mut out = Vec::new();
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"a", None), (b"a", Some(b""))];
    encode(&mut out, None, Some(b""), headers.into_iter());
    let view = decode(&out).unwrap();
    assert_eq!((view.key, view.value), (None, Some(&b""[..])));
    assert_eq!(view.headers.collect::<Vec<_>>(), headers);
}

#[test]
fn what_contradicts_itself_is_refused_where_it_does() {
    let check = |bytes: &[u8], fault| assert_eq!(decode(bytes).unwrap_err().fault, fault);
    check(&[1, 1], Fault::Truncated);
    check(&[1, 1, 0, 9], Fault::Count);
    check(&[3, 1, 0], Fault::Invalid); // key length -2
    check(&[1, 1, 1], Fault::Invalid); // -1 headers
    check(&[1, 1, 2, 1, 1], Fault::Invalid); // null header name
    // two thousand million headers, and no byte of them
    check(&[1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f], Fault::Truncated);
    check(&[0xff; 11], Fault::Invalid); // a varint without end
}
