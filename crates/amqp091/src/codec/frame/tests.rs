use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn refusal(input: &[u8]) -> String {
    Frame::split(input, FRAME_BYTES_MIN).unwrap_err().reply_text()
}

proptest! {
    #[test]
    fn frames_are_split_whatever_the_cuts(
        pieces in vec((0u16..5, vec(any::<u8>(), 0..40)), 1..6), cut in any::<usize>(),
    ) {
        let mut out = Vec::new();
        for (channel, payload) in &pieces {
            let mark = begin(&mut out, FrameKind::Body, *channel);
            out.extend_from_slice(payload);
            end(&mut out, mark);
        }
        let mut rest = &out[..];
        for (channel, payload) in &pieces {
            let frame = Frame::split(rest, FRAME_BYTES_MIN).unwrap().unwrap();
            let short = &rest[..cut % frame.frame_bytes()];
            prop_assert_eq!(Frame::split(short, FRAME_BYTES_MIN), Ok(None));
            prop_assert_eq!(frame, Frame { kind: FrameKind::Body, channel: *channel, payload });
            rest = &rest[frame.frame_bytes()..];
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn any_bytes_are_a_frame_or_refused(input in vec(any::<u8>(), 0..60)) {
        if let Ok(Some(frame)) = Frame::split(&input, FRAME_BYTES_MIN) {
            prop_assert!(frame.frame_bytes() <= input.len());
        }
    }

    #[test]
    fn a_body_is_cut_to_the_frame_size(body in vec(any::<u8>(), 0..20_000)) {
        let mut out = Vec::new();
        push_body(&mut out, 7, &body, FRAME_BYTES_MIN);
        let (mut rest, mut joined) = (&out[..], Vec::new());
        while let Some(frame) = Frame::split(rest, FRAME_BYTES_MIN).unwrap() {
            prop_assert!(frame.frame_bytes() <= FRAME_BYTES_MIN as usize);
            prop_assert!(!frame.payload.is_empty());
            joined.extend_from_slice(frame.payload);
            rest = &rest[frame.frame_bytes()..];
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(joined, body);
    }
}

#[test]
fn a_frame_out_of_step_is_refused_in_rabbitmqs_words() {
    let cases: [(&[u8], &str); 5] = [
        (
            &[3, 0, 1, 0, 0, 0x10, 1],
            "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,4097,4088}",
        ),
        (
            &[1, 0, 1, 0xff, 0xff, 0xff, 0xff],
            "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,4294967295,4088}",
        ),
        (
            &[1, 0, 1, 0, 0, 0, 2, 9, 8, 0xcd],
            "FRAME_ERROR - type 1, all octets = <<9,8>>: {invalid_frame_end_marker,205}",
        ),
        (&[9, 0, 1, 0, 0, 0, 0, 0xce], "FRAME_ERROR - type 9, all octets = <<>>: unknown_frame"),
        (
            &[8, 0, 0, 0, 0, 0, 1, 5, 0xce],
            "FRAME_ERROR - type 8, all octets = <<5>>: unknown_frame",
        ),
    ];
    for (input, text) in cases {
        assert_eq!(refusal(input), text);
    }
}

#[test]
fn eight_bytes_too_many_are_forgiven() {
    let mut frame = vec![3, 0, 1, 0, 0, 0x10, 0];
    frame.resize(7 + 4096, 0);
    frame.push(END);
    assert_eq!(Frame::split(&frame, FRAME_BYTES_MIN).unwrap().unwrap().payload.len(), 4096);
}

#[test]
fn a_heartbeat_is_eight_bytes() {
    let frame = Frame::split(&HEARTBEAT, FRAME_BYTES_MIN).unwrap().unwrap();
    assert_eq!((frame.kind, frame.channel, frame.frame_bytes()), (FrameKind::Heartbeat, 0, 8));
}
