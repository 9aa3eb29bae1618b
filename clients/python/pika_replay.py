"""pika: queues that keep what is settled, and have it delivered again. RabbitMQ keeps streams only."""

import time

from pika import exceptions

from amqp_pika import Consumer, close, connect, depth, drain, get, publish, queue, with_channel
from casebook import Skip, case, raises, restart_server, same, wait_for
from messages import ask, v1

AGE = "x-keep-settled-age"
BYTES = "x-keep-settled-bytes"


def need(channel):
    if channel.connection._impl.server_properties.get("product") == "RabbitMQ":
        raise Skip("RabbitMQ has nothing like it")


def keeping(channel, kind="classic", **more):
    arguments = {AGE: "1h", "x-queue-type": kind, **more}
    return queue(channel, durable=True, arguments=arguments)


def rewind(name, **to):
    return v1("POST", f"queues/{name}/rewind", to)["rewound"]


def wait_kept(name, count):
    wait_for(lambda: v1("GET", f"queues/{name}")["kept"] == count, f"{count} messages are kept")


@case(each=["classic", "quorum"])
def acknowledged_messages_come_again_in_order(kind):
    connection = connect()
    channel = connection.channel()
    need(channel)
    name = keeping(channel, kind)
    channel.confirm_delivery()
    publish(channel, name, b"0", b"1", b"2")
    same(drain(channel, name), [b"0", b"1", b"2"])
    same(depth(channel, name), 0)
    wait_kept(name, 3)
    same(rewind(name, offset=1), [{"partition": 0, "offset": 1, "messages": 2}])
    method, properties, body = get(channel, name)
    same((body, method.redelivered), (b"1", True))
    same((properties.headers or {}).get("x-delivery-count"), None)
    same(drain(channel, name), [b"2"])
    wait_kept(name, 3)
    same(rewind(name, **{"from": "first"})[0]["messages"], 3)
    same(drain(channel, name), [b"0", b"1", b"2"])
    channel.queue_delete(name)
    close(connection)


@case
@with_channel
def rewind_to_a_time_gives_what_was_published_since(channel):
    need(channel)
    name = keeping(channel)
    channel.confirm_delivery()
    publish(channel, name, b"before")
    time.sleep(0.05)
    at = int(time.time() * 1000)
    time.sleep(0.05)
    publish(channel, name, b"after")
    same(drain(channel, name), [b"before", b"after"])
    wait_kept(name, 2)
    same(rewind(name, time_ms=at)[0]["messages"], 1)
    same(drain(channel, name), [b"after"])
    channel.queue_delete(name)


@case
@with_channel
def what_a_consumer_holds_stays_with_it(channel):
    need(channel)
    name = keeping(channel)
    channel.confirm_delivery()
    publish(channel, name, b"0", b"1", b"2")
    consumer = Consumer(channel, name)
    consumer.wait(3)
    channel.basic_ack(consumer.tags[0])
    wait_kept(name, 1)
    same(rewind(name, offset=0)[0]["messages"], 1)
    consumer.wait(4)
    same(consumer.settle() and consumer.bodies, [b"0", b"1", b"2", b"0"])
    channel.basic_ack(consumer.tags[3], multiple=True)
    wait_kept(name, 3)
    channel.queue_delete(name)


@case
@with_channel
def purged_messages_do_not_come_again(channel):
    need(channel)
    name = keeping(channel)
    channel.confirm_delivery()
    publish(channel, name, b"0")
    same(drain(channel, name), [b"0"])
    publish(channel, name, b"1", b"2")
    same(channel.queue_purge(name).method.message_count, 2)
    wait_kept(name, 1)
    same(rewind(name, offset=0)[0]["messages"], 1)
    same(drain(channel, name), [b"0"])
    channel.queue_delete(name)


@case
@with_channel
def priorities_hold_for_what_comes_again(channel):
    need(channel)
    name = keeping(channel, **{"x-max-priority": 5})
    channel.confirm_delivery()
    for priority in [1, 5, 3]:
        publish(channel, name, str(priority).encode(), priority=priority)
    same(drain(channel, name), [b"5", b"3", b"1"])
    wait_kept(name, 3)
    rewind(name, offset=0)
    same(drain(channel, name), [b"5", b"3", b"1"])
    channel.queue_delete(name)


@case
@with_channel
def queue_that_keeps_nothing_refuses_to_be_rewound(channel):
    need(channel)
    name = queue(channel, durable=True)
    status, answer = ask("POST", f"queues/{name}/rewind", {"offset": 0})
    same((status, answer["error"]["kind"]), (400, "invalid"))
    status, _ = ask("POST", "queues/no-such-queue/rewind", {"offset": 0})
    same(status, 404)
    channel.queue_delete(name)


@case(each=[{AGE: "x"}, {AGE: 0}, {AGE: True}, {BYTES: 0}, {BYTES: -1}, {BYTES: "1"}])
def argument_that_makes_no_sense_is_refused(arguments):
    connection = connect()
    channel = connection.channel()
    need(channel)
    refused = raises(exceptions.ChannelClosedByBroker, queue, channel, durable=True,
                     arguments=arguments)
    same(refused.reply_code, 406)
    close(connection)


@case
@with_channel
def stream_does_not_take_the_arguments(channel):
    need(channel)
    refused = raises(exceptions.ChannelClosedByBroker, queue, channel, durable=True,
                     arguments={"x-queue-type": "stream", BYTES: 10})
    same(refused.reply_code, 406)


@case(restart=True)
def what_is_kept_outlives_a_restart_and_so_does_what_comes_again():
    connection = connect()
    channel = connection.channel()
    need(channel)
    channel.confirm_delivery()
    kept, again = keeping(channel, "quorum"), keeping(channel)
    for name in [kept, again]:
        publish(channel, name, b"0", b"1")
        same(drain(channel, name), [b"0", b"1"])
        wait_kept(name, 2)
    same(rewind(again, offset=1)[0]["messages"], 1)
    close(connection)
    restart_server()
    connection = connect()
    channel = connection.channel()
    method, _, body = get(channel, again)
    same((body, method.redelivered), (b"1", True))
    same(rewind(kept, **{"from": "first"})[0]["messages"], 2)
    same(drain(channel, kept), [b"0", b"1"])
    for name in [kept, again]:
        channel.queue_delete(name)
    close(connection)
