"""pika: queues whose keys are sessions, each with one consumer at a time. No RabbitMQ has them."""

from pika import exceptions

from amqp_pika import Consumer, close, connect, depth, drain, get, publish, queue, with_channel
from casebook import case, raises, restart_server, same, unique, wait_for
from messages import ask, v1

SESSIONS = {"x-order-key": "customer", "x-sessions": True}
OURS = ["crossdock"]


def send(channel, name, *bodies, **properties):
    """Messages whose customer is the first letter of their body."""
    for body in bodies:
        publish(channel, name, body.encode(), headers={"customer": body[0]}, **properties)


def bodies(consumer):
    return [body.decode() for _, _, body in consumer.deliveries]


def tag_of(consumer, wanted):
    return next(method.delivery_tag for method, _, body in reversed(consumer.deliveries)
                if body.decode() == wanted)


def filled(channel, *sent, **more):
    """A queue that has these messages."""
    name = queue(channel, arguments={**SESSIONS, **more})
    send(channel, name, *sent)
    wait_for(lambda: depth(channel, name) == len(sent), "all are ready")
    return name


def consumer_of(channel, name, prefetch=0, sessions=0, **more):
    """A consumer that takes so many messages and sessions."""
    channel.basic_qos(prefetch_count=prefetch)
    arguments = {"x-max-sessions": sessions} if sessions else {}
    return Consumer(channel, name, arguments={**arguments, **more})


@case(each=["classic", "quorum"], only=OURS)
def all_messages_of_a_session_are_with_its_consumer_in_order(kind):
    connection = connect()
    channel = connection.channel()
    name = queue(channel, durable=True, arguments={**SESSIONS, "x-queue-type": kind})
    send(channel, name, "a1", "a2", "b1", "a3", "b2")
    wait_for(lambda: depth(channel, name) == 5, "all are ready")
    one = consumer_of(channel, name, sessions=1)
    one.wait(3)
    same(bodies(one), ["a1", "a2", "a3"])
    two = consumer_of(channel, name, sessions=1)
    two.wait(2)
    same(bodies(two), ["b1", "b2"])
    send(channel, name, "b3", "a4")
    one.wait(4)
    two.wait(3)
    same((bodies(one)[-1], bodies(two)[-1]), ("a4", "b3"))
    channel.queue_delete(name)
    close(connection)


@case(only=OURS)
@with_channel
def session_is_free_when_nothing_of_it_is_left(channel):
    name = filled(channel, "a1")
    one = consumer_of(channel, name)
    one.wait(1)
    two = consumer_of(channel, name, **{"x-priority": 5})
    send(channel, name, "a2")
    one.wait(2)
    for body in ("a1", "a2"):
        channel.basic_ack(tag_of(one, body))
    same(one.settle()[2:], [])
    send(channel, name, "a3")
    two.wait(1)
    same((bodies(one), bodies(two)), (["a1", "a2"], ["a3"]))


@case(only=OURS)
@with_channel
def consumer_has_as_many_sessions_as_it_may(channel):
    name = filled(channel, "a1", "b1", "c1", "a2", "d1")
    one = consumer_of(channel, name, sessions=2)
    one.wait(3)
    same(bodies(one), ["a1", "b1", "a2"])
    same(depth(channel, name), 2)
    channel.basic_ack(tag_of(one, "b1"))
    one.wait(4)
    same(bodies(one)[-1], "c1")
    two = consumer_of(channel, name, sessions=1)
    two.wait(1)
    same((bodies(one)[4:], bodies(two)), ([], ["d1"]))


@case(only=OURS)
@with_channel
def sessions_are_worked_off_one_after_the_other(channel):
    name = filled(channel, "a1", "b1", "a2", "b2")
    one = consumer_of(channel, name, prefetch=1, sessions=1)
    for count in range(1, 5):
        one.wait(count)
        channel.basic_ack(one.tags[-1])
    same(bodies(one), ["a1", "a2", "b1", "b2"])


@case(only=OURS)
@with_channel
def sessions_spread_over_consumers(channel):
    name = queue(channel, arguments=SESSIONS)
    consumers = [consumer_of(channel, name) for _ in range(3)]
    send(channel, name, "a1", "b1", "c1", "a2", "b2", "c2")
    for consumer in consumers:
        consumer.wait(2)
    same(sorted(bodies(consumer) for consumer in consumers),
         [["a1", "a2"], ["b1", "b2"], ["c1", "c2"]])


