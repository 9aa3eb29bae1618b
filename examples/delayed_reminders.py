"""Delayed reminders: a message is published now and is in the queue at its time, however far off.

    python examples/delayed_reminders.py amqp://guest:guest@localhost http://localhost:15672

An exchange of the type `x-delayed-message` (as of RabbitMQ's plugin) takes the delay from the header
`x-delay`, in milliseconds. What waits is on disk, survives restarts, and can be listed and
cancelled over HTTP (docs/admin.md).
"""

import json
import sys
import time
import urllib.request

import pika

AMQP = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost"
HTTP = sys.argv[2] if len(sys.argv) > 2 else "http://localhost:15672"
YEAR_MS = 365 * 24 * 3600 * 1000
REMINDERS = {"call back": 900, "stand up": 300, "tea is ready": 600, "renew the domain": YEAR_MS}


def ask(method, path):
    request = urllib.request.Request(f"{HTTP}/v1/queues/example.reminders/{path}", method=method)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or "null")


def main():
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    channel.queue_delete("example.reminders")
    channel.queue_declare("example.reminders", durable=True)
    channel.exchange_declare("example.later", "x-delayed-message", durable=True,
                             arguments={"x-delayed-type": "direct"})
    channel.queue_bind("example.reminders", "example.later", "reminder")
    channel.confirm_delivery()
    started = time.time()
    for text, delay_ms in REMINDERS.items():
        properties = pika.BasicProperties(headers={"x-delay": delay_ms}, delivery_mode=2)
        channel.basic_publish("example.later", "reminder", text.encode(), properties)

    waiting = ask("GET", "scheduled")
    print(f"{waiting['total']} reminders wait")
    farthest = max(waiting["scheduled"], key=lambda entry: entry["due_ms"])
    ask("DELETE", f"scheduled/{farthest['id']}")
    assert ask("GET", "scheduled")["total"] <= 3, "the one in a year is cancelled"

    came = {}
    for method, _, body in channel.consume("example.reminders", inactivity_timeout=10):
        assert method, "no reminder within ten seconds"
        came[body.decode()] = time.time() - started
        print(f"after {came[body.decode()]:.2f} s: {body.decode()}")
        channel.basic_ack(method.delivery_tag)
        if len(came) == 3:
            break
    channel.cancel()
    channel.queue_delete("example.reminders")
    channel.exchange_delete("example.later")
    connection.close()
    assert list(came) == ["stand up", "tea is ready", "call back"], "in the order of their times"
    for text, after in came.items():
        assert after >= REMINDERS[text] / 1000, f"{text} came early"


if __name__ == "__main__":
    main()
