"""pika: streams whose keys have histories of their own. No RabbitMQ has them."""

import threading
from decimal import Decimal

import pika
from pika import exceptions

from amqp_pika import Consumer, close, connect, publish, queue, with_channel
from casebook import case, raises, restart_server, same

OURS = ["crossdock"]


def event_store(channel):
    name = queue(channel, durable=True,
                 arguments={"x-queue-type": "stream", "x-key-index": True})
    channel.confirm_delivery()
    return name


def taken(channel, name, body, expected, key=None):
    """Whether a message is taken that expects the last one of its key, or of the stream, there."""
    headers = {"x-expect-offset": expected}
    if key is not None:
        headers["x-kafka-key"] = key
    try:
        publish(channel, name, body, headers=headers)
        return True
    except exceptions.NackError:
        return False


def history(channel, name, count):
    """The first messages of a stream: key, offset and body."""
    channel.basic_qos(prefetch_count=count)
    consumer = Consumer(channel, name, arguments={"x-stream-offset": "first"})
    consumer.wait(count)
    channel.basic_cancel(consumer.tag)
    return [(properties.headers.get("x-kafka-key"), properties.headers.get("x-stream-offset"), body)
            for _, properties, body in consumer.deliveries]


@case(only=OURS)
@with_channel
def message_is_taken_behind_the_one_it_expects(channel):
    name = event_store(channel)
    steps = [("a", -1, True), ("a", -1, False), ("b", -1, True), ("b", 0, False), ("a", 0, True),
             (None, 1, False), (None, 2, True), ("a", 2, True)]
    for number, (key, expected, wanted) in enumerate(steps):
        same((number, taken(channel, name, b"%d" % number, expected, key)), (number, wanted))
    same([body for _, _, body in history(channel, name, 5)], [b"0", b"2", b"4", b"6", b"7"])
    channel.queue_delete(name)


@case(only=OURS)
@with_channel
def of_writers_that_expect_the_same_one_is_taken(channel):
    name = event_store(channel)
    results = []

    def write(number):
        connection = connect()
        own = connection.channel()
        own.confirm_delivery()
        for turn in range(5):
            results.append((turn, taken(own, name, b"%d" % number, -1, f"key-{turn}")))
        close(connection)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    same(len(results), 40)
    same(sorted(turn for turn, won in results if won), [0, 1, 2, 3, 4])
    channel.queue_delete(name)


@case(each=["1", -2, Decimal("1.5"), None], only=OURS)
def what_is_expected_is_an_offset(expected):
    connection = connect()
    channel = connection.channel()
    name = event_store(channel)
    error = raises(exceptions.ChannelClosedByBroker,
                   lambda: taken(channel, name, b"1", expected, "a"))
    same(error.reply_code, 406)
    connection.channel().queue_delete(name)
    close(connection)


@case(each=["classic", "quorum"], only=OURS)
def only_streams_index_keys(kind):
    connection = connect()
    channel = connection.channel()
    error = raises(exceptions.ChannelClosedByBroker, lambda: queue(
        channel, durable=True, arguments={"x-queue-type": kind, "x-key-index": True}))
    same(error.reply_code, 406)
    channel = connection.channel()
    name = queue(channel, durable=True, arguments={"x-queue-type": kind})
    channel.confirm_delivery()
    same(taken(channel, name, b"1", -1), False)
    channel.queue_delete(name)
    close(connection)


@case(only=OURS, restart=True)
def history_goes_on_after_a_restart():
    connection = connect()
    channel = connection.channel()
    name = event_store(channel)
    same(taken(channel, name, b"1", -1, "a"), True)
    same(taken(channel, name, b"2", 0, "a"), True)
    close(connection)
    restart_server()
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    same(taken(channel, name, b"lost", -1, "a"), False)
    same(taken(channel, name, b"lost", 0, "a"), False)
    same(taken(channel, name, b"3", 1, "a"), True)
    channel.basic_publish("", name, b"4", pika.BasicProperties(headers={"x-kafka-key": "a"}))
    same([body for _, _, body in history(channel, name, 4)], [b"1", b"2", b"3", b"4"])
    channel.queue_delete(name)
    close(connection)
