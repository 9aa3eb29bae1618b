"""pika: exchanges of type `x-delayed-message`; RabbitMQ has them only with a plugin that Debian has not."""

import time

from pika import exceptions

from amqp_pika import (close, connect, depth, drain, exchange, get, publish, queue, with_channel)
from casebook import Skip, case, raises, same


def delayed(channel, kind="direct"):
    """An exchange that delays."""
    if channel.connection._impl.server_properties.get("product") == "RabbitMQ":
        raise Skip("RabbitMQ needs a plugin for it")
    return exchange(channel, "x-delayed-message", durable=True, arguments={"x-delayed-type": kind})


def bound(channel, source, key):
    name = queue(channel)
    channel.queue_bind(name, source, key)
    return name


@case
@with_channel
def message_waits_as_long_as_its_header_says(channel):
    source = delayed(channel)
    name = bound(channel, source, "k")
    begun = time.monotonic()
    publish(channel, "k", b"late", exchange=source, headers={"x-delay": 700, "own": "kept"})
    publish(channel, "k", b"soon", exchange=source, headers={"x-delay": 200})
    publish(channel, "k", b"now", exchange=source)
    found = [get(channel, name) for _ in range(3)]
    same([body for _, _, body in found], [b"now", b"soon", b"late"])
    assert 0.7 <= time.monotonic() - begun < 5
    same([properties.headers for _, properties, _ in found],
         [None, {"x-delay": -200}, {"x-delay": -700, "own": "kept"}])
    same([method.exchange for method, _, _ in found], [source] * 3)
    channel.exchange_delete(source)


@case(each=[0, -100, "x", None, True])
def message_that_asks_for_no_time_is_there_at_once(delay):
    connection = connect()
    try:
        channel = connection.channel()
        source = delayed(channel)
        name = bound(channel, source, "k")
        publish(channel, "k", b"now", exchange=source, headers={"x-delay": delay})
        _, properties, body = get(channel, name)
        same((properties.headers, body), ({"x-delay": delay}, b"now"))
        channel.exchange_delete(source)
    finally:
        close(connection)


@case
@with_channel
def delayed_exchange_routes_as_the_kind_it_names(channel):
    source = delayed(channel, "topic")
    names = [bound(channel, source, pattern) for pattern in ("a.*", "#", "b.*")]
    publish(channel, "a.x", b"1", exchange=source, headers={"x-delay": 100})
    same([get(channel, name)[2] for name in names[:2]], [b"1", b"1"])
    same(drain(channel, names[2]), [])
    channel.exchange_delete(source)


@case
@with_channel
def delay_of_many_years_is_confirmed_and_waits(channel):
    source = delayed(channel)
    name = bound(channel, source, "k")
    channel.confirm_delivery()
    publish(channel, "k", b"late", exchange=source, headers={"x-delay": 20 * 365 * 86_400_000})
    same(depth(channel, name), 0)
    channel.exchange_delete(source)


@case
@with_channel
def message_that_waits_behind_another_exchange_is_in_the_other_queues_at_once(channel):
    first, source = exchange(channel, "fanout"), delayed(channel, "fanout")
    at_once, later = bound(channel, first, ""), bound(channel, source, "")
    channel.exchange_bind(source, first)
    publish(channel, "", b"1", exchange=first, headers={"x-delay": 500})
    same(get(channel, at_once)[2], b"1")
    same(depth(channel, later), 0)
    same(get(channel, later)[2], b"1")
    for name in (first, source):
        channel.exchange_delete(name)


@case(each=[({}, 406), ({"x-delayed-type": "none"}, 503), ({"x-delayed-type": 1}, 406)])
def delayed_exchange_has_to_name_a_kind(given):
    arguments, code = given
    connection = connect()
    try:
        channel = connection.channel()
        delayed(channel)
        refused = (exceptions.ChannelClosedByBroker, exceptions.ConnectionClosedByBroker)
        error = raises(refused, lambda: exchange(
            channel, "x-delayed-message", arguments=arguments))
        same(error.reply_code, code)
    finally:
        close(connection)
