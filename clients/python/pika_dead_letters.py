"""pika: what a queue takes out goes to its dead-letter exchange, and tells where it was."""

import datetime

import pika
from pika import exceptions

from amqp_pika import (Consumer, close, connect, depth, drain, exchange, get, publish, queue, since,
                       with_channel)
from casebook import Skip, case, raises, same, unique, wait_for


def dead_to(name, key=None, **more):
    """Arguments of a queue whose dead letters go there."""
    arguments = {"x-dead-letter-exchange": name, **more}
    if key is not None:
        arguments["x-dead-letter-routing-key"] = key
    return arguments


def refuse(channel, name):
    method, _, _ = get(channel, name, auto_ack=False)
    channel.basic_reject(method.delivery_tag, requeue=False)


def before_marker(channel, name):
    """The bodies that a queue gives before a message that is published now."""
    publish(channel, name, b"marker")
    bodies = []
    while (body := get(channel, name)[2]) != b"marker":
        bodies.append(body)
    return bodies


def deaths(properties):
    """Queue, reason and count of each death, in order."""
    found = properties.headers["x-death"]
    return [(death["queue"], death["reason"], death["count"]) for death in found]


@case(each=["reject", "nack", "nack-multiple"])
def refused_message_goes_with_its_history(way):
    @with_channel
    def check(channel):
        grave = queue(channel, "grave")
        source = queue(channel, "source", arguments=dead_to("", grave))
        publish(channel, source, b"a", message_id="id", headers={"own": 7})
        method, _, _ = get(channel, source, auto_ack=False)
        if way == "reject":
            channel.basic_reject(method.delivery_tag, requeue=False)
        else:
            channel.basic_nack(method.delivery_tag, multiple="multiple" in way, requeue=False)
        method, properties, body = get(channel, grave)
        same((method.exchange, method.routing_key, method.redelivered), ("", grave, False))
        same((body, properties.message_id, properties.headers["own"]), (b"a", "id", 7))
        death, = properties.headers["x-death"]
        age = datetime.datetime.now(datetime.timezone.utc).timestamp() \
            - death.pop("time").replace(tzinfo=datetime.timezone.utc).timestamp()
        assert -5 < age < 30, age
        same(death, {"count": 1, "reason": "rejected", "queue": source, "exchange": "",
                     "routing-keys": [source]})
        for when in ["first", "last"] if since(channel, "3.13") else ["first"]:
            told = [properties.headers[f"x-{when}-death-{what}"]
                    for what in ("reason", "queue", "exchange")]
            same(told, ["rejected", source, ""])
        same(depth(channel, source), 0)
    check()


@case
@with_channel
def requeued_message_is_no_dead_letter(channel):
    grave = queue(channel, "grave")
    source = queue(channel, "source", arguments=dead_to("", grave))
    publish(channel, source, b"a")
    method, _, _ = get(channel, source, auto_ack=False)
    channel.basic_reject(method.delivery_tag, requeue=True)
    _, properties, body = get(channel, source)
    same((body, (properties.headers or {}).get("x-death")), (b"a", None))
    same(depth(channel, grave), 0)


@case(each=["queue", "message"])
def expired_message_goes_without_its_expiration(whose):
    @with_channel
    def check(channel):
        grave = queue(channel, "grave")
        more = {"x-message-ttl": 200} if whose == "queue" else {}
        source = queue(channel, "source", arguments=dead_to("", grave, **more))
        expiration = None if whose == "queue" else "200"
        publish(channel, source, b"a", expiration=expiration)
        _, properties, body = get(channel, grave)
        same((body, properties.expiration), (b"a", None))
        same(deaths(properties), [(source, "expired", 1)])
        same(properties.headers["x-death"][0].get("original-expiration"), expiration)
        same(properties.headers["x-first-death-reason"], "expired")
    check()


@case
@with_channel
def oldest_messages_of_a_queue_that_is_too_long_go(channel):
    grave = queue(channel, "grave")
    source = queue(channel, "source", arguments=dead_to("", grave, **{"x-max-length": 2}))
    publish(channel, source, b"1", b"2", b"3", b"4")
    got = [get(channel, grave) for _ in range(2)]
    same([body for _, _, body in got], [b"1", b"2"])
    same(deaths(got[0][1]), [(source, "maxlen", 1)])
    same(drain(channel, source), [b"3", b"4"])


