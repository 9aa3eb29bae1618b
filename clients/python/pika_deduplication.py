"""pika: message deduplication; RabbitMQ has it only with a plugin that Debian has not."""

from decimal import Decimal

from pika import exceptions

from amqp_pika import close, connect, depth, drain, exchange, get, publish, queue, with_channel
from casebook import Skip, case, raises, same, wait_for

ID = "x-deduplication-header"


def need(channel):
    if channel.connection._impl.server_properties.get("product") == "RabbitMQ":
        raise Skip("RabbitMQ needs a plugin for it")


@case
@with_channel
def queue_takes_no_message_that_it_holds(channel):
    need(channel)
    name = queue(channel, durable=True, arguments={"x-message-deduplication": True})
    channel.confirm_delivery()
    for number, body in enumerate([b"1", b"2", b"1", b"1"]):
        publish(channel, name, body, headers={ID: body.decode(), "number": number})
    same(depth(channel, name), 2)
    method, properties, body = get(channel, name, auto_ack=False)
    same((body, properties.headers["number"]), (b"1", 0))
    # It is in the queue until it is acknowledged.
    publish(channel, name, b"1", headers={ID: "1"})
    same(depth(channel, name), 1)
    channel.basic_ack(method.delivery_tag)
    publish(channel, name, b"1", headers={ID: "1"})
    same(drain(channel, name), [b"2", b"1"])
    channel.queue_delete(name)


@case
@with_channel
def message_without_an_id_is_always_taken(channel):
    need(channel)
    name = queue(channel, arguments={"x-message-deduplication": True})
    publish(channel, name, b"1", b"1")
    publish(channel, name, b"1", b"1", headers={"other": 1})
    same(depth(channel, name), 4)


@case(each=["text", 7, Decimal("7.5"), True])
def id_may_be_of_any_type(key):
    connection = connect()
    try:
        channel = connection.channel()
        need(channel)
        name = queue(channel, arguments={"x-message-deduplication": True})
        publish(channel, name, b"1", b"2", headers={ID: key})
        publish(channel, name, b"3", headers={ID: f"not {key}"})
        same(drain(channel, name), [b"1", b"3"])
    finally:
        close(connection)


def taken_in_the_end(channel, source, name, body):
    """Sends a message again and again until its id is forgotten; what the queue has then."""
    def again():
        publish(channel, "", body, exchange=source, headers={ID: "1"})
        return drain(channel, name)
    return wait_for(again, "the id to be forgotten")


@case
@with_channel
def exchange_takes_no_message_that_it_had(channel):
    need(channel)
    source = exchange(channel, "x-message-deduplication",
                      arguments={"x-cache-size": 100, "x-cache-ttl": 1500})
    names = [queue(channel) for _ in range(2)]
    for name in names:
        channel.queue_bind(name, source, "any")
    for body in (b"1", b"2", b"1"):
        publish(channel, "other", body, exchange=source, headers={ID: body.decode()})
    same([drain(channel, name) for name in names], [[b"1", b"2"]] * 2)
    same(taken_in_the_end(channel, source, names[0], b"1"), [b"1"])
    channel.exchange_delete(source)


@case
@with_channel
def exchange_remembers_as_many_as_its_size(channel):
    need(channel)
    source = exchange(channel, "x-message-deduplication", arguments={"x-cache-size": 3})
    name = queue(channel)
    channel.queue_bind(name, source, "")
    for body in (b"1", b"2", b"3", b"4", b"4", b"3", b"1"):
        publish(channel, "", body, exchange=source, headers={ID: body.decode()})
    same(drain(channel, name), [b"1", b"2", b"3", b"4", b"1"])
    channel.exchange_delete(source)


@case
@with_channel
def time_to_remember_may_be_the_message_s_own(channel):
    need(channel)
    source = exchange(channel, "x-message-deduplication",
                      arguments={"x-cache-size": 100, "x-cache-ttl": 60_000})
    name = queue(channel)
    channel.queue_bind(name, source, "")
    publish(channel, "", b"1", exchange=source, headers={ID: "1", "x-cache-ttl": 200})
    same(drain(channel, name), [b"1"])
    same(taken_in_the_end(channel, source, name, b"2"), [b"2"])
    publish(channel, "", b"3", exchange=source, headers={ID: "1"})
    same(drain(channel, name), [])
    channel.exchange_delete(source)


@case(each=[{}, {"x-cache-size": 0}, {"x-cache-size": 1, "x-cache-ttl": "x"},
            {"x-cache-size": 1, "x-cache-persistence": "tape"}])
def exchange_has_to_say_how_much_it_remembers(arguments):
    connection = connect()
    try:
        channel = connection.channel()
        need(channel)
        error = raises(exceptions.ChannelClosedByBroker, lambda: exchange(
            channel, "x-message-deduplication", arguments=arguments))
        same(error.reply_code, 406)
    finally:
        close(connection)
