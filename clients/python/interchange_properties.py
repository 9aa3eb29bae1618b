"""Interchange: every mapped property and header, in both directions, also after a restart."""

import confluent_kafka as ck

from amqp_pika import connect, get, publish, queue, with_channel
from casebook import case, restart_server, same
from confluent import read, send, topic
from interchange import (PROPERTIES, STAMP, VERSION, as_bytes, declare_topic_queue, first_record,
                         from_kafka, headers_of)

__all__ = ["VERSION"]


@case(each=[row[0] for row in PROPERTIES])
def amqp_property_is_a_kafka_header(prop):
    _, value, header, wanted = next(row for row in PROPERTIES if row[0] == prop)

    @with_channel
    def check(channel):
        name = queue(channel, "to-kafka", durable=True)
        channel.confirm_delivery()
        publish(channel, name, b"x", **{prop: value})
        found = headers_of(first_record(name))
        same(found.get(header), [wanted])
        absent = {row[2] for row in PROPERTIES} - {header, "delivery-mode"}
        same(absent & set(found), set(), "headers of properties that were not set")
        channel.queue_delete(name)
    check()


@case(each=[row[0] for row in PROPERTIES])
def kafka_header_is_an_amqp_property(prop):
    _, wanted, header, value = next(row for row in PROPERTIES if row[0] == prop)

    @with_channel
    def check(channel):
        name = topic("to-amqp")
        _, properties, _ = from_kafka(channel, name, {"value": b"x", "headers": [(header, value)]})
        same(getattr(properties, prop), wanted)
        assert header not in (properties.headers or {}), properties.headers
    check()


@case
@with_channel
def exchange_and_routing_key_are_kafka_headers(channel):
    name = queue(channel, "routed", durable=True)
    channel.queue_bind(name, "amq.topic", "a.#")
    channel.confirm_delivery()
    publish(channel, "a.b.c", b"x", exchange="amq.topic")
    found = headers_of(first_record(name))
    same((found["exchange"], found["routing-key"]), ([b"amq.topic"], [b"a.b.c"]))
    channel.queue_delete(name)


@case
@with_channel
def exchange_and_routing_key_of_a_kafka_record_reach_amqp(channel):
    name = topic("routed")
    method, _, _ = from_kafka(channel, name, {"value": b"x", "headers": [
        ("exchange", b"shop"), ("routing-key", b"orders.new")]})
    same((method.exchange, method.routing_key), ("shop", "orders.new"))


@case
@with_channel
def amqp_timestamp_is_the_kafka_timestamp(channel):
    name = queue(channel, "stamp", durable=True)
    channel.confirm_delivery()
    publish(channel, name, b"x", timestamp=STAMP)
    same(first_record(name).timestamp()[1], STAMP * 1000)
    channel.queue_delete(name)


@case
@with_channel
def kafka_timestamp_is_the_amqp_timestamp(channel):
    name = topic("stamp")
    _, properties, _ = from_kafka(channel, name, {"value": b"x", "timestamp": STAMP * 1000 + 999})
    same((properties.timestamp, properties.headers["x-kafka-timestamp"]),
         (STAMP, STAMP * 1000 + 999))


@case
@with_channel
def amqp_headers_are_kafka_headers_as_text(channel):
    name = queue(channel, "headers", durable=True)
    channel.confirm_delivery()
    publish(channel, name, b"x", headers={
        "text": "grüße", "int": 42, "negative": -7, "big": 1 << 40, "empty": "", "none": None})
    found = headers_of(first_record(name))
    same({key: found.get(key) for key in ("text", "int", "negative", "big", "empty", "none")}, {
        "text": ["grüße".encode()], "int": [b"42"], "negative": [b"-7"],
        "big": [str(1 << 40).encode()], "empty": [b""], "none": [None]})
    channel.queue_delete(name)


@case
@with_channel
def typed_amqp_headers_come_back_typed_after_kafka_read_them(channel):
    headers = {"int": 42, "yes": True, "list": [1, "two", None], "table": {"a": {"b": b"\xff"}},
               "none": None, "bytes": b"\x00\xff"}
    name = queue(channel, "typed", durable=True)
    channel.confirm_delivery()
    publish(channel, name, b"x", headers=headers)
    first_record(name)
    same(get(channel, name)[1].headers, headers)
    channel.queue_delete(name)


