#!/usr/bin/env python3
"""Fills the disk under load and compares what clients were promised with what they get.

    clients/full_disk.py --binary target/release/crossdock --rounds 20 --seed 7

The store lies on a small file system made for the test (a tmpfs: it needs the right to mount).
Real clients of both wires publish into a queue that nobody consumes until the disk is nearly
full; the server has to block each in its wire's own way: AMQP clients hear `connection.blocked`,
Kafka clients are throttled and told to try again. In half of the rounds the server then gets
SIGKILL and starts again on the full disk. Then a consumer drains the queue; the publishers have
to go on by themselves, and everything acknowledged has to have been consumed.
One line a round; then `N passed, N failed, N skipped`.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "python")]
from harness.target import build_target  # noqa: E402
from harness.toolchain import Toolchains  # noqa: E402

QUEUE = "fills"
BODY_BYTES = 20_000
# Until it has filled, and until it has drained.
SECONDS_MAX = 90
BLOCKED_SECONDS_MAX = 1.0
# Kafka clients are told to wait a second at a time.
THROTTLED_SECONDS_MAX = 2.5


def main():
    options = parse_options()
    tools = Toolchains()
    interpreter = tools.python()
    if os.environ.get("CROSSDOCK_FULL_DISK") != "inside":
        # The loads need the client packages, which live in the virtual environment.
        os.environ["CROSSDOCK_FULL_DISK"] = "inside"
        os.execv(interpreter, [str(interpreter), *sys.argv])
    with tempfile.TemporaryDirectory(prefix="crossdock-full-") as scratch:
        directory = Path(scratch) / "server"
        data = directory / "data"
        data.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={options.megabytes}m", "tmpfs", str(data)]
        mounted = subprocess.run(mount, capture_output=True, text=True)
        if mounted.returncode:
            print(f"skipped: no small file system: {mounted.stderr.strip()}")
            print(f"0 passed, 0 failed, {options.rounds} skipped")
            return 0
        target = build_target("crossdock", directory, tools, options.binary)
        try:
            target.start()
            passed, failed = run(target, options)
        finally:
            target.close()
            subprocess.run(["umount", str(data)], check=True)
    print(f"{passed} passed, {failed} failed, {options.rounds - passed - failed} skipped")
    return 1 if failed else 0


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", help="the crossdock program", required=True)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--megabytes", type=int, default=192, help="size of the file system")
    return parser.parse_args()


class Fault(Exception):
    """What was promised does not hold."""


def wait_until(holds, what, seconds):
    """Waits for a condition; gives the seconds it took."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            raise Fault(f"{what}: not within {seconds} s")
        time.sleep(0.01)
    return time.monotonic() - began


class Publisher(threading.Thread):
    """Publishes until it is told to stop, through a server's absence too."""

    def __init__(self, target, name):
        super().__init__(daemon=True)
        self.target = target
        self.name = name
        self.acknowledged = set()
        self.ending = False
        self.number = 0
        self.noise = random.Random(name).randbytes(BODY_BYTES)

    def body(self):
        self.number += 1
        return f"{self.name}-{self.number} ".encode() + self.noise

    def run(self):
        while not self.ending:
            try:
                self.publish()
            except Exception as error:  # The server is away; what it says depends on the moment.
                self.last_error = error
                time.sleep(0.05)


class AmqpPublisher(Publisher):
    """py-amqp: its connections tell of `connection.blocked` while a confirm is awaited."""

    def __init__(self, target):
        super().__init__(target, "amqp")
        self.blocked = threading.Event()

    def publish(self):
        import amqp
        self.blocked.clear()
        with amqp.Connection(
                self.target.address("amqp"), confirm_publish=True,
                on_blocked=lambda reason: self.blocked.set(),
                on_unblocked=self.blocked.clear) as connection:
            channel = connection.channel()
            channel.queue_declare(QUEUE, durable=True, auto_delete=False)
            while not self.ending:
                body = self.body()
                message = amqp.Message(body, delivery_mode=2)
                channel.basic_publish_confirm(message, routing_key=QUEUE)
                self.acknowledged.add(body.split(b" ", 1)[0])

    def wait_blocked(self):
        return wait_until(self.blocked.is_set, "connection.blocked", BLOCKED_SECONDS_MAX)



