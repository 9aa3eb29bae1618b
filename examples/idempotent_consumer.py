"""Idempotent consumer: a message that comes twice has its effect once.

    python examples/idempotent_consumer.py amqp://guest:guest@localhost

Twice it can come for two reasons. A publisher that missed the confirm publishes again: a queue with
`x-message-deduplication` takes no message whose id is that of one it holds. And a consumer that dies
after its work and before its acknowledgement gets the message again: it writes the id beside the
effect, in one transaction of its database, and skips what it has.
"""

import os
import sqlite3
import sys
import tempfile

import pika

AMQP = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost"
PAYMENTS = {"p-1": 100, "p-2": 250, "p-3": 50}


class Dies(Exception):
    """Stands for the end of the process."""


def publish(channel, key, cents):
    channel.basic_publish("", "example.payments", str(cents).encode(), pika.BasicProperties(
        delivery_mode=2, message_id=key, headers={"x-deduplication-header": key}))


def book(database, key, cents):
    """Whether it was booked now, and not before."""
    with database:
        known = database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,)).rowcount == 0
        if not known:
            database.execute("UPDATE account SET cents = cents + ?", (cents,))
        return not known


def consume(database, dies_at=None):
    """Books what is in the queue; gives how many were duplicates."""
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    duplicates = 0
    try:
        while (got := channel.basic_get("example.payments"))[0]:
            method, properties, body = got
            is_new = book(database, properties.message_id, int(body))
            duplicates += not is_new
            print(properties.message_id, "booked" if is_new else "known already")
            if properties.message_id == dies_at:
                raise Dies
            channel.basic_ack(method.delivery_tag)
    finally:
        connection.close()
    return duplicates


def main():
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    channel.queue_delete("example.payments")
    channel.queue_declare("example.payments", durable=True,
                          arguments={"x-message-deduplication": True})
    channel.confirm_delivery()
    for key, cents in PAYMENTS.items():
        publish(channel, key, cents)
        publish(channel, key, cents)  # As if the confirm had been lost.
    depth = channel.queue_declare("example.payments", passive=True).method.message_count
    with tempfile.TemporaryDirectory() as scratch:
        database = sqlite3.connect(os.path.join(scratch, "bank.db"))
        database.execute("CREATE TABLE seen (id TEXT PRIMARY KEY)")
        database.execute("CREATE TABLE account (cents INT)")
        database.execute("INSERT INTO account VALUES (0)")
        database.commit()
        try:
            consume(database, dies_at="p-2")
        except Dies:
            print("… dies before it acknowledges")
        duplicates = consume(database)
        (balance,) = database.execute("SELECT cents FROM account").fetchone()
        database.close()
    print(f"{depth} messages, {duplicates} came again, balance {balance}")
    channel.queue_delete("example.payments")
    connection.close()
    assert depth == len(PAYMENTS), "published twice, taken once"
    assert duplicates == 1 and balance == sum(PAYMENTS.values())


if __name__ == "__main__":
    main()
