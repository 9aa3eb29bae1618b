use super::client::Broker;
use crate::codec::Method;

#[test]
fn published_messages_are_confirmed_at_once_and_delivered() {
    let mut broker = Broker::new();
    let mut client = broker.connect();
    client.declare("q", true);
    client.method(1, &Method::ConfirmSelect { nowait: false });
    client.publish("", "q", b"a");
    client.publish("", "q", b"b");
    client.publish("", "nowhere", b"c");
    assert_eq!(
        broker.talk(&mut client),
        [
            "1 queue.declare-ok q 0 0",
            "1 confirm.select-ok",
            "1 basic.return 312 nowhere",
            "1 header 1",
            "1 body c",
            "1 basic.ack 3 true"
        ]
    );
    client.consume("q", "tag", false);
    assert_eq!(
        broker.talk(&mut client),
        [
            "1 basic.consume-ok tag",
            "1 basic.deliver tag 1 false",
            "1 header 1",
            "1 body a",
            "1 basic.deliver tag 2 false",
            "1 header 1",
            "1 body b"
        ]
    );
    client.ack(1, false);
    client.method(
        1,
        &Method::ChannelClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 },
    );
    assert_eq!(broker.talk(&mut client), ["1 channel.close-ok"]);
    broker.crash();
    let mut client = broker.connect();
    client.method(1, &Method::BasicGet { ticket: 0, queue: "q", no_ack: true });
    client.method(1, &Method::BasicGet { ticket: 0, queue: "q", no_ack: true });
    assert_eq!(
        broker.talk(&mut client),
        ["1 basic.get-ok 1 true 0", "1 header 1", "1 body b", "1 basic.get-empty"]
    );
}
