"""pika and the management API: what tools declare, publish, take and delete."""

import json
import os
import subprocess

import pika

from amqp_pika import VERSION, close, connect, get as take
from casebook import ADMIN, TARGET, case, same, unique
from management import ask, delete, get, new_user, permit, post, put, quote

__all__ = ["VERSION"]

PROPERTIES = {"content_type": "text/plain", "content_encoding": "utf-8", "delivery_mode": 2,
              "priority": 3, "correlation_id": "c", "reply_to": "r", "expiration": "600000",
              "message_id": "m", "timestamp": 1700000000, "type": "t", "user_id": "guest",
              "app_id": "a", "headers": {"text": "t", "number": 1, "flag": True, "list": [1, "a"]}}


def path(*parts):
    return "/".join(quote(part, safe="") for part in parts)


def message(key, payload="x", encoding="string", **properties):
    return {"properties": properties, "routing_key": key, "payload": payload,
            "payload_encoding": encoding}


def look(queue, ackmode="ack_requeue_true", count=10, encoding="auto", **more):
    return post(path("queues", "/", queue, "get"),
                {"count": count, "ackmode": ackmode, "encoding": encoding, **more})


@case
def api_declares_as_the_terraform_provider_does():
    queue, exchange = unique("queue"), unique("exchange")
    same(put(path("queues", "/", queue), {
        "type": "classic", "vhost": "/", "durable": True, "auto_delete": False,
        "arguments": {"x-message-ttl": 600000}}), 201)
    same(put(path("exchanges", "/", exchange), {
        "type": "topic", "durable": True, "auto_delete": False, "arguments": {}}), 201)
    status, _ = ask("POST", path("bindings", "/", "e", exchange, "q", queue), {
        "source": exchange, "vhost": "/", "destination": queue, "destination_type": "q",
        "routing_key": "a.#", "arguments": {}, "properties_key": ""})
    same(status, 201)
    bound, = get(path("bindings", "/", "e", exchange, "q", queue))
    same(bound["properties_key"], "a.%23")
    same(get(path("queues", "/", queue))["arguments"], {"x-message-ttl": 600000})
    same(get(path("exchanges", "/", exchange))["type"], "topic")
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(queue, durable=True, arguments={"x-message-ttl": 600000})
    channel.basic_publish(exchange, "a.b", b"routed")
    same(take(channel, queue)[2], b"routed")
    delete(path("bindings", "/", "e", exchange, "q", queue, "a.%23"))
    delete(path("exchanges", "/", exchange))
    delete(path("queues", "/", queue))
    same(ask("DELETE", path("queues", "/", queue))[0], 404)
    close(connection)


@case
def api_publishes_what_pika_gets():
    connection = connect()
    channel = connection.channel()
    queue = unique("posted")
    channel.queue_declare(queue)
    to = "exchanges/%2F/amq.default/publish"
    same(post(to, message(queue, "text", **PROPERTIES)), {"routed": True})
    same(post(to, message(queue, "/wA=", "base64")), {"routed": True})
    same(post(to, message(unique("nowhere"))), {"routed": False})
    method, properties, body = take(channel, queue)
    same((method.exchange, method.routing_key, body), ("", queue, b"text"))
    for name, value in PROPERTIES.items():
        same(getattr(properties, name), value, name)
    _, properties, body = take(channel, queue)
    same((body, properties.headers, properties.delivery_mode), (b"\xff\0", None, None))
    channel.queue_delete(queue)
    close(connection)


@case
def api_gets_what_pika_publishes():
    connection = connect()
    channel = connection.channel()
    queue = unique("looked")
    channel.queue_declare(queue)
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"text", pika.BasicProperties(**PROPERTIES))
    channel.basic_publish("", queue, b"\xff\xfe")
    found = look(queue)
    same([(it["payload"], it["payload_encoding"], it["payload_bytes"], it["message_count"],
           it["redelivered"], it["exchange"], it["routing_key"]) for it in found],
         [("text", "string", 4, 1, False, "", queue), ("//4=", "base64", 2, 0, False, "", queue)])
    same(found[0]["properties"], PROPERTIES)
    same(found[1]["properties"], [])
    found = look(queue, "reject_requeue_true", 1, "base64", truncate=3)
    same([(it["payload"], it["redelivered"]) for it in found], [("dGV4", True)])
    same(len(look(queue, "ack_requeue_false", 1)), 1)
    same(len(look(queue, "reject_requeue_false")), 1)
    same(look(queue), [])
    channel.queue_delete(queue)
    close(connection)


