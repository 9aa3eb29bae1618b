"""confluent-kafka: positions in a partition, by number and by time."""

import os

import confluent_kafka as ck
from confluent_kafka.admin import OffsetSpec

from casebook import case, same, wait_for
from confluent import admin, consumer, read, send, take, topic, values


@case
def watermarks_follow_the_log():
    name = topic("watermarks")
    reader = consumer()
    place = ck.TopicPartition(name, 0)
    same(reader.get_watermark_offsets(place, timeout=10), (0, 0))
    send(values(name, [b"x"] * 7))
    same(reader.get_watermark_offsets(place, timeout=10), (0, 7))
    reader.close()


@case
def offsets_for_times_give_the_first_at_or_after():
    name = topic("times")
    base = 1_700_000_000_000
    for number in range(5):
        send(values(name, [str(number)], timestamp=base + number * 1000))
    reader = consumer()

    def at(stamp):
        return reader.offsets_for_times([ck.TopicPartition(name, 0, stamp)], timeout=10)[0].offset
    same([at(base - 5), at(base), at(base + 1), at(base + 3000), at(base + 3500)],
         [0, 0, 1, 3, 4])
    assert at(base + 9000) in (-1, 5), at(base + 9000)
    reader.close()


@case
def offset_for_a_time_inside_a_batch_is_exact():
    name = topic("times-in-batch")
    base = 1_700_000_000_000
    send([{"topic": name, "value": str(number), "timestamp": base + number * 1000}
          for number in range(100)], linger_ms=100)
    reader = consumer()
    found = reader.offsets_for_times([ck.TopicPartition(name, 0, base + 42_500)], timeout=10)
    same(found[0].offset, 43)
    reader.close()


@case
def seek_into_a_batch_gives_that_offset_first():
    name = topic("mid-batch")
    send(values(name, [str(number) for number in range(500)]), linger_ms=100)
    for offset in (0, 1, 250, 499):
        record = read(name, 1, offset=offset)[0]
        same((record.offset(), record.value()), (offset, str(offset).encode()))


@case
def seek_goes_back_and_forth():
    name = topic("seek")
    send(values(name, [str(number) for number in range(50)]))
    reader = consumer()
    reader.assign([ck.TopicPartition(name, 0, 0)])
    take(reader, 10)
    reader.seek(ck.TopicPartition(name, 0, 40))
    same([record.offset() for record in take(reader, 10)], list(range(40, 50)))
    reader.seek(ck.TopicPartition(name, 0, 3))
    same(take(reader, 1)[0].offset(), 3)
    reader.close()


@case
def out_of_range_offset_is_an_error_or_a_reset_as_asked():
    name = topic("range")
    send(values(name, [b"a", b"b", b"c"]))
    reader = consumer(auto_offset_reset="error")
    reader.assign([ck.TopicPartition(name, 0, 1000)])

    def error():
        message = reader.poll(0.1)
        return message.error() if message is not None else None
    # librdkafka wraps the broker's OFFSET_OUT_OF_RANGE when it may not reset by itself.
    assert wait_for(error, "an error").code() in (
        ck.KafkaError._AUTO_OFFSET_RESET, ck.KafkaError.OFFSET_OUT_OF_RANGE)
    reader.close()
    same(read(name, 1, offset=1000, auto_offset_reset="earliest")[0].offset(), 0)


@case
def deleted_records_are_gone_and_the_start_moves():
    name = topic("delete-records")
    send(values(name, [str(number) for number in range(20)]))
    done = admin().delete_records([ck.TopicPartition(name, 0, 12)])
    same([future.result(10).low_watermark for future in done.values()], [12])
    reader = consumer()
    same(reader.get_watermark_offsets(ck.TopicPartition(name, 0), timeout=10), (12, 20))
    reader.close()
    same([record.offset() for record in read(name, 8)], list(range(12, 20)))


@case
def deleting_records_up_to_the_end_empties_the_partition():
    name = topic("delete-all")
    send(values(name, [b"x"] * 5))
    # -1 stands for the high watermark.
    done = admin().delete_records([ck.TopicPartition(name, 0, -1)])
    same([future.result(10).low_watermark for future in done.values()], [5])
    send(values(name, [b"new"]))
    same([record.offset() for record in read(name, 1)], [5])


@case
def deleting_records_beyond_the_end_is_refused():
    name = topic("delete-beyond")
    send(values(name, [b"x"]))
    done = admin().delete_records([ck.TopicPartition(name, 0, 100)])
    for future in done.values():
        try:
            future.result(10)
            raise AssertionError("it was not refused")
        except ck.KafkaException as error:
            same(error.args[0].code(), ck.KafkaError.OFFSET_OUT_OF_RANGE)


@case
def list_offsets_knows_ends_times_and_the_latest_timestamp():
    name = topic("list-offsets")
    base = 1_700_000_000_000
    stamps = [base, base + 9000, base + 1000]
    for stamp in stamps:
        send(values(name, [b"v"], timestamp=stamp))
    place = ck.TopicPartition(name, 0)

    def offset(spec):
        return admin().list_offsets({place: spec})[place].result(10)
    same(offset(OffsetSpec.earliest()).offset, 0)
    same(offset(OffsetSpec.latest()).offset, 3)
    same(offset(OffsetSpec.for_timestamp(base + 1)).offset, 1)
    newest = offset(OffsetSpec.max_timestamp())
    same((newest.offset, newest.timestamp), (1, base + 9000))


@case
def position_follows_what_was_read():
    name = topic("position")
    send(values(name, [b"x"] * 4))
    reader = consumer()
    reader.assign([ck.TopicPartition(name, 0, 0)])
    take(reader, 3)
    same(reader.position([ck.TopicPartition(name, 0)])[0].offset, 3)
    reader.close()


def start_of(name):
    reader = consumer()
    try:
        return reader.get_watermark_offsets(ck.TopicPartition(name, 0), timeout=10)[0]
    finally:
        reader.close()


# Apache Kafka looks every five minutes. Told to look more often it passes these, and drops the records
# with old timestamps of other cases.
@case(only=["crossdock"])
def records_go_when_their_time_is_over():
    name = topic("by-time", retention_ms=1000)
    kept = topic("kept")
    for which in (name, kept):
        send(values(which, [b"x"] * 5))
    wait_for(lambda: start_of(name) == 5, "the end of what was kept for a second")
    same(start_of(kept), 0)
    send(values(name, [b"new"]))
    same(read(name, 1, offset=5)[0].value(), b"new")


@case(only=["crossdock"])
def oldest_records_go_when_the_log_is_too_large():
    # Kafka drops whole segments, and a segment is at least 1 MiB long.
    name = topic("by-size", retention_bytes=1 << 20, segment_bytes=1 << 20)
    for _ in range(8):
        send(values(name, [os.urandom(500_000)]), compression_type="none")
    wait_for(lambda: 4 <= start_of(name) <= 6, "only the last mebibyte or two")
    same(len(read(name, 2, offset=6)), 2)
