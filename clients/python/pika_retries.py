"""pika: messages that come back wait before they are delivered again, as in RabbitMQ 4.3."""

import time

import management
from pika import exceptions

from amqp_pika import (Consumer, close, connect, depth, drain, get, publish, queue, since)
from casebook import TARGET, Skip, case, raises, restart_server, same, unique, wait_for

# What a delay may be late by on a machine that does other things meanwhile.
LATE_MS_MAX = 1500


def retrying(kind="all", least=300, most=None, queue_type="quorum", **more):
    arguments = {"x-queue-type": queue_type, "x-delayed-retry-type": kind,
                 "x-delayed-retry-min": least, **more}
    if most is not None:
        arguments["x-delayed-retry-max"] = most
    return {name.replace("_", "-"): value for name, value in arguments.items()}


def begin(queue_type="quorum", **more):
    """A connection, its channel, and a durable queue that has messages wait."""
    connection = connect()
    channel = connection.channel()
    if not since(channel, "4.3"):
        close(connection)
        raise Skip("RabbitMQ has delayed retries since 4.3")
    if queue_type == "classic" and TARGET != "crossdock":
        close(connection)
        raise Skip("RabbitMQ has delayed retries for quorum queues only")
    name = queue(channel, durable=True, arguments=retrying(queue_type=queue_type, **more))
    return connection, channel, name


def end(connection, channel, *names):
    for name in names:
        channel.queue_delete(name)
    close(connection)


def count_of(properties):
    return (properties.headers or {}).get("x-delivery-count") or 0


def came_after(started, least_ms, channel, name):
    """The next message as basic.get gives it, which comes so many milliseconds after `started`."""
    found = get(channel, name, auto_ack=False)
    took = (time.monotonic() - started) * 1000
    assert least_ms <= took < least_ms + LATE_MS_MAX, f"{took} ms instead of {least_ms}"
    return found


@case(each=["quorum", "classic"])
def failed_message_waits_longer_each_time_up_to_the_maximum(queue_type):
    connection, channel, name = begin(queue_type, kind="failed", least=300, most=500)
    publish(channel, name, b"a")
    method, properties, _ = get(channel, name, auto_ack=False)
    same(count_of(properties), 0)
    for failures, delay in [(1, 300), (2, 500), (3, 500)]:
        started = time.monotonic()
        channel.basic_reject(method.delivery_tag, requeue=True)
        method, properties, _ = came_after(started, delay, channel, name)
        same((count_of(properties), method.redelivered), (failures, True))
    channel.basic_ack(method.delivery_tag)
    same(drain(channel, name), [])
    end(connection, channel, name)


@case
def delay_is_constant_where_no_maximum_is_set():
    connection, channel, name = begin(least=300)
    publish(channel, name, b"a")
    method, _, _ = get(channel, name, auto_ack=False)
    for _ in range(3):
        started = time.monotonic()
        channel.basic_reject(method.delivery_tag, requeue=True)
        method, _, _ = came_after(started, 300, channel, name)
    end(connection, channel, name)


@case(each=["all", "failed", "returned"])
def type_says_which_messages_wait(kind):
    connection, channel, name = begin(kind=kind, least=700)
    publish(channel, name, b"failed", b"returned")
    first, _, _ = get(channel, name, auto_ack=False)
    second, _, _ = get(channel, name, auto_ack=False)
    started = time.monotonic()
    channel.basic_reject(first.delivery_tag, requeue=True)
    channel.basic_nack(second.delivery_tag, requeue=True)
    at_once = {"all": [], "failed": [b"returned"], "returned": [b"failed"]}[kind]
    same([get(channel, name)[2] for _ in at_once], at_once)
    later = {b"failed", b"returned"} - set(at_once)
    assert time.monotonic() - started < 0.7, "too slow to tell"
    same(drain(channel, name), [])
    method, _, body = came_after(started, 700, channel, name)
    bodies = {body} | {get(channel, name)[2] for _ in range(len(later) - 1)}
    same(bodies, later)
    end(connection, channel, name)


@case
def waiting_message_holds_up_nobody():
    connection, channel, name = begin(least=1000)
    publish(channel, name, b"0", b"1", b"2")
    channel.basic_qos(prefetch_count=1)
    consumer = Consumer(channel, name)
    consumer.wait(1)
    started = time.monotonic()
    channel.basic_reject(consumer.tags[0], requeue=True)
    for at in (1, 2):
        consumer.wait(at + 1)
        channel.basic_ack(consumer.tags[at])
    assert time.monotonic() - started < 1, "too slow to tell"
    consumer.wait(4)
    assert time.monotonic() - started >= 1
    same(consumer.bodies, [b"0", b"1", b"2", b"0"])
    channel.basic_ack(consumer.tags[3])
    end(connection, channel, name)


@case
def what_a_connection_held_waits_when_it_goes():
    connection, channel, name = begin(kind="failed", least=500)
    publish(channel, name, b"a")
    other = connect()
    get(other.channel(), name, auto_ack=False)
    started = time.monotonic()
    close(other)
    _, properties, _ = came_after(started, 500, channel, name)
    same(count_of(properties), 1)
    end(connection, channel, name)


