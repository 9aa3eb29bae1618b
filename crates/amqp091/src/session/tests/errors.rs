use super::client::Broker;
use crate::codec::frame::PROTOCOL_HEADER;
use crate::codec::{Method, Table};

/// The last frame that `method` on channel 1 leads to.
fn answer(method: &Method<'_>) -> String {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    client.declare("q", true);
    client.method(1, method);
    broker.talk(&mut client).pop().expect("an answer")
}

fn declare<'a>(queue: &'a str, durable: bool, arguments: Table<'a>) -> Method<'a> {
    Method::QueueDeclare {
        ticket: 0,
        queue,
        passive: false,
        durable,
        exclusive: false,
        auto_delete: false,
        nowait: false,
        arguments,
    }
}

#[test]
fn errors_of_a_channel_have_rabbitmqs_codes_texts_and_methods() {
    let none = Table::default();
    let bind = |queue, exchange| Method::QueueBind {
        ticket: 0,
        queue,
        exchange,
        routing_key: "k",
        nowait: false,
        arguments: none,
    };
    let cases = [
        (
            declare("q", false, none),
            "1 channel.close 406 PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in \
             vhost '/': received 'false' but current is 'true' (50, 10)",
        ),
        (
            declare("q", true, Table::of(b"\x0cx-max-lengthI\0\0\0\x05")),
            "1 channel.close 406 PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue \
             'q' in vhost '/': received the value '5' of type 'signedint' but current is none \
             (50, 10)",
        ),
        (
            declare("amq.mine", true, none),
            "1 channel.close 403 ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix \
             'amq.*' (50, 10)",
        ),
        (
            bind("q", "missing"),
            "1 channel.close 404 NOT_FOUND - no exchange 'missing' in vhost '/' (50, 20)",
        ),
        (
            bind("q", ""),
            "1 channel.close 403 ACCESS_REFUSED - operation not permitted on the default exchange \
             (50, 20)",
        ),
        (
            Method::BasicGet { ticket: 0, queue: "none", no_ack: true },
            "1 channel.close 404 NOT_FOUND - no queue 'none' in vhost '/' (60, 70)",
        ),
        (
            Method::BasicAck { delivery_tag: 9, multiple: false },
            "1 channel.close 406 PRECONDITION_FAILED - unknown delivery tag 9 (60, 80)",
        ),
        (
            Method::TxCommit {},
            "1 channel.close 406 PRECONDITION_FAILED - channel is not transactional (90, 20)",
        ),
        (
            Method::ExchangeDelete {
                ticket: 0,
                exchange: "amq.direct",
                if_unused: false,
                nowait: false,
            },
            "1 channel.close 403 ACCESS_REFUSED - deletion of system exchange 'amq.direct' in \
             vhost '/' not allowed (40, 20)",
        ),
        (
            Method::BasicRecover { requeue: false },
            "0 connection.close 540 NOT_IMPLEMENTED - requeue=false (60, 110)",
        ),
        (
            Method::ChannelOpen { out_of_band: "" },
            "0 connection.close 504 CHANNEL_ERROR - second 'channel.open' seen (20, 10)",
        ),
    ];
    for (method, wanted) in cases {
        assert_eq!(answer(&method), wanted);
    }
}

#[test]
fn a_channel_that_was_closed_ignores_all_until_close_ok_and_can_be_opened_again() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    client.publish("missing", "k", b"x");
    client.publish("missing", "k", b"x");
    client.count("q");
    assert_eq!(
        broker.talk(&mut client),
        ["1 channel.close 404 NOT_FOUND - no exchange 'missing' in vhost '/' (60, 40)"]
    );
    client.method(1, &Method::ChannelCloseOk {});
    client.method(1, &Method::ChannelOpen { out_of_band: "" });
    client.declare("q", false);
    assert_eq!(broker.talk(&mut client), ["1 channel.open-ok", "1 queue.declare-ok q 0 0"]);
}

#[test]
fn a_method_on_a_channel_that_is_not_open_ends_the_connection() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    client.method(7, &Method::BasicQos { prefetch_size: 0, prefetch_count: 1, global: false });
    assert_eq!(
        broker.talk(&mut client),
        ["0 connection.close 504 CHANNEL_ERROR - expected 'channel.open' (60, 10)"]
    );
    client.method(0, &Method::ConnectionCloseOk {});
    assert!(broker.talk(&mut client).is_empty());
    assert!(client.finished());
}

#[test]
fn another_protocol_is_told_which_one_is_spoken() {
    let mut broker = Broker::new();
    let mut client = broker.accept();
    client.write(b"AMQP\x03\x01\0\0");
    assert_eq!(broker.exchange(&mut client), PROTOCOL_HEADER);
    assert!(client.finished());
}

#[test]
fn wrong_credentials_are_told_only_to_those_who_understand() {
    for (table, told) in [
        (&b""[..], false),
        (b"\x0ccapabilitiesF\0\0\0\x1f\x1cauthentication_failure_closet\x01", true),
    ] {
        let mut broker = Broker::new();
        let mut client = broker.accept();
        client.write(&PROTOCOL_HEADER);
        broker.exchange(&mut client);
        let login = Method::ConnectionStartOk {
            client_properties: Table::of(table),
            mechanism: "PLAIN",
            response: b"\0guest\0wrong",
            locale: "en_US",
        };
        client.method(0, &login);
        let answers = broker.talk(&mut client);
        let wanted = "0 connection.close 403 ACCESS_REFUSED - Login was refused using \
                      authentication mechanism PLAIN. For details see the broker logfile. (0, 0)";
        assert_eq!(answers.first().map(String::as_str), told.then_some(wanted));
        assert!(client.finished());
    }
}

#[test]
fn a_frame_that_is_too_large_ends_the_connection_before_it_has_come() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    client.write(b"\x01\0\x01\x7f\xff\xff\xff");
    let answers = broker.talk(&mut client);
    assert!(answers[0].starts_with("0 connection.close 501 FRAME_ERROR"), "{answers:?}");
    assert!(client.finished());
}
