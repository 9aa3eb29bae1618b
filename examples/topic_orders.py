"""Topic-routed orders: what happens to orders goes to whoever asked for that kind.

    python examples/topic_orders.py amqp://guest:guest@localhost http://localhost:15672 localhost:9092

Routing keys are `order.REGION.EVENT`; a queue binds with `*` for one word and `#` for any number. What
no queue asked for comes to an alternate exchange, not into the void. And the auditors read their
queue with Kafka's client: a queue is a topic with one partition there, and reading takes nothing out.
"""

import sys

import pika
from confluent_kafka import Consumer

AMQP = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost"
KAFKA = sys.argv[3] if len(sys.argv) > 3 else "localhost:9092"
BINDINGS = {"example.billing": ["order.*.created"], "example.shipping": ["order.*.paid"],
            "example.audit.eu": ["order.eu.#"]}
EVENTS = ["order.eu.created", "order.us.created", "order.eu.paid", "order.eu.returned.damaged",
          "order.us.cancelled", "invoice.sent"]


def bodies(channel, queue):
    found = []
    while (got := channel.basic_get(queue, auto_ack=True))[0]:
        found.append(got[2].decode())
    return found


def read_by_kafka(queue, count):
    consumer = Consumer({"bootstrap.servers": KAFKA, "group.id": "auditors",
                         "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([queue])
    found = []
    while len(found) < count:
        message = consumer.poll(20)
        assert message is not None and not message.error(), message and message.error()
        found.append(message.value().decode())
    consumer.close()
    return found


def main():
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    channel.exchange_declare("example.unrouted", "fanout", durable=True)
    channel.exchange_declare("example.orders", "topic", durable=True,
                             arguments={"alternate-exchange": "example.unrouted"})
    for queue, keys in {**BINDINGS, "example.unrouted": []}.items():
        channel.queue_delete(queue)
        channel.queue_declare(queue, durable=True)
        for key in keys:
            channel.queue_bind(queue, "example.orders", key)
    channel.queue_bind("example.unrouted", "example.unrouted")
    channel.confirm_delivery()
    for event in EVENTS:
        channel.basic_publish("example.orders", event, event.encode(),
                              pika.BasicProperties(delivery_mode=2))
    audited = read_by_kafka("example.audit.eu", 3)
    print("the auditors read by Kafka:", audited)
    got = {queue: bodies(channel, queue) for queue in [*BINDINGS, "example.unrouted"]}
    for queue, events in got.items():
        print(f"{queue}: {events}")
        channel.queue_delete(queue)
    channel.exchange_delete("example.orders")
    channel.exchange_delete("example.unrouted")
    connection.close()
    assert got["example.billing"] == ["order.eu.created", "order.us.created"]
    assert got["example.shipping"] == ["order.eu.paid"]
    assert got["example.audit.eu"] == audited == [
        "order.eu.created", "order.eu.paid", "order.eu.returned.damaged"]
    assert got["example.unrouted"] == ["order.us.cancelled", "invoice.sent"]


if __name__ == "__main__":
    main()
