"""Saga with compensation: a trip of flight, hotel and car is booked whole, or what was booked is undone.

    python examples/saga.py amqp://guest:guest@localhost

Each service has a queue of commands and answers to the coordinator's queue. When a step fails, the coordinator
sends the opposite of the steps before, the last one first. It acknowledges an answer after it has
sent what follows from it, so whatever dies in between, the saga goes on; commands may come twice
then, so services remember what they did. Runs on RabbitMQ, too.
"""

import json
import sys

import pika

AMQP = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost"
STEPS = ["flight", "hotel", "car"]
CARS = 1  # Fewer than trips.


class Service:
    """Books and cancels; the same command again changes nothing."""

    def __init__(self, name, room):
        self.name, self.room, self.booked, self.log = name, room, set(), []

    def handle(self, command):
        trip, action = command["trip"], command["action"]
        if action == "cancel":
            self.booked.discard(trip)
        elif trip not in self.booked and len(self.booked) == self.room:
            return {**command, "step": self.name, "ok": False}
        else:
            self.booked.add(trip)
        self.log.append((trip, action))
        return {**command, "step": self.name, "ok": True}


def send(channel, queue, message):
    channel.basic_publish("", queue, json.dumps(message).encode(),
                          pika.BasicProperties(delivery_mode=2), mandatory=True)


def on_answer(channel, answer, finished):
    """What follows from an answer: the next step, or back to the one before."""
    at, trip = STEPS.index(answer["step"]), answer["trip"]
    action = answer["action"]
    if action == "book" and answer["ok"]:
        at += 1
    else:
        action, at = "cancel", at - 1
    if 0 <= at < len(STEPS):
        send(channel, f"example.saga.{STEPS[at]}", {"trip": trip, "action": action})
    else:
        finished[trip] = "booked" if action == "book" else "undone"


def main():
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    channel.confirm_delivery()
    services = {name: Service(name, CARS if name == "car" else 9) for name in STEPS}
    for name in [*STEPS, "answers"]:
        channel.queue_delete(f"example.saga.{name}")
        channel.queue_declare(f"example.saga.{name}", durable=True)
    trips, finished = ["lisbon", "oslo"], {}
    for trip in trips:
        send(channel, "example.saga.flight", {"trip": trip, "action": "book"})
    while len(finished) < len(trips):
        for name, service in services.items():
            method, _, body = channel.basic_get(f"example.saga.{name}")
            if method:
                send(channel, "example.saga.answers", service.handle(json.loads(body)))
                channel.basic_ack(method.delivery_tag)
        method, _, body = channel.basic_get("example.saga.answers")
        if method:
            on_answer(channel, json.loads(body), finished)
            channel.basic_ack(method.delivery_tag)
    print(finished, {name: service.log for name, service in services.items()})
    for name in [*STEPS, "answers"]:
        channel.queue_delete(f"example.saga.{name}")
    connection.close()
    assert finished == {"lisbon": "booked", "oslo": "undone"}
    assert all(service.booked == {"lisbon"} for service in services.values()), "nothing is half done"
    assert services["hotel"].log[-1] == services["flight"].log[-1] == ("oslo", "cancel")


if __name__ == "__main__":
    main()
