"""What the pika cases share: connections that close by themselves, and reading until a fact holds."""

import functools
import time

import pika
from pika.exceptions import AMQPError

from casebook import AMQP, WAIT_SECONDS_MAX, unique

VERSION = pika.__version__


def parameters(user="guest", password="guest", **more):
    host, port = AMQP.rsplit(":", 1)
    more.setdefault("heartbeat", 30)
    return pika.ConnectionParameters(
        host, int(port), credentials=pika.PlainCredentials(user, password),
        connection_attempts=1, socket_timeout=10, **more)


def connect(**more):
    return pika.BlockingConnection(parameters(**more))


def with_channel(body):
    """Gives the case a channel, and closes its connection afterwards, whatever happened to it."""
    @functools.wraps(body)
    def run(*arguments):
        connection = connect()
        try:
            return body(connection.channel(), *arguments)
        finally:
            close(connection)
    return run


def close(connection):
    try:
        if connection.is_open:
            connection.close()
    except AMQPError:
        pass


def queue(channel, name="q", **more):
    """Declares a queue of a unique name that goes away with the connection, unless told otherwise."""
    name = unique(name)
    more.setdefault("exclusive", not more.get("durable", False))
    channel.queue_declare(name, **more)
    return name


def exchange(channel, kind, **more):
    name = unique(kind)
    more.setdefault("auto_delete", False)
    channel.exchange_declare(name, kind, **more)
    return name


def publish(channel, name, *bodies, exchange="", **properties):
    for body in bodies:
        channel.basic_publish(exchange, name, body, pika.BasicProperties(**properties))


def get(channel, name, auto_ack=True, seconds=WAIT_SECONDS_MAX):
    """The next message of a queue as (method, properties, body); waits for one to be there."""
    deadline = time.monotonic() + seconds
    while True:
        found = channel.basic_get(name, auto_ack)
        if found[0] is not None:
            return found
        assert time.monotonic() < deadline, f"no message in {name} within {seconds} s"
        time.sleep(0.01)


def drain(channel, name):
    """The bodies that are ready in a queue, taken out of it."""
    bodies = []
    while True:
        method, _, body = channel.basic_get(name, auto_ack=True)
        if method is None:
            return bodies
        bodies.append(body)


def depth(channel, name):
    return channel.queue_declare(name, passive=True).method.message_count


def since(channel, version):
    """Whether the server behaves as RabbitMQ does since `version`; Crossdock as the newest does."""
    told = channel.connection._impl.server_properties
    if told.get("product") != "RabbitMQ":
        return True

    def numbers(text):
        return [int(part) for part in text.split("+")[0].split("-")[0].split(".")]
    return numbers(told["version"]) >= numbers(version)


class Consumer:
    """A consumer that keeps its deliveries; `wait` lets the connection work until enough came."""

    def __init__(self, channel, name, **more):
        self.channel = channel
        self.deliveries = []
        self.tag = channel.basic_consume(name, self._take, **more)

    def _take(self, _, method, properties, body):
        self.deliveries.append((method, properties, body))

    def wait(self, count, seconds=WAIT_SECONDS_MAX):
        deadline = time.monotonic() + seconds
        while len(self.deliveries) < count:
            left = deadline - time.monotonic()
            assert left > 0, f"{len(self.deliveries)} of {count} deliveries within {seconds} s"
            self.channel.connection.process_data_events(min(left, 0.5))
        return self.deliveries

    def settle(self):
        """Lets deliveries that are on their way arrive: a round trip on the same channel."""
        self.channel.exchange_declare("amq.direct", passive=True)
        self.channel.connection.process_data_events(0)
        return self.deliveries

    @property
    def bodies(self):
        return [body for _, _, body in self.deliveries]

    @property
    def tags(self):
        return [method.delivery_tag for method, _, _ in self.deliveries]
