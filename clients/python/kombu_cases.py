"""kombu over py-amqp: Celery's messaging layer by itself."""

import socket

import kombu
import kombu.simple
from kombu.pools import producers

from casebook import AMQP, case, raises, restart_server, same, unique, wait_for

VERSION = f"{kombu.__version__} (amqp {__import__('amqp').__version__})"
URL = f"amqp://guest:guest@{AMQP}//"


def connect(**more):
    return kombu.Connection(URL, heartbeat=0, **more)


def private(name="kombu", **more):
    more.setdefault("exclusive", True)
    name = unique(name)
    more.setdefault("routing_key", name)
    return kombu.Queue(name, **more)


def drain(connection, seen, count):
    def enough():
        try:
            connection.drain_events(timeout=0.2)
        except socket.timeout:
            pass
        return len(seen) >= count
    wait_for(enough, f"{count} messages", pause=0)


@case
def message_goes_through_an_exchange():
    with connect() as connection:
        exchange = kombu.Exchange(unique("x"), "direct", durable=False, auto_delete=True)
        queue = private(exchange=exchange, routing_key="k")
        seen = []
        with connection.Consumer(queue, callbacks=[lambda body, message: (
                seen.append((body, message.properties.get("priority"))), message.ack())]):
            connection.Producer().publish({"hello": "wörld", "n": [1, None]}, exchange=exchange,
                                          routing_key="k", priority=3, serializer="json")
            drain(connection, seen, 1)
        same(seen, [({"hello": "wörld", "n": [1, None]}, 3)])


@case(each=["json", "pickle", "raw"])
def serializer_round_trips(name):
    with connect() as connection:
        body = {"json": {"a": 1}, "pickle": {"a": (1, 2)}, "raw": b"\x00\xff"}[name]
        queue = kombu.simple.SimpleQueue(connection, private(), serializer=None,
                                         no_ack=True)
        queue.consumer.accept = {"json", "pickle", "application/json",
                                 "application/x-python-serialize", "application/data"}
        queue.put(body, serializer=None if name == "raw" else name,
                  **({"content_type": "application/data", "content_encoding": "binary"}
                     if name == "raw" else {}))
        same(queue.get(timeout=5).payload, body)
        queue.close()


@case
def compressed_message_round_trips():
    with connect() as connection:
        queue = kombu.simple.SimpleQueue(connection, private(), no_ack=True)
        queue.put("text" * 1000, compression="gzip")
        message = queue.get(timeout=5)
        same((message.payload, message.headers["compression"]),
             ("text" * 1000, "application/x-gzip"))
        queue.close()


@case
def simple_queue_tells_when_it_is_empty():
    with connect() as connection:
        queue = kombu.simple.SimpleQueue(connection, private())
        raises(kombu.simple.Empty, queue.get_nowait)
        queue.put("x")
        message = wait_for(lambda: attempt(queue), "the message")
        message.ack()
        queue.close()


def attempt(queue):
    try:
        return queue.get_nowait()
    except kombu.simple.Empty:
        return None


@case
def rejected_and_requeued_message_comes_again():
    with connect() as connection:
        queue, seen = private(), []

        def take(body, message):
            seen.append((body, message.delivery_info["redelivered"]))
            message.ack() if len(seen) > 1 else message.requeue()
        with connection.Consumer(queue, callbacks=[take]):
            connection.Producer().publish("x", routing_key=queue.name)
            drain(connection, seen, 2)
        same(seen, [("x", False), ("x", True)])


@case
def global_and_consumer_qos_are_accepted():
    with connect() as connection:
        queue, seen = private(), []
        consumer = connection.Consumer(queue, callbacks=[lambda body, message: seen.append(message)])
        consumer.qos(prefetch_count=2, apply_global=True)
        producer = connection.Producer()
        with consumer:
            for number in range(5):
                producer.publish(number, routing_key=queue.name)
            drain(connection, seen, 2)
            raises(socket.timeout, connection.drain_events, timeout=0.5)
            same(len(seen), 2)
            seen[0].ack()
            drain(connection, seen, 3)


@case
def confirmed_publishes_through_a_pool():
    with connect(transport_options={"confirm_publish": True}) as connection:
        name = unique("pool")
        with producers[connection].acquire(block=True) as producer:
            queue = kombu.Queue(name, durable=True, channel=producer.channel)
            queue.declare()
            for number in range(50):
                producer.publish({"n": number}, routing_key=name, delivery_mode=2)
            same(queue.queue_declare(passive=True).message_count, 50)
            queue.delete()


@case
def queue_arguments_of_celerys_kinds_are_declared():
    with connect() as connection:
        queue = kombu.Queue(unique("args"), durable=True, expires=600, message_ttl=60,
                            max_length=1000, max_length_bytes=1_000_000)
        bound = queue(connection.default_channel)
        bound.declare()
        bound.declare()
        bound.delete()


@case
def unroutable_mandatory_message_is_returned():
    with connect() as connection:
        returned = []
        producer = connection.Producer(on_return=lambda *found: returned.append(found))
        producer.publish("x", routing_key=unique("missing"), mandatory=True)

        def came():
            try:
                connection.drain_events(timeout=0.2)
            except socket.timeout:
                pass
            return returned
        wait_for(came, "the return")
        same(returned[0][0].reply_code if hasattr(returned[0][0], "reply_code")
             else returned[0][1], 312)


@case
def wrong_password_is_refused():
    error = raises(Exception, kombu.Connection(URL.replace(":guest@", ":wrong@")).connect)
    same(type(error).__name__, "AccessRefused")


@case(restart=True)
def ensured_publish_reconnects_after_a_restart():
    connection = connect()
    name = unique("ensure")
    queue = kombu.Queue(name, durable=True)
    producer = connection.Producer()
    policy = {"max_retries": 100, "interval_start": 0.2, "interval_step": 0, "interval_max": 0.2}
    producer.publish("before", routing_key=name, declare=[queue], retry=True, retry_policy=policy,
                     delivery_mode=2)
    restart_server()
    # The first write into the dead socket may seem to succeed, as with any unconfirmed publish.
    for text in ("after 1", "after 2", "after 3"):
        producer.publish(text, routing_key=name, declare=[queue], retry=True,
                         retry_policy=policy, delivery_mode=2)
    with connect() as fresh:
        bound = queue(fresh.default_channel)
        seen = []

        def more():
            message = bound.get(no_ack=True)
            if message is not None:
                seen.append(message.payload)
            return "after 3" in seen
        wait_for(more, "the last message")
        assert seen[0] == "before" and "after 2" in seen, seen
        bound.delete()