@case
@with_channel
def routing_keys_of_the_message_are_kept_where_the_queue_names_none(channel):
    dlx = exchange(channel, "direct", auto_delete=True)
    grave, copy, hidden = (queue(channel, "grave") for _ in range(3))
    source = queue(channel, "source", arguments=dead_to(dlx))
    channel.queue_bind(grave, dlx, source)
    channel.queue_bind(copy, dlx, "copied")
    channel.queue_bind(hidden, dlx, "hidden")
    publish(channel, source, b"a", headers={"CC": ["copied"], "BCC": ["hidden"]})
    refuse(channel, source)
    for name in (grave, copy, hidden):
        method, properties, body = get(channel, name)
        same((method.exchange, method.routing_key, body), (dlx, source, b"a"))
        same(properties.headers["x-death"][0]["routing-keys"], [source, "copied"])
        same(properties.headers["CC"], ["copied"])
        assert "BCC" not in properties.headers, properties.headers


@case
@with_channel
def routing_key_of_the_queue_replaces_all_of_the_message(channel):
    dlx = exchange(channel, "direct", auto_delete=True)
    grave, copy = queue(channel, "grave"), queue(channel, "copy")
    source = queue(channel, "source", arguments=dead_to(dlx, "dead"))
    channel.queue_bind(grave, dlx, "dead")
    channel.queue_bind(copy, dlx, "copied")
    publish(channel, source, b"a", headers={"CC": ["copied"]})
    refuse(channel, source)
    method, properties, _ = get(channel, grave)
    same(method.routing_key, "dead")
    same(properties.headers["x-death"][0]["routing-keys"], [source, "copied"])
    same(depth(channel, copy), 0)


@case
@with_channel
def bindings_of_the_moment_count(channel):
    dlx = exchange(channel, "fanout", auto_delete=True)
    grave, late = queue(channel, "grave"), queue(channel, "late")
    channel.queue_bind(grave, dlx)
    source = queue(channel, "source", arguments=dead_to(dlx))
    publish(channel, source, b"1", b"2")
    refuse(channel, source)
    same(get(channel, grave)[2], b"1")
    channel.queue_bind(late, dlx)
    channel.queue_unbind(grave, dlx)
    refuse(channel, source)
    same(get(channel, late)[2], b"2")
    same(depth(channel, grave), 0)


@case
@with_channel
def dead_letter_without_an_exchange_is_dropped(channel):
    source = queue(channel, "source", arguments=dead_to(unique("missing")))
    publish(channel, source, b"a", b"b")
    refuse(channel, source)
    same(drain(channel, source), [b"b"])


@case
@with_channel
def deaths_are_counted_by_queue_and_reason_the_newest_first(channel):
    work, retry = unique("work"), unique("retry")
    channel.queue_declare(work, exclusive=True, arguments=dead_to("", retry))
    channel.queue_declare(retry, exclusive=True,
                          arguments=dead_to("", work, **{"x-message-ttl": 50}))
    publish(channel, work, b"a")
    for _ in range(3):
        refuse(channel, work)
    _, properties, _ = get(channel, work)
    same(deaths(properties), [(retry, "expired", 3), (work, "rejected", 3)])
    same(properties.headers["x-first-death-queue"], work)
    same(properties.headers["x-first-death-reason"], "rejected")
    if since(channel, "3.13"):
        same(properties.headers["x-last-death-queue"], retry)
        same(properties.headers["x-last-death-reason"], "expired")


@case
@with_channel
def circle_without_a_refusal_ends(channel):
    one, two = unique("one"), unique("two")
    channel.queue_declare(one, exclusive=True,
                          arguments=dead_to("", two, **{"x-message-ttl": 50}))
    channel.queue_declare(two, exclusive=True,
                          arguments=dead_to("", one, **{"x-message-ttl": 50}))
    publish(channel, one, b"a")
    wait_for(lambda: depth(channel, one) == 0, "the message's end in the first queue")
    # What goes around behind it comes back to where it never was.
    back = Consumer(channel, one, auto_ack=True)
    for count, marker in enumerate([b"marker 1", b"marker 2"], 1):
        publish(channel, two, marker)
        back.wait(count)
    same(back.bodies, [b"marker 1", b"marker 2"])


@case
@with_channel
def purged_message_is_no_dead_letter(channel):
    grave = queue(channel, "grave")
    source = queue(channel, "source", arguments=dead_to("", grave))
    publish(channel, source, b"a", b"b")
    wait_for(lambda: depth(channel, source) == 2, "two messages")
    channel.queue_purge(source)
    publish(channel, source, b"marker")
    refuse(channel, source)
    same(get(channel, grave)[2], b"marker")
    same(depth(channel, grave), 0)


