"""pika: messages that are looked at, deleted, moved and copied where they are, over Crossdock's own HTTP API."""

from amqp_pika import Consumer, depth, drain, get, publish, queue, with_channel
from casebook import Skip, case, same, unique, wait_for
from messages import ask, v1


def need(channel):
    if channel.connection._impl.server_properties.get("product") == "RabbitMQ":
        raise Skip("RabbitMQ has nothing like it")
    channel.confirm_delivery()


def durable(channel, **arguments):
    return queue(channel, durable=True, arguments=arguments)


def browse(name, **query):
    """The values that are found, page by page."""
    values, at, pages = [], 0, 0
    while at is not None:
        page = v1("GET", f"queues/{name}/messages", **{"from": at, **query})
        values += [message["value"] for message in page["messages"]]
        at, pages = page["next"], pages + 1
        assert pages < 1000, "it goes on for ever"
    return values


def states(name, **query):
    found = v1("GET", f"queues/{name}/messages", **query)["messages"]
    return {message["value"]: message["state"] for message in found}


@case
@with_channel
def looking_takes_nothing(channel):
    need(channel)
    name = durable(channel)
    publish(channel, name, b"0", b"1", b"2")
    same(browse(name), ["0", "1", "2"])
    same(depth(channel, name), 3)
    method, _, body = get(channel, name)
    same((body, method.redelivered), (b"0", False))
    wait_for(lambda: browse(name) == ["1", "2"], "what is settled is not shown")
    channel.queue_delete(name)


@case
@with_channel
def pages_follow_one_another(channel):
    need(channel)
    name = durable(channel)
    wanted = [str(number) for number in range(25)]
    publish(channel, name, *[body.encode() for body in wanted])
    page = v1("GET", f"queues/{name}/messages", count=10)
    same([message["value"] for message in page["messages"]], wanted[:10])
    same(page["next"], 10)
    same(browse(name, count=10), wanted)
    same(browse(name, count=10, end=15), wanted[:15])
    one = v1("GET", f"queues/{name}/messages", offset=7)["messages"]
    same([message["value"] for message in one], ["7"])
    same(browse(name, **{"from": 1000}), [])
    same(browse(name, **{"from": -5, "end": 1}), ["0"])
    channel.queue_delete(name)


@case
@with_channel
def messages_are_found_by_header_id_key_text_and_state(channel):
    need(channel)
    name = durable(channel, **{"x-keep-settled-age": "1h"})
    publish(channel, name, b"red wine", headers={"colour": "red", "size": 7}, message_id="m1")
    publish(channel, name, b"white wine", headers={"colour": "white"}, correlation_id="c1")
    publish(channel, name, b"water", headers={"colour": "none", "size": 7})
    same(browse(name, **{"header.colour": "red"}), ["red wine"])
    same(browse(name, **{"header.size": 7}), ["red wine", "water"])
    same(browse(name, **{"header.size": 7, "header.colour": "none"}), ["water"])
    same(browse(name, message_id="m1"), ["red wine"])
    same(browse(name, correlation_id="c1"), ["white wine"])
    same(browse(name, contains="wine"), ["red wine", "white wine"])
    same(browse(name, key="k"), [])
    same(browse(name, before_ms=1), [])
    same(len(browse(name, since_ms=1)), 3)
    consumer = Consumer(channel, name)
    consumer.wait(3)
    channel.basic_ack(consumer.tags[0])
    wanted = {"red wine": "settled", "white wine": "leased", "water": "leased"}
    wait_for(lambda: states(name) == wanted, "each says where it stands")
    same(browse(name, state="settled"), ["red wine"])
    same(browse(name, state="leased,ready"), ["white wine", "water"])
    channel.basic_nack(consumer.tags[1])
    channel.queue_delete(name)


@case
@with_channel
def what_waits_for_a_retry_says_until_when(channel):
    need(channel)
    name = durable(channel, **{"x-delayed-retry-type": "all", "x-delayed-retry-min": 60000})
    publish(channel, name, b"0")
    method, _, _ = get(channel, name, auto_ack=False)
    channel.basic_reject(method.delivery_tag, requeue=True)

    def waiting():
        found = v1("GET", f"queues/{name}/messages", state="waiting")["messages"]
        return found and found[0].get("attempts") == 1 and found[0]
    found = wait_for(waiting, "it waits")
    assert found["due_ms"] >= found["timestamp_ms"] + 60000, found
    same(v1("POST", f"queues/{name}/messages/delete", {})["deleted"], 1)
    same(browse(name), [])
    channel.queue_delete(name)


