use super::*;

#[test]
fn the_texts_are_rabbitmqs() {
    let queue = Resource::queue("q", "/");
    let exchange = Resource::exchange("e", "prod");
    let cases: [(Exception, u16, &str); 12] = [
        (queue.not_found(), 404, "NOT_FOUND - no queue 'q' in vhost '/'"),
        (exchange.in_use(), 406, "PRECONDITION_FAILED - exchange 'e' in vhost 'prod' in use"),
        (queue.not_empty(), 406, "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty"),
        (queue.in_exclusive_use(), 403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"),
        (
            queue.locked(),
            405,
            "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. \
             It could be originally declared on another connection or the exclusive property \
             value does not match that of the original declaration.",
        ),
        (
            queue.inequivalent("durable", "'false'", "'true'"),
            406,
            "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': \
             received 'false' but current is 'true'",
        ),
        (
            Resource::queue("amq.q", "/").reserved_prefix(),
            403,
            "ACCESS_REFUSED - queue name 'amq.q' contains reserved prefix 'amq.*'",
        ),
        (unknown_delivery_tag(9), 406, "PRECONDITION_FAILED - unknown delivery tag 9"),
        (consumer_tag_reused("c"), 530, "NOT_ALLOWED - attempt to reuse consumer tag 'c'"),
        (
            negotiation("frame_max", 100, 4096),
            530,
            "NOT_ALLOWED - negotiated frame_max = 100 is lower than the minimum allowed value \
             (4096)",
        ),
        (
            negotiation("channel_max", 0, 2047),
            530,
            "NOT_ALLOWED - negotiated channel_max = 0 (no limit) is higher than the maximum \
             allowed value (2047)",
        ),
        (vhost_not_found("nope"), 530, "NOT_ALLOWED - vhost nope not found"),
    ];
    for (exception, code, text) in cases {
        assert_eq!((exception.code.number(), exception.reply_text().as_str()), (code, text));
    }
}

#[test]
fn soft_errors_close_the_channel_and_hard_ones_the_connection() {
    let soft = [311, 312, 313, 403, 404, 405, 406];
    let all = [
        Code::ContentTooLarge,
        Code::NoRoute,
        Code::NoConsumers,
        Code::ConnectionForced,
        Code::InvalidPath,
        Code::AccessRefused,
        Code::NotFound,
        Code::ResourceLocked,
        Code::PreconditionFailed,
        Code::FrameError,
        Code::SyntaxError,
        Code::CommandInvalid,
        Code::ChannelError,
        Code::UnexpectedFrame,
        Code::ResourceError,
        Code::NotAllowed,
        Code::NotImplemented,
        Code::InternalError,
    ];
    for code in all {
        assert_eq!(code.hard(), !soft.contains(&code.number()), "{}", code.name());
    }
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let text = Exception::new(Code::NotFound, "é".repeat(300)).reply_text();
    assert!(text.len() <= TEXT_BYTES_MAX && text.len() > TEXT_BYTES_MAX - 2);
    assert!(text.ends_with("é..."));
}

#[test]
fn an_engine_error_keeps_its_sentence() {
    let error = Error::new(Kind::NotFound, "no such log");
    assert_eq!(Exception::from(&error).reply_text(), "NOT_FOUND - no such log");
}