@case
@with_channel
def kafka_headers_reach_amqp_in_full(channel):
    name = topic("headers")
    _, properties, _ = from_kafka(channel, name, {"value": b"x", "headers": [
        ("once", b"1"), ("bytes", b"\x00\xff"), ("null", None), ("empty", b"")]})
    found = properties.headers
    same((as_bytes(found["once"]), as_bytes(found["bytes"])), (b"1", b"\x00\xff"))
    assert "null" in found and found["null"] is None, found
    same(as_bytes(found["empty"]), b"")


@case
@with_channel
def repeated_kafka_headers_are_one_array(channel):
    name = topic("repeated")
    _, properties, _ = from_kafka(channel, name, {"value": b"x", "headers": [
        ("r", b"1"), ("other", b"o"), ("r", b"2"), ("r", b"1"), ("n", None), ("n", b"")]})
    same([as_bytes(value) for value in properties.headers["r"]], [b"1", b"2", b"1"])
    nulls = properties.headers["n"]
    same((len(nulls), nulls[0], as_bytes(nulls[1])), (2, None, b""))


@case(each=["text", "binary", "empty", "null"])
def kafka_key_is_an_amqp_header(kind):
    key = {"text": b"key", "binary": b"\x00\xff", "empty": b"", "null": None}[kind]

    @with_channel
    def check(channel):
        name = topic("key")
        _, properties, _ = from_kafka(channel, name, {"value": b"x", "key": key})
        found = (properties.headers or {}).get("x-kafka-key")
        same(None if found is None else as_bytes(found), key)
    check()


@case
@with_channel
def kafka_partition_and_offset_are_amqp_headers(channel):
    name = topic("place", 3)
    declare_topic_queue(channel, name)
    send([{"topic": name, "value": str(number), "partition": 2} for number in range(3)])
    for number in range(3):
        _, properties, body = get(channel, name)
        same((body, properties.headers["x-kafka-partition"], properties.headers["x-kafka-offset"]),
             (str(number).encode(), 2, number))


@case
@with_channel
def amqp_message_has_no_kafka_key(channel):
    name = queue(channel, "no-key", durable=True)
    channel.confirm_delivery()
    publish(channel, name, b"x", headers={"a": "b"})
    same(first_record(name).key(), None)
    channel.queue_delete(name)


@case
@with_channel
def amqp_delivery_of_an_amqp_message_has_no_kafka_headers(channel):
    name = queue(channel, "own", durable=True)
    publish(channel, name, b"x", headers={"a": "b"})
    same(get(channel, name)[1].headers, {"a": "b"})
    channel.queue_delete(name)


@case(restart=True)
def every_property_crosses_both_ways_after_a_restart():
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    to_kafka = queue(channel, "restart", durable=True)
    properties = {prop: value for prop, value, _, _ in PROPERTIES}
    publish(channel, to_kafka, b"\x00body\xff", headers={"n": 1, "none": None},
            timestamp=STAMP, **properties)
    to_amqp = topic("restart")
    headers = [(header, value) for _, _, header, value in PROPERTIES]
    send([{"topic": to_amqp, "key": b"\x00k", "value": b"\x00body\xff", "timestamp": STAMP * 1000,
           "headers": [*headers, ("r", b"1"), ("r", None)]}])

    restart_server()

    record = first_record(to_kafka)
    found = headers_of(record)
    same({header: found.get(header) for _, _, header, _ in PROPERTIES},
         {header: [value] for _, _, header, value in PROPERTIES})
    same((record.key(), record.value(), record.timestamp()), (
        None, b"\x00body\xff", (ck.TIMESTAMP_CREATE_TIME, STAMP * 1000)))
    same((found["n"], found["none"]), ([b"1"], [None]))

    connection = connect()
    channel = connection.channel()
    declare_topic_queue(channel, to_amqp)
    _, delivered, body = get(channel, to_amqp)
    same({prop: getattr(delivered, prop) for prop in properties}, properties)
    same((body, delivered.timestamp), (b"\x00body\xff", STAMP))
    same(as_bytes(delivered.headers["x-kafka-key"]), b"\x00k")
    same([None if value is None else as_bytes(value) for value in delivered.headers["r"]],
         [b"1", None])
    same(read(to_amqp, 1)[0].headers(), [*headers, ("r", b"1"), ("r", None)])
    channel.queue_delete(to_kafka)
    connection.close()
