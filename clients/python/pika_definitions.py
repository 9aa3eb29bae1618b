"""The management API: definitions, taken from a RabbitMQ and given back."""

import json
import os
import tempfile

from amqp_pika import VERSION
from casebook import case, same, unique
from management import ask, delete, get, put
from pika_managing import path, rabbitmqadmin

__all__ = ["VERSION"]

# RabbitMQ 3.10.8 gave this.
DOCUMENT = {
    "rabbit_version": "3.10.8", "rabbitmq_version": "3.10.8", "product_name": "RabbitMQ",
    "product_version": "3.10.8",
    "users": [{"name": "NAME", "password_hash": "u9+yQZlYR00e7hjXGpI+YWm8isqXrhToj1gm2apAEghxs9kZ",
               "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["management"],
               "limits": {}}],
    "vhosts": [{"name": "/"}, {"name": "NAME"}],
    # Who takes a new virtual host may do everything in it.
    "permissions": [{"user": "guest", "vhost": "NAME", "configure": ".*", "write": ".*",
                     "read": ".*"},
                    {"user": "NAME", "vhost": "NAME", "configure": "^a", "write": "", "read": ""}],
    "topic_permissions": [{"user": "NAME", "vhost": "NAME", "exchange": "amq.topic", "write": ".*",
                           "read": ".*"}],
    "parameters": [], "global_parameters": [], "policies": [],
    "queues": [{"name": "q", "vhost": "NAME", "durable": True, "auto_delete": False,
                "arguments": {"x-message-ttl": 60000}}],
    "exchanges": [{"name": "x", "vhost": "NAME", "type": "topic", "durable": True,
                   "auto_delete": False, "internal": False, "arguments": {"a": "b"}}],
    "bindings": [{"source": "amq.headers", "vhost": "NAME", "destination": "q",
                  "destination_type": "queue", "routing_key": "",
                  "arguments": {"h": "1", "x-match": "all"}},
                 {"source": "x", "vhost": "NAME", "destination": "amq.fanout",
                  "destination_type": "exchange", "routing_key": "k k/~", "arguments": {}}],
}


def named(name):
    return json.loads(json.dumps(DOCUMENT).replace("NAME", name))


def part_of(definitions, name):
    """What of definitions is of one virtual host and its user."""
    mine = {}
    for kind in ["users", "permissions", "topic_permissions", "queues", "exchanges", "bindings"]:
        parts = [it for it in definitions[kind] if name in (it.get("vhost"), it["name"]
                                                            if kind == "users" else None)]
        mine[kind] = sorted(parts, key=lambda it: json.dumps(it, sort_keys=True))
    return mine


@case
def definitions_of_rabbitmq_are_taken_and_given_back():
    name = unique("taken")
    document = named(name)
    same(ask("POST", "definitions", document), (204, None))
    same(part_of(get("definitions"), name), part_of(document, name))
    same(ask("POST", "definitions", document), (204, None))
    inner = get(f"definitions/{name}")
    same({kind: [len(inner[kind]), any("vhost" in it for it in inner[kind])]
          for kind in ["queues", "exchanges", "bindings"]},
         {"queues": [1, False], "exchanges": [1, False], "bindings": [2, False]})
    copy = unique("copy")
    put(path("vhosts", copy), {})
    same(ask("POST", f"definitions/{copy}", inner), (204, None))
    same(get(f"definitions/{copy}")["queues"], inner["queues"])
    for vhost in [name, copy]:
        delete(path("vhosts", vhost))
    delete(f"users/{name}")


@case
def definitions_with_a_wrong_part_are_refused():
    for document, reason in [
            ({"queues": [{"name": "q", "vhost": "no"}]}, ["no_such_vhost", "no"]),
            ({"queues": [{"name": "q"}]}, ["no_such_vhost", "undefined"]),
            ({"users": [{"name": "u"}]}, "tags_not_present"),
            ({"permissions": [{"user": "no", "vhost": "/", "configure": "", "write": "",
                               "read": ""}]}, ["no_such_user", "no"])]:
        same(ask("POST", "definitions", document), (400, {
            "error": "bad_request", "reason": reason}))
    same(ask("POST", "definitions/none", {}), (404, {
        "error": "not_found", "reason": "vhost_not_found"}))


@case
def rabbitmqadmin_exports_and_imports():
    name = unique("script")
    same(ask("POST", "definitions", named(name)), (204, None))
    with tempfile.TemporaryDirectory() as directory:
        file = os.path.join(directory, "definitions.json")
        rabbitmqadmin("export", file)
        delete(path("vhosts", name))
        delete(f"users/{name}")
        rabbitmqadmin("import", file)
    same(part_of(get("definitions"), name), part_of(named(name), name))
    delete(path("vhosts", name))
    delete(f"users/{name}")
