"""Priority work: urgent messages overtake those that came before them.

    python examples/priority_work.py amqp://guest:guest@localhost

The queue says how many priorities it tells apart, the publisher says which one a message has. Of one
priority the oldest goes first. `x-oldest-every` (Crossdock's own) hands out the oldest of all
every so often, so that a steady stream of urgent work starves nobody. Runs on RabbitMQ, too.
"""

import sys

import pika

AMQP = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost"
TICKETS = [("how do I …?", 0), ("typo on page 3", 0), ("payment fails", 5), ("site is down", 9),
           ("cannot log in", 5), ("data is gone", 9)]


def main():
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    channel.queue_delete("example.tickets")
    channel.queue_declare("example.tickets", durable=True, arguments={"x-max-priority": 9})
    channel.confirm_delivery()
    for text, priority in TICKETS:
        channel.basic_publish("", "example.tickets", text.encode(),
                              pika.BasicProperties(priority=priority, delivery_mode=2))

    # What a consumer holds already is overtaken by nothing: a small prefetch keeps that short.
    channel.basic_qos(prefetch_count=1)
    worked_off = []
    for method, properties, body in channel.consume("example.tickets", inactivity_timeout=10):
        assert method, "no ticket within ten seconds"
        print(f"priority {properties.priority}: {body.decode()}")
        worked_off.append((body.decode(), properties.priority))
        channel.basic_ack(method.delivery_tag)
        if len(worked_off) == len(TICKETS):
            break
    channel.cancel()
    channel.queue_delete("example.tickets")
    connection.close()
    # Python's sort leaves those of one priority in the order they came.
    assert worked_off == sorted(TICKETS, key=lambda ticket: -ticket[1]), worked_off


if __name__ == "__main__":
    main()