REFUSED = {
    "another_durability": ("PUT", "queues/%2F/QUEUE", {"durable": True}),
    "not_boolean": ("PUT", "queues/%2F/NEW", {"durable": "x"}),
    "negative_ttl": ("PUT", "queues/%2F/NEW", {"arguments": {"x-message-ttl": -1}}),
    "reserved_queue": ("PUT", "queues/%2F/amq.new", {}),
    "no_vhost": ("PUT", "queues/none/NEW", {}),
    "another_type": ("PUT", "exchanges/%2F/amq.topic", {"type": "direct", "durable": True}),
    "unknown_type": ("PUT", "exchanges/%2F/NEW", {"type": "nope"}),
    "default_exchange": ("PUT", "exchanges/%2F/amq.default", {"type": "direct"}),
    "delete_system": ("DELETE", "exchanges/%2F/amq.direct", None),
    "delete_absent": ("DELETE", "queues/%2F/NEW", None),
    "purge_absent": ("DELETE", "queues/%2F/NEW/contents", None),
    "bind_no_exchange": ("POST", "bindings/%2F/e/none/q/QUEUE", {}),
    "bind_no_queue": ("POST", "bindings/%2F/e/amq.topic/q/none", {}),
    "publish_no_exchange": ("POST", "exchanges/%2F/none/publish", message("k")),
    "publish_no_properties": ("POST", "exchanges/%2F/amq.topic/publish", {
        "routing_key": "k", "payload": "", "payload_encoding": "string"}),
    "publish_encoding": ("POST", "exchanges/%2F/amq.topic/publish", message("k", "", "no")),
    "publish_base64": ("POST", "exchanges/%2F/amq.topic/publish", message("k", "?", "base64")),
    "publish_priority": ("POST", "exchanges/%2F/amq.topic/publish", message("k", priority="x")),
    "get_absent": ("POST", "queues/%2F/none/get", {
        "count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}),
    "get_encoding": ("POST", "queues/%2F/QUEUE/get", {
        "count": 1, "ackmode": "ack_requeue_true", "encoding": "no"}),
    "get_no_ackmode": ("POST", "queues/%2F/QUEUE/get", {"count": 1, "encoding": "auto"}),
    "unknown_action": ("POST", "queues/%2F/QUEUE/actions", {"action": "no"}),
}
TOLD = {
    "another_durability": (400, "inequivalent arg 'durable' for queue 'QUEUE' in vhost '/': "
                                "received 'true' but current is 'false'"),
    "not_boolean": (400, ["not_boolean", "x"]),
    "negative_ttl": (400, "invalid arg 'x-message-ttl' for queue 'NEW' in vhost '/': "
                          "{value_negative,-1}"),
    "reserved_queue": (401, "Access refused."),
    "no_vhost": (404, "vhost_not_found"),
    "another_type": (400, "inequivalent arg 'type' for exchange 'amq.topic' in vhost '/': "
                          "received 'direct' but current is 'topic'"),
    "unknown_type": (400, "unknown exchange type 'nope'"),
    "default_exchange": (401, "Access refused."),
    "delete_system": (401, "Access refused."),
    "delete_absent": (404, "Not Found"),
    "purge_absent": (404, "Not Found"),
    "bind_no_exchange": (404, "no exchange 'none' in vhost '/'"),
    "bind_no_queue": (404, "no queue 'none' in vhost '/'"),
    "publish_no_exchange": (400, "404 NOT_FOUND - no exchange 'none' in vhost '/'"),
    "publish_no_properties": (400, "[{key_missing,properties}]"),
    "publish_encoding": (400, ["unsupported_encoding", "no"]),
    "publish_base64": (400, ["not_base64", "?"]),
    "publish_priority": (400, ["not_int", "priority"]),
    "get_absent": (404, "NOT_FOUND - no queue 'none' in vhost '/'"),
    "get_encoding": (400, "Unsupported encoding. Please use auto or base64."),
    "get_no_ackmode": (400, "[{key_missing,ackmode}]"),
    "unknown_action": (400, ["unknown", "no"]),
}


@case(each=sorted(REFUSED))
def api_refuses(what):
    connection = connect()
    queue, new = unique("there"), unique("new")
    connection.channel().queue_declare(queue, exclusive=False, auto_delete=False)
    method, where, body = REFUSED[what]
    status, answer = ask(method, where.replace("QUEUE", queue).replace("NEW", new), body)
    told = json.loads(json.dumps(TOLD[what]).replace("QUEUE", queue).replace("NEW", new))
    same([status, answer["reason"]], told)
    delete(path("queues", "/", queue))
    close(connection)


@case
def api_changes_what_the_permissions_allow():
    user, name = new_user(unique("user"), "management"), unique("a")
    permit(user, configure=f"^{name}", write="", read="")
    who = {"user": user}
    same(put(path("queues", "/", name), {}, **who), 201)
    same(ask("PUT", path("queues", "/", unique("b")), {}, **who), (401, {
        "error": "not_authorised", "reason": "Access refused."}))
    same(ask("DELETE", path("queues", "/", name, "contents"), **who)[0], 401)
    same(ask("POST", path("bindings", "/", "e", "amq.topic", "q", name), {}, **who)[0], 401)
    same(ask("POST", "exchanges/%2F/amq.default/publish", message(name), **who), (400, {
        "error": "bad_request", "reason": "403 ACCESS_REFUSED - access to exchange 'amq.default' "
                                          f"in vhost '/' refused for user '{user}'"}))
    same(ask("POST", path("queues", "/", name, "get"), {
        "count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}, **who), (401, {
            "error": "not_authorised", "reason": f"ACCESS_REFUSED - access to queue '{name}' in "
                                                 f"vhost '/' refused for user '{user}'"}))
    same(ask("PUT", path("queues", "/none", name), {}, **who)[0], 404)
    delete(path("queues", "/", name), **who)
    delete(f"users/{user}")


def rabbitmqadmin(*arguments):
    """What RabbitMQ's own script, which Debian's package has, prints."""
    host, port = ADMIN.rsplit(":", 1)
    done = subprocess.run(["rabbitmqadmin", f"--host={host}", f"--port={port}", *arguments],
                          capture_output=True, text=True, timeout=30, env=dict(os.environ))
    assert done.returncode == 0, (TARGET, arguments, done.stdout, done.stderr)
    return done.stdout.strip()


@case
def rabbitmqadmin_declares_publishes_gets_and_deletes():
    queue, exchange = unique("script"), unique("script")
    say = rabbitmqadmin
    same(say("declare", "queue", f"name={queue}", "durable=true",
             'arguments={"x-message-ttl": 600000}'), "queue declared")
    same(say("declare", "exchange", f"name={exchange}", "type=topic"), "exchange declared")
    same(say("declare", "binding", f"source={exchange}", f"destination={queue}",
             "routing_key=k.#"), "binding declared")
    same(say("publish", f"exchange={exchange}", "routing_key=k.1", "payload=hello",
             'properties={"delivery_mode":2}'), "Message published")
    same(say("publish", f"exchange={exchange}", "routing_key=z", "payload=hello"),
         "Message published but NOT routed")
    row = say("-f", "tsv", "get", f"queue={queue}", "ackmode=ack_requeue_false").splitlines()[1]
    same(row.split("\t")[:5], ["k.1", exchange, "0", "hello", "5"])
    assert queue in say("-f", "tsv", "list", "queues", "name").splitlines()
    assert f"{exchange}\ttopic" in say("-f", "tsv", "list", "exchanges", "name", "type")
    assert f"{exchange}\t{queue}\tk.#" in say(
        "-f", "tsv", "list", "bindings", "source", "destination", "routing_key")
    same(say("purge", "queue", f"name={queue}"), "queue purged")
    same(say("delete", "binding", f"source={exchange}", "destination_type=queue",
             f"destination={queue}", "properties_key=k.%23"), "binding deleted")
    same(say("delete", "exchange", f"name={exchange}"), "exchange deleted")
    same(say("delete", "queue", f"name={queue}"), "queue deleted")


@case
def rabbitmqadmin_lists_everything():
    for kind in ["queues", "exchanges", "bindings", "connections", "channels", "consumers", "nodes",
                 "policies", "operator_policies", "parameters", "vhost_limits", "users", "vhosts",
                 "permissions"]:
        rabbitmqadmin("list", kind)
    rabbitmqadmin("show", "overview")
