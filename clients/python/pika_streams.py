"""pika: streams with an age, and consumers that want some of their messages."""

from pika import exceptions

from amqp_pika import Consumer, close, connect, publish, queue, since, with_channel
from casebook import Skip, case, raises, same

VALUE = "x-stream-filter-value"


def stream(channel, **more):
    return queue(channel, durable=True, arguments={"x-queue-type": "stream", **more})


def wanted(channel, name, count, **arguments):
    """The bodies that come to a consumer, which acknowledges as it goes."""
    channel.basic_qos(prefetch_count=2)
    consumer = Consumer(channel, name, arguments={"x-stream-offset": "first", **arguments})
    for at in range(count):
        consumer.wait(at + 1)
        channel.basic_ack(consumer.tags[at])
    same(len(consumer.settle()), count)
    channel.basic_cancel(consumer.tag)
    return consumer.bodies


@case(each=["7D", "1h", "3600s", "1Y"])
def stream_may_have_an_age(age):
    connection = connect()
    channel = connection.channel()
    name = stream(channel, **{"x-max-age": age, "x-stream-max-segment-size-bytes": 1_000_000})
    channel.queue_declare(name, durable=True, arguments={
        "x-queue-type": "stream", "x-max-age": age, "x-stream-max-segment-size-bytes": 1_000_000})
    channel.queue_delete(name)
    close(connection)


@case(each=["7", "7d", 7])
def age_has_a_unit(age):
    connection = connect()
    channel = connection.channel()
    error = raises(exceptions.ChannelClosedByBroker,
                   lambda: stream(channel, **{"x-max-age": age}))
    same(error.reply_code, 406)
    close(connection)


@case(each=["x-max-age", "x-stream-max-segment-size-bytes"])
def age_and_segments_are_for_streams(name):
    connection = connect()
    channel = connection.channel()
    value = "7D" if name == "x-max-age" else 1_000_000
    error = raises(exceptions.ChannelClosedByBroker,
                   lambda: queue(channel, durable=True, arguments={name: value}))
    same(error.reply_code, 406)
    close(connection)


@case
@with_channel
def consumer_gets_what_it_wants(channel):
    if not since(channel, "3.13"):
        raise Skip("RabbitMQ filters since 3.13")
    name = stream(channel)
    channel.confirm_delivery()
    for at in range(30):
        headers = {} if at % 3 == 0 else {VALUE: f"value-{at % 3}"}
        publish(channel, name, b"%d" % at, headers=headers)
    one = [b"%d" % at for at in range(1, 30, 3)]
    same(wanted(channel, name, 10, **{"x-stream-filter": "value-1"}), one)
    same(wanted(channel, name, 20, **{"x-stream-filter": ["value-1", "value-2"]}),
         [b"%d" % at for at in range(30) if at % 3])
    same(wanted(channel, name, 20, **{"x-stream-filter": "value-1",
                                      "x-stream-match-unfiltered": True}),
         [b"%d" % at for at in range(30) if at % 3 < 2])
    same(wanted(channel, name, 30), [b"%d" % at for at in range(30)])
    channel.queue_delete(name)
