"""pika and the management API: what tools read of queues, exchanges, bindings and the broker."""

from amqp_pika import VERSION, close, connect, publish
from casebook import AMQP, case, same, unique, wait_for
from management import ask, get, quote

__all__ = ["VERSION"]

# Fields that both have whatever happened, with what they say of a new queue.
QUEUE = {"vhost": "/", "durable": True, "auto_delete": False, "exclusive": False,
         "arguments": {}, "type": "classic"}
BINDING = {"source", "vhost", "destination", "destination_type", "routing_key", "arguments",
           "properties_key"}


def path(*parts):
    return "/".join(quote(part, safe="") for part in parts)


def counted(queue, **wanted):
    """The queue when its counts are so; RabbitMQ looks every five seconds."""
    def look():
        found = get(path("queues", "/", queue))
        return found if all(found.get(name) == value for name, value in wanted.items()) else None
    return wait_for(look, f"{queue} with {wanted}", pause=0.2)


@case
def api_shows_a_queue_and_its_counts():
    connection = connect()
    channel = connection.channel()
    queue = unique("api")
    channel.queue_declare(queue, durable=True)
    for _ in range(3):
        publish(channel, queue, b"x")
    channel.basic_get(queue)
    found = counted(queue, messages=3, messages_ready=2, messages_unacknowledged=1, consumers=0)
    for name, value in QUEUE.items():
        same(found[name], value, name)
    for name in ["messages_details", "messages_ready_details", "messages_unacknowledged_details"]:
        same(list(found[name]), ["rate"], name)
    for name in ["state", "node", "policy", "effective_policy_definition", "message_bytes"]:
        assert name in found, name
    stats = found["message_stats"]
    same((stats["publish"], stats["deliver_get"]), (3, 1))
    assert stats["publish_details"]["rate"] >= 0
    channel.queue_delete(queue)
    close(connection)


@case
def api_pages_lists_as_keda_asks_for_them():
    connection = connect()
    channel = connection.channel()
    prefix = unique("page")
    names = [f"{prefix}-{letter}" for letter in "abc"]
    for name in names:
        channel.queue_declare(name)
    query = "page=1&use_regex=true&pagination=false&name=%5E" + prefix + "&page_size=100"
    found = wait_for(lambda: [it for it in [get(f"queues/%2F?{query}")]
                              if it["filtered_count"] == 3], "all three")[0]
    same(sorted(it["name"] for it in found["items"]), names)
    same({name: found[name] for name in ["page", "page_size", "page_count", "item_count"]},
         {"page": 1, "page_size": 100, "page_count": 1, "item_count": 3})
    found = get(f"queues?page=2&page_size=2&name={prefix.upper()}&sort=name&columns=name,vhost")
    same(found["items"], [{"name": names[2], "vhost": "/"}])
    found = get(f"queues?page=1&page_size=2&name={prefix}&sort=name&sort_reverse=true&columns=name")
    same(found["items"], [{"name": names[2]}, {"name": names[1]}])
    same(ask("GET", f"queues?page=7&name={prefix}"), (400, {
        "error": "page_out_of_range", "reason": "Page out of range, page: 7 page size: 100, len: 3"}))
    for wrong in ["page=0", "page=x", "page=1&page_size=501"]:
        same(ask("GET", f"queues?{wrong}")[0], 400, wrong)
    for name in names:
        channel.queue_delete(name)
    close(connection)