class KafkaPublisher(Publisher):
    """librdkafka, acks=all and idempotent, with one message in flight at a time for each ten."""

    def __init__(self, target):
        super().__init__(target, "kafka")
        self.throttled = threading.Event()
        self.lost = []

    def publish(self):
        from confluent_kafka import Producer
        producer = Producer({
            "bootstrap.servers": self.target.address("kafka"), "enable.idempotence": True,
            "message.timeout.ms": 300_000, "linger.ms": 5, "queue.buffering.max.messages": 50,
            "throttle_cb": lambda event: self.throttled.set(), "log_level": 0})
        while not self.ending:
            body = self.body()
            name = body.split(b" ", 1)[0]
            try:
                producer.produce(QUEUE, body, on_delivery=lambda error, message, name=name:
                                 self.delivered(error, name))
            except BufferError:
                producer.poll(0.05)
            producer.poll(0)
        producer.flush(SECONDS_MAX)

    def delivered(self, error, name):
        if error is None:
            self.acknowledged.add(name)
        else:
            self.lost.append(str(error))

    def wait_blocked(self):
        return wait_until(self.throttled.is_set, "Kafka throttled", THROTTLED_SECONDS_MAX)



def is_blocked(target):
    try:
        url = f"http://{target.address('admin')}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return "\ncrossdock_publishing_blocked 1" in answer.read().decode()
    except OSError:
        return False


def drain(target, consumed, enough):
    """Consumes and acknowledges until `enough` says so; gives how many came."""
    import amqp
    count = 0
    with amqp.Connection(target.address("amqp")) as connection:
        channel = connection.channel()
        channel.basic_qos(0, 100, False)

        def delivered(message):
            nonlocal count
            body = message.body if isinstance(message.body, bytes) else message.body.encode()
            consumed.add(body.split(b" ", 1)[0])
            count += 1
            if count % 20 == 0:
                channel.basic_ack(message.delivery_tag, multiple=True)

        channel.basic_consume(QUEUE, callback=delivered)
        began = time.monotonic()
        while not enough():
            if time.monotonic() - began > SECONDS_MAX:
                raise Fault(f"drained {count} messages, and it was not enough in {SECONDS_MAX} s")
            try:
                connection.drain_events(timeout=0.2)
            except TimeoutError:
                pass
        channel.basic_ack(0, multiple=True)
    return count


def run(target, options):
    chance = random.Random(options.seed)
    passed = failed = 0
    amqp, kafka = AmqpPublisher(target), KafkaPublisher(target)
    amqp.start()
    wait_until(lambda: amqp.acknowledged, "the first confirm", SECONDS_MAX)
    kafka.start()
    consumed = set()
    for number in range(1, options.rounds + 1):
        killed = chance.random() < 0.5
        try:
            told = one_round(target, (amqp, kafka), consumed, killed)
            passed += 1
            print(f"round {number}: {told}: ok", flush=True)
        except Fault as fault:
            failed += 1
            print(f"round {number}: FAILED: {fault}\n{target.log_tail()}", flush=True)
            break
    amqp.ending = kafka.ending = True
    if not failed:
        drain(target, consumed, lambda: not (amqp.is_alive() or kafka.is_alive()))
        everything = amqp.acknowledged | kafka.acknowledged
        drain(target, consumed, lambda: not everything - consumed or quiet(target))
        missing = everything - consumed
        print(f"{len(everything)} acknowledged, {len(missing)} missing, "
              f"{len(kafka.lost)} given up by Kafka's client")
        if missing:
            passed, failed = passed - 1, failed + 1
            print(f"    FAILED: missing {sorted(missing)[:10]}")
    return passed, failed


def quiet(target):
    """Whether the queue is empty: nothing ready and nothing unacknowledged."""
    url = f"http://{target.address('admin')}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    depth = [line for line in lines if line.startswith("crossdock_queue_depth") and QUEUE in line]
    return bool(depth) and all(line.rsplit(" ", 1)[1] == "0" for line in depth)


def one_round(target, publishers, consumed, killed):
    amqp, kafka = publishers
    kafka.throttled.clear()
    filled = wait_until(lambda: is_blocked(target), "publishing blocked", SECONDS_MAX)
    heard, throttled = amqp.wait_blocked(), kafka.wait_blocked()
    if killed:
        target.kill()
        target.start()
        wait_until(lambda: is_blocked(target), "blocked also after the start", SECONDS_MAX)
    before = [len(publisher.acknowledged) for publisher in publishers]
    drained = drain(target, consumed, lambda: all(
        len(publisher.acknowledged) > count for publisher, count in zip(publishers, before)))
    return (f"full after {filled:.1f} s, AMQP told in {heard:.2f} s, Kafka in {throttled:.2f} s, "
            f"{'killed, ' if killed else ''}{drained} drained")


if __name__ == "__main__":
    sys.exit(main())
