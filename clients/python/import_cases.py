"""`crossdock import rabbitmq`, from a RabbitMQ that these cases start for themselves."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pika

import management
from amqp_pika import VERSION, close, connect, get, parameters
from casebook import ADMIN, AMQP, Skip, at_end, case, same, unique, wait_for

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.target import RabbitMq  # noqa: E402

__all__ = ["VERSION"]

BINARY = os.environ["BINARY"]
MANY = 6_000


class Source:
    """The RabbitMQ that all cases import from, each a virtual host of its own."""

    server = None

    @classmethod
    def start(cls):
        if cls.server is None:
            if not os.path.exists(RabbitMq.script):
                raise Skip("Debian's rabbitmq-server is not installed")
            directory = tempfile.mkdtemp(prefix="crossdock-import-")
            server = RabbitMq(Path(directory) / "server", None)
            at_end(lambda: (server.close(), shutil.rmtree(directory, ignore_errors=True)))
            server.start()
            cls.server = server
        return cls.server

    def __init__(self):
        self.at = Source.start()
        self.vhost = unique("team")
        self.ask("PUT", f"vhosts/{self.vhost}", {})
        self.ask("PUT", f"permissions/{self.vhost}/guest",
                 {"configure": ".*", "write": ".*", "read": ".*"})
        self.connection = self.connect()
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        close(self.connection)

    def ask(self, method, path, body=None):
        status, answer = management.ask(method, path, body, at=self.at.address("admin"))
        assert status < 300, (path, status, answer)
        return answer

    def connect(self):
        given = parameters(virtual_host=self.vhost)
        given.port = self.at.ports["amqp"]
        return pika.BlockingConnection(given)

    def queue(self, name, kind="classic", **arguments):
        self.channel.queue_declare(name, durable=True,
                                   arguments={"x-queue-type": kind, **arguments})

    def fill(self, name, count):
        # Without a confirm for each: only the last is waited for.
        with self.connect() as connection:
            channel = connection.channel()
            for number in range(count):
                channel.basic_publish("", name, str(number).encode(),
                                      pika.BasicProperties(delivery_mode=2))
        wait_for(lambda: self.depth(name) == count, "all of it in the queue")

    def depth(self, name):
        return self.channel.queue_declare(name, passive=True).method.message_count

    def command(self, *how):
        return [BINARY, "import", "rabbitmq",
                f"amqp://guest:guest@127.0.0.1:{self.at.ports['amqp']}/{self.vhost}",
                f"--management=http://{self.at.address('admin')}",
                f"--to=amqp://guest:guest@{AMQP}", f"--admin={ADMIN}", *how]

    def bring(self, *how):
        done = subprocess.run(self.command(*how), capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def kill_in_the_middle(self, how, name, count):
        """Begins an import and kills it when so many messages are here."""
        began = subprocess.Popen(self.command(how), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        wait_for(lambda: self.here(name) >= count or began.poll() is not None,
                 f"{count} messages", pause=0)
        began.send_signal(signal.SIGKILL)
        began.wait()

    def here(self, name):
        """What is ready in the queue in Crossdock, which may not be there yet."""
        status, queue = management.ask("GET", f"queues/{self.vhost}/{name}")
        return queue["messages_ready"] if status == 200 else 0


class Here:
    """A connection to Crossdock, in the virtual host that was imported."""

    def __init__(self, vhost):
        self.connection = connect(virtual_host=vhost)
        self.channel = self.connection.channel()

    def __enter__(self):
        return self.channel

    def __exit__(self, *_):
        close(self.connection)


def take(channel, name, count, **more):
    """So many messages of a queue, acknowledged."""
    found = []
    channel.basic_qos(prefetch_count=1000)
    for method, properties, body in channel.consume(name, inactivity_timeout=20, **more):
        assert method is not None, f"{len(found)} of {count} messages"
        found.append((method, properties, body))
        channel.basic_ack(method.delivery_tag)
        if len(found) == count:
            break
    channel.cancel()
    return found


@case
def definitions_and_messages_come_over():
    with Source() as source:
        for name, kind in [("plain", "classic"), ("safe", "quorum")]:
            source.queue(name, kind, **{"x-max-length": 100_000})
        # Whether it is taken here or left out and named: the import goes on.
        source.ask("PUT", f"policies/{source.vhost}/short", {
            "pattern": "^plain$", "definition": {"max-length": 50_000}, "apply-to": "queues"})
        source.channel.exchange_declare("events", "topic", durable=True)
        source.channel.queue_bind("plain", "events", "order.#")
        source.channel.queue_bind("safe", "events", "order.paid")
        given = pika.BasicProperties(
            content_type="text/plain", priority=3, message_id="m", timestamp=1_700_000_000,
            delivery_mode=2, headers={"list": [1, "two", {"three": 3}], "yes": True, "none": None})
        source.channel.basic_publish("events", "order.paid", b"body", given)
        told = source.bring("--drain")
        assert "2 messages of 2 queues" in told, told
        same([source.depth("plain"), source.depth("safe")], [0, 0])
        with Here(source.vhost) as channel:
            for name in ("plain", "safe"):
                method, properties, body = get(channel, name)
                same((method.routing_key, body), ("order.paid", b"body"))
                assert not method.redelivered
                for field in ("content_type", "priority", "message_id", "timestamp", "delivery_mode",
                              "headers"):
                    same(getattr(properties, field), getattr(given, field), field)
            channel.basic_publish("events", "order.created", b"new")
            same(get(channel, "plain")[2], b"new")


@case(each=["classic", "quorum"])
def killed_drain_loses_and_doubles_nothing(kind):
    with Source() as source:
        source.queue("orders", kind)
        source.fill("orders", MANY)
        for part in (1, 2, 3):
            source.kill_in_the_middle("--drain", "orders", MANY * part // 5)
        source.bring("--drain")
        same(source.depth("orders"), 0)
        with Here(source.vhost) as channel:
            bodies = [int(body) for _, _, body in take(channel, "orders", MANY)]
            same(bodies, list(range(MANY)))
            same(channel.queue_declare("orders", passive=True).method.message_count, 0)


@case(each=["classic", "quorum"])
def killed_copy_leaves_the_source_and_doubles_nothing(kind):
    with Source() as source:
        source.queue("orders", kind)
        source.fill("orders", MANY)
        source.kill_in_the_middle("--copy", "orders", MANY // 3)
        source.bring("--copy")
        wait_for(lambda: source.depth("orders") == MANY, "all of it back in its place")
        with Here(source.vhost) as channel:
            same([int(body) for _, _, body in take(channel, "orders", MANY)], list(range(MANY)))
        with source.connect() as connection:
            there = [int(body) for _, _, body in take(connection.channel(), "orders", MANY)]
            same(there, list(range(MANY)))


@case
def stream_is_copied_once_with_every_kill():
    with Source() as source:
        source.queue("log", "stream")
        source.fill("log", MANY)
        source.kill_in_the_middle("--drain", "log", MANY // 3)
        source.bring("--drain")
        with Here(source.vhost) as channel:
            found = take(channel, "log", MANY, arguments={"x-stream-offset": "first"})
            same([int(body) for _, _, body in found], list(range(MANY)))
            same([properties.headers["x-stream-offset"] for _, properties, _ in found[:3]], [0, 1, 2])
        same(source.bring("--drain").count("a stream keeps what was read"), 1)


@case
def auto_delete_queue_is_drained_without_a_consumer():
    with Source() as source:
        source.channel.queue_declare("passing", auto_delete=True)
        source.fill("passing", 50)
        source.bring("--drain")
        same(source.depth("passing"), 0)
        with Here(source.vhost) as channel:
            same([int(get(channel, "passing")[2]) for _ in range(50)], list(range(50)))
