"""pika: queues of Crossdock that hold deliveries back: a rate, a number in flight, a breaker."""

import time

from pika import exceptions

from amqp_pika import Consumer, close, connect, drain, get, publish, queue, with_channel
from casebook import case, raises, same, unique

SECONDS = 10


@case(each=[1, 10], only=["crossdock"])
def rate_is_kept(consumers):
    connection = connect()
    channel = connection.channel()
    channel.basic_qos(prefetch_count=20)
    rate = 100
    name = queue(channel, arguments={"x-consume-rate": rate})
    publish(channel, name, *[b"x"] * (rate * (SECONDS + 2)))
    came = []

    def take(channel, method, _properties, _body):
        came.append(time.monotonic())
        channel.basic_ack(method.delivery_tag)
    for _ in range(consumers):
        channel.basic_consume(name, take)
    started = time.monotonic()
    while time.monotonic() < started + SECONDS + 1:
        connection.process_data_events(0.05)
    # From the first second's end on, so that the burst of the beginning is not in it.
    count = sum(started + 1 <= at < started + 1 + SECONDS for at in came)
    assert abs(count - rate * SECONDS) <= 0.02 * rate * SECONDS, count
    close(connection)


@case(only=["crossdock"])
@with_channel
def burst_comes_at_once_and_no_more(channel):
    name = queue(channel, arguments={"x-consume-rate": 1, "x-consume-burst": 5})
    publish(channel, name, *[b"x"] * 20)
    started = time.monotonic()
    found = len(drain(channel, name))
    assert found == 5 or time.monotonic() - started > 0.9, found


@case(only=["crossdock"])
@with_channel
def no_more_is_in_flight_than_may_be(channel):
    name = queue(channel, arguments={"x-max-in-flight": 3})
    one, two = Consumer(channel, name), Consumer(channel, name)
    publish(channel, name, *[bytes([at]) for at in range(10)])
    deadline = time.monotonic() + 20
    tags = []
    while len(tags) < 10:
        assert time.monotonic() < deadline
        channel.connection.process_data_events(0.05)
        held = [tag for tag in one.tags + two.tags if tag not in tags]
        assert len(held) <= 3, held
        if len(held) == 3 or len(tags) + len(held) == 10:
            tags.append(held[0])
            channel.basic_ack(held[0])
    same(channel.basic_get(name)[0], None)


@case(only=["crossdock"])
@with_channel
def breaker_stops_deliveries_and_tries_one(channel):
    name = queue(channel, arguments={"x-breaker-failures": 2, "x-breaker-window": 60_000,
                                     "x-breaker-pause": 1_000})
    publish(channel, name, *[bytes([at]) for at in range(6)])
    for _ in range(2):
        method, _, _ = get(channel, name, auto_ack=False)
        channel.basic_reject(method.delivery_tag, requeue=False)
    started = time.monotonic()
    same(channel.basic_get(name)[0], None)
    method, _, body = get(channel, name, auto_ack=False)
    assert time.monotonic() - started > 0.9
    same((body, channel.basic_get(name)[0]), (bytes([2]), None))
    channel.basic_ack(method.delivery_tag)
    same([get(channel, name)[2] for _ in range(3)], [bytes([at]) for at in (3, 4, 5)])


@case(each=[1, 5], only=["crossdock"])
def rate_of_each_key_is_kept(consumers):
    connection = connect()
    channel = connection.channel()
    channel.basic_qos(prefetch_count=20)
    rate, keys = 20, ["a", "b", "c"]
    name = queue(channel, arguments={"x-order-key": "customer", "x-consume-rate-per-key": rate})
    for _ in range(rate * (SECONDS + 3)):
        for key in keys:
            publish(channel, name, key.encode(), headers={"customer": key})
    # What has no key has no rate.
    publish(channel, name, *[b"-"] * 50)
    came = []

    def take(channel, method, _properties, body):
        came.append((time.monotonic(), body))
        channel.basic_ack(method.delivery_tag)
    for _ in range(consumers):
        channel.basic_consume(name, take)
    started = time.monotonic()
    while time.monotonic() < started + SECONDS + 1:
        connection.process_data_events(0.02)
    for key in keys:
        count = sum(started + 1 <= at < started + 1 + SECONDS and body == key.encode()
                    for at, body in came)
        # One that comes just before or behind the end of the time, and 2 %.
        assert abs(count - rate * SECONDS) <= 0.02 * rate * SECONDS + 1, (key, count)
    same(sum(body == b"-" for at, body in came if at < started + 1), 50)
    close(connection)


@case(only=["crossdock"])
@with_channel
def burst_of_each_key_comes_at_once_and_no_more(channel):
    name = queue(channel, arguments={"x-order-key": "", "x-consume-rate-per-key": 1,
                                     "x-consume-burst-per-key": 3, "x-max-in-flight-per-key": 9})
    for key in ("a", "b"):
        for number in range(5):
            publish(channel, name, f"{key}{number}".encode(), headers={"x-kafka-key": key})
    started = time.monotonic()
    found = drain(channel, name)
    assert (found == [b"a0", b"a1", b"a2", b"b0", b"b1", b"b2"]
            or time.monotonic() - started > 0.9), found


REFUSED = {
    "zero": {"x-consume-rate": 0},
    "text": {"x-max-in-flight": "many"},
    "burst of a key": {"x-order-key": "k", "x-consume-burst-per-key": 5},
    "rate of no key": {"x-consume-rate-per-key": 5},
    "rate of a key": {"x-order-key": "k", "x-consume-rate-per-key": -1},
    "keys of a stream": {"x-queue-type": "stream", "x-consume-rate-per-key": 5},
    "burst": {"x-consume-burst": 5},
    "half": {"x-breaker-failures": 5},
    "stream": {"x-queue-type": "stream", "x-consume-rate": 5},
}


@case(each=list(REFUSED), only=["crossdock"])
def arguments_that_make_no_sense_are_refused(which):
    connection = connect()
    error = raises(exceptions.ChannelClosedByBroker, connection.channel().queue_declare,
                   unique("q"), durable=True, arguments=REFUSED[which])
    same(error.reply_code, 406)
    close(connection)