@case(each=["quorum", "classic"])
def message_that_failed_too_often_is_a_dead_letter(queue_type):
    connection = connect()
    grave = queue(connection.channel(), "grave", durable=True)
    close(connection)
    connection, channel, name = begin(queue_type, least=50, x_delivery_limit=2,
                                      x_dead_letter_exchange="", x_dead_letter_routing_key=grave)
    publish(channel, name, b"a")
    for _ in range(3):
        method, _, _ = get(channel, name, auto_ack=False)
        channel.basic_reject(method.delivery_tag, requeue=True)
    _, properties, body = get(channel, grave)
    same((body, properties.headers["x-first-death-reason"]), (b"a", "delivery_limit"))
    same(drain(channel, name), [])
    end(connection, channel, name, grave)


@case
def waiting_message_is_neither_ready_nor_unacknowledged_and_is_purged():
    connection, channel, name = begin(least=600_000)
    publish(channel, name, b"a", b"b")
    method, _, _ = get(channel, name, auto_ack=False)
    channel.basic_reject(method.delivery_tag, requeue=True)
    wait_for(lambda: depth(channel, name) == 1, "one that is ready")

    def told():
        _, found = management.ask("GET", f"queues/%2F/{name}")
        counts = [found.get(it) for it in ("messages", "messages_ready",
                                          "messages_unacknowledged", "messages_delayed")]
        return counts == [2, 1, 0, 1]
    wait_for(told, "the counts of the management API")
    same(channel.queue_purge(name).method.message_count, 2)
    same(depth(channel, name), 0)
    end(connection, channel, name)


@case(restart=True)
def waiting_message_waits_over_a_restart():
    connection, channel, name = begin(least=20_000)
    publish(channel, name, b"a", delivery_mode=2)
    method, _, _ = get(channel, name, auto_ack=False)
    started = time.monotonic()
    channel.basic_reject(method.delivery_tag, requeue=True)
    channel.close()
    restart_server()
    connection = connect()
    channel = connection.channel()
    if time.monotonic() - started < 19:
        same(drain(channel, name), [])
    wait_for(lambda: depth(channel, name) == 1, "the message", seconds=40)
    assert time.monotonic() - started >= 20
    end(connection, channel, name)


@case(only=["crossdock"])
def delay_is_multiplied_where_a_multiplier_is_set():
    connection, channel, name = begin(least=100, x_delayed_retry_multiplier=3,
                                      x_delayed_retry_jitter=10)
    publish(channel, name, b"a")
    method, _, _ = get(channel, name, auto_ack=False)
    for delay in (100, 300, 900):
        started = time.monotonic()
        channel.basic_reject(method.delivery_tag, requeue=True)
        method, _, _ = came_after(started, delay, channel, name)
    end(connection, channel, name)


@case(only=["crossdock"])
def message_brings_a_policy_of_its_own():
    connection, channel, name = begin(least=600_000)
    publish(channel, name, b"a", headers={"x-delayed-retry-min": 300, "x-delayed-retry-max": 300})
    publish(channel, name, b"b", headers={"x-delayed-retry-type": "disabled"})
    publish(channel, name, b"c", headers={"x-delivery-limit": 0})
    tags = [get(channel, name, auto_ack=False)[0].delivery_tag for _ in range(3)]
    started = time.monotonic()
    for tag in tags:
        channel.basic_reject(tag, requeue=True)
    same(get(channel, name)[2], b"b")
    same(came_after(started, 300, channel, name)[2], b"a")
    same(drain(channel, name), [])
    end(connection, channel, name)


REFUSED = {
    "type": ({"x-delayed-retry-type": "often"}, "x-delayed-retry-type"),
    "no-min": ({"x-delayed-retry-type": "all"}, "x-delayed-retry-min"),
    "zero": ({"x-delayed-retry-type": "all", "x-delayed-retry-min": 0}, "x-delayed-retry-min"),
    "order": ({"x-delayed-retry-type": "all", "x-delayed-retry-min": 9,
               "x-delayed-retry-max": 8}, "x-delayed-retry-max"),
}


@case(each=list(REFUSED), only=["crossdock"])
def policy_that_makes_no_sense_is_refused(which):
    connection = connect()
    channel = connection.channel()
    arguments, name = REFUSED[which]
    error = raises(exceptions.ChannelClosedByBroker, channel.queue_declare, unique("q"),
                   durable=True, arguments={"x-queue-type": "quorum", **arguments})
    same(error.reply_code, 406)
    assert f"invalid arg '{name}'" in error.reply_text, error.reply_text
    close(connection)


@case
def second_declaration_has_to_say_the_same():
    connection, channel, name = begin(least=300)
    error = raises(exceptions.ChannelClosedByBroker, channel.queue_declare, name, durable=True,
                   arguments=retrying(least=301))
    assert "inequivalent arg 'x-delayed-retry-min'" in error.reply_text, error.reply_text
    channel = connection.channel()
    end(connection, channel, name)
