"""kafka-python."""

import random
import threading
import time

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.structs import OffsetAndMetadata

from casebook import KAFKA, case, raises, restart_server, same, unique, wait_for

VERSION = kafka.__version__


def admin():
    return KafkaAdminClient(bootstrap_servers=KAFKA)


def topic(name, partitions=1, **config):
    name = unique(name)
    with_admin(lambda client: client.create_topics({name: {
        "num_partitions": partitions, "replication_factor": 1,
        "configs": {key.replace("_", "."): str(value) for key, value in config.items()}}}))
    return name


def with_admin(body):
    client = admin()
    try:
        return body(client)
    finally:
        client.close()


def send(name, records, **config):
    """Sends (key, value, headers) or bare values; gives their metadata."""
    source = KafkaProducer(bootstrap_servers=KAFKA, **config)
    try:
        futures = [source.send(name, **record) if isinstance(record, dict)
                   else source.send(name, record) for record in records]
        source.flush(20)
        return [future.get(10) for future in futures]
    finally:
        source.close()


def consumer(*topics, **config):
    config.setdefault("auto_offset_reset", "earliest")
    return KafkaConsumer(*topics, bootstrap_servers=KAFKA, enable_auto_commit=False,
                         fetch_max_wait_ms=100, **config)


def take(reader, count, seconds=20):
    found = []
    deadline = time.monotonic() + seconds
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} records in {seconds} s"
        for records in reader.poll(100, max_records=count - len(found)).values():
            found.extend(records)
    return found


def read(name, count, partition=0, offset=0, **config):
    reader = consumer(**config)
    place = TopicPartition(name, partition)
    reader.assign([place])
    reader.seek(place, offset)
    try:
        return take(reader, count)
    finally:
        reader.close()


@case
def record_keeps_key_value_headers_and_timestamp():
    name = topic("record")
    # kafka-python takes None for a header's value, and gives it back.
    headers = [("a", b"1"), ("b", b"\x00\xff"), ("a", b"2"), ("empty", b"")]
    send(name, [{"key": b"\x00k", "value": b"\xffv", "headers": headers,
                 "timestamp_ms": 1_600_000_000_123}])
    record = read(name, 1)[0]
    same((record.key, record.value, list(record.headers)), (b"\x00k", b"\xffv", headers))
    same((record.timestamp, record.timestamp_type, record.offset), (1_600_000_000_123, 0, 0))


@case
def null_and_empty_values_stay_distinct():
    name = topic("nulls")
    wanted = [(b"k", None), (b"k", b""), (b"", b"v"), (None, b"v")]
    send(name, [{"key": key, "value": value, "partition": 0} for key, value in wanted])
    same([(record.key, record.value) for record in read(name, 4)], wanted)


@case(each=["none", "gzip", "snappy", "lz4", "zstd"])
def compressed_batches_come_back(codec):
    name = topic("codec")
    texts = [f"{codec} {number} ".encode() * 30 for number in range(200)]
    send(name, texts, compression_type=None if codec == "none" else codec, linger_ms=50)
    same([record.value for record in read(name, 200)], texts)


@case(each=[0, 1, "all"])
def produced_with_acks_is_readable(acks):
    name = topic("acks")
    metadata = send(name, [b"a", b"b"], acks=acks, enable_idempotence=acks == "all")
    same([record.value for record in read(name, 2)], [b"a", b"b"])
    if acks != 0:
        same([entry.offset for entry in metadata], [0, 1])


@case
def idempotent_producer_keeps_order():
    name = topic("idempotent")
    texts = [str(number).encode() for number in range(2000)]
    send(name, texts, enable_idempotence=True, acks="all", batch_size=2000)
    same([record.value for record in read(name, 2000)], texts)


@case
def producing_creates_the_topic():
    name = unique("auto")
    send(name, [b"v"])
    same([record.value for record in read(name, 1)], [b"v"])


@case
def offsets_are_found_by_end_and_by_time():
    name = topic("offsets")
    base = 1_700_000_000_000
    send(name, [{"value": b"v", "timestamp_ms": base + number * 1000} for number in range(5)])
    place = TopicPartition(name, 0)
    reader = consumer()
    same((reader.beginning_offsets([place])[place], reader.end_offsets([place])[place]), (0, 5))
    found = reader.offsets_for_times({place: base + 2500})[place]
    same((found.offset, found.timestamp), (3, base + 3000))
    same(reader.offsets_for_times({place: base + 99_000})[place], None)
    reader.close()


@case
def seek_lands_inside_a_batch():
    name = topic("seek")
    send(name, [str(number).encode() for number in range(300)], linger_ms=100)
    for offset in (0, 7, 150, 299):
        same(read(name, 1, offset=offset)[0].offset, offset)


@case
def large_record_comes_back_where_allowed():
    name = topic("large", max_message_bytes=12 << 20)
    body = random.Random(5).randbytes(10 << 20)
    send(name, [body], max_request_size=12 << 20)
    reader = read(name, 1, max_partition_fetch_bytes=12 << 20)
    assert reader[0].value == body


@case
def record_above_max_message_bytes_is_refused():
    name = topic("too-large", max_message_bytes=10_000)
    error = raises(errors.KafkaError, send, name, [random.Random(1).randbytes(50_000)])
    assert isinstance(error, errors.MessageSizeTooLargeError), error


@case
def group_commits_with_metadata_and_resumes():
    name, group = topic("group"), unique("group")
    send(name, [str(number).encode() for number in range(10)])
    place = TopicPartition(name, 0)
    first = consumer(name, group_id=group)
    take(first, 4)
    first.commit({place: OffsetAndMetadata(4, "note", -1)})
    first.close()
    second = consumer(name, group_id=group)
    same(take(second, 6)[0].offset, 4)
    found = second.committed(place, metadata=True)
    same((found.offset, found.metadata), (4, "note"))
    second.close()


