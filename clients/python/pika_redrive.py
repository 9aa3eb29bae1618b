"""pika: dead letters on their way back, over Crossdock's own HTTP API."""

import time

from amqp_pika import close, connect, depth, drain, get, publish, queue, with_channel
from casebook import Skip, case, restart_server, same, wait_for
from messages import ask, v1


def need(channel):
    if channel.connection._impl.server_properties.get("product") == "RabbitMQ":
        raise Skip("RabbitMQ moves messages by shovels")
    channel.confirm_delivery()


def pair(channel):
    """A queue for dead letters, and one that sends them there."""
    dead = queue(channel, "dead", durable=True)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    return queue(channel, "work", durable=True, arguments=arguments), dead


def refuse(channel, name, count):
    for _ in range(count):
        method, _, _ = get(channel, name, auto_ack=False)
        channel.basic_reject(method.delivery_tag, requeue=False)


def redrive(name, **asked):
    """How it ended, when it has."""
    number = v1("POST", f"queues/{name}/redrive", asked)["id"]

    def ended():
        told = v1("GET", f"redrives/{number}")
        return told["state"] != "running" and told
    return wait_for(ended, "the redrive ends")


def told(ended):
    return ended["state"], ended["moved"], ended["skipped"], ended["homeless"]


@case
@with_channel
def dead_letters_go_back_to_where_they_died(channel):
    need(channel)
    work, dead = pair(channel)
    publish(channel, work, b"0", b"1", b"2", headers={"n": 1})
    refuse(channel, work, 3)
    wait_for(lambda: depth(channel, dead) == 3, "three dead letters")
    same(told(redrive(dead)), ("done", 3, 0, 0))
    method, properties, body = get(channel, work)
    same((body, method.redelivered, method.routing_key, method.exchange), (b"0", False, work, ""))
    same((properties.headers["n"], properties.headers["x-death"][0]["queue"]), (1, work))
    same(drain(channel, work), [b"1", b"2"])
    same(depth(channel, dead), 0)
    channel.queue_delete(work)
    channel.queue_delete(dead)


@case
@with_channel
def message_that_dies_once_more_is_counted_twice(channel):
    need(channel)
    work, dead = pair(channel)
    publish(channel, work, b"0")
    refuse(channel, work, 1)
    wait_for(lambda: depth(channel, dead) == 1, "a dead letter")
    redrive(dead)
    refuse(channel, work, 1)
    wait_for(lambda: depth(channel, dead) == 1, "a dead letter again")
    _, properties, _ = get(channel, dead)
    same(properties.headers["x-death"][0]["count"], 2)
    channel.queue_delete(work)
    channel.queue_delete(dead)


@case
@with_channel
def some_go_back_and_held_ones_stay(channel):
    need(channel)
    work, dead = pair(channel)
    for number in range(4):
        publish(channel, work, str(number).encode(), headers={"even": str(number % 2 == 0)})
    refuse(channel, work, 4)
    wait_for(lambda: depth(channel, dead) == 4, "four dead letters")
    method, _, body = get(channel, dead, auto_ack=False)
    same(body, b"0")
    asked = {"filter": {"headers": {"even": "True"}}}
    same(told(redrive(dead, **asked)), ("done", 1, 1, 0))
    same(drain(channel, work), [b"2"])
    one = v1("GET", f"queues/{dead}/messages", contains="3")["messages"][0]["offset"]
    same(told(redrive(dead, offset=one)), ("done", 1, 0, 0))
    same(drain(channel, work), [b"3"])
    channel.basic_nack(method.delivery_tag, requeue=True)
    same(drain(channel, dead), [b"0", b"1"])
    channel.queue_delete(work)
    channel.queue_delete(dead)


@case
@with_channel
def dead_letters_go_where_they_are_told_to(channel):
    need(channel)
    work, dead = pair(channel)
    other = queue(channel, "other", durable=True)
    publish(channel, work, b"0")
    refuse(channel, work, 1)
    wait_for(lambda: depth(channel, dead) == 1, "a dead letter")
    same(told(redrive(dead, to=other)), ("done", 1, 0, 0))
    same(drain(channel, other), [b"0"])
    for name in [work, dead, other]:
        channel.queue_delete(name)


@case
@with_channel
def those_that_have_nowhere_to_go_stay(channel):
    need(channel)
    work, dead = pair(channel)
    publish(channel, work, b"0")
    refuse(channel, work, 1)
    wait_for(lambda: depth(channel, dead) == 1, "a dead letter")
    publish(channel, dead, b"never died")
    channel.queue_delete(work)
    same(told(redrive(dead)), ("done", 0, 0, 2))
    same(drain(channel, dead), [b"0", b"never died"])
    channel.queue_delete(dead)


@case
@with_channel
def rate_holds_and_a_redrive_can_be_stopped(channel):
    need(channel)
    work, dead = pair(channel)
    publish(channel, work, *[b"x"] * 40)
    refuse(channel, work, 40)
    wait_for(lambda: depth(channel, dead) == 40, "forty dead letters")
    began = time.monotonic()
    number = v1("POST", f"queues/{dead}/redrive", {"rate": 20})["id"]
    wait_for(lambda: v1("GET", f"redrives/{number}")["moved"] >= 11, "some have gone back")
    passed = time.monotonic() - began
    assert 0.45 < passed < 5, passed
    same(number in [task["id"] for task in v1("GET", "redrives")], True)
    v1("DELETE", f"redrives/{number}")
    wait_for(lambda: v1("GET", f"redrives/{number}")["state"] == "stopped", "it stops")
    left = depth(channel, dead)
    assert 0 < left < 40, left
    # What is left goes back with another one.
    same(told(redrive(dead)), ("done", left, 0, 0))
    same(len(drain(channel, work)), 40)
    channel.queue_delete(work)
    channel.queue_delete(dead)


@case
@with_channel
def redrive_that_makes_no_sense_is_refused(channel):
    need(channel)
    _, dead = pair(channel)
    same(ask("POST", "queues/no-such-queue/redrive", {})[0], 404)
    same(ask("POST", f"queues/{dead}/redrive", {"to": "no-such-queue"})[0], 404)
    same(ask("POST", f"queues/{dead}/redrive", {"rate": 0})[0], 400)
    same(ask("GET", "redrives/123456")[0], 404)


@case(restart=True)
def redrive_that_a_restart_cut_off_goes_on_when_it_is_asked_for_again():
    connection = connect()
    channel = connection.channel()
    need(channel)
    work, dead = pair(channel)
    wanted = [str(number).encode() for number in range(60)]
    publish(channel, work, *wanted)
    refuse(channel, work, 60)
    wait_for(lambda: depth(channel, dead) == 60, "sixty dead letters")
    number = v1("POST", f"queues/{dead}/redrive", {"rate": 25})["id"]
    wait_for(lambda: v1("GET", f"redrives/{number}")["moved"] >= 5, "some have gone back")
    close(connection)
    restart_server()
    connection = connect()
    channel = connection.channel()
    same(ask("GET", f"redrives/{number}")[0], 404)
    same(redrive(dead)["state"], "done")
    same(sorted(drain(channel, work)), sorted(wanted))
    same(depth(channel, dead), 0)
    channel.queue_delete(work)
    channel.queue_delete(dead)
    close(connection)
