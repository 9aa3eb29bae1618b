"""confluent-kafka: records and what becomes of them on the way."""

import os
import random
import threading
import time

import confluent_kafka as ck

from casebook import KAFKA, case, raises, same, unique, wait_for
from confluent import VERSION, admin, consumer, producer, read, send, take, topic, values

__all__ = ["VERSION"]


@case
def record_keeps_key_value_and_timestamp():
    name = topic("record")
    send([{"topic": name, "key": b"\x00key\xff", "value": b"\x00value\xff",
           "timestamp": 1_600_000_000_123}])
    record = read(name, 1)[0]
    same((record.key(), record.value()), (b"\x00key\xff", b"\x00value\xff"))
    same(record.timestamp(), (ck.TIMESTAMP_CREATE_TIME, 1_600_000_000_123))
    same((record.offset(), record.partition()), (0, 0))


@case
def headers_keep_order_repeats_nulls_and_bytes():
    name = topic("headers")
    headers = [("a", b"1"), ("b", b"\x00\xff"), ("a", b"2"), ("null", None), ("empty", b""),
               ("ключ", "значение".encode()), ("a", b"1")]
    send([{"topic": name, "value": b"v", "headers": headers}])
    same(read(name, 1)[0].headers(), headers)


@case
def record_without_headers_has_none():
    name = topic("no-headers")
    send(values(name, [b"v"]))
    same(read(name, 1)[0].headers(), None)


@case
def null_and_empty_keys_and_values_stay_distinct():
    name = topic("nulls")
    wanted = [(None, None), (b"", b""), (b"k", None), (None, b"v"), (b"", b"v"), (b"k", b"")]
    send([{"topic": name, "key": key, "value": value, "partition": 0} for key, value in wanted])
    same([(record.key(), record.value()) for record in read(name, len(wanted))], wanted)


@case(each=["none", "gzip", "snappy", "lz4", "zstd"])
def compressed_batches_come_back(codec):
    name = topic(f"codec-{codec}")
    texts = [f"{codec} {number} ".encode() * 50 for number in range(300)]
    send(values(name, texts), linger_ms=50, compression_type=codec)
    records = read(name, len(texts), check_crcs=True)
    same([record.value() for record in records], texts)
    same([record.offset() for record in records], list(range(len(texts))))


@case(each=["uncompressed", "gzip", "snappy", "lz4", "zstd"])
def topic_with_a_compression_of_its_own_takes_every_codec(kind):
    name = topic(f"type-{kind}", compression_type=kind)
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]
    texts = [f"{codec} {number} ".encode() * 20 for codec in codecs for number in range(50)]
    for at, codec in enumerate(codecs):
        send(values(name, texts[at * 50:at * 50 + 50]), linger_ms=50, compression_type=codec)
    records = read(name, len(texts), check_crcs=True)
    same([record.value() for record in records], texts)
    same([record.offset() for record in records], list(range(len(texts))))


@case(each=["0", "1", "all"])
def produced_with_acks_is_readable(acks):
    name = topic(f"acks-{acks}")
    send(values(name, [b"first", b"second"]), acks=acks)
    same([record.value() for record in read(name, 2)], [b"first", b"second"])


@case
def acknowledgement_carries_the_offset():
    name = topic("offsets")
    send(values(name, [b"x"] * 5))
    same([message.offset() for message in send(values(name, [b"y"] * 3))], [5, 6, 7])


@case
def idempotent_producer_keeps_order_without_repeats():
    name = topic("idempotent")
    texts = [str(number).encode() for number in range(5000)]
    send(values(name, texts), enable_idempotence=True, batch_num_messages=100)
    records = read(name, len(texts))
    same([record.value() for record in records], texts)
    same(records[-1].offset(), len(texts) - 1)


@case
def two_idempotent_producers_do_not_disturb_each_other():
    name = topic("idempotent-two")
    sources = [producer(enable_idempotence=True) for _ in range(2)]
    for number in range(200):
        for which, source in enumerate(sources):
            source.produce(name, f"{which}:{number}", partition=0)
    same([source.flush(20) for source in sources], [0, 0])
    found = [record.value().decode() for record in read(name, 400)]
    for which in ("0", "1"):
        same([text for text in found if text.startswith(which)],
             [f"{which}:{number}" for number in range(200)])


@case(only=["crossdock"])
def transactions_are_refused_and_not_waited_for():
    source = producer(transactional_id=unique("txn"))
    error = raises(ck.KafkaException, source.init_transactions, 15).args[0]
    assert error.code() != ck.KafkaError._TIMED_OUT, error


@case
def large_batches_keep_partition_order():
    name = topic("batches", 3)
    records = [{"topic": name, "value": str(number), "partition": number % 3}
               for number in range(20_000)]
    send(records, linger_ms=50, queue_buffering_max_messages=100_000)
    for partition in range(3):
        found = [int(record.value()) for record in read(name, 6666, partition)]
        same(found, list(range(partition, 20_000, 3))[:6666])


@case
def keys_decide_the_partition():
    name = topic("keys", 4)
    sent = send([{"topic": name, "key": f"k{number % 7}", "value": b"v"} for number in range(70)])
    homes = {}
    for message in sent:
        homes.setdefault(message.key(), set()).add(message.partition())
    assert all(len(places) == 1 for places in homes.values()), homes
    assert len({place for places in homes.values() for place in places}) > 1, homes


