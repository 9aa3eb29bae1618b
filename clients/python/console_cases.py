"""Kafka's own console tools, run as the distribution's scripts run them: a class of its jars."""

import os
import subprocess
import tempfile
from pathlib import Path

from casebook import KAFKA, case, restart_server, same, unique

JARS = os.environ.get("KAFKA_JARS", "")
TOOLS = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "configs": "kafka.admin.ConfigCommand",
    "groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "producer": "org.apache.kafka.tools.ConsoleProducer",
    "consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "offsets": "org.apache.kafka.tools.GetOffsetShell",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "perf": "org.apache.kafka.tools.ProducerPerformance",
}


def version():
    jars = Path(JARS).parent.glob("kafka-tools-[0-9]*.jar") if JARS else []
    return next((jar.stem.removeprefix("kafka-tools-") for jar in jars), "?")


VERSION = version()


def tool(name, *arguments, text="", check=True, server=True):
    line = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", JARS,
            TOOLS[name], *(["--bootstrap-server", KAFKA] if server else []), *arguments]
    done = subprocess.run(line, input=text, capture_output=True, text=True, timeout=55)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout if check else done.stdout + done.stderr


def created(*arguments):
    name = unique("console")
    tool("topics", "--create", "--topic", name, *arguments)
    return name


def consume(name, count, *arguments):
    return tool("consumer", "--topic", name, "--from-beginning", "--max-messages", str(count),
                "--timeout-ms", "20000", *arguments).splitlines()


@case
def topics_are_created_described_altered_and_deleted():
    name = created("--partitions", "2", "--config", "retention.ms=77000")
    found = tool("topics", "--describe", "--topic", name)
    assert "PartitionCount: 2" in found and "retention.ms=77000" in found, found
    tool("topics", "--alter", "--topic", name, "--partitions", "4")
    assert "PartitionCount: 4" in tool("topics", "--describe", "--topic", name)
    tool("topics", "--delete", "--topic", name)
    assert name not in tool("topics", "--list").split()


@case
def settings_are_altered_and_described():
    name = created()
    tool("configs", "--alter", "--entity-type", "topics", "--entity-name", name,
         "--add-config", "max.message.bytes=54321")
    found = tool("configs", "--describe", "--entity-type", "topics", "--entity-name", name)
    assert "max.message.bytes=54321" in found, found


@case
def lines_with_keys_and_headers_go_in_and_come_out():
    name = created()
    tool("producer", "--topic", name, "--reader-property", "parse.key=true", "--reader-property",
         "parse.headers=true", text="h:1\tk1\tvalue 1\nh:2\tk2\tvalue 2\n")
    same(consume(name, 2, "--formatter-property", "print.key=true", "--formatter-property",
                 "print.headers=true"),
         ["h:1\tk1\tvalue 1", "h:2\tk2\tvalue 2"])


@case
def groups_are_described_reset_and_deleted():
    name, group = created(), unique("group")
    tool("producer", "--topic", name, text="1\n2\n3\n")
    same(consume(name, 3, "--group", group), ["1", "2", "3"])
    found = tool("groups", "--describe", "--group", group)
    assert [line.split()[3:6] for line in found.splitlines() if name in line] \
        == [["3", "3", "0"]], found
    tool("groups", "--reset-offsets", "--group", group, "--topic", name, "--to-offset", "1",
         "--execute")
    assert group in tool("groups", "--list").split()
    tool("groups", "--delete", "--group", group)
    assert group not in tool("groups", "--list").split()


@case
def offsets_are_asked_and_records_deleted():
    name = created()
    tool("producer", "--topic", name, text="1\n2\n3\n")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write('{"partitions": [{"topic": "%s", "partition": 0, "offset": 2}], "version": 1}'
                   % name)
        file.flush()
        found = tool("delete-records", "--offset-json-file", file.name)
    assert "low_watermark: 2" in found, found
    same(tool("offsets", "--topic", name, "--time", "earliest").strip(), f"{name}:0:2")
    same(tool("offsets", "--topic", name, "--time", "latest").strip(), f"{name}:0:3")


@case
def log_directories_and_versions_are_told():
    name = created()
    tool("producer", "--topic", name, text="1\n")
    assert name in tool("log-dirs", "--describe", "--topic-list", name)
    found = tool("versions")
    assert "Produce(0): 0 to" in found and KAFKA in found, found


@case
def perf_test_is_acknowledged_in_full():
    name = created()
    found = tool("perf", "--topic", name, "--num-records", "20000", "--record-size", "200",
                 "--throughput", "-1", "--command-property", f"bootstrap.servers={KAFKA}",
                 "acks=all", server=False)
    assert "20000 records sent" in found, found
    same(tool("offsets", "--topic", name).strip(), f"{name}:0:20000")


@case(restart=True)
def lines_are_there_after_a_restart():
    name = created()
    tool("producer", "--topic", name, text="kept\n")
    restart_server()
    # Its own patience is 1.5 s and three tries, and its exit code says nothing of them.
    tool("producer", "--topic", name, "--request-timeout-ms", "20000",
         "--message-send-max-retries", "100", text="after\n")
    same(consume(name, 2), ["kept", "after"])
