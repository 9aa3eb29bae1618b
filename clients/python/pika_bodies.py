"""pika: bodies of every size, and every property and type of header, unchanged."""

import datetime
import decimal
import random

import pika
from pika import exceptions

from amqp_pika import get, publish, queue, with_channel, drain
from casebook import case, raises, same

FULL = {
    "content_type": "application/json", "content_encoding": "gzip", "delivery_mode": 2,
    "priority": 7, "correlation_id": "correlation", "reply_to": "reply.queue",
    "expiration": "600000", "message_id": "message", "timestamp": 1_700_000_000,
    "type": "type.name", "user_id": "guest", "app_id": "app", "cluster_id": "cluster",
}


@case(each=[0, 1, 4088, 131064, 131065, 262128, 1 << 20, 10 << 20])
def body_of_this_many_bytes_comes_back(size):
    # 131064 is what fits one frame of 131072 bytes.
    @with_channel
    def check(channel):
        body = random.Random(size).randbytes(size)
        name = queue(channel)
        publish(channel, name, body)
        assert get(channel, name)[2] == body
    check()


@case
@with_channel
def binary_and_text_bodies_are_not_touched(channel):
    name = queue(channel)
    bodies = [b"", b"\x00", b"\xff\xfe\x00", bytes(range(256)), "żółć".encode()]
    publish(channel, name, *bodies)
    same(drain(channel, name), bodies)


@case
@with_channel
def every_property_comes_back(channel):
    name = queue(channel)
    publish(channel, name, b"x", headers={"h": 1}, **FULL)
    found = get(channel, name)[1]
    same({key: getattr(found, key) for key in FULL}, FULL)
    same(found.headers, {"h": 1})


@case(each=list(FULL))
def property_alone_comes_back_alone(key):
    @with_channel
    def check(channel):
        name = queue(channel)
        publish(channel, name, b"x", **{key: FULL[key]})
        found = get(channel, name)[1]
        same({other: getattr(found, other) for other in FULL if getattr(found, other) is not None},
             {key: FULL[key]})
        same(found.headers, None)
    check()


@case
@with_channel
def message_without_properties_has_none(channel):
    name = queue(channel)
    publish(channel, name, b"x")
    found = get(channel, name)[1]
    same([key for key in (*FULL, "headers") if getattr(found, key) is not None], [])


@case
@with_channel
def headers_keep_their_types(channel):
    headers = {
        "true": True, "false": False, "none": None, "int": 42, "negative": -42,
        "long": 1 << 40, "low": -(1 << 62), "text": "żółć", "empty": "", "bytes": b"\x00\xff",
        "decimal": decimal.Decimal("12.34"), "list": [1, "two", None, [3, {"four": 4}]],
        "table": {"deep": {"deeper": {"deepest": "end"}}, "list": [1, 2]},
        "when": datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
        "empty-table": {}, "empty-list": [],
    }
    name = queue(channel)
    publish(channel, name, b"x", headers=headers)
    found = get(channel, name)[1].headers
    # pika gives times back without their zone.
    found["when"] = found["when"].replace(tzinfo=datetime.timezone.utc)
    same(found, headers)
    # Equality alone would take True for 1; pika has an integer type of its own for 64 bits.
    same({key for key, value in found.items() if isinstance(value, bool)}, {"true", "false"})


@case
@with_channel
def large_header_table_comes_back(channel):
    headers = {f"key-{number}": "v" * 100 for number in range(500)}
    name = queue(channel)
    publish(channel, name, b"x", headers=headers)
    same(get(channel, name)[1].headers, headers)


@case
@with_channel
def foreign_user_id_is_refused(channel):
    name = queue(channel)
    publish(channel, name, b"x", user_id="somebody")
    error = raises(exceptions.ChannelClosedByBroker, channel.queue_declare, name, passive=True)
    same((error.reply_code, error.reply_text),
         (406, "PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user "
               "was 'guest'"))


@case
@with_channel
def large_bodies_of_two_channels_interleave(channel):
    other = channel.connection.channel()
    first, second = queue(channel), queue(other)
    bodies = [random.Random(seed).randbytes(3 << 20) for seed in (1, 2)]
    for source, name, body in ((channel, first, bodies[0]), (other, second, bodies[1])):
        source.basic_publish("", name, body, pika.BasicProperties())
    assert get(channel, first)[2] == bodies[0] and get(other, second)[2] == bodies[1]
