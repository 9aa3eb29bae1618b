"""Retry with backoff, then dead letter, then redrive.

    python examples/retry_and_redrive.py amqp://guest:guest@localhost

The queue decides: a message that is rejected waits 100 ms, then 200, then 400; after its third
failure too many it is a dead letter. Nothing of that is in the consumer. When the cause is
mended, the dead letters go back to where they came from, which their header `x-death` tells.
"""

import sys
import time

import pika

AMQP = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost"
ARGUMENTS = {
    "x-queue-type": "quorum", "x-delivery-limit": 3,
    "x-delayed-retry-type": "failed", "x-delayed-retry-min": 100, "x-delayed-retry-multiplier": 2,
    "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "example.letters.failed",
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
        dead = channel.queue_declare("example.letters.failed", passive=True).method.message_count
        if len(sent) + dead == until:
            break
    channel.cancel()
    return sent, tried


def redrive(channel):
    """Publishes every dead letter to the queue that it died in."""
    while (got := channel.basic_get("example.letters.failed"))[0]:
        method, properties, body = got
        death = properties.headers["x-death"][0]
        print(f"{body.decode()!r} died in {death['queue']}: {death['reason']}")
        # The publish is confirmed before the dead letter is acknowledged: nothing can be lost.
        channel.basic_publish("", death["queue"], body, pika.BasicProperties(delivery_mode=2))
        channel.basic_ack(method.delivery_tag)


def main():
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    for queue, arguments in [("example.letters.failed", {}), ("example.letters", ARGUMENTS)]:
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
    redrive(channel)
    again, _ = consume(channel, is_mended=True, until=1)
    print(f"sent {again} when it was mended")
    for queue in ("example.letters", "example.letters.failed"):
        channel.queue_delete(queue)
    connection.close()
    assert sent == [LETTERS[0], LETTERS[2]] and again == [LETTERS[1]]
    assert len(waits) == 3, "tried four times"
    assert all(wait >= delay for wait, delay in zip(waits, (0.1, 0.2, 0.4))), waits


if __name__ == "__main__":
    main()
