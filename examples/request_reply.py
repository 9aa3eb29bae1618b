"""Request and reply: a client asks a service through a queue and waits for the answer.

    python examples/request_reply.py amqp://guest:guest@localhost

The answers come over `amq.rabbitmq.reply-to`, a queue that need not be declared and belongs to the
client's connection. The correlation id tells which answer is whose. A request that nobody
takes in time expires, so that no service works for a client that has gone. Runs on RabbitMQ, too.
"""

import sys
import threading
import uuid

import pika

AMQP = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost"
PRICES = {"apple": 30, "bread": 250, "cheese": 480}


def service(ready, stop):
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=1)
    ready.set()
    for method, request, body in channel.consume("example.prices", inactivity_timeout=0.1):
        if stop.is_set():
            break
        if method is None:
            continue
        price = str(PRICES.get(body.decode(), "unknown"))
        channel.basic_publish("", request.reply_to, price.encode(),
                              pika.BasicProperties(correlation_id=request.correlation_id))
        channel.basic_ack(method.delivery_tag)
    connection.close()


class Client:
    """Asks, and gives the answer, or None when there is none in time."""

    def __init__(self):
        self.connection = pika.BlockingConnection(pika.URLParameters(AMQP))
        self.channel = self.connection.channel()
        self.answers = {}
        self.channel.basic_consume("amq.rabbitmq.reply-to", self.on_answer, auto_ack=True)

    def on_answer(self, _channel, _method, properties, body):
        self.answers[properties.correlation_id] = body.decode()

    def ask(self, queue, text, seconds=10.0):
        request = pika.BasicProperties(
            reply_to="amq.rabbitmq.reply-to", correlation_id=uuid.uuid4().hex,
            expiration=str(int(seconds * 1000)))
        self.channel.basic_publish("", queue, text.encode(), request)
        for _ in range(100):
            self.connection.process_data_events(seconds / 100)
            if request.correlation_id in self.answers:
                return self.answers.pop(request.correlation_id)
        return None


def main():
    client = Client()
    for queue in ("example.prices", "example.nobody"):
        client.channel.queue_delete(queue)
        client.channel.queue_declare(queue)
    ready, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=service, args=(ready, stop))
    thread.start()
    ready.wait()
    answers = {item: client.ask("example.prices", item) for item in [*PRICES, "plutonium"]}
    print(answers)
    unanswered = client.ask("example.nobody", "anyone there?", seconds=0.5)
    stop.set()
    thread.join()
    for _ in range(100):
        left = client.channel.queue_declare("example.nobody", passive=True).method.message_count
        if left == 0:
            break
        client.connection.sleep(0.05)
    for queue in ("example.prices", "example.nobody"):
        client.channel.queue_delete(queue)
    client.connection.close()
    assert answers == {"apple": "30", "bread": "250", "cheese": "480", "plutonium": "unknown"}
    assert unanswered is None and left == 0, "the request that nobody took has expired"


if __name__ == "__main__":
    main()
