"""Retry with backoff, then dead letter, then redrive.

    python examples/retry_and_redrive.py amqp://guest:guest@localhost http://localhost:15672

The queue decides: a message that is rejected waits 100 ms, then 200, then 400; when it fails once
more it is a dead letter. Nothing of that is in the consumer. Dead letters can be looked at without taking
them, and when the cause is mended, all, some or one go back to where they died, as fast as one says.
"""

import json
import sys
import time
import urllib.request

import pika

AMQP = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost"
HTTP = sys.argv[2] if len(sys.argv) > 2 else "http://localhost:15672"
FAILED = "example.letters.failed"
ARGUMENTS = {
    "x-queue-type": "quorum", "x-delivery-limit": 3,
    "x-delayed-retry-type": "failed", "x-delayed-retry-min": 100, "x-delayed-retry-multiplier": 2,
    "x-dead-letter-exchange": "", "x-dead-letter-routing-key": FAILED,
}
LETTERS = ["to alice@example.org", "to nobody@nowhere", "to bob@example.org"]


def consume(channel, is_mended, until):
    """Sends letters until so many are sent or given up; gives those sent and when each was tried."""
    sent, tried = [], {}
    for method, _, body in channel.consume("example.letters", inactivity_timeout=0.05):
        if method:
            letter = body.decode()
            tried.setdefault(letter, []).append(time.monotonic())
            if "nowhere" in letter and not is_mended:
                channel.basic_reject(method.delivery_tag, requeue=True)
            else:
                sent.append(letter)
                channel.basic_ack(method.delivery_tag)
        dead = channel.queue_declare(FAILED, passive=True).method.message_count
        if len(sent) + dead == until:
            break
    channel.cancel()
    return sent, tried


def ask(method, path, body=None):
    request = urllib.request.Request(f"{HTTP}/v1/{path}", method=method,
                                     data=None if body is None else json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def redrive():
    """Has the dead letters go back, ten a second; gives how many did."""
    for message in ask("GET", f"queues/{FAILED}/messages")["messages"]:
        print(f"{message['value']!r} is a dead letter, {message['state']}")
    task = ask("POST", f"queues/{FAILED}/redrive", {"rate": 10})["id"]
    while (progress := ask("GET", f"redrives/{task}"))["state"] == "running":
        time.sleep(0.02)
    assert progress["state"] == "done", progress
    return progress["moved"]


def main():
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    for queue, arguments in [(FAILED, {}), ("example.letters", ARGUMENTS)]:
        channel.queue_delete(queue)
        channel.queue_declare(queue, durable=True, arguments=arguments)
    channel.confirm_delivery()
    for letter in LETTERS:
        channel.basic_publish("", "example.letters", letter.encode(),
                              pika.BasicProperties(delivery_mode=2))
    sent, tried = consume(channel, is_mended=False, until=3)
    times = tried["to nobody@nowhere"]
    waits = [after - before for before, after in zip(times, times[1:])]
    print(f"sent {sent}; gave up after waits of {[f'{wait:.2f} s' for wait in waits]}")
    moved = redrive()
    again, _ = consume(channel, is_mended=True, until=1)
    print(f"sent {again} when it was mended")
    for queue in ("example.letters", FAILED):
        channel.queue_delete(queue)
    connection.close()
    assert sent == [LETTERS[0], LETTERS[2]] and (moved, again) == (1, [LETTERS[1]])
    assert len(waits) == 3, "tried four times"
    assert all(wait >= delay for wait, delay in zip(waits, (0.1, 0.2, 0.4))), waits


if __name__ == "__main__":
    main()