@case(only=OURS)
@with_channel
def returned_message_comes_before_what_was_not_out(channel):
    name = filled(channel, "a1", "a2", "a3", "a4", "b1")
    one = consumer_of(channel, name, prefetch=2)
    one.wait(2)
    two = consumer_of(channel, name)
    two.wait(1)
    for body in ("a1", "a2"):
        channel.basic_nack(tag_of(one, body), requeue=True)
    for count in (4, 5, 6):
        one.wait(count)
        channel.basic_ack(one.tags[count - 2])
    same(bodies(one), ["a1", "a2", "a1", "a2", "a3", "a4"])
    same(bodies(two), ["b1"])


@case(only=OURS)
@with_channel
def retry_that_waits_holds_its_session_back(channel):
    name = filled(channel, "a1", "a2", "a3", "b1", **{
        "x-delayed-retry-type": "all", "x-delayed-retry-min": 300, "x-delayed-retry-max": 300})
    one = consumer_of(channel, name, prefetch=2)
    one.wait(2)
    two = consumer_of(channel, name)
    two.wait(1)
    channel.basic_nack(tag_of(one, "a1"), requeue=True)
    channel.basic_ack(tag_of(one, "a2"))
    one.wait(4)
    same((bodies(one), bodies(two)), (["a1", "a2", "a1", "a3"], ["b1"]))


@case(each=["channel", "connection", "cancel"], only=OURS)
def session_goes_on_with_another_when_its_consumer_is_gone(way):
    first, second = connect(), connect()
    other = second.channel()
    name = queue(other, durable=True, arguments=SESSIONS)
    send(other, name, "a1", "a2", "a3")
    wait_for(lambda: depth(other, name) == 3, "all are ready")
    held = first.channel()
    one = consumer_of(held, name, prefetch=2)
    one.wait(2)
    two = consumer_of(other, name)
    same(two.settle(), [])
    if way == "cancel":
        held.basic_cancel(one.tag)
        held.basic_ack(tag_of(one, "a1"))
        # What it holds is still its own, and the session with it.
        same(two.settle(), [])
        held.basic_ack(tag_of(one, "a2"))
        two.wait(1)
        same(bodies(two), ["a3"])
    else:
        held.close() if way == "channel" else first.close()
        two.wait(3)
        same(bodies(two), ["a1", "a2", "a3"])
    other.queue_delete(name)
    close(first)
    close(second)


@case(only=OURS)
@with_channel
def message_without_a_key_is_a_session_of_its_own(channel):
    name = queue(channel, arguments=SESSIONS)
    publish(channel, name, b"one", b"two")
    wait_for(lambda: depth(channel, name) == 2, "both are ready")
    one = consumer_of(channel, name, sessions=1)
    one.wait(1)
    two = consumer_of(channel, name)
    two.wait(1)
    same((bodies(one), bodies(two)), (["one"], ["two"]))


@case(only=OURS)
@with_channel
def sessions_go_with_priorities(channel):
    name = queue(channel, arguments={**SESSIONS, "x-max-priority": 5})
    send(channel, name, "a1", "b1")
    send(channel, name, "b2", "a2", priority=5)
    wait_for(lambda: depth(channel, name) == 4, "all are ready")
    one, two = (consumer_of(channel, name, sessions=1) for _ in range(2))
    one.wait(2)
    two.wait(2)
    same((bodies(one), bodies(two)), (["b2", "b1"], ["a2", "a1"]))


@case(only=OURS)
@with_channel
def got_message_has_its_session_with_it(channel):
    name = filled(channel, "a1", "a2", "b1")
    first = get(channel, name, auto_ack=False)
    one = consumer_of(channel, name)
    one.wait(1)
    same(bodies(one), ["b1"])
    second = get(channel, name, auto_ack=False)
    same((first[2], second[2]), (b"a1", b"a2"))
    for method, _, _ in (first, second):
        channel.basic_ack(method.delivery_tag)
    send(channel, name, "a3")
    one.wait(2)
    same(bodies(one), ["b1", "a3"])


