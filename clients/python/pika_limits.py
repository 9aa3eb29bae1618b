"""pika: lifetimes and lengths: message TTL, queue expiry, drop-head."""

import time

from pika import exceptions

from amqp_pika import (Consumer, connect, depth, drain, get, publish, queue, with_channel)
from casebook import case, raises, same, wait_for


def elapse(milliseconds):
    """Lets time pass: not to wait for something, but because the case is about an age."""
    time.sleep(milliseconds / 1000)


@case
@with_channel
def queue_ttl_removes_old_messages(channel):
    name = queue(channel, arguments={"x-message-ttl": 300})
    began = time.monotonic()
    publish(channel, name, b"old")
    same(get(channel, name, auto_ack=False)[2], b"old")
    channel.basic_recover(requeue=True)
    wait_for(lambda: depth(channel, name) == 0, "the message's end")
    assert 0.2 < time.monotonic() - began < 5
    publish(channel, name, b"young")
    same(drain(channel, name), [b"young"])


@case
@with_channel
def expiration_removes_one_message(channel):
    name = queue(channel)
    publish(channel, name, b"short", expiration="200")
    publish(channel, name, b"long", expiration="600000")
    publish(channel, name, b"forever")
    wait_for(lambda: depth(channel, name) == 2, "the short-lived message's end")
    _, properties, body = get(channel, name)
    same((body, properties.expiration), (b"long", "600000"))
    same(drain(channel, name), [b"forever"])


@case
@with_channel
def the_shorter_of_both_lifetimes_counts(channel):
    name = queue(channel, arguments={"x-message-ttl": 300})
    publish(channel, name, b"queue's", expiration="600000")
    wait_for(lambda: depth(channel, name) == 0, "the message's end by the queue's TTL")
    name = queue(channel, arguments={"x-message-ttl": 600000})
    publish(channel, name, b"message's", expiration="200")
    wait_for(lambda: depth(channel, name) == 0, "the message's end by its own expiration")


@case
@with_channel
def expired_message_behind_a_living_one_is_never_delivered(channel):
    name = queue(channel)
    publish(channel, name, b"living")
    publish(channel, name, b"expired", expiration="50")
    elapse(400)
    same(drain(channel, name), [b"living"])


@case
@with_channel
def expiration_zero_delivers_only_to_a_waiting_consumer(channel):
    name = queue(channel)
    publish(channel, name, b"nobody waits", expiration="0")
    same(depth(channel, name), 0)
    consumer = Consumer(channel, name, auto_ack=True)
    publish(channel, name, b"somebody waits", expiration="0")
    consumer.wait(1)
    same(consumer.bodies, [b"somebody waits"])


@case
def nonsense_expiration_closes_the_channel():
    connection = connect()
    for text in ("soon", "-1", "1.5"):
        channel = connection.channel()
        name = queue(channel)
        publish(channel, name, b"x", expiration=text)
        error = raises(exceptions.ChannelClosedByBroker, channel.queue_declare, name, passive=True)
        same(error.reply_code, 406)
        assert "invalid expiration" in error.reply_text, error.reply_text
    connection.close()


@case
@with_channel
def delivered_message_does_not_expire_in_the_hand(channel):
    name = queue(channel, arguments={"x-message-ttl": 100})
    publish(channel, name, b"held")
    method, _, _ = get(channel, name, auto_ack=False)
    elapse(400)
    channel.basic_ack(method.delivery_tag)
    assert channel.queue_declare(name, passive=True).method.message_count == 0


@case
@with_channel
def unused_queue_expires(channel):
    name = queue(channel, durable=True, arguments={"x-expires": 300})
    other = channel.connection

    def gone():
        # A passive declare is use, and starts the time anew: ask more slowly than it expires.
        try:
            other.channel().queue_declare(name, passive=True)
            return False
        except exceptions.ChannelClosedByBroker as error:
            return error.reply_code == 404
    wait_for(gone, "the queue's end", pause=1)


@case
@with_channel
def queue_with_a_consumer_does_not_expire(channel):
    name = queue(channel, durable=True, arguments={"x-expires": 200})
    consumer = Consumer(channel, name, auto_ack=True)
    elapse(600)
    publish(channel, name, b"still there")
    consumer.wait(1)
    channel.queue_delete(name)


@case
@with_channel
def full_queue_drops_its_oldest(channel):
    name = queue(channel, arguments={"x-max-length": 3})
    publish(channel, name, *[str(number).encode() for number in range(10)])
    same(drain(channel, name), [b"7", b"8", b"9"])


@case
@with_channel
def queue_full_of_bytes_drops_its_oldest(channel):
    name = queue(channel, arguments={"x-max-length-bytes": 2500})
    publish(channel, name, *[bytes([number]) * 1000 for number in range(5)])
    same(drain(channel, name), [bytes([3]) * 1000, bytes([4]) * 1000])


@case
@with_channel
def length_counts_only_what_is_ready(channel):
    name = queue(channel, arguments={"x-max-length": 2})
    publish(channel, name, b"0", b"1")
    held = get(channel, name, auto_ack=False)
    publish(channel, name, b"2")
    wait_for(lambda: depth(channel, name) == 2, "two ready beside the held one")
    channel.basic_ack(held[0].delivery_tag)
    same(drain(channel, name), [b"1", b"2"])


@case
@with_channel
def drop_head_may_be_said_aloud(channel):
    name = queue(channel, arguments={"x-max-length": 1, "x-overflow": "drop-head"})
    channel.confirm_delivery()
    publish(channel, name, b"0", b"1")
    same(drain(channel, name), [b"1"])


@case
def inert_arguments_are_accepted_and_compared():
    connection = connect()
    channel = connection.channel()
    arguments = {"x-queue-mode": "lazy", "x-no-such-thing": "kept"}
    name = queue(channel, durable=True, arguments=arguments)
    publish(channel, name, b"x")
    channel.queue_declare(name, durable=True, arguments=arguments)
    channel.queue_delete(name)
    connection.close()
