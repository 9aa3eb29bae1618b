"""The clients: which wire each speaks, and the command that runs its cases.

Every case program takes `CLIENT [--list] [--restart] [--only TEXT]`, reads KAFKA, AMQP, ADMIN, TARGET,
CONTROL and BINARY (the crossdock program) from its environment, and prints one JSON object a line:
`{"client": …, "version": …}` first, then `{"case", "result", "seconds", "detail"}` each.
"""

import os
from dataclasses import dataclass

from harness.toolchain import ROOT


@dataclass(frozen=True)
class Client:
    name: str
    wires: tuple
    tool: str


KAFKA = ("kafka",)
AMQP = ("amqp",)
BOTH = ("kafka", "amqp")

# The slowest first, so that the last ones of a run are short.
CLIENTS = [
    Client("kafka-tools", KAFKA, "console"),
    Client("confluent", KAFKA, "python"),
    Client("kafkajs", KAFKA, "node"),
    Client("kafka-python", KAFKA, "python"),
    Client("celery", AMQP, "python"),
    Client("import", BOTH, "python"),
    Client("pika", AMQP, "python"),
    Client("examples", AMQP, "python"),
    Client("pika-asyncio", AMQP, "python"),
    Client("aio-pika", AMQP, "python"),
    Client("kombu", AMQP, "python"),
    Client("aiokafka", KAFKA, "python"),
    Client("interchange", BOTH, "python"),
    Client("kcat", KAFKA, "kcat"),
    Client("amqplib", AMQP, "node"),
    Client("franz-go", KAFKA, "go"),
    Client("sarama", KAFKA, "go"),
    Client("rdkafka", KAFKA, "rust"),
    Client("kafka-go", KAFKA, "go"),
    Client("amqp091-go", AMQP, "go"),
    Client("kafka-clients", KAFKA, "java"),
    Client("amqp-client", AMQP, "java"),
    Client("lapin", AMQP, "rust"),
]


def command(client, tools):
    """The command line of its case program, and what it adds to the environment.

    Raises MissingTool where the toolchain is not installed."""
    python = [str(tools.python()), str(ROOT / "python" / "run_cases.py"), client.name]
    if client.tool == "python":
        return python, {}
    if client.tool == "kcat":
        tools.kcat()
        return python, {}
    if client.tool == "console":
        return python, {"KAFKA_JARS": str(tools.kafka_jars() / "*")}
    if client.tool == "node":
        modules = tools.node()
        return ["node", str(ROOT / "node" / "run_cases.js"), client.name], {
            "NODE_PATH": str(modules), "KAFKAJS_NO_PARTITIONER_WARNING": "1"}
    if client.tool == "go":
        return [str(tools.go()), client.name], {}
    if client.tool == "java":
        return ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                "-cp", tools.java(), "Cases", client.name], {}
    return [str(tools.rust(client.name)), client.name], {}


def environment(target, control, extra):
    return dict(os.environ, KAFKA=target.address("kafka"), AMQP=target.address("amqp"),
                ADMIN=target.address("admin"), TARGET=target.name, CONTROL=control.address,
                BINARY=getattr(target, "binary", ""), **extra)
