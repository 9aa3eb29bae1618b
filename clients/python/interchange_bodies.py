"""Interchange: bodies of every kind, in both directions, also after a restart."""

import random

from amqp_pika import connect, drain, get, publish, queue, with_channel
from casebook import case, restart_server, same
from confluent import read, send, topic, values
from interchange import BODIES, declare_topic_queue, first_record, from_kafka

LARGE = 10 << 20


@case(each=list(BODIES))
def amqp_body_is_the_kafka_value(kind):
    @with_channel
    def check(channel):
        name = queue(channel, "body", durable=True)
        channel.confirm_delivery()
        publish(channel, name, BODIES[kind], delivery_mode=2)
        assert first_record(name).value() == BODIES[kind]
        channel.queue_delete(name)
    check()


@case(each=list(BODIES))
def kafka_value_is_the_amqp_body(kind):
    @with_channel
    def check(channel):
        name = topic("body", max_message_bytes=4 << 20)
        assert from_kafka(channel, name, {"value": BODIES[kind]})[2] == BODIES[kind]
    check()


@case
@with_channel
def null_value_differs_from_an_empty_one(channel):
    name = topic("null")
    _, null, body = from_kafka(channel, name, {"key": b"k", "value": None})
    same(body, b"")
    _, empty, body = from_kafka(channel, name, {"key": b"k", "value": b""})
    same(body, b"")
    same((null.headers.get("x-kafka-value-null"), empty.headers.get("x-kafka-value-null")),
         (True, None))
    same([record.value() for record in read(name, 2)], [None, b""])


@case
@with_channel
def ten_mebibytes_go_from_amqp_to_kafka(channel):
    body = random.Random(1).randbytes(LARGE)
    name = queue(channel, "large", durable=True)
    channel.confirm_delivery()
    publish(channel, name, body, delivery_mode=2, message_id="large")
    record = first_record(name)
    assert record.value() == body
    same(dict(record.headers())["message-id"], b"large")
    channel.queue_delete(name)


@case
@with_channel
def ten_mebibytes_go_from_kafka_to_amqp(channel):
    body = random.Random(2).randbytes(LARGE)
    name = topic("large", max_message_bytes=12 << 20)
    declare_topic_queue(channel, name)
    send(values(name, [body], headers=[("message-id", b"large")]), message_max_bytes=12 << 20,
         compression_type="none")
    _, properties, found = get(channel, name)
    assert found == body
    same(properties.message_id, "large")


@case(each=["gzip", "snappy", "lz4", "zstd"])
def compressed_kafka_batch_is_delivered_message_by_message(codec):
    @with_channel
    def check(channel):
        name = topic("codec")
        declare_topic_queue(channel, name)
        texts = [f"{codec} {number} ".encode() * 20 for number in range(100)]
        send(values(name, texts), linger_ms=100, compression_type=codec)
        same([get(channel, name)[2] for _ in texts], texts)
    check()


@case
@with_channel
def kafka_produces_into_a_queue(channel):
    name = queue(channel, "both", durable=True)
    channel.confirm_delivery()
    publish(channel, name, b"from amqp", delivery_mode=2)
    send([{"topic": name, "key": b"k", "value": b"from kafka"}])
    same([get(channel, name)[2] for _ in range(2)], [b"from amqp", b"from kafka"])
    channel.queue_delete(name)


@case
@with_channel
def amqp_publishes_into_a_topic(channel):
    name = topic("both")
    declare_topic_queue(channel, name)
    channel.confirm_delivery()
    send([{"topic": name, "value": b"from kafka"}])
    channel.basic_publish("", name, b"from amqp", mandatory=True)
    same([record.value() for record in read(name, 2)], [b"from kafka", b"from amqp"])
    same(sorted(get(channel, name)[2] for _ in range(2)), [b"from amqp", b"from kafka"])


@case(restart=True)
def bodies_cross_both_ways_after_a_restart():
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    bodies = [*BODIES.values(), random.Random(3).randbytes(LARGE)]
    to_kafka = queue(channel, "restart", durable=True)
    publish(channel, to_kafka, *bodies, delivery_mode=2)
    to_amqp = topic("restart", max_message_bytes=12 << 20)
    send(values(to_amqp, bodies), message_max_bytes=12 << 20)

    restart_server()

    found = [record.value() for record in
             read(to_kafka, len(bodies), fetch_message_max_bytes=12 << 20)]
    assert found == bodies
    connection = connect()
    channel = connection.channel()
    declare_topic_queue(channel, to_amqp)
    assert [get(channel, to_amqp)[2] for _ in bodies] == bodies
    assert drain(channel, to_kafka) == bodies
    channel.queue_delete(to_kafka)
    connection.close()
