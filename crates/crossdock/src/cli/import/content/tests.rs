use super::*;

/// Properties with a content type, these headers, and a priority of 3.
fn with(headers: &[&[u8]]) -> Vec<u8> {
    let table = headers.concat();
    let mut properties = vec![0xa8, 0, 1, b't'];
    properties.extend((table.len() as u32).to_be_bytes());
    properties.extend(table);
    properties.push(3);
    properties
}

const OWN: &[u8] = b"\x03ownS\x00\x00\x00\x01x";
const COUNT: &[u8] = b"\x10x-delivery-countl\0\0\0\0\0\0\0\x02";
const OFFSET: &[u8] = b"\x0fx-stream-offsetl\0\0\0\0\0\0\x01\x02";

#[test]
fn what_the_source_added_is_taken_out() {
    let clean = with(&[OWN]);
    assert_eq!(without_added(&clean), clean);
    for mixed in [&[COUNT, OWN][..], &[OWN, COUNT], &[OFFSET, OWN, COUNT]] {
        assert_eq!(without_added(&with(mixed)), clean, "{mixed:?}");
    }
    // No headers at all are left: the flag goes, too.
    let none = [0x88, 0, 1, b't', 3];
    assert_eq!(*without_added(&with(&[COUNT])), none);
    assert_eq!(*without_added(&none), none);
}

#[test]
fn offset_and_copies_are_found() {
    assert_eq!(stream_offset(&with(&[OWN, OFFSET])), Some(258));
    assert_eq!(stream_offset(&with(&[OWN])), None);
    assert!(has_copies(&with(&[OWN, b"\x02CCA\x00\x00\x00\x00"])));
    assert!(!has_copies(&with(&[OWN])));
}

#[test]
fn broken_properties_are_left_as_they_are() {
    for broken in [&b""[..], b"\x20", b"\x20\0\0\0\0\xffx", b"\xa0\0\xff"] {
        assert_eq!(without_added(broken), broken);
        assert_eq!((stream_offset(broken), has_copies(broken)), (None, false));
    }
}

#[test]
fn fingerprint_is_that_of_what_was_published() {
    let message = |headers: &[&[u8]], body: &[u8]| Taken {
        tag: 1,
        redelivered: false,
        exchange: "x".into(),
        key: "k".into(),
        properties: with(headers),
        body: body.to_vec(),
    };
    let first = fingerprint(&message(&[OWN], b"a"));
    assert_eq!(fingerprint(&message(&[COUNT, OWN], b"a")), first);
    assert_ne!(fingerprint(&message(&[OWN], b"b")), first);
    assert_ne!(fingerprint(&message(&[], b"a")), first);
}
