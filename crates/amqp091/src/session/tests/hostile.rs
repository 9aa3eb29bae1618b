//! Whatever a client sends, before and after login: the session answers or closes, and never panics.

use crate::codec::frame::{self, PROTOCOL_HEADER};
use crate::codec::{Method, Table};
use crate::{Amqp, Options};
use frontend::Wire as _;
use frontend::transcript::{Stage, peer};
use proptest::prelude::*;
use types::Millis;

fn login() -> Vec<u8> {
    let mut bytes = PROTOCOL_HEADER.to_vec();
    let start = Method::ConnectionStartOk {
        client_properties: Table::default(),
        mechanism: "PLAIN",
        response: b"\0guest\0guest",
        locale: "en_US",
    };
    let tune = Method::ConnectionTuneOk { channel_max: 10, frame_max: 4096, heartbeat: 0 };
    let open = Method::ConnectionOpen { virtual_host: "/", capabilities: "", insist: false };
    for (channel, method) in
        [(0, start), (0, tune), (0, open), (1, Method::ChannelOpen { out_of_band: "" })]
    {
        frame::push_method(&mut bytes, channel, &method);
    }
    bytes
}

/// A frame of any kind and method with arguments of any bytes.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![Just((10, 50)), Just((20, 40)), (1u16..100, 1u16..130)];
    let method = prop_oneof![
        method,
        Just((60, 40)),
        Just((60, 20)),
        Just((50, 10)),
        Just((60, 80)),
        Just((60, 70))
    ];
    let arguments = proptest::collection::vec(any::<u8>(), 0..40);
    let kind = prop_oneof![4 => Just(1u8), 1 => Just(2u8), 1 => Just(3u8), 1 => Just(8u8)];
    (kind, 0u16..3, method, arguments).prop_map(|(kind, channel, (class, method), arguments)| {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&channel.to_be_bytes());
        bytes.extend_from_slice(&(arguments.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(&class.to_be_bytes());
        bytes.extend_from_slice(&method.to_be_bytes());
        bytes.extend_from_slice(&arguments);
        bytes.push(0xce);
        bytes
    })
}

fn stage() -> Stage {
    Stage::new(Amqp::new(Options::default()).session(&peer()))
}

proptest! {
    #[test]
    fn any_bytes_are_answered_or_end_the_connection(
        logged_in: bool,
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut stage = stage();
        if logged_in {
            stage.send(&login());
        }
        stage.send(&bytes);
        stage.events();
        prop_assert!(stage.output().len() < 4096);
    }

    #[test]
    fn any_methods_are_answered_or_end_the_connection(
        logged_in: bool,
        frames in proptest::collection::vec(any_frame(), 0..20),
    ) {
        let mut stage = stage();
        stage.send(&if logged_in { login() } else { PROTOCOL_HEADER.to_vec() });
        for frame in frames {
            stage.send(&frame);
            stage.events();
        }
        prop_assert!(stage.output().len() < 16 << 10);
    }
}

#[test]
fn who_does_not_get_through_the_handshake_in_ten_seconds_is_cut_off() {
    for bytes in [&b""[..], &b"AMQ"[..], &PROTOCOL_HEADER] {
        let mut stage = stage();
        stage.pass(Millis(9_000));
        stage.send(bytes);
        // The protocol header is answered, and begins the ten seconds anew.
        let left = if bytes == PROTOCOL_HEADER { 10_000 } else { 1_000 };
        stage.pass(Millis(left - 1));
        assert!(!stage.connection.finished(), "{bytes:?}");
        stage.pass(Millis(1));
        stage.output();
        assert!(stage.connection.finished(), "{bytes:?}");
    }
}

#[test]
fn memory_follows_what_came_and_not_what_was_announced() {
    let mut stage = stage();
    stage.send(&login());
    let publish = Method::BasicPublish {
        ticket: 0,
        exchange: "",
        routing_key: "q",
        mandatory: false,
        immediate: false,
    };
    let mut bytes = Vec::new();
    frame::push_method(&mut bytes, 1, &publish);
    bytes.extend_from_slice(&[2, 0, 1, 0, 0, 0, 14, 0, 60, 0, 0]);
    bytes.extend_from_slice(&u64::MAX.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0xce]);
    stage.output();
    stage.send(&bytes);
    let answer = String::from_utf8_lossy(&stage.output()).into_owned();
    assert!(answer.contains("PRECONDITION_FAILED - message size"), "{answer}");
}
