"""What the confluent-kafka cases share: short ways to make clients, topics, and to read records."""

import functools
import time

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, NewTopic

from casebook import KAFKA, WAIT_SECONDS_MAX, unique, wait_for

VERSION = f"{ck.__version__} (librdkafka {ck.libversion()[0]})"


@functools.cache
def admin():
    """The one admin client: its answers end when it is collected."""
    return AdminClient({"bootstrap.servers": KAFKA})


def topic(name, partitions=1, **config):
    """Creates a topic of a unique name and gives that name."""
    name = unique(name)
    configs = {key.replace("_", "."): str(value) for key, value in config.items()}
    made = admin().create_topics([NewTopic(name, partitions, 1, config=configs)])
    made[name].result(WAIT_SECONDS_MAX)
    # Kafka answers when its controller knows the topic; the broker follows a moment later.
    wait_for(lambda: len(partitions_of(name)) == partitions, "the new topic's partitions")
    return name


def partitions_of(name):
    found = admin().list_topics(timeout=WAIT_SECONDS_MAX).topics.get(name)
    return found.partitions if found else {}


def producer(**config):
    return ck.Producer(settings(config, linger_ms=0))


def consumer(**config):
    config.setdefault("group_id", unique("group"))
    return ck.Consumer(settings(config, auto_offset_reset="earliest", enable_auto_commit=False,
                                session_timeout_ms=6000, heartbeat_interval_ms=500,
                                fetch_wait_max_ms=100))


def settings(config, **defaults):
    merged = {**defaults, **config}
    return {"bootstrap.servers": KAFKA,
            **{key.replace("_", "."): value for key, value in merged.items()}}


def send(records, **config):
    """Produces the records (dicts of Producer.produce's arguments); gives the delivered messages."""
    delivered = []

    def note(error, message):
        delivered.append((error, message))
    source = producer(**config)
    for record in records:
        source.produce(**record, on_delivery=note)
        source.poll(0)
    left = source.flush(WAIT_SECONDS_MAX)
    assert left == 0, f"{left} records were not delivered"
    errors = [error for error, _ in delivered if error]
    assert not errors, errors[0]
    return [message for _, message in delivered]


def values(name, texts, **more):
    return [{"topic": name, "value": text, **more} for text in texts]


def take(reader, count, seconds=WAIT_SECONDS_MAX):
    """The next `count` records of a consumer."""
    found = []
    deadline = time.monotonic() + seconds
    while len(found) < count:
        message = reader.poll(0.1)
        assert time.monotonic() < deadline, f"{len(found)} of {count} records within {seconds} s"
        if message is None:
            continue
        if message.error():
            if message.error().code() == ck.KafkaError._PARTITION_EOF:
                continue
            raise ck.KafkaException(message.error())
        found.append(message)
    return found


def read(name, count, partition=0, offset=ck.OFFSET_BEGINNING, **config):
    """`count` records of a partition from `offset` on, read by a consumer without a group's help."""
    reader = consumer(**config)
    reader.assign([ck.TopicPartition(name, partition, offset)])
    try:
        return take(reader, count)
    finally:
        reader.close()
