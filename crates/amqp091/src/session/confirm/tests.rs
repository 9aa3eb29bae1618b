use super::Confirms;
use crate::codec::{Frame, Method};

fn answers(confirms: &mut Confirms) -> Vec<String> {
    let mut out = Vec::new();
    confirms.answer(&mut out, 1);
    let mut texts = Vec::new();
    let mut rest = &out[..];
    while let Some(frame) = Frame::split(rest, 4096).unwrap() {
        texts.push(match Method::decode(frame.payload).unwrap() {
            Method::BasicAck { delivery_tag, multiple } => format!("ack {delivery_tag} {multiple}"),
            Method::BasicNack { delivery_tag, multiple, .. } => {
                format!("nack {delivery_tag} {multiple}")
            }
            other => panic!("not an answer: {other:?}"),
        });
        rest = &rest[frame.frame_bytes()..];
    }
    texts
}

#[test]
fn contiguous_publishes_are_answered_by_one_ack() {
    let mut confirms = Confirms::default();
    (0..3).for_each(|_| confirms.publish(1));
    (0..2).for_each(|_| confirms.publish(2));
    assert!(answers(&mut confirms).is_empty());
    confirms.settle(1, true);
    confirms.settle(2, true);
    assert_eq!(answers(&mut confirms), ["ack 5 true"]);
    confirms.publish(3);
    confirms.settle(3, true);
    assert_eq!(answers(&mut confirms), ["ack 6 false"]);
}

#[test]
fn answers_wait_for_those_of_earlier_publishes() {
    let mut confirms = Confirms::default();
    confirms.publish(1);
    confirms.publish_nowhere(1);
    confirms.publish(1);
    confirms.publish(2);
    confirms.settle(2, true);
    assert!(answers(&mut confirms).is_empty());
    confirms.settle(1, true);
    assert_eq!(answers(&mut confirms), ["ack 4 true"]);
}

#[test]
fn what_failed_is_told_apart_from_what_did_not() {
    let mut confirms = Confirms::default();
    confirms.publish(1);
    confirms.publish(2);
    confirms.publish(2);
    confirms.publish(3);
    confirms.settle(1, true);
    confirms.settle(2, false);
    confirms.settle(3, true);
    assert_eq!(answers(&mut confirms), ["ack 1 false", "nack 3 true", "ack 4 false"]);
}
