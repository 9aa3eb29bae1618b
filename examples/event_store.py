"""Event store with projections: accounts are their events, and balances are read from those.

    python examples/event_store.py amqp://guest:guest@localhost http://localhost:15672 localhost:9092

A topic with `crossdock.key.index` finds the events of one key without reading the others. A decision is made from
an account's events, and its own event is appended only if the last one is still the last (`expect_offset`); who
comes too late reads again and decides again. A projection reads the topic with Kafka's client.
"""

import json
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter

from confluent_kafka import Consumer

HTTP = sys.argv[2] if len(sys.argv) > 2 else "http://localhost:15672"
KAFKA = sys.argv[3] if len(sys.argv) > 3 else "localhost:9092"
TOPIC = "example-accounts"


def ask(method, path, body=None):
    """The status and the JSON of the answer."""
    request = urllib.request.Request(f"{HTTP}/v1/topics/{TOPIC}{path}", method=method,
                                     data=None if body is None else json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read() or "null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or "null")


def history(account):
    """The events of an account, the oldest first, and the offset of the last; None where there is none."""
    events, start = [], ""
    while start is not None:
        status, page = ask("GET", f"/events?key={account}{start}")
        assert status == 200, page
        events += page["events"]
        start = None if page["next"] is None else f"&from={page['next']}"
    return [json.loads(event["value"]) for event in events], events[-1]["offset"] if events else None


def append(account, last, event):
    """Whether the event was appended, as none had come after `last`."""
    expected = {"expect_absent": True} if last is None else {"expect_offset": last}
    message = {"key": account, "value": json.dumps(event)}
    status, answer = ask("POST", "/publish", {"messages": [message], **expected})
    assert status in (200, 409), answer
    return status == 200


def withdraw(account, cents, outcomes):
    while True:
        events, last = history(account)
        if sum(event["cents"] for event in events) < cents:
            outcomes["refused"] += 1
            return
        if append(account, last, {"what": "withdrawn", "cents": -cents}):
            outcomes["withdrawn"] += 1
            return
        outcomes["too late"] += 1


def project(count):
    """Balances of all accounts, from all events."""
    consumer = Consumer({"bootstrap.servers": KAFKA, "group.id": "balances",
                         "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([TOPIC])
    balances = Counter()
    for _ in range(count):
        message = consumer.poll(20)
        assert message is not None and not message.error(), message and message.error()
        balances[message.key().decode()] += json.loads(message.value())["cents"]
    consumer.close()
    return balances


def main():
    ask("DELETE", "")
    config = {"crossdock.key.index": "true", "retention.ms": "-1"}
    status, answer = ask("PUT", "", {"partitions": 2, "config": config})
    assert status == 201, answer
    for account, cents in [("ann", 100), ("bob", 70)]:
        assert append(account, None, {"what": "opened", "cents": cents})
    assert not append("ann", None, {"what": "opened", "cents": 1}), "an account is opened once"
    outcomes = Counter()
    tellers = [threading.Thread(target=withdraw, args=("ann", 40, outcomes)) for _ in range(8)]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join()
    balances = project(4)
    print(f"eight tellers: {dict(outcomes)}; balances: {dict(balances)}")
    events, _ = history("ann")
    ask("DELETE", "")
    assert [event["cents"] for event in events] == [100, -40, -40], "never overdrawn"
    assert (outcomes["withdrawn"], outcomes["refused"]) == (2, 6)
    assert balances == {"ann": 20, "bob": 70}


if __name__ == "__main__":
    main()
