"""pika: queues with a single active consumer."""

from pika import exceptions

from amqp_pika import (Consumer, close, connect, depth, drain, get, publish, queue, since,
                       with_channel)
from casebook import Skip, case, raises, same, unique, wait_for

KINDS = ["classic", "quorum"]


def single(kind="classic", **more):
    return {"x-single-active-consumer": True, "x-queue-type": kind, **more}


def declare(channel, kind):
    return queue(channel, durable=True, arguments=single(kind))


def came(consumer, count, *others):
    """The bodies that came to a consumer, and that the others got nothing."""
    consumer.wait(count)
    for other in others:
        same(other.settle(), [])
    return consumer.bodies


@case(each=KINDS)
def first_consumer_has_all(kind):
    connection = connect()
    channel = connection.channel()
    name = declare(channel, kind)
    one, two = Consumer(channel, name), Consumer(channel, name)
    publish(channel, name, b"0", b"1", b"2")
    same(came(one, 3, two), [b"0", b"1", b"2"])
    channel.queue_delete(name)
    close(connection)


@case(each=KINDS)
def next_consumer_takes_over_when_the_first_is_cancelled(kind):
    connection = connect()
    channel = connection.channel()
    name = declare(channel, kind)
    one, two, three = (Consumer(channel, name) for _ in range(3))
    publish(channel, name, b"0")
    same(came(one, 1, two, three), [b"0"])
    channel.basic_cancel(one.tag)
    publish(channel, name, b"1")
    # What the first one holds it may still settle.
    same(came(two, 1, three), [b"1"])
    channel.basic_ack(one.tags[0])
    channel.basic_cancel(two.tag)
    publish(channel, name, b"2")
    same(came(three, 1), [b"2"])
    channel.queue_delete(name)
    close(connection)


@case(each=["channel", "connection"])
def next_consumer_has_what_the_first_left(way):
    first, second = connect(), connect()
    name = queue(second.channel(), durable=True, arguments=single())
    held = first.channel()
    one = Consumer(held, name)
    two = Consumer(second.channel(), name)
    publish(held, name, b"0", b"1")
    same(came(one, 2, two), [b"0", b"1"])
    held.close() if way == "channel" else first.close()
    same(came(two, 2), [b"0", b"1"])
    same([method.redelivered for method, _, _ in two.deliveries], [True, True])
    second.channel().queue_delete(name)
    close(first)
    close(second)


@case
@with_channel
def others_get_nothing_while_the_active_one_is_full(channel):
    name = queue(channel, arguments=single())
    channel.basic_qos(prefetch_count=1)
    one, two = Consumer(channel, name), Consumer(channel, name)
    publish(channel, name, b"0", b"1")
    same(came(one, 1, two), [b"0"])
    same(depth(channel, name), 1)
    channel.basic_ack(one.tags[0])
    same(came(one, 2, two), [b"0", b"1"])


@case
@with_channel
def higher_priority_does_not_take_a_classic_queue_over(channel):
    name = queue(channel, arguments=single())
    one = Consumer(channel, name)
    two = Consumer(channel, name, arguments={"x-priority": 1})
    three = Consumer(channel, name, arguments={"x-priority": 5})
    publish(channel, name, b"0")
    same(came(one, 1, two, three), [b"0"])
    channel.basic_cancel(one.tag)
    publish(channel, name, b"1")
    same(came(three, 1, two), [b"1"])


@case
@with_channel
def higher_priority_takes_a_quorum_queue_over_when_nothing_is_on_its_way(channel):
    if not since(channel, "4.0"):
        raise Skip("RabbitMQ's quorum queues do so since 4.0")
    name = declare(channel, "quorum")
    one = Consumer(channel, name)
    publish(channel, name, b"0")
    same(came(one, 1), [b"0"])
    two = Consumer(channel, name, arguments={"x-priority": 5})
    publish(channel, name, b"1")
    same((one.settle()[1:], two.settle()), ([], []))
    channel.basic_ack(one.tags[0])
    same(came(two, 1), [b"1"])
    same(len(one.deliveries), 1)
    channel.queue_delete(name)


@case
@with_channel
def exclusive_says_nothing_to_a_quorum_queue(channel):
    name = declare(channel, "quorum")
    one, two = Consumer(channel, name, exclusive=True), Consumer(channel, name)
    publish(channel, name, b"0")
    same(came(one, 1, two), [b"0"])
    channel.queue_delete(name)


@case
def exclusive_consumer_is_refused():
    connection = connect()
    channel = connection.channel()
    name = declare(channel, "classic")
    error = raises(exceptions.ChannelClosedByBroker, channel.basic_consume, name,
                   lambda *_: None, exclusive=True)
    same((error.reply_code, error.reply_text),
         (403, f"ACCESS_REFUSED - queue '{name}' in vhost '/' in exclusive use"))
    connection.channel().queue_delete(name)
    close(connection)


@case
@with_channel
def classic_queue_can_be_got_from(channel):
    name = queue(channel, arguments=single())
    publish(channel, name, b"0")
    same(get(channel, name)[2], b"0")


@case
def quorum_queue_cannot_be_got_from():
    connection = connect()
    channel = connection.channel()
    name = declare(channel, "quorum")
    error = raises(exceptions.ChannelClosedByBroker, channel.basic_get, name)
    same((error.reply_code, error.reply_text),
         (405, f"RESOURCE_LOCKED - cannot obtain access to locked queue '{name}' in vhost '/'. "
               "basic.get operations are not supported by quorum queues with single active "
               "consumer"))
    connection.channel().queue_delete(name)
    close(connection)


@case
@with_channel
def everything_left_is_there_without_consumers(channel):
    name = queue(channel, arguments=single())
    one = Consumer(channel, name)
    publish(channel, name, b"0")
    one.wait(1)
    channel.basic_cancel(one.tag)
    channel.basic_nack(one.tags[0], requeue=True)
    wait_for(lambda: depth(channel, name) == 1, "the message's return")
    same(drain(channel, name), [b"0"])


@case
def nonsense_is_refused():
    connection = connect()
    name = unique("q")
    error = raises(exceptions.ChannelClosedByBroker, connection.channel().queue_declare, name,
                   exclusive=True, arguments={"x-single-active-consumer": "yes"})
    same((error.reply_code, error.reply_text),
         (406, "PRECONDITION_FAILED - invalid arg 'x-single-active-consumer' for queue "
               f"'{name}' in vhost '/': {{unacceptable_type,longstr}}"))
    close(connection)
