"""Task queue: work is put into a queue, and competing workers share it out among themselves.

    python examples/task_queue.py amqp://guest:guest@localhost

A worker has one task at a time (prefetch 1) and acknowledges it when it is done, so a slow one gets
fewer and what a dying one held goes to another. The publisher's confirms say that a task is on disk.
Runs on RabbitMQ, too.
"""

import sys
import threading
from collections import Counter

import pika

AMQP = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost"
TASKS = [f"resize image {number}" for number in range(40)]

done = Counter()
by_worker = Counter()


def worker(name, dies_at=None):
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=1)
    for method, _, body in channel.consume("example.tasks", inactivity_timeout=0.1):
        if len(done) == len(TASKS):
            break
        if method is None:
            continue
        by_worker[name] += 1
        if by_worker[name] == dies_at:
            break  # It closes its connection and never acknowledges this task.
        done[body.decode()] += 1
        channel.basic_ack(method.delivery_tag)
    connection.close()


def main():
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    channel.queue_delete("example.tasks")
    channel.queue_declare("example.tasks", durable=True)
    channel.confirm_delivery()
    for task in TASKS:
        channel.basic_publish("", "example.tasks", task.encode(),
                              pika.BasicProperties(delivery_mode=2), mandatory=True)
    workers = [threading.Thread(target=worker, args=arguments)
               for arguments in [("ann",), ("bob",), ("cid", 5)]]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    print(f"{len(done)} tasks done; deliveries: {dict(by_worker)}")
    channel.queue_delete("example.tasks")
    connection.close()
    assert set(done) == set(TASKS), "each task is done"
    assert max(done.values()) == 1, "none is done twice: what the dying worker had was not done"
    assert by_worker["cid"] <= 5, "the dead worker got no more"


if __name__ == "__main__":
    main()