@case
def api_shows_exchanges_and_bindings():
    connection = connect()
    channel = connection.channel()
    queue, exchange = unique("bound"), unique("source")
    channel.queue_declare(queue)
    channel.exchange_declare(exchange, "topic", auto_delete=True,
                             arguments={"alternate-exchange": "amq.fanout"})
    channel.queue_bind(queue, exchange, "a.#")
    channel.queue_bind(queue, exchange, "k k/~")
    channel.exchange_bind("amq.fanout", exchange, "b")
    found = get(path("exchanges", "/", exchange))
    same({name: found[name] for name in [
        "name", "vhost", "type", "durable", "auto_delete", "internal", "arguments", "incoming",
        "outgoing"]},
        {"name": exchange, "vhost": "/", "type": "topic", "durable": False, "auto_delete": True,
         "internal": False, "arguments": {"alternate-exchange": "amq.fanout"}, "incoming": [],
         "outgoing": []})
    bindings = get(path("exchanges", "/", exchange, "bindings", "source"))
    same(sorted((it["destination_type"], it["properties_key"]) for it in bindings),
         [("exchange", "b"), ("queue", "a.%23"), ("queue", "k+k%2F%7E")])
    same({field for it in bindings for field in it}, BINDING)
    keys = [it["properties_key"] for it in get(path("queues", "/", queue, "bindings"))]
    same(sorted(keys), sorted([queue, "a.%23", "k+k%2F%7E"]))
    between = path("bindings", "/", "e", exchange, "q", queue)
    same(len(get(between)), 2)
    for key in ["a.%23", "a.#", "k+k%2F%7E"]:
        same(get(f"{between}/{quote(key, safe='')}")["destination"], queue, key)
    same(ask("GET", f"{between}/none"), (404, {
        "error": "Object Not Found", "reason": "Not Found"}))
    same(get(path("bindings", "/", "e", exchange, "e", "amq.fanout"))[0]["routing_key"], "b")
    channel.queue_delete(queue)
    close(connection)


@case
def api_shows_the_broker():
    found = get("overview")
    for name in ["management_version", "rabbitmq_version", "cluster_name", "node", "rates_mode",
                 "message_stats", "queue_totals", "object_totals", "exchange_types", "listeners"]:
        assert name in found, name
    same(set(found["object_totals"]),
         {"channels", "connections", "consumers", "exchanges", "queues"})
    node, = get("nodes")
    for name in ["name", "running", "type", "mem_used", "mem_limit", "mem_alarm", "disk_free",
                 "disk_free_alarm", "sockets_used", "uptime", "processors", "partitions"]:
        assert name in node, name
    same(get(path("nodes", node["name"]))["running"], True)
    assert get("cluster-name")["name"]


@case
def health_checks_pass():
    # A login that is counted.
    close(connect())
    port = int(AMQP.rsplit(":", 1)[1])
    for check, answer in [
            ("alarms", {"status": "ok"}),
            ("local-alarms", {"status": "ok"}),
            ("virtual-hosts", {"status": "ok"}),
            (f"port-listener/{port}", {"status": "ok", "port": port}),
            ("protocol-listener/amqp091", {"status": "ok", "protocol": "amqp"}),
            ("node-is-quorum-critical", {"status": "ok", "reason": "single node cluster"}),
            ("node-is-mirror-sync-critical", {"status": "ok", "reason": "single node cluster"}),
            ("certificate-expiration/1/months", {"status": "ok"})]:
        same(get(f"health/checks/{check}"), answer, check)
    same(get("aliveness-test/%2F"), {"status": "ok"})
    status, answer = ask("GET", "health/checks/port-listener/1")
    same((status, answer["status"], answer["reason"], answer["missing"]),
         (503, "failed", "No active listener", 1))
    status, answer = ask("GET", "health/checks/protocol-listener/bogus")
    same((status, answer["status"], answer["missing"]), (503, "failed", "bogus"))
    for wrong in ["port-listener/x", "certificate-expiration/x/days", "certificate-expiration/1/x"]:
        same(ask("GET", f"health/checks/{wrong}")[0], 400, wrong)
    same(get("user-limits"), [])
    same({it["state"] for it in get("feature-flags")}, {"enabled"})
    node = quote(get("overview")["node"], safe="")
    assert any(it["protocol"] == "amqp091" for it in get(f"auth/attempts/{node}"))