@case(only=OURS)
@with_channel
def dead_letter_lets_its_session_go_on(channel):
    grave = queue(channel)
    name = filled(channel, "a1", "a2", **{
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": grave})
    one = consumer_of(channel, name, prefetch=1)
    one.wait(1)
    channel.basic_reject(tag_of(one, "a1"), requeue=False)
    one.wait(2)
    same(bodies(one), ["a1", "a2"])
    same(get(channel, grave)[2], b"a1")


@case(only=OURS)
@with_channel
def no_ack_gets_all_in_order(channel):
    name = filled(channel, "a1", "b1", "a2")
    same(drain(channel, name), [b"a1", b"b1", b"a2"])


@case(each=["no key", "no flag", "no number", "zero"], only=OURS)
def nonsense_is_refused(what):
    connection = connect()
    channel, name = connection.channel(), unique("q")
    if what in ("no key", "no flag"):
        arguments = {"x-sessions": True} if what == "no key" else {**SESSIONS, "x-sessions": 5}
        error = raises(exceptions.ChannelClosedByBroker, channel.queue_declare, name,
                       arguments=arguments)
        argument = "x-sessions"
    else:
        name = queue(channel, arguments=SESSIONS)
        value = "two" if what == "no number" else 0
        error = raises(exceptions.ChannelClosedByBroker, channel.basic_consume, name,
                       lambda *_: None, arguments={"x-max-sessions": value})
        argument = "x-max-sessions"
    why = {"no key": "requires_x-order-key",
           "no flag": "{unacceptable_type,signedint}",
           "no number": "\"expected integer, got longstr\"", "zero": "{value_zero,0}"}[what]
    same((error.reply_code, error.reply_text),
         (406, f"PRECONDITION_FAILED - invalid arg '{argument}' for queue '{name}' in vhost '/': "
               f"{why}"))
    close(connection)


@case(only=OURS)
@with_channel
def session_is_listed_with_its_consumer_and_what_is_out(channel):
    name = filled(channel, "a1", "b1", "a2")
    one = consumer_of(channel, name, sessions=1)
    one.wait(2)
    v1("PUT", f"queues/{name}/sessions/b", {"state": "half done"})
    listed = v1("GET", f"queues/{name}/sessions")
    same(listed["next"], None)
    told = [(it["key"], it["in_flight"], it["version"] > 0, it["state_bytes"])
            for it in listed["sessions"]]
    same(told, [("a", 2, False, 0), ("b", 0, True, 9)])
    same([it["consumer"] and it["consumer"]["tag"] for it in listed["sessions"]],
         [one.tag, None])


@case(only=OURS)
@with_channel
def state_goes_with_its_session_from_one_consumer_to_the_next(channel):
    name = filled(channel, "a1", "a2", "a3")
    for number in range(3):
        one = consumer_of(channel, name, prefetch=1)
        one.wait(1)
        before = v1("GET", f"queues/{name}/sessions/a")
        same(before["state"], str(number) if number else None)
        new = {"state": str(number + 1), "expect_version": before["version"]}
        v1("PUT", f"queues/{name}/sessions/a", new)
        same(ask("PUT", f"queues/{name}/sessions/a", new)[0], 409)
        channel.basic_ack(one.tags[0])
        channel.basic_cancel(one.tag)
        one.settle()
        for tag in one.tags[1:]:
            channel.basic_nack(tag, requeue=True)
    same(v1("GET", f"queues/{name}/sessions/a")["state"], "3")


@case(only=OURS, restart=True)
def states_of_sessions_outlive_a_restart():
    connection = connect()
    name = queue(connection.channel(), durable=True, arguments=SESSIONS)
    at = f"queues/{name}/sessions/a"
    version = v1("PUT", at, {"state": "one"})["version"]
    close(connection)
    restart_server()
    told = v1("GET", at)
    same((told["state"], told["version"], told["consumer"]), ("one", version, None))
    same(ask("PUT", at, {"state": "two", "expect_version": 0})[0], 409)
    new = v1("PUT", at, {"state": "two", "expect_version": version})["version"]
    assert new > version, (version, new)
    connection = connect()
    connection.channel().queue_delete(name)
    close(connection)
    same(ask("GET", at)[0], 404)


@case(only=OURS, restart=True)
def sessions_begin_anew_after_a_restart():
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    name = queue(channel, durable=True, arguments=SESSIONS)
    send(channel, name, "a1", "a2", "b1", "a3", delivery_mode=2)
    consumer = consumer_of(channel, name, prefetch=2)
    consumer.wait(2)
    close(connection)
    restart_server()
    connection = connect()
    channel = connection.channel()
    one = consumer_of(channel, name, sessions=1)
    one.wait(3)
    two = consumer_of(channel, name)
    two.wait(1)
    same((bodies(one), bodies(two)), (["a1", "a2", "a3"], ["b1"]))
    channel.queue_delete(name)
    close(connection)
