"""pika: queues with priorities."""

from pika import exceptions

from amqp_pika import (Consumer, close, connect, depth, drain, get, publish, queue, with_channel)
from casebook import TARGET, case, raises, restart_server, same, unique, wait_for

HIGHEST = {"x-max-priority": 5}


def kinds(name):
    """The arguments of a queue with priorities of a kind."""
    return {"classic": HIGHEST, "quorum": {"x-queue-type": "quorum", "x-priorities": 5}}[name]


# RabbitMQ has no other queues with as many priorities as a client likes.
KINDS = ["classic", "quorum"] if TARGET == "crossdock" else ["classic"]


def send(channel, name, *numbers, **properties):
    """One message for each priority, with the priority as its body; None: without."""
    for number in numbers:
        publish(channel, name, str(number).encode(), priority=number, **properties)


def ready(channel, name, count):
    wait_for(lambda: depth(channel, name) == count, f"{count} messages are ready")


@case(each=KINDS)
def highest_priority_comes_first(kind):
    connection = connect()
    channel = connection.channel()
    name = queue(channel, durable=True, arguments=kinds(kind))
    send(channel, name, 0, 3, None, 5, 1, 3)
    ready(channel, name, 6)
    same(drain(channel, name), [b"5", b"3", b"3", b"1", b"0", b"None"])
    channel.queue_delete(name)
    close(connection)


@case
@with_channel
def priority_above_the_highest_counts_as_that(channel):
    name = queue(channel, arguments=HIGHEST)
    send(channel, name, 4, 5, 9, 255, 5)
    ready(channel, name, 5)
    same(drain(channel, name), [b"5", b"9", b"255", b"5", b"4"])
    send(channel, name, 200)
    same(get(channel, name)[1].priority, 200)


@case
@with_channel
def queue_without_priorities_heeds_none(channel):
    for arguments in ({}, {"x-max-priority": 0}):
        name = queue(channel, arguments=arguments)
        send(channel, name, 1, 5, 3)
        ready(channel, name, 3)
        same(drain(channel, name), [b"1", b"5", b"3"])


@case
@with_channel
def consumer_gets_what_is_higher_as_soon_as_it_has_room(channel):
    name = queue(channel, arguments=HIGHEST)
    send(channel, name, 1, 1, 2)
    ready(channel, name, 3)
    channel.basic_qos(prefetch_count=1)
    consumer = Consumer(channel, name)
    consumer.wait(1)
    send(channel, name, 4)
    ready(channel, name, 3)
    for count in (2, 3, 4):
        channel.basic_ack(consumer.deliveries[-1][0].delivery_tag)
        consumer.wait(count)
    same([body for _, _, body in consumer.deliveries], [b"2", b"4", b"1", b"1"])


@case
@with_channel
def requeued_message_has_its_place_again(channel):
    name = queue(channel, arguments=HIGHEST)
    for body in (b"a", b"b", b"c"):
        publish(channel, name, body, priority=3)
    first = get(channel, name, auto_ack=False)
    same(first[2], b"a")
    send(channel, name, 4)
    ready(channel, name, 3)
    channel.basic_nack(first[0].delivery_tag, requeue=True)
    ready(channel, name, 4)
    same(drain(channel, name), [b"4", b"a", b"b", b"c"])


@case
@with_channel
def full_queue_drops_the_head_that_is_the_highest(channel):
    name = queue(channel, arguments={**HIGHEST, "x-max-length": 2})
    send(channel, name, 1, 5, 3, 0)
    wait_for(lambda: depth(channel, name) == 2, "two are left")
    same(drain(channel, name), [b"1", b"0"])


@case
@with_channel
def purge_takes_every_priority(channel):
    name = queue(channel, arguments=HIGHEST)
    send(channel, name, 1, 5, 3)
    ready(channel, name, 3)
    same(channel.queue_purge(name).method.message_count, 3)
    same(drain(channel, name), [])


@case
@with_channel
def dead_letter_keeps_its_priority(channel):
    grave = queue(channel, arguments=HIGHEST)
    name = queue(channel, arguments={
        **HIGHEST, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": grave})
    send(channel, name, 1, 5)
    for _ in range(2):
        channel.basic_reject(get(channel, name, auto_ack=False)[0].delivery_tag, requeue=False)
    send(channel, grave, 3)
    ready(channel, grave, 3)
    same(drain(channel, grave), [b"5", b"3", b"1"])


@case
@with_channel
def message_that_expired_is_not_delivered(channel):
    name = queue(channel, arguments=HIGHEST)
    send(channel, name, 1, expiration="50")
    send(channel, name, 0)
    wait_for(lambda: depth(channel, name) == 1, "one has expired")
    same(drain(channel, name), [b"0"])


@case(only=["crossdock"])
@with_channel
def lower_priority_expires_behind_a_higher_one(channel):
    # In RabbitMQ it stays, uncounted on, until it is at the head of the queue.
    grave = queue(channel)
    name = queue(channel, arguments={
        **HIGHEST, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": grave})
    send(channel, name, 5)
    send(channel, name, 1, expiration="50")
    same(get(channel, grave)[2], b"1")
    same(drain(channel, name), [b"5"])


@case(only=["crossdock"])
@with_channel
def oldest_message_has_a_turn_now_and_then(channel):
    name = queue(channel, arguments={**HIGHEST, "x-oldest-every": 3})
    send(channel, name, 0, 1, 5, 5, 5, 5)
    ready(channel, name, 6)
    same(drain(channel, name), [b"5", b"5", b"0", b"5", b"5", b"1"])


@case(each=["256", "-1", "high"])
def priority_out_of_range_is_refused(setting):
    value = int(setting) if setting.lstrip("-").isdigit() else setting
    connection = connect()
    error = raises(exceptions.ChannelClosedByBroker, connection.channel().queue_declare,
                   unique("q"), arguments={"x-max-priority": value})
    same(error.reply_code, 406)
    assert "invalid arg 'x-max-priority'" in error.reply_text, error.reply_text
    wanted = {"256": "{max_value_exceeded,256}", "-1": "{value_negative,-1}", "high": ""}[setting]
    assert wanted in error.reply_text, error.reply_text
    close(connection)


@case
def quorum_queue_takes_no_argument_of_another_kind():
    connection = connect()
    error = raises(exceptions.ChannelClosedByBroker, connection.channel().queue_declare,
                   unique("q"), durable=True,
                   arguments={"x-queue-type": "quorum", "x-max-priority": 5})
    same(error.reply_code, 406)
    assert "invalid arg 'x-max-priority' for queue" in error.reply_text, error.reply_text
    close(connection)


@case
def declaring_again_with_other_priorities_is_refused():
    connection = connect()
    channel = connection.channel()
    name = queue(channel, arguments=HIGHEST)
    error = raises(exceptions.ChannelClosedByBroker, channel.queue_declare, name, exclusive=True,
                   arguments={"x-max-priority": 6})
    same(error.reply_code, 406)
    assert "inequivalent arg 'x-max-priority'" in error.reply_text, error.reply_text
    close(connection)


@case(each=KINDS, restart=True)
def priorities_outlive_a_restart(kind):
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    name = queue(channel, durable=True, arguments=kinds(kind))
    send(channel, name, 0, 3, 5, 1, delivery_mode=2)
    close(connection)
    restart_server()
    connection = connect()
    channel = connection.channel()
    send(channel, name, 4)
    ready(channel, name, 5)
    same(drain(channel, name), [b"5", b"4", b"3", b"1", b"0"])
    channel.queue_delete(name)
    close(connection)
