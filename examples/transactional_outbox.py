"""Transactional outbox: an order is stored and its event published, both or neither.

    python examples/transactional_outbox.py amqp://guest:guest@localhost

The application writes the event into a table of its own database, in the transaction that stores the order. A
relay publishes from there and marks what was confirmed. When it dies between the two, it publishes
again; the exchange of type `x-message-deduplication` remembers ids and takes each once, so that
the readers see every order's event once.
"""

import os
import sqlite3
import sys
import tempfile

import pika

AMQP = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost"


def place_order(database, item, fails=False):
    with database:  # One transaction: an exception undoes all of it.
        order = database.execute("INSERT INTO orders (item) VALUES (?)", (item,)).lastrowid
        database.execute("INSERT INTO outbox (event) VALUES (?)", (f"order {order}: {item}",))
        if fails:
            raise ValueError("no such item")


def relay(database, channel, dies_after=None):
    """Publishes what is not published yet, in order."""
    rows = database.execute("SELECT id, event FROM outbox WHERE NOT sent ORDER BY id").fetchall()
    for number, (key, event) in enumerate(rows, 1):
        channel.basic_publish("example.events", "", event.encode(), pika.BasicProperties(
            delivery_mode=2, message_id=str(key), headers={"x-deduplication-header": str(key)}))
        # Here the broker has confirmed it.
        if number == dies_after:
            return
        with database:
            database.execute("UPDATE outbox SET sent = 1 WHERE id = ?", (key,))


def main():
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    channel.exchange_delete("example.events")
    channel.exchange_declare("example.events", "x-message-deduplication", durable=True,
                             arguments={"x-cache-size": 100_000, "x-cache-ttl": 3_600_000})
    channel.queue_delete("example.orders.placed")
    channel.queue_declare("example.orders.placed", durable=True)
    channel.queue_bind("example.orders.placed", "example.events")
    channel.confirm_delivery()
    with tempfile.TemporaryDirectory() as scratch:
        database = sqlite3.connect(os.path.join(scratch, "shop.db"))
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
        database.execute("CREATE TABLE outbox (id INTEGER PRIMARY KEY, event TEXT, sent INT DEFAULT 0)")
        for item in ("chair", "table", "lamp"):
            place_order(database, item)
        try:
            place_order(database, "unicorn", fails=True)
        except ValueError:
            pass
        relay(database, channel, dies_after=2)
        relay(database, channel)  # The next one begins with the message that was not marked.
        orders = [f"order {key}: {item}" for key, item in
                  database.execute("SELECT id, item FROM orders ORDER BY id")]
        database.close()
    events = []
    while (got := channel.basic_get("example.orders.placed", auto_ack=True))[0]:
        events.append(got[2].decode())
    print("\n".join(events))
    channel.queue_delete("example.orders.placed")
    channel.exchange_delete("example.events")
    connection.close()
    assert events == orders == ["order 1: chair", "order 2: table", "order 3: lamp"]


if __name__ == "__main__":
    main()