@case
@with_channel
def messages_are_deleted_by_filter_and_held_ones_are_not(channel):
    need(channel)
    name = durable(channel)
    for number in range(6):
        publish(channel, name, str(number).encode(), headers={"even": str(number % 2 == 0)})
    method, _, body = get(channel, name, auto_ack=False)
    same(body, b"0")
    asked = {"filter": {"headers": {"even": "True"}}}
    same(v1("POST", f"queues/{name}/messages/delete", asked),
         {"deleted": 2, "skipped": 1, "next": None})
    channel.basic_nack(method.delivery_tag, requeue=True)
    same(drain(channel, name), [b"0", b"1", b"3", b"5"])
    channel.queue_delete(name)


@case
@with_channel
def deleted_messages_do_not_come_again_by_a_rewind(channel):
    need(channel)
    name = durable(channel, **{"x-keep-settled-age": "1h"})
    publish(channel, name, b"0", b"1", b"2")
    same(len(drain(channel, name)), 3)
    wait_for(lambda: len(browse(name, state="settled")) == 3, "all are kept")
    same(v1("POST", f"queues/{name}/messages/delete", {"offset": 1})["deleted"], 1)
    same(v1("POST", f"queues/{name}/rewind", {"from": "first"})["rewound"][0]["messages"], 2)
    same(drain(channel, name), [b"0", b"2"])
    channel.queue_delete(name)


@case
@with_channel
def messages_are_moved_with_all_that_they_say(channel):
    need(channel)
    name, other = durable(channel), durable(channel)
    for number in range(4):
        publish(channel, name, str(number).encode(), headers={"n": number}, message_id=f"m{number}")
    method, _, _ = get(channel, name, auto_ack=False)
    asked = {"to": other, "from": 0, "end": 3}
    same(v1("POST", f"queues/{name}/messages/move", asked),
         {"moved": 2, "skipped": 1, "next": None})
    _, properties, body = get(channel, other)
    same((body, properties.headers, properties.message_id), (b"1", {"n": 1}, "m1"))
    same(drain(channel, other), [b"2"])
    channel.basic_ack(method.delivery_tag)
    same(drain(channel, name), [b"3"])
    channel.queue_delete(name)
    channel.queue_delete(other)


@case
@with_channel
def copies_leave_the_messages_where_they_are(channel):
    need(channel)
    name, other = durable(channel), durable(channel)
    publish(channel, name, b"0", b"1", headers={"n": 5})
    same(v1("POST", f"queues/{name}/messages/copy", {"to": other}), {"copied": 2, "next": None})
    _, properties, body = get(channel, other)
    same((body, properties.headers), (b"0", {"n": 5}))
    same(drain(channel, other), [b"1"])
    same(drain(channel, name), [b"0", b"1"])
    channel.queue_delete(name)
    channel.queue_delete(other)


@case
@with_channel
def what_makes_no_sense_is_refused(channel):
    need(channel)
    name = durable(channel)
    for path, query in [(f"queues/{name}/messages", {"state": "odd"}),
                        (f"queues/{name}/messages", {"colour": "red"}),
                        (f"queues/{name}/messages", {"from": "x"})]:
        same(ask("GET", path, **query)[0], 400)
    same(ask("GET", "queues/no-such-queue/messages")[0], 404)
    same(ask("GET", f"queues/{name}/messages", contains="x" * 2000)[0], 413)
    same(ask("POST", f"queues/{name}/messages/move", {})[0], 400)
    same(ask("POST", f"queues/{name}/messages/move", {"to": name})[0], 400)
    same(ask("POST", f"queues/{name}/messages/move", {"to": "no-such-queue"})[0], 404)
    channel.queue_delete(name)


@case
@with_channel
def topics_are_looked_through_and_copied_and_rewound(channel):
    need(channel)
    topic, name = unique("t"), durable(channel)
    v1("PUT", f"topics/{topic}", {})
    sent = [{"value": str(number), "key": "k"} for number in range(3)]
    v1("POST", f"topics/{topic}/publish", {"messages": sent})
    found = v1("GET", f"topics/{topic}/messages", key="k")["messages"]
    same([(message["value"], message["state"]) for message in found],
         [("0", None), ("1", None), ("2", None)])
    same(ask("POST", f"topics/{topic}/rewind", {"from": "first"})[0], 404)
    same(v1("POST", f"topics/{topic}/messages/copy", {"to": name, "from": 1})["copied"], 2)
    same(drain(channel, name), [b"1", b"2"])
    channel.queue_declare(topic, durable=True)
    same(drain(channel, topic), [b"0", b"1", b"2"])
    wait_for(lambda: len(v1("GET", f"topics/{topic}/messages", state="settled")["messages"]) == 3,
             "all are settled")
    same(v1("POST", f"topics/{topic}/rewind", {"offset": 1})["rewound"],
         [{"partition": 0, "offset": 1, "messages": 2}])
    same(drain(channel, topic), [b"1", b"2"])
    v1("DELETE", f"topics/{topic}")
    channel.queue_delete(name)
