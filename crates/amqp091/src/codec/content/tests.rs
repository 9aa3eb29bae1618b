use super::*;
use crate::codec::table;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use types::Millis;

const BODY_BYTES_MAX: u64 = 1000;

fn header(class: u16, body_bytes: u64, properties: &[u8]) -> Vec<u8> {
    let fixed = [&class.to_be_bytes()[..], &[0, 0], &body_bytes.to_be_bytes()].concat();
    [&fixed[..], properties].concat()
}

fn text() -> impl Strategy<Value = Option<Vec<u8>>> {
    option::of(vec(any::<u8>(), 0..6))
}

proptest! {
    #[test]
    fn properties_encode_to_the_bytes_they_came_from(
        texts in vec(text(), 9), delivery_mode: Option<u8>, priority: Option<u8>,
        seconds in option::of(0i64..1 << 40), headers in option::of(vec(any::<u8>(), 0..9)),
    ) {
        let text = |at: usize| texts[at].as_deref();
        let properties = Properties {
            message_id: text(0),
            correlation_id: text(1),
            reply_to: text(2),
            content_type: text(3),
            content_encoding: text(4),
            kind: text(5),
            app_id: text(6),
            user_id: text(7),
            priority,
            expiration: text(8),
            delivery_mode,
            timestamp: seconds.map(|seconds| Millis(seconds * 1000)),
        };
        let mut out = Vec::new();
        let push = headers.as_ref().map(|bytes| |out: &mut Vec<u8>| {
            let start = table::begin(out);
            out.extend_from_slice(bytes);
            table::end(out, start);
        });
        Content::push(&mut out, &properties, push);
        let expected = Content { properties, headers: headers.as_deref().map(Table::of), exact: true };
        prop_assert_eq!(Content::decode(&out), Ok(expected));
        out.push(0);
        prop_assert!(Content::decode(&out).is_err());
    }

    #[test]
    fn any_properties_are_decoded_or_refused(bytes in vec(any::<u8>(), 0..60)) {
        let refused = Content::decode(&bytes).is_err();
        let flags = u16::from_be_bytes([*bytes.first().unwrap_or(&0), *bytes.get(1).unwrap_or(&0)]);
        prop_assert!(refused || flags & flag::UNDEFINED == 0);
    }

    #[test]
    fn a_body_is_whole_however_it_is_cut(
        body in vec(any::<u8>(), 1..300), piece_bytes in 1usize..301,
    ) {
        let mut assembly = Assembly::default();
        assembly.publish("e", "k", true);
        let length = body.len() as u64;
        prop_assert_eq!(assembly.header(&header(60, length, &[0, 0]), BODY_BYTES_MAX), Ok(None));
        let mut left = body.len();
        for piece in body.chunks(piece_bytes) {
            left -= piece.len();
            let publication = assembly.body(piece).unwrap();
            prop_assert_eq!(publication.is_some(), left == 0);
            if let Some(publication) = publication {
                prop_assert_eq!(publication.body, &body[..]);
                prop_assert_eq!(publication.properties, &[0, 0]);
                let to = (publication.exchange, publication.routing_key, publication.mandatory);
                prop_assert_eq!(to, ("e", "k", true));
            }
        }
        prop_assert!(assembly.idle());
    }

    #[test]
    fn any_sequence_of_frames_is_assembled_or_refused(
        steps in vec((0u8..3, vec(any::<u8>(), 0..30)), 0..20),
    ) {
        let mut assembly = Assembly::default();
        for (step, payload) in steps {
            let refused = match step {
                0 if assembly.idle() => {
                    assembly.publish("", "q", false);
                    false
                }
                0 => true,
                1 => assembly.header(&payload, 100).is_err(),
                _ => assembly.body(&payload).is_err(),
            };
            if refused {
                assembly.reset();
            }
            prop_assert!(assembly.body.capacity() <= RESERVE_BYTES_MAX);
        }
    }
}

#[test]
fn an_empty_body_needs_no_frame() {
    let mut assembly = Assembly::default();
    assembly.publish("", "q", false);
    let payload = header(60, 0, &[0x10, 0, 2]);
    let publication = assembly.header(&payload, BODY_BYTES_MAX).unwrap().unwrap();
    assert_eq!((publication.body, publication.properties), (&[][..], &[0x10, 0, 2][..]));
    assert!(assembly.idle());
}

#[test]
fn what_is_not_due_is_refused_in_rabbitmqs_words() {
    let begun = || {
        let mut assembly = Assembly::default();
        assembly.publish("", "q", false);
        assembly
    };
    let mut idle = Assembly::default();
    assert_eq!(
        idle.header(&header(60, 0, &[0, 0]), 1).unwrap_err().reply_text(),
        "UNEXPECTED_FRAME - expected method frame, got non method frame instead"
    );
    assert_eq!(
        begun().body(b"x").unwrap_err().reply_text(),
        "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame \
         instead"
    );
    assert_eq!(
        begun().header(&header(50, 0, &[0, 0]), 1).unwrap_err().reply_text(),
        "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead"
    );
    let mut due = begun();
    due.header(&header(60, 3, &[0, 0]), BODY_BYTES_MAX).unwrap();
    assert_eq!(
        due.body(b"four").unwrap_err().reply_text(),
        "FRAME_ERROR - content body frame exceeds remaining content size"
    );
    assert_eq!(due.header(&[], 1).unwrap_err().method, BASIC_PUBLISH);
    assert_eq!(begun().header(&[0, 60], 1).unwrap_err().code, Code::FrameError);
}

#[test]
fn a_huge_body_is_refused_before_it_comes() {
    let mut assembly = Assembly::default();
    assembly.publish("", "q", false);
    let refused = assembly.header(&header(60, u64::MAX, &[0, 0]), BODY_BYTES_MAX).unwrap_err();
    assert_eq!(
        refused.reply_text(),
        "PRECONDITION_FAILED - message size 18446744073709551615 is larger than configured max \
         size 1000"
    );
    assert!(!refused.hard());
    // Within a generous limit the claim alone takes little memory.
    assembly.header(&header(60, 1 << 40, &[0, 0]), u64::MAX).unwrap();
    assert_eq!(assembly.body(b"first"), Ok(None));
    assert!(assembly.body.capacity() <= 2 * RESERVE_BYTES_MAX);
}

#[test]
fn cluster_id_and_far_times_are_not_exact() {
    assert!(!Content::decode(&[0, 0x04, 1, b'c']).unwrap().exact);
    let far = [0, 0x40, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert!(!Content::decode(&far).unwrap().exact);
    assert!(Content::decode(&[0, 0x40, 0, 0, 0, 0, 0, 0, 0, 1]).unwrap().exact);
}
