"""The AMQP load of crash.py: confirmed and transactional publishes, acknowledgements, declares.

Exchange `crash` copies each confirmed publish into the queues `crash-kept` (nobody consumes it)
and `crash-taken` (two consumers). Transactions put three messages at a time into `crash-tx`.
"""

import asyncio
import random
import threading

import pika
from pika import exceptions
from pika.adapters.asyncio_connection import AsyncioConnection

from crash_bodies import Sender, identify, order_faults

WINDOW = 64
JOIN_SECONDS_MAX = 20
DURABLE = pika.BasicProperties(delivery_mode=2)
ENDS = (exceptions.AMQPError, OSError, IndexError, AttributeError, AssertionError)


class Promises:
    """What the server acknowledged to the clients of one round."""

    def __init__(self):
        self.lock = threading.Lock()
        self.confirmed = set()
        self.committed = set()
        self.seen = set()
        self.acked = set()
        self.settled = set()
        self.declared = {}

    def note(self, name, *values):
        with self.lock:
            getattr(self, name).update(values)


class Load:
    def __init__(self, target, chance):
        self.target = target
        self.strict = target.name == "crossdock"
        self.seed = chance.random()
        self.settled_before = set()
        self.names = {}

    def connect(self):
        return pika.BlockingConnection(self.parameters())

    def parameters(self):
        return pika.ConnectionParameters("127.0.0.1", self.target.ports["amqp"], heartbeat=0,
                                         socket_timeout=10, connection_attempts=1)

    def prepare(self):
        connection = self.connect()
        channel = connection.channel()
        channel.exchange_declare("crash", "fanout", durable=True)
        channel.exchange_declare("crash-names", "direct", durable=True)
        for name in ("crash-kept", "crash-taken", "crash-tx"):
            channel.queue_declare(name, durable=True)
        for name in ("crash-kept", "crash-taken"):
            channel.queue_bind(name, "crash", "")
        connection.close()

    def begin(self, number):
        self.round = number
        self.promises = Promises()
        self.killed = False
        self.early = []
        bodies = [self.publish, self.publish, self.publish_pipelined, self.publish_in_transactions,
                  self.consume_in_transactions, self.consume_until_close, self.declare]
        self.threads = [threading.Thread(target=self.guarded, args=(body, index), daemon=True)
                        for index, body in enumerate(bodies)]
        for thread in self.threads:
            thread.start()

    def guarded(self, body, index):
        try:
            body(f"r{self.round}-t{index}")
        except ENDS as error:
            # When the server is gone, what was acknowledged until then is in the log.
            if not self.killed:
                self.early.append(f"an AMQP client ended before the kill: {error!r}")

    def killing(self):
        self.killed = True

    def end(self):
        for thread in self.threads:
            thread.join(JOIN_SECONDS_MAX)

    def publish(self, name):
        channel = self.connect().channel()
        channel.confirm_delivery()
        sender = Sender(name, self.seed)
        while True:
            key, body = sender.next()
            channel.basic_publish("crash", "", body, DURABLE)
            self.promises.note("confirmed", key)

    def publish_pipelined(self, name):
        """Keeps WINDOW publishes on their way, so that confirms come many at a time."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        sender, waiting = Sender(name, self.seed), {}

        def fill(channel):
            while len(waiting) < WINDOW and channel.is_open:
                key, body = sender.next()
                waiting[sender.number] = key
                channel.basic_publish("crash", "", body, DURABLE)

        def confirmed(channel, frame):
            tag = frame.method.delivery_tag
            tags = [waits for waits in waiting if waits <= tag] if frame.method.multiple else [tag]
            keys = [waiting.pop(each) for each in tags]
            if isinstance(frame.method, pika.spec.Basic.Ack):
                self.promises.note("confirmed", *keys)
            fill(channel)

        def opened(channel):
            channel.confirm_delivery(lambda frame: confirmed(channel, frame),
                                     callback=lambda _: fill(channel))
        AsyncioConnection(self.parameters(), custom_ioloop=loop,
                          on_open_callback=lambda it: it.channel(on_open_callback=opened),
                          on_open_error_callback=lambda *_: loop.stop(),
                          on_close_callback=lambda *_: loop.stop())
        loop.run_forever()

    def publish_in_transactions(self, name):
        channel = self.connect().channel()
        channel.tx_select()
        sender, group = Sender(name, self.seed), 0
        while True:
            group += 1
            keys = []
            for _ in range(3):
                key, body = sender.next(group)
                channel.basic_publish("", "crash-tx", body, DURABLE)
                keys.append(key)
            channel.tx_commit()
            self.promises.note("committed", *keys)

    def consume_in_transactions(self, name):
        connection = self.connect()
        channel = connection.channel()
        channel.basic_qos(prefetch_count=20)
        channel.tx_select()
        chance, held = random.Random(f"{self.seed}/{name}"), []

        def take(_, method, __, body):
            key, _ = identify(body)
            self.promises.note("seen", key)
            if chance.random() < 0.1:
                return  # Parked: it must be there after the crash.
            self.promises.note("acked", key)
            channel.basic_ack(method.delivery_tag)
            held.append(key)
        channel.basic_consume("crash-taken", take)
        while True:
            connection.process_data_events(0.02)
            proven = list(held)
            channel.tx_commit()
            self.promises.note("settled", *proven)
            del held[:len(proven)]

    def consume_until_close(self, _):
        connection = self.connect()
        while True:
            channel, keys = connection.channel(), []
            for _ in range(20):
                method, _, body = channel.basic_get("crash-taken")
                if method is None:
                    continue
                key, _ = identify(body)
                self.promises.note("seen", key)
                self.promises.note("acked", key)
                channel.basic_ack(method.delivery_tag)
                keys.append(key)
            channel.close()
            self.promises.note("settled", *keys)

    def declare(self, name):
        """Declares and binds queues, and deletes some; `names` says what must be there after."""
        channel = self.connect().channel()
        chance = random.Random(f"{self.seed}/{name}")
        for number in range(1, 1_000_000):
            queue = f"crash-{name}-{number}"
            self.names[queue] = "unsure"
            channel.queue_declare(queue, durable=True)
            self.names[queue] = "there"
            channel.queue_bind(queue, "crash-names", queue)
            self.names[queue] = "bound"
            if chance.random() < 0.6:
                self.names[queue] = "unsure"
                channel.queue_delete(queue)
                self.names[queue] = "gone"

    def verify(self):
        connection = self.connect()
        faults = [*self.early, *self.verify_names(connection)]
        kept = self.drain(connection, "crash-kept", faults)
        taken = self.drain(connection, "crash-taken", faults)
        grouped = self.drain(connection, "crash-tx", faults)
        connection.close()
        promises = self.promises
        faults += order_faults("crash-kept", [key for key, _, _ in kept])
        faults += order_faults("crash-taken", [key for key, _, _ in taken])
        faults += order_faults("crash-tx", [key for key, _, _ in grouped])
        faults += lost("crash-kept", promises.confirmed, kept)
        faults += lost("crash-taken", promises.confirmed - promises.acked, taken)
        faults += lost("crash-tx", promises.committed, grouped)
        faults += torn(grouped)
        if self.strict:
            # RabbitMQ writes acknowledgements and deliveries late, and promises neither.
            faults += self.settled_again(taken, kept + grouped)
        self.settled_before.update(key for key, _, _ in kept + taken + grouped)
        self.settled_before.update(promises.settled)
        return faults

    def settled_again(self, taken, others):
        """Faults of what was proven settled, now or in an earlier round, and of lost marks."""
        for key, _, _ in taken + others:
            if key in self.settled_before:
                yield f"settled in an earlier round, and delivered again: {key}"
        for key, _, redelivered in taken:
            if key in self.promises.settled:
                yield f"crash-taken: proven settled, and delivered again: {key}"
            elif key in self.promises.seen and not redelivered:
                yield f"crash-taken: delivered before, and not marked as redelivered: {key}"

    def drain(self, connection, queue, faults):
        """(key, group, redelivered) of all that is left, taken and settled: close-ok proves it."""
        channel = connection.channel()
        count = channel.queue_declare(queue, passive=True).method.message_count
        found, quiet = [], 0
        while quiet < 2:
            method, _, body = channel.basic_get(queue, auto_ack=True)
            if method is None:
                quiet += 1
                continue
            try:
                found.append((*identify(body), method.redelivered))
            except ValueError as error:
                faults.append(f"{queue}: {error}")
        if self.strict and count != len(found):
            faults.append(f"{queue}: {count} said to be ready, {len(found)} came")
        channel.close()
        return found

    def verify_names(self, connection):
        channel = connection.channel()
        channel.confirm_delivery()
        for queue, state in list(self.names.items()):
            try:
                channel.queue_declare(queue, passive=True)
                there = True
            except exceptions.ChannelClosedByBroker as error:
                there = error.reply_code != 404
                channel = connection.channel()
                channel.confirm_delivery()
            if state in ("there", "bound") and not there:
                yield f"the declared queue {queue} is not there"
            if state == "gone" and there:
                yield f"the deleted queue {queue} is there again"
            if state == "bound" and there:
                try:
                    channel.basic_publish("crash-names", queue, b"x", mandatory=True)
                except exceptions.UnroutableError:
                    yield f"the binding of {queue} is not there"
            if there:
                channel.queue_delete(queue)
            # Its absence is checked once more, after the next crash.
            self.names[queue] = "gone"
            if state == "gone":
                del self.names[queue]

    def acknowledged_count(self):
        return len(self.promises.confirmed) + len(self.promises.committed)

    def counts(self):
        promises = self.promises
        return (f"amqp {len(promises.confirmed)} confirmed, {len(promises.committed)} committed, "
                f"{len(promises.seen)} delivered, {len(promises.settled)} settled, "
                f"{len(self.names)} declares")


def lost(queue, promised, found):
    there = {key for key, _, _ in found}
    for key in sorted(promised - there)[:10]:
        yield f"{queue}: acknowledged and lost: {key}"


def torn(found):
    """A fault for each transaction of which only a part is there."""
    groups = {}
    for (name, _), group, _ in found:
        groups[name, group] = groups.get((name, group), 0) + 1
    for (name, group), count in groups.items():
        if count != 3:
            yield f"crash-tx: {count} of 3 messages of transaction {group} of {name}"
