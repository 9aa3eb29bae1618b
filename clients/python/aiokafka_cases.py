"""aiokafka."""

import asyncio
import random

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.structs import OffsetAndMetadata

from casebook import KAFKA, case, restart_server_async, same, unique, wait_for_async

VERSION = aiokafka.__version__


class Admin:
    async def __aenter__(self):
        self.client = AIOKafkaAdminClient(bootstrap_servers=KAFKA)
        await self.client.start()
        return self.client

    async def __aexit__(self, *_):
        await self.client.close()


async def topic(name, partitions=1, **config):
    name = unique(name)
    configs = {key.replace("_", "."): str(value) for key, value in config.items()}
    async with Admin() as client:
        answer = await client.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
        same(answer.topic_errors[0][1], 0)
    return name


async def send(name, records, **config):
    async with AIOKafkaProducer(bootstrap_servers=KAFKA, **config) as source:
        futures = [await source.send(name, **record) if isinstance(record, dict)
                   else await source.send(name, record) for record in records]
        return await asyncio.gather(*futures)


def consumer(*topics, **config):
    config.setdefault("auto_offset_reset", "earliest")
    return AIOKafkaConsumer(*topics, bootstrap_servers=KAFKA, enable_auto_commit=False,
                            fetch_max_wait_ms=100, **config)


async def take(reader, count, seconds=20):
    async with asyncio.timeout(seconds):
        return [await reader.getone() for _ in range(count)]


async def read(name, count, partition=0, offset=0, **config):
    async with consumer(**config) as reader:
        place = TopicPartition(name, partition)
        reader.assign([place])
        reader.seek(place, offset)
        return await take(reader, count)


@case
async def record_keeps_key_value_headers_and_timestamp():
    name = await topic("record")
    headers = [("a", b"1"), ("b", b"\x00\xff"), ("a", b"2")]
    await send(name, [{"key": b"\x00k", "value": b"\xffv", "headers": headers,
                       "timestamp_ms": 1_600_000_000_123}])
    record = (await read(name, 1))[0]
    same((record.key, record.value, list(record.headers)), (b"\x00k", b"\xffv", headers))
    same((record.timestamp, record.offset), (1_600_000_000_123, 0))


@case
async def null_and_empty_values_stay_distinct():
    name = await topic("nulls")
    wanted = [(b"k", None), (b"k", b""), (b"", b"v"), (None, b"v")]
    await send(name, [{"key": key, "value": value, "partition": 0} for key, value in wanted])
    same([(record.key, record.value) for record in await read(name, 4)], wanted)


@case(each=["none", "gzip", "snappy", "lz4", "zstd"])
async def compressed_batches_come_back(codec):
    name = await topic("codec")
    texts = [f"{codec} {number} ".encode() * 30 for number in range(200)]
    await send(name, texts, compression_type=None if codec == "none" else codec, linger_ms=20)
    same([record.value for record in await read(name, 200)], texts)


@case(each=[0, 1, "all"])
async def produced_with_acks_is_readable(acks):
    name = await topic("acks")
    await send(name, [b"a", b"b"], acks=acks)
    same([record.value for record in await read(name, 2)], [b"a", b"b"])


@case
async def idempotent_producer_keeps_order():
    name = await topic("idempotent")
    texts = [str(number).encode() for number in range(2000)]
    await send(name, texts, enable_idempotence=True, max_batch_size=2000)
    same([record.value for record in await read(name, 2000)], texts)


@case
async def producing_creates_the_topic():
    name = unique("auto")
    await send(name, [b"v"])
    same([record.value for record in await read(name, 1)], [b"v"])


@case
async def offsets_are_found_by_end_and_by_time():
    name = await topic("offsets")
    base = 1_700_000_000_000
    await send(name, [{"value": b"v", "timestamp_ms": base + number * 1000}
                      for number in range(5)])
    place = TopicPartition(name, 0)
    async with consumer() as reader:
        reader.assign([place])
        same(await reader.beginning_offsets([place]), {place: 0})
        same(await reader.end_offsets([place]), {place: 5})
        found = (await reader.offsets_for_times({place: base + 2500}))[place]
        same((found.offset, found.timestamp), (3, base + 3000))