@case
@with_channel
def headers_exchange_sees_the_messages_headers(channel):
    dlx = exchange(channel, "headers", auto_delete=True)
    grave, other = queue(channel, "grave"), queue(channel, "other")
    channel.queue_bind(grave, dlx, arguments={"x-match": "all", "kind": "red"})
    channel.queue_bind(other, dlx, arguments={"x-match": "all", "kind": "blue"})
    source = queue(channel, "source", arguments=dead_to(dlx))
    publish(channel, source, b"a", headers={"kind": "red"})
    refuse(channel, source)
    same(get(channel, grave)[2], b"a")
    same(depth(channel, other), 0)


@case(each=["at-most-once", "at-least-once"])
def quorum_queue_sends_dead_letters_on(strategy):
    connection = connect()
    channel = connection.channel()
    grave = queue(channel, "grave", durable=True, arguments={"x-queue-type": "quorum"})
    # Without x-overflow=reject-publish RabbitMQ takes at-least-once for at-most-once.
    arguments = dead_to("", grave, **{"x-queue-type": "quorum", "x-dead-letter-strategy": strategy})
    source = queue(channel, "source", durable=True, arguments=arguments)
    publish(channel, source, b"a")
    refuse(channel, source)
    _, properties, body = get(channel, grave)
    same((body, deaths(properties)), (b"a", [(source, "rejected", 1)]))
    channel.queue_delete(source)
    channel.queue_delete(grave)
    close(connection)


