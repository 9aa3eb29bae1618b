"""pika: messages that recur, asked for over Crossdock's own HTTP API. No RabbitMQ has them."""

from amqp_pika import Consumer, close, connect, drain, get, queue, with_channel
from casebook import case, restart_server, same, wait_for
from messages import ask, v1

OURS = ["crossdock"]


def durable(channel, **arguments):
    return queue(channel, durable=True, arguments=arguments)


def recur(name, recurrence, value="tick", **more):
    """Has a message recur each second, unless told otherwise."""
    when = more if "every_ms" in more or "cron" in more else {"cron": "* * * * * *", **more}
    headers = when.pop("headers", {})
    body = {"message": {"value": value, "headers": headers}, **when}
    return v1("PUT", f"queues/{name}/recurring/{recurrence}", body)


def due(properties):
    return int(properties.headers["x-recurrence-due"])


def listed(name, **query):
    return v1("GET", f"queues/{name}/recurring", **query)


def pass_a_second(channel):
    """Waits until another message that recurs each second has come twice: what is due came, too."""
    name = durable(channel)
    recur(name, "witness")
    wait_for(lambda: listed(name)["recurring"][0]["fired"] >= 2, "a second has passed")
    channel.queue_delete(name)


@case(only=OURS)
@with_channel
def message_comes_each_second_and_says_for_when(channel):
    name = durable(channel)
    made = recur(name, "each second", headers={"type": "reminder", "colour": "red"})
    same((made["cron"], made["time_zone"], made["paused"], made["fired"]),
         ("* * * * * *", "UTC", False, 0))
    consumer = Consumer(channel, name)
    consumer.wait(3)
    for number, (_, properties, body) in enumerate(consumer.deliveries[:3]):
        same((body, properties.type, properties.headers["colour"]), (b"tick", "reminder", "red"))
        same(properties.headers["x-recurrence"], "each second")
        same(due(properties), made["next_due_ms"] + 1_000 * number)
    entry = listed(name)["recurring"][0]
    assert entry["fired"] >= 3, entry
    assert entry["next_due_ms"] > made["next_due_ms"], entry
    v1("DELETE", f"queues/{name}/recurring/each second")
    same(listed(name), {"recurring": [], "next": None, "total": 0})
    came = len(consumer.settle())
    pass_a_second(channel)
    same(len(consumer.settle()), came)
    same(ask("DELETE", f"queues/{name}/recurring/each second")[0], 404)
    channel.queue_delete(name)


@case(only=OURS)
@with_channel
def it_is_listed_by_name_and_goes_with_its_queue(channel):
    name = durable(channel)
    for number in range(5):
        recur(name, f"r{number}", every_ms=3_600_000)
    page = listed(name, count=2)
    same(([entry["name"] for entry in page["recurring"]], page["next"], page["total"]),
         (["r0", "r1"], "r2", 5))
    page = listed(name, **{"from": "r3"})
    same(([entry["name"] for entry in page["recurring"]], page["next"]), (["r3", "r4"], None))
    one = v1("GET", f"queues/{name}/recurring/r3")
    same((one["every_ms"], one["message"]["value"]), (3_600_000, "tick"))
    same(ask("GET", f"queues/{name}/recurring/r9")[0], 404)
    channel.queue_delete(name)
    same(ask("GET", f"queues/{name}/recurring")[0], 404)
    name = durable(channel)
    same(listed(name)["total"], 0)
    channel.queue_delete(name)


@case(only=OURS)
@with_channel
def same_again_goes_on_and_another_begins_anew(channel):
    name = durable(channel)
    first = recur(name, "r", every_ms=1_000)
    wait_for(lambda: listed(name)["recurring"][0]["fired"] > 0, "it has come")
    body = {"message": {"value": "tick"}, "every_ms": 1_000}
    status, again = ask("PUT", f"queues/{name}/recurring/r", body)
    same(status, 200)
    assert again["fired"] > 0 and again["next_due_ms"] > first["next_due_ms"], again
    other = recur(name, "r", value="tock", every_ms=60_000)
    same((other["fired"], other["every_ms"], other["message"]["value"]), (0, 60_000, "tock"))
    channel.queue_delete(name)


@case(only=OURS)
@with_channel
def it_ends_after_its_count(channel):
    name = durable(channel)
    recur(name, "r", every_ms=1_000, count=2)
    wait_for(lambda: listed(name)["total"] == 0, "it has ended")
    same(drain(channel, name), [b"tick", b"tick"])
    channel.queue_delete(name)


