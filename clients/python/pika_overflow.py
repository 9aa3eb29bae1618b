"""pika: queues that refuse what is too much."""

from pika import exceptions

from amqp_pika import (Consumer, close, connect, depth, drain, exchange, get, publish, queue,
                       with_channel)
from casebook import case, raises, same, unique, wait_for


def rejecting(length, word="reject-publish", **more):
    return {"x-max-length": length, "x-overflow": word, **more}


def refused(channel, name, body, via=""):
    """Whether a publish on a confirming channel is nacked."""
    try:
        channel.basic_publish(via, name, body)
        return False
    except exceptions.NackError:
        return True


@case(each=["classic", "durable"])
def publish_to_a_full_queue_is_nacked(kind):
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    name = queue(channel, durable=kind == "durable", arguments=rejecting(2))
    same([refused(channel, name, body) for body in (b"0", b"1", b"2", b"3")],
         [False, False, True, True])
    same(depth(channel, name), 2)
    same(get(channel, name)[2], b"0")
    same([refused(channel, name, body) for body in (b"4", b"5")], [False, True])
    same(drain(channel, name), [b"1", b"4"])
    channel.queue_delete(name)
    close(connection)


@case
@with_channel
def bytes_are_limited_too(channel):
    channel.confirm_delivery()
    name = queue(channel, arguments={"x-max-length-bytes": 5, "x-overflow": "reject-publish"})
    same([refused(channel, name, body) for body in (b"aaa", b"bbb", b"cc", b"d")],
         [False, True, False, True])
    same(drain(channel, name), [b"aaa", b"cc"])


@case
@with_channel
def what_consumers_hold_does_not_count(channel):
    channel.confirm_delivery()
    name = queue(channel, arguments=rejecting(1))
    same(refused(channel, name, b"0"), False)
    get(channel, name, auto_ack=False)
    same([refused(channel, name, body) for body in (b"1", b"2")], [False, True])


@case
@with_channel
def nobody_is_told_without_confirms(channel):
    name = queue(channel, arguments=rejecting(1))
    publish(channel, name, b"0", b"1", b"2")
    wait_for(lambda: depth(channel, name) == 1, "one message")
    same(drain(channel, name), [b"0"])


@case
@with_channel
def other_queues_keep_what_one_refuses(channel):
    channel.confirm_delivery()
    fan = exchange(channel, "fanout", auto_delete=True)
    full, other = queue(channel, arguments=rejecting(0)), queue(channel)
    channel.queue_bind(full, fan)
    channel.queue_bind(other, fan)
    same(refused(channel, "", b"a", via=fan), True)
    same((drain(channel, full), get(channel, other)[2]), ([], b"a"))


@case
@with_channel
def refused_message_can_be_a_dead_letter(channel):
    channel.confirm_delivery()
    grave = queue(channel, "grave")
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": grave}
    name = queue(channel, arguments=rejecting(1, "reject-publish-dlx", **dead))
    same([refused(channel, name, body) for body in (b"0", b"1")], [False, True])
    _, properties, body = get(channel, grave)
    death, = properties.headers["x-death"]
    same((body, death["queue"], death["reason"], death["count"]), (b"1", name, "maxlen", 1))
    same(drain(channel, name), [b"0"])


@case
@with_channel
def requeued_message_is_not_refused(channel):
    channel.confirm_delivery()
    name = queue(channel, arguments=rejecting(1))
    same(refused(channel, name, b"0"), False)
    method, _, _ = get(channel, name, auto_ack=False)
    same(refused(channel, name, b"1"), False)
    channel.basic_nack(method.delivery_tag, requeue=True)
    wait_for(lambda: depth(channel, name) == 2, "both messages")
    same(drain(channel, name), [b"0", b"1"])


@case
@with_channel
def room_that_a_consumer_makes_is_used(channel):
    channel.confirm_delivery()
    name = queue(channel, arguments=rejecting(3))
    same([refused(channel, name, b"x") for _ in range(4)], [False, False, False, True])
    consumer = Consumer(channel, name, auto_ack=True)
    consumer.wait(3)
    wait_for(lambda: not refused(channel, name, b"y"), "room")
    same(consumer.wait(4)[3][2], b"y")


@case
def commit_of_what_is_refused_fails():
    connection = connect()
    channel = connection.channel()
    name = queue(channel, exclusive=False, auto_delete=True, arguments=rejecting(1))
    channel.tx_select()
    publish(channel, name, b"0", b"1")
    error = raises(exceptions.ChannelClosedByBroker, channel.tx_commit)
    same((error.reply_code, error.reply_text), (406, "PRECONDITION_FAILED - partial tx completion"))
    connection.channel().queue_delete(name)
    close(connection)


@case(each=["sometimes", 5])
def nonsense_overflow_is_refused(word):
    connection = connect()
    name = unique("q")
    error = raises(exceptions.ChannelClosedByBroker, connection.channel().queue_declare, name,
                   exclusive=True, arguments={"x-overflow": word})
    same(error.reply_code, 406)
    assert error.reply_text.startswith(
        f"PRECONDITION_FAILED - invalid arg 'x-overflow' for queue '{name}' in vhost '/': "), error
    close(connection)
