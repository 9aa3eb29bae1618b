"""Who is measured: how each is started, and its runs.

The servers are those of the client cases (`clients/harness`), with the options that a server of
their kind is run with, not the light ones of the cases.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

SIZES = (100, 1024)
RATE = 2000


class MissingSubject(Exception):
    """Not on this machine; reported as not run."""


@dataclass(frozen=True)
class Run:
    label: str
    wire: str
    driver: str
    mode: str
    messages: int
    size: int
    prepare: bool = True
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    name: str
    title: str
    make: Callable
    runs: list


def amqp_runs(at_100, at_1024, consume=True, **options):
    """Publish, then consume what was published; then latency at a fixed rate."""
    runs = []
    for size, messages in zip(SIZES, (at_100, at_1024)):
        runs.append(Run(f"amqp publish {size} B", "amqp", "drv_amqp", "pub", messages, size,
                        options=options))
        runs.append(Run(f"amqp consume+ack {size} B", "amqp", "drv_amqp", "con", messages, size,
                        prepare=False, options=options))
    runs.append(Run("amqp publish one by one 1024 B", "amqp", "drv_amqp", "pub", 500, 1024,
                    options={**options, "window": 1}))
    runs.append(Run(f"amqp latency at {RATE}/s 1024 B", "amqp", "drv_amqp", "lat", 4 * RATE, 1024,
                    options={**options, "rate": RATE}))
    return runs


def kafka_runs(at_100, at_1024):
    runs = []
    for size, messages in zip(SIZES, (at_100, at_1024)):
        runs.append(Run(f"kafka publish {size} B", "kafka", "drv_kafka", "pub", messages, size))
        runs.append(Run(f"kafka consume {size} B", "kafka", "drv_kafka", "con", messages, size,
                        prepare=False))
    runs.append(Run(f"kafka latency at {RATE}/s 1024 B", "kafka", "drv_kafka", "lat", 4 * RATE,
                    1024, options={"rate": RATE, "linger": 0}))
    return runs


def mock_runs(at_100, at_1024):
    return [Run(f"kafka publish {size} B", "kafka", "drv_kafka", "pub", messages, size,
                prepare=False, options={"mock": 1})
            for size, messages in zip(SIZES, (at_100, at_1024))]


def harness():
    try:
        from harness import target, toolchain
    except ImportError as why:
        raise MissingSubject("the harness of the client cases is not here") from why
    return target, toolchain


def crossdock(directory, binary):
    target, _ = harness()
    if not binary or not Path(binary).exists():
        raise MissingSubject("no crossdock program: --binary PATH")
    return target.Crossdock(directory, None, binary)


def rabbitmq(directory, _binary):
    target, _ = harness()
    if not os.path.exists(target.RabbitMq.script):
        raise MissingSubject("Debian's rabbitmq-server is not installed")
    return target.RabbitMq(directory, None)


def kafka(flush_each):
    def make(directory, _binary):
        target, toolchain = harness()

        class Kafka(target.Kafka):
            def prepare(self):
                super().prepare()
                if flush_each:
                    with open(self.directory / "server.properties", "a") as properties:
                        properties.write("log.flush.interval.messages=1\n")

            def java(self, main):
                # What kafka-server-start.sh gives a JVM.
                return ["java", "-Xmx1g", "-Xms1g", "-server", "-XX:+UseG1GC",
                        "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
                        "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
                        f"-Dlog4j2.configurationFile={self.logging()}", "-cp", self.jars, main]

        tools = toolchain.Toolchains()
        try:
            tools.kafka_jars()
        except (toolchain.MissingTool, RuntimeError) as why:
            raise MissingSubject(f"Apache Kafka: {str(why).splitlines()[0]}") from why
        return Kafka(directory, tools)
    return make


def mock(_directory, _binary):
    """The broker runs inside the driver."""
    return None


def descendants(pid):
    """A process and all below it."""
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue
        parent = int(stat.rsplit(")", 1)[1].split()[1])
        children.setdefault(parent, []).append(int(entry))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


SUBJECTS = [
    Subject("crossdock", "Crossdock, sync before every acknowledgement", crossdock,
            amqp_runs(1_000_000, 400_000) + kafka_runs(3_000_000, 800_000)),
    Subject("rabbitmq-classic", "RabbitMQ, classic durable queue, confirms", rabbitmq,
            amqp_runs(60_000, 40_000)),
    Subject("rabbitmq-quorum", "RabbitMQ, quorum queue, one node, confirms", rabbitmq,
            amqp_runs(60_000, 40_000, qtype="quorum")),
    Subject("kafka", "Apache Kafka, defaults: acknowledges without a sync", kafka(False),
            kafka_runs(1_500_000, 500_000)),
    Subject("kafka-flush", "Apache Kafka, flush.messages=1", kafka(True),
            kafka_runs(300_000, 100_000)),
    Subject("mock", "librdkafka's mock broker in the driver: the driver's ceiling", mock,
            mock_runs(2_000_000, 800_000)),
]