class Member(threading.Thread):
    """A consumer that its own thread polls."""

    def __init__(self, name, group, **config):
        super().__init__(daemon=True)
        self.consumer = consumer(name, group_id=group, session_timeout_ms=6000,
                                 heartbeat_interval_ms=500, **config)
        self.places = set()
        self.records = []
        self.ended = threading.Event()
        self.start()

    def run(self):
        while not self.ended.is_set():
            for records in self.consumer.poll(100).values():
                self.records.extend(records)
            self.places = {place.partition for place in self.consumer.assignment()}
        self.consumer.close()

    def close(self):
        self.ended.set()
        self.join(15)


@case(each=["RangePartitionAssignor", "RoundRobinPartitionAssignor",
            "CooperativeStickyAssignor"])
def two_members_share_and_hand_over(strategy):
    from kafka.coordinator.assignors import range as ranges, roundrobin
    from kafka.coordinator.assignors import sticky
    kinds = {"RangePartitionAssignor": ranges, "RoundRobinPartitionAssignor": roundrobin}
    module = kinds.get(strategy, sticky)
    kind = getattr(module, strategy, None)
    if kind is None:
        from kafka.coordinator.assignors import cooperative_sticky
        kind = getattr(cooperative_sticky, strategy)
    name, group = topic("share", 4), unique("group")
    first = Member(name, group, partition_assignment_strategy=[kind])
    wait_for(lambda: len(first.places) == 4, "the first has all")
    second = Member(name, group, partition_assignment_strategy=[kind])
    wait_for(lambda: (len(first.places), len(second.places)) == (2, 2), "each has half")
    same(first.places | second.places, {0, 1, 2, 3})
    send(name, [{"value": b"v", "partition": number % 4} for number in range(20)])
    wait_for(lambda: len(first.records) + len(second.records) == 20, "all records")
    second.close()
    wait_for(lambda: len(first.places) == 4, "the rest has all")
    first.close()


@case
def topics_are_created_grown_described_and_deleted():
    name = topic("admin", 2)

    def check(client):
        client.create_partitions({name: 5})
        found = wait_for(lambda: [entry for entry in client.describe_topics([name])
                                  if len(entry["partitions"]) == 5], "five partitions")
        same(found[0]["name"], name)
        same(type(raises(errors.KafkaError, client.create_topics, {name: {
            "num_partitions": 1, "replication_factor": 1}})), errors.TopicAlreadyExistsError)
        client.delete_topics([name])
        wait_for(lambda: name not in client.list_topics(), "the topic's end")
    with_admin(check)


@case
def settings_are_altered_and_described():
    name = topic("settings")

    def check(client):
        key = ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": "123000"})
        client.alter_configs([key], raise_on_unknown=False)
        asked = ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": None})
        wait_for(lambda: "123000" in str(client.describe_configs([asked])), "the new value")
    with_admin(check)


@case
def records_are_deleted_up_to_an_offset():
    name = topic("delete-records")
    send(name, [b"x"] * 10)
    place = TopicPartition(name, 0)
    with_admin(lambda client: client.delete_records({place: 6}))
    reader = consumer()
    same(reader.beginning_offsets([place])[place], 6)
    reader.close()
    same([record.offset for record in read(name, 4, offset=6)], [6, 7, 8, 9])


@case
def groups_are_listed_described_and_deleted():
    name, group = topic("groups"), unique("group")
    member = Member(name, group)
    wait_for(lambda: member.places, "the assignment")

    def check(client):
        assert group in str(client.list_groups())
        assert "Stable" in str(client.describe_groups([group]))
        assert "NonEmptyGroup" in str(client.delete_groups([group]))
        member.close()
        wait_for(lambda: "Empty" in str(client.describe_groups([group]))
                 or "Dead" in str(client.describe_groups([group])), "an empty group")
        client.delete_groups([group])
        assert group not in str(client.list_groups())
    with_admin(check)


@case
def offsets_of_a_group_are_deleted():
    name, group = topic("offset-delete"), unique("group")
    place = TopicPartition(name, 0)
    reader = consumer(group_id=group)
    reader.assign([place])
    reader.commit({place: OffsetAndMetadata(3, "", -1)})
    reader.close()

    def check(client):
        same(client.list_group_offsets({group: None})[group][place].offset, 3)
        client.delete_group_offsets(group, [place])
        left = client.list_group_offsets({group: None}).get(group, {})
        assert place not in left or left[place].offset == -1, left
    with_admin(check)


@case
def cluster_and_log_directories_are_described():
    name = topic("log-dirs")
    send(name, [bytes(1000)] * 10)

    def check(client):
        cluster = client.describe_cluster()
        assert KAFKA.rsplit(":", 1)[1] in str(cluster["brokers"]), cluster
        found = str(client.describe_log_dirs())
        assert name in found, found[:500]
    with_admin(check)


@case(restart=True)
def producer_and_consumer_come_back_after_a_restart():
    name, group = topic("restart"), unique("group")
    source = KafkaProducer(bootstrap_servers=KAFKA, acks="all",
                           reconnect_backoff_max_ms=500)
    source.send(name, b"before").get(20)
    member = Member(name, group, reconnect_backoff_max_ms=500)
    wait_for(lambda: member.records, "the first record")
    restart_server()
    source.send(name, b"after").get(60)
    wait_for(lambda: b"after" in [record.value for record in member.records],
             "the record after the restart", seconds=60)
    same([record.value for record in read(name, 2)], [b"before", b"after"])
    member.close()
    source.close()