@case
async def seek_lands_inside_a_batch():
    name = await topic("seek")
    await send(name, [str(number).encode() for number in range(300)], linger_ms=50)
    for offset in (0, 7, 150, 299):
        same((await read(name, 1, offset=offset))[0].offset, offset)


@case
async def large_record_comes_back_where_allowed():
    name = await topic("large", max_message_bytes=12 << 20)
    body = random.Random(5).randbytes(10 << 20)
    await send(name, [body], max_request_size=12 << 20)
    found = await read(name, 1, max_partition_fetch_bytes=12 << 20)
    assert found[0].value == body


@case
async def record_above_max_message_bytes_is_refused():
    name = await topic("too-large", max_message_bytes=10_000)
    try:
        await send(name, [random.Random(1).randbytes(50_000)])
    except KafkaError as error:
        same(type(error), MessageSizeTooLargeError)
    else:
        raise AssertionError("it was taken")


@case
async def group_commits_with_metadata_and_resumes():
    name, group = await topic("group"), unique("group")
    await send(name, [str(number).encode() for number in range(10)])
    place = TopicPartition(name, 0)
    async with consumer(name, group_id=group) as first:
        await take(first, 4)
        await first.commit({place: OffsetAndMetadata(4, "note")})
    async with consumer(name, group_id=group) as second:
        same((await take(second, 6))[0].offset, 4)
        same(await second.committed(place), 4)
    async with Admin() as client:
        found = await client.list_consumer_group_offsets(group)
        same((found[place].offset, found[place].metadata), (4, "note"))


@case
async def two_members_share_and_hand_over():
    name, group = await topic("share", 4), unique("group")
    settings = {"group_id": group, "session_timeout_ms": 6000, "heartbeat_interval_ms": 500,
                "metadata_max_age_ms": 1000}
    async with consumer(name, **settings) as first:
        await wait_for_async(lambda: len(first.assignment()) == 4, "the first has all")
        async with consumer(name, **settings) as second:
            await wait_for_async(lambda: len(second.assignment()) == 2
                                 and len(first.assignment()) == 2, "each has half")
            assert not first.assignment() & second.assignment()
        await wait_for_async(lambda: len(first.assignment()) == 4, "the rest has all")
        async with Admin() as client:
            found = await client.describe_consumer_groups([group])
            assert "Stable" in str(found), found
            assert group in str(await client.list_consumer_groups())


@case
async def topics_are_grown_listed_and_deleted():
    name = await topic("admin", 2)
    async with Admin() as client:
        await client.create_partitions({name: NewPartitions(5)})
        found = (await client.describe_topics([name]))[0]
        same(len(found["partitions"]), 5)
        assert name in await client.list_topics()
        await client.delete_topics([name])

        async def gone():
            return name not in await client.list_topics()
        await wait_for_async(gone, "the topic's end")


@case
async def cluster_is_described():
    async with Admin() as client:
        found = await client.describe_cluster()
        same([f"{node['host']}:{node['port']}" for node in found["brokers"]], [KAFKA])


@case(restart=True)
async def producer_and_consumer_come_back_after_a_restart():
    name, group = await topic("restart"), unique("group")
    async with AIOKafkaProducer(bootstrap_servers=KAFKA, acks="all",
                                request_timeout_ms=60_000) as source:
        await source.send_and_wait(name, b"before")
        async with consumer(name, group_id=group) as reader:
            same((await take(reader, 1))[0].value, b"before")
            await restart_server_async()
            await source.send_and_wait(name, b"after")
            same((await take(reader, 1, seconds=60))[0].value, b"after")
    same([record.value for record in await read(name, 2)], [b"before", b"after"])