@case(each=["exchange-type", "key-type", "key-alone", "strategy", "kind"])
def nonsense_is_refused(what):
    name = unique("q")
    arguments, text = {
        "exchange-type": ({"x-dead-letter-exchange": 5},
                          f"invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue "
                          f"'{name}' in vhost '/'"),
        "key-type": ({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": 5},
                     f"invalid arg 'x-dead-letter-routing-key' for queue '{name}' in vhost '/': "
                     "{unacceptable_type,signedint}"),
        "key-alone": ({"x-dead-letter-routing-key": "k"},
                      f"invalid arg 'x-dead-letter-routing-key' for queue '{name}' in vhost '/': "
                      "routing_key_but_no_dlx_defined"),
        "strategy": ({"x-queue-type": "quorum", "x-dead-letter-strategy": "often"},
                     f"invalid arg 'x-dead-letter-strategy' for queue '{name}' in vhost '/': "
                     "invalid_dlx_strategy"),
        "kind": ({"x-dead-letter-strategy": "at-least-once"},
                 f"invalid arg 'x-dead-letter-strategy' for queue '{name}' in vhost '/' of queue "
                 "type rabbit_classic_queue"),
    }[what]
    connection = connect()
    error = raises(exceptions.ChannelClosedByBroker, connection.channel().queue_declare, name,
                   durable=True, arguments=arguments)
    same((error.reply_code, error.reply_text), (406, f"PRECONDITION_FAILED - {text}"))
    close(connection)


@case
@with_channel
def headers_of_the_publisher_with_our_names_are_replaced(channel):
    grave = queue(channel, "grave")
    source = queue(channel, "source", arguments=dead_to("", grave))
    publish(channel, source, b"a", headers={"x-first-death-queue": "mine"})
    _, properties, _ = get(channel, source, auto_ack=False)
    same(properties.headers["x-first-death-queue"], "mine")
    channel.basic_recover(requeue=True)
    refuse(channel, source)
    _, properties, _ = get(channel, grave)
    if since(channel, "4.0"):
        same(properties.headers["x-first-death-queue"], source)


@case
@with_channel
def properties_of_every_kind_survive(channel):
    grave = queue(channel, "grave")
    source = queue(channel, "source", arguments=dead_to("", grave))
    given = pika.BasicProperties(
        content_type="text/plain", content_encoding="utf-8", delivery_mode=2, priority=3,
        correlation_id="c", reply_to="r", message_id="m", timestamp=1_700_000_000, type="t",
        user_id="guest", app_id="app",
        headers={"list": [1, "two", {"three": 3}], "yes": True, "none": None, "bytes": b"\xff"})
    channel.basic_publish("", source, b"a", given)
    refuse(channel, source)
    _, properties, _ = get(channel, grave)
    for name in ("content_type", "content_encoding", "delivery_mode", "priority", "correlation_id",
                 "reply_to", "message_id", "timestamp", "type", "user_id", "app_id"):
        same(getattr(properties, name), getattr(given, name))
    for name in ("list", "yes", "none"):
        same(properties.headers[name], given.headers[name])


def limited(limit, *more):
    arguments = {"x-queue-type": "quorum", **dict(more)}
    if limit is not None:
        arguments["x-delivery-limit"] = limit
    return arguments


@case(each=[0, 1, 3])
def message_that_comes_back_too_often_goes(limit):
    connection = connect()
    channel = connection.channel()
    grave = queue(channel, "grave", durable=True)
    source = queue(channel, "source", durable=True,
                   arguments=limited(limit, *dead_to("", grave).items()))
    publish(channel, source, b"a")
    counts = []
    for _ in range(limit + 1):
        method, properties, _ = get(channel, source, auto_ack=False)
        counts.append((properties.headers or {}).get("x-delivery-count") or 0)
        channel.basic_reject(method.delivery_tag, requeue=True)
    same(counts, list(range(limit + 1)))
    _, properties, body = get(channel, grave)
    same((body, deaths(properties)), (b"a", [(source, "delivery_limit", 1)]))
    same(drain(channel, source), [])
    channel.queue_delete(source)
    channel.queue_delete(grave)
    close(connection)


@case(each=["reject", "channel", "connection"])
def every_failure_counts(way):
    watcher = connect()
    watching = watcher.channel()
    grave = queue(watching, "grave", durable=True)
    source = queue(watching, "source", durable=True,
                   arguments=limited(2, *dead_to("", grave).items()))
    publish(watching, source, b"a")
    connection = connect()
    channel = connection.channel()
    for _ in range(3):
        method, _, _ = get(channel, source, auto_ack=False)
        if way == "reject":
            channel.basic_reject(method.delivery_tag, requeue=True)
        elif way == "channel":
            channel.close()
            channel = connection.channel()
        else:
            connection.close()
            connection = connect()
            channel = connection.channel()
    same(get(watching, grave)[2], b"a")
    watching.queue_delete(source)
    watching.queue_delete(grave)
    close(connection)
    close(watcher)


@case(each=["nack", "recover"])
def what_is_given_back_without_a_failure_does_not_count(way):
    connection = connect()
    channel = connection.channel()
    if not since(channel, "4.3"):
        raise Skip("basic.nack counts in RabbitMQ before 4.3")
    source = queue(channel, "source", durable=True, arguments=limited(1))
    publish(channel, source, b"a")
    for _ in range(5):
        method, properties, _ = get(channel, source, auto_ack=False)
        same((properties.headers or {}).get("x-delivery-count"), None)
        if way == "nack":
            channel.basic_nack(method.delivery_tag, requeue=True)
        else:
            channel.basic_recover(requeue=True)
    same(get(channel, source)[2], b"a")
    channel.queue_delete(source)
    close(connection)


@case
def message_over_the_limit_is_dropped_where_there_is_no_dead_letter_exchange():
    connection = connect()
    channel = connection.channel()
    source = queue(channel, "source", durable=True, arguments=limited(1))
    publish(channel, source, b"a", b"b")
    for _ in range(2):
        method, _, body = get(channel, source, auto_ack=False)
        while body != b"a":
            channel.basic_ack(method.delivery_tag)
            method, _, body = get(channel, source, auto_ack=False)
        channel.basic_reject(method.delivery_tag, requeue=True)
    assert b"a" not in before_marker(channel, source)
    channel.queue_delete(source)
    close(connection)


@case(each=[None, -1])
def limit_that_is_not_set_is_twenty_and_a_negative_one_is_none(limit):
    connection = connect()
    channel = connection.channel()
    if not since(channel, "4.0"):
        raise Skip("RabbitMQ limits deliveries by itself since 4.0")
    source = queue(channel, "source", durable=True, arguments=limited(limit))
    publish(channel, source, b"a")
    for _ in range(21):
        method, _, _ = get(channel, source, auto_ack=False)
        channel.basic_reject(method.delivery_tag, requeue=True)
    same(before_marker(channel, source), [] if limit is None else [b"a"])
    channel.queue_delete(source)
    close(connection)


@case
def limit_of_a_classic_queue_is_refused():
    connection = connect()
    name = unique("q")
    error = raises(exceptions.ChannelClosedByBroker, connection.channel().queue_declare, name,
                   durable=True, arguments={"x-delivery-limit": 5})
    same((error.reply_code, error.reply_text),
         (406, f"PRECONDITION_FAILED - invalid arg 'x-delivery-limit' for queue '{name}' in vhost "
               "'/' of queue type rabbit_classic_queue"))
    close(connection)
