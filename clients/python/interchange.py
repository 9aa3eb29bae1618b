"""What the interchange cases share: one message with everything, seen from both wires."""

import confluent_kafka as ck
import pika

from amqp_pika import get
from confluent import read, send

VERSION = f"confluent-kafka {ck.__version__}, pika {pika.__version__}"

STAMP = 1_700_000_000

# Property of AMQP 0-9-1, its value there, header of Kafka, its value there.
PROPERTIES = [
    ("message_id", "id-1", "message-id", b"id-1"),
    ("correlation_id", "korrelation-\u00fc", "correlation-id", "korrelation-\u00fc".encode()),
    ("reply_to", "answers", "reply-to", b"answers"),
    ("content_type", "application/json", "content-type", b"application/json"),
    ("content_encoding", "utf-8", "content-encoding", b"utf-8"),
    ("type", "order.created", "type", b"order.created"),
    ("app_id", "shop", "app-id", b"shop"),
    ("user_id", "guest", "user-id", b"guest"),
    ("priority", 7, "priority", b"7"),
    ("expiration", "3600000", "expiration", b"3600000"),
    ("delivery_mode", 2, "delivery-mode", b"2"),
]
HEADER_OF = {prop: header for prop, _, header, _ in PROPERTIES}

BODIES = {
    "binary": bytes(range(256)) * 3, "empty": b"", "zero": b"\x00", "text": "grüße".encode(),
    "json": b'{"a": [1, null]}', "one-mebibyte": bytes(range(256)) * 4096,
}


def as_bytes(value):
    """A header's value as bytes: pika gives a long string as text where it is UTF-8."""
    return value.encode() if isinstance(value, str) else bytes(value)


def headers_of(record):
    """Kafka headers as a dict of lists, without `_mc`, which is Crossdock's own."""
    found = {}
    for key, value in record.headers() or []:
        if key != "_mc":
            found.setdefault(key, []).append(value)
    return found


def first_record(name, **more):
    return read(name, 1, fetch_message_max_bytes=16 << 20, **more)[0]


def declare_topic_queue(channel, name):
    """Makes the topic's subscription of the AMQP side, and gives the name to consume."""
    channel.queue_declare(name, durable=True)
    return name


def from_kafka(channel, name, record):
    """Produces to a topic and gets the record back over AMQP."""
    declare_topic_queue(channel, name)
    send([{"topic": name, **record}], message_max_bytes=16 << 20)
    return get(channel, name)