@case(only=OURS)
@with_channel
def it_can_be_stopped_and_continued(channel):
    name = durable(channel)
    recur(name, "r")
    stopped = v1("POST", f"queues/{name}/recurring/r/pause")
    same((stopped["paused"], stopped["next_due_ms"]), (True, None))
    drain(channel, name)
    pass_a_second(channel)
    same(drain(channel, name), [])
    going = v1("POST", f"queues/{name}/recurring/r/resume")
    _, properties, _ = get(channel, name)
    same(due(properties), going["next_due_ms"])
    same(ask("POST", f"queues/{name}/recurring/other/pause")[0], 404)
    channel.queue_delete(name)


@case(only=OURS)
@with_channel
def it_has_priority_time_to_live_and_an_id(channel):
    name = durable(channel, **{"x-max-priority": 9})
    recur(name, "low", every_ms=1_000, count=1, value="low", headers={"priority": "1"})
    wait_for(lambda: listed(name)["total"] == 0, "the first has come")
    recur(name, "high", every_ms=1_000, count=1, value="high", headers={"priority": "7"})
    wait_for(lambda: listed(name)["total"] == 0, "the second has come")
    same(drain(channel, name), [b"high", b"low"])
    channel.queue_delete(name)
    name = durable(channel)
    recur(name, "brief", every_ms=1_000, count=1, headers={"expiration": "1"})
    wait_for(lambda: listed(name)["total"] == 0, "it has come")
    wait_for(lambda: channel.queue_declare(name, passive=True).method.message_count == 0,
             "it has expired")
    channel.queue_delete(name)
    # While one of it is there no other comes.
    name = durable(channel, **{"x-message-deduplication": True})
    recur(name, "one", every_ms=1_000, count=3, headers={"x-deduplication-header": "one"})
    wait_for(lambda: listed(name)["total"] == 0, "it has ended")
    same(drain(channel, name), [b"tick"])
    channel.queue_delete(name)


WRONG = [
    {"cron": "* * * *"},
    {"cron": "61 * * * *"},
    {"cron": "* * * * *", "time_zone": "Europe/Atlantis"},
    {"cron": "0 0 30 2 *"},
    {"cron": "* * * * *", "every_ms": 1000},
    {"every_ms": 999},
    {"every_ms": 1000, "time_zone": "UTC"},
    {"every_ms": 1000, "end_ms": 1},
    {"every_ms": 1000, "count": 0},
    {"every_ms": 1000, "missed": "perhaps"},
    {"every_ms": 1000, "message": {"value": "", "delay_ms": 1}},
    {"every_ms": "often"},
    {},
]


@case(each=WRONG, only=OURS)
def what_is_wrong_is_told(fields):
    connection = connect()
    channel = connection.channel()
    name = durable(channel)
    body = {"message": {"value": "tick"}, **fields}
    status, answer = ask("PUT", f"queues/{name}/recurring/r", body)
    same((status, answer["error"]["kind"]), (400, "invalid"), answer)
    same(listed(name)["total"], 0)
    channel.queue_delete(name)
    close(connection)


@case(only=OURS)
@with_channel
def limits_are_told(channel):
    name = durable(channel)
    body = {"every_ms": 1000, "message": {"value": "x" * (65 << 10)}}
    status, answer = ask("PUT", f"queues/{name}/recurring/r", body)
    same((status, answer["error"]["kind"]), (413, "too_large"))
    status, answer = ask("PUT", f"queues/{name}/recurring/{'r' * 256}",
                         {"every_ms": 1000, "message": {"value": ""}})
    same((status, answer["error"]["kind"]), (400, "invalid"))
    same(ask("PUT", "queues/none-of-this-name/recurring/r",
             {"every_ms": 1000, "message": {"value": ""}})[0], 404)
    channel.queue_delete(name)


@case(restart=True, only=OURS)
def it_goes_on_after_a_restart_and_each_time_has_one_message():
    connection = connect()
    channel = connection.channel()
    name = durable(channel)
    made = recur(name, "r")
    wait_for(lambda: listed(name)["recurring"][0]["fired"] > 0, "it has come")

    restart_server()

    close(connection)
    connection = connect()
    channel = connection.channel()
    before = listed(name)["recurring"][0]["fired"]
    wait_for(lambda: listed(name)["recurring"][0]["fired"] > before + 1, "it goes on")
    v1("DELETE", f"queues/{name}/recurring/r")
    dues = []
    while True:
        method, properties, _ = channel.basic_get(name, auto_ack=True)
        if method is None:
            break
        dues.append(due(properties))
    same(dues, sorted(set(dues)), "each once, in order")
    same({time % 1_000 for time in dues}, {0})
    same(dues[0], made["next_due_ms"])
    channel.queue_delete(name)
    close(connection)