@case
def producing_creates_the_topic():
    name = unique("auto")
    send(values(name, [b"hello"]))
    same([record.value() for record in read(name, 1)], [b"hello"])
    assert name in admin().list_topics(timeout=10).topics


@case
def consuming_an_unknown_topic_does_not_create_it():
    name = unique("unknown")
    reader = consumer(allow_auto_create_topics=False)
    found = reader.list_topics(name, timeout=10).topics[name]
    same(found.error.code(), ck.KafkaError.UNKNOWN_TOPIC_OR_PART)
    reader.subscribe([name])
    same(wait_for(lambda: error_of(reader), "an error about the topic").code(),
         ck.KafkaError.UNKNOWN_TOPIC_OR_PART)
    reader.close()
    assert name not in admin().list_topics(timeout=10).topics


def error_of(reader):
    message = reader.poll(0.1)
    return message.error() if message is not None else None


@case
def record_above_max_message_bytes_is_refused():
    name = topic("too-large", max_message_bytes=20_000)
    outcome = []
    source = producer(message_max_bytes=10_000_000, compression_type="none")
    source.produce(name, os.urandom(50_000), on_delivery=lambda error, _: outcome.append(error))
    source.produce(name, b"small", on_delivery=lambda error, _: outcome.append(error))
    same(source.flush(20), 0)
    codes = [error.code() if error else None for error in outcome]
    assert ck.KafkaError.MSG_SIZE_TOO_LARGE in codes, codes
    after = send(values(name, [b"after"]))[0].offset()
    same(read(name, 1, offset=after)[0].value(), b"after")


@case
def ten_mebibyte_record_comes_back():
    name = topic("large", max_message_bytes=12 << 20)
    body = random.Random(1).randbytes(10 << 20)
    send(values(name, [body]), message_max_bytes=12 << 20, compression_type="none")
    assert read(name, 1, fetch_message_max_bytes=12 << 20)[0].value() == body


@case
def record_larger_than_the_fetch_limit_still_arrives():
    name = topic("fetch-limit")
    bodies = [bytes([number]) * 100_000 for number in range(5)]
    send(values(name, bodies))
    found = read(name, 5, fetch_message_max_bytes=1000, fetch_max_bytes=1_000_000)
    same([record.value() for record in found], bodies)


@case
def log_append_time_is_the_brokers():
    name = topic("append-time", message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000) - 2000
    send(values(name, [b"v"], timestamp=1_600_000_000_000))
    kind, stamp = read(name, 1)[0].timestamp()
    same(kind, ck.TIMESTAMP_LOG_APPEND_TIME)
    assert before <= stamp <= int(time.time() * 1000) + 2000, stamp


@case
def waiting_fetch_gets_a_new_record_at_once():
    name = topic("long-poll")
    reader = consumer(fetch_wait_max_ms=20_000)
    reader.assign([ck.TopicPartition(name, 0, 0)])
    same(reader.poll(0.5), None)
    sent_at = []

    def later():
        send(values(name, [b"news"]))
        sent_at.append(time.monotonic())
    thread = threading.Thread(target=later)
    thread.start()
    record = take(reader, 1)[0]
    thread.join()
    same(record.value(), b"news")
    took = time.monotonic() - sent_at[0]
    assert took < 5, f"{took} s after it was acknowledged, though the fetch may wait for 20 s"
    reader.close()


@case
def end_of_partition_is_told():
    name = topic("eof")
    send(values(name, [b"a", b"b"]))
    reader = consumer(enable_partition_eof=True)
    reader.assign([ck.TopicPartition(name, 0, 0)])
    events = []

    def at_end():
        message = reader.poll(0.1)
        if message is not None:
            events.append(message.error().code() if message.error() else message.value())
        return ck.KafkaError._PARTITION_EOF in events
    wait_for(at_end, "the end of the partition")
    same(events, [b"a", b"b", ck.KafkaError._PARTITION_EOF])
    reader.close()


@case
def many_partitions_are_read_through_one_consumer():
    name = topic("many", 20)
    send([{"topic": name, "value": str(number), "partition": number % 20}
          for number in range(400)])
    reader = consumer()
    reader.assign([ck.TopicPartition(name, partition, 0) for partition in range(20)])
    found = sorted(int(record.value()) for record in take(reader, 400))
    same(found, list(range(400)))
    reader.close()


@case
def paused_partition_gives_nothing_until_resumed():
    name = topic("pause", 2)
    send([{"topic": name, "value": str(partition), "partition": partition}
          for partition in (0, 1)])
    reader = consumer()
    both = [ck.TopicPartition(name, partition, 0) for partition in (0, 1)]
    reader.assign(both)
    reader.pause([both[0]])
    same(take(reader, 1)[0].partition(), 1)
    same(reader.poll(0.5), None)
    reader.resume([both[0]])
    same(take(reader, 1)[0].partition(), 0)
    reader.close()


@case
def metadata_names_the_address_the_client_came_by():
    found = admin().list_topics(timeout=10)
    same([f"{broker.host}:{broker.port}" for broker in found.brokers.values()], [KAFKA])
    assert found.cluster_id
