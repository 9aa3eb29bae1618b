"""Fan-out: one event, told by e-mail, SMS and push, each by a service of its own.

    python examples/fan_out.py amqp://guest:guest@localhost

Each service has its own queue on a fanout exchange, so each gets every event, at its own pace and
with its own retries: that the SMS gateway is down holds up no e-mail. Who publishes knows of none
of them, and a further one needs only a further queue. Runs on RabbitMQ, too.
"""

import sys

import pika

AMQP = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost"
SERVICES = ("email", "sms", "push")
EVENTS = [f"parcel {number} is on its way" for number in range(5)]


def drain(channel, queue, send):
    """Gives the messages of a queue to `send`; the first that it cannot send goes back."""
    while (got := channel.basic_get(queue))[0]:
        method, _, body = got
        if not send(body.decode()):
            channel.basic_nack(method.delivery_tag, requeue=True)
            return
        channel.basic_ack(method.delivery_tag)


def main():
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    channel.exchange_declare("example.notifications", "fanout", durable=True)
    for service in SERVICES:
        channel.queue_delete(f"example.notify.{service}")
        channel.queue_declare(f"example.notify.{service}", durable=True)
        channel.queue_bind(f"example.notify.{service}", "example.notifications")
    channel.confirm_delivery()
    for event in EVENTS:
        channel.basic_publish("example.notifications", "", event.encode(),
                              pika.BasicProperties(delivery_mode=2), mandatory=True)

    sent = {service: [] for service in SERVICES}

    def gateway(service, is_up=True):
        def send(text):
            if is_up:
                sent[service].append(text)
            return is_up
        return send

    drain(channel, "example.notify.email", gateway("email"))
    drain(channel, "example.notify.push", gateway("push"))
    drain(channel, "example.notify.sms", gateway("sms", is_up=False))
    print({service: len(texts) for service, texts in sent.items()}, "while the SMS gateway is down")
    assert sent["email"] == sent["push"] == EVENTS and not sent["sms"]
    drain(channel, "example.notify.sms", gateway("sms"))
    print({service: len(texts) for service, texts in sent.items()}, "when it is up again")
    for service in SERVICES:
        channel.queue_delete(f"example.notify.{service}")
    channel.exchange_delete("example.notifications")
    connection.close()
    assert sent["sms"] == EVENTS, "and in order"


if __name__ == "__main__":
    main()
