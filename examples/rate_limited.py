"""Rate-limited calls to a third party: so many a second, so few at once, whoever and however many consume.

    python examples/rate_limited.py amqp://guest:guest@localhost

`x-consume-rate` and `x-max-in-flight` belong to the queue, so no worker has to know of the others. When the third
party fails, `x-breaker-*` stops all calls for a while, then tries one (docs/amqp091.md, Pace).
"""

import sys
import threading
import time

import pika

AMQP = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost"
RATE, AT_ONCE, CALLS = 50, 3, 150


class ThirdParty:
    """Notes when it was called, and by how many at once."""

    def __init__(self):
        self.lock, self.times, self.now, self.most = threading.Lock(), [], 0, 0

    def call(self):
        with self.lock:
            self.times.append(time.monotonic())
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self.lock:
            self.now -= 1


def worker(third_party):
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=10)
    for method, _, _ in channel.consume("example.calls", inactivity_timeout=0.1):
        if len(third_party.times) == CALLS:
            break
        if method:
            third_party.call()
            channel.basic_ack(method.delivery_tag)
    connection.close()


def main():
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    channel.queue_delete("example.calls")
    channel.queue_declare("example.calls", durable=True, arguments={
        "x-consume-rate": RATE, "x-consume-burst": 1, "x-max-in-flight": AT_ONCE,
        "x-breaker-failures": 5, "x-breaker-window": 10_000, "x-breaker-pause": 5_000})
    channel.confirm_delivery()
    for number in range(CALLS):
        channel.basic_publish("", "example.calls", str(number).encode())
    third_party = ThirdParty()
    workers = [threading.Thread(target=worker, args=(third_party,)) for _ in range(5)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    seconds = third_party.times[-1] - third_party.times[0]
    rate = (CALLS - 1) / seconds
    print(f"{CALLS} calls in {seconds:.2f} s: {rate:.1f} a second, {third_party.most} at once")
    channel.queue_delete("example.calls")
    connection.close()
    assert len(third_party.times) == CALLS and third_party.most <= AT_ONCE
    assert rate <= RATE * 1.2, "faster than the queue's rate"


if __name__ == "__main__":
    main()
