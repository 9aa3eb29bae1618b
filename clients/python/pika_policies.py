"""The management API: policies and what they do, limits of virtual hosts, parameters."""

from pika import exceptions

from amqp_pika import VERSION, close, connect, depth, drain, get as take, publish, queue, with_channel
from casebook import case, raises, same, unique, wait_for
from management import ask, delete, get, new_user, permit, put
from pika_managing import path, rabbitmqadmin

__all__ = ["VERSION"]


class Policy:
    """A policy for as long as a case lasts."""

    def __init__(self, pattern, definition, sort="policies", **more):
        self.at = path(sort, "/", unique("policy"))
        put(self.at, {"pattern": pattern, "definition": definition, **more})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        ask("DELETE", self.at)


def told(channel, name):
    """What the API says of a queue's policies."""
    shown = get(path("queues", "/", name))
    return shown.get("policy"), shown.get("operator_policy"), shown.get("effective_policy_definition")


@case
@with_channel
def policy_changes_a_queue_that_is_there_and_those_to_come(channel):
    name = queue(channel, durable=True)
    publish(channel, name, b"1", b"2", b"3")
    with Policy(f"^{name}", {"max-length": 2}) as policy:
        wait_for(lambda: depth(channel, name) == 2, "the oldest to go")
        same(drain(channel, name), [b"2", b"3"])
        other = f"{name}-other"
        channel.queue_declare(other, durable=True)
        publish(channel, other, b"1", b"2", b"3")
        wait_for(lambda: depth(channel, other) == 2, "the oldest to go")
        called = policy.at.rsplit("/", 1)[1]
        wait_for(lambda: told(channel, name) == (called, None, {"max-length": 2}),
                 "the listing")
    publish(channel, name, b"1", b"2", b"3")
    wait_for(lambda: depth(channel, name) == 3, "all three")
    # It was never declared otherwise.
    channel.queue_declare(name, durable=True)
    for each in (name, other):
        channel.queue_delete(each)


@case
@with_channel
def policy_dead_letters_what_expires_by_it(channel):
    name, grave = queue(channel, durable=True), queue(channel, "grave")
    definition = {"message-ttl": 100, "dead-letter-exchange": "", "dead-letter-routing-key": grave}
    with Policy(f"^{name}$", definition):
        wait_for(lambda: told(channel, name)[0], "the policy")
        publish(channel, name, b"later")
        same(take(channel, grave)[2], b"later")
    channel.queue_delete(name)


@case
@with_channel
def lower_limit_of_policy_and_argument_counts(channel):
    own, none = (queue(channel, durable=True, arguments=arguments)
                 for arguments in ({"x-max-length": 2}, {}))
    with Policy(f"^({own}|{none})$", {"max-length": 3}):
        for name, wanted in ((own, 2), (none, 3)):
            publish(channel, name, *[b"x"] * 5)
            wait_for(lambda: depth(channel, name) == wanted, f"{wanted} messages")
    for name in (own, none):
        channel.queue_delete(name)


@case
@with_channel
def argument_counts_where_it_is_no_limit(channel):
    grave, other = queue(channel, "grave"), queue(channel, "other")
    name = queue(channel, durable=True, arguments={
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": grave})
    with Policy(f"^{name}$", {"dead-letter-exchange": "", "dead-letter-routing-key": other,
                              "message-ttl": 50}):
        publish(channel, name, b"dead")
        same(take(channel, grave)[2], b"dead")
        same(depth(channel, other), 0)
    channel.queue_delete(name)


@case
@with_channel
def policy_of_the_highest_priority_counts_and_the_operator_limits_it(channel):
    name = queue(channel, durable=True)
    with Policy(f"^{name}$", {"max-length": 1}, priority=1), \
            Policy(f"^{name}$", {"max-length": 4, "message-ttl": 60_000}, priority=2) as high, \
            Policy(f"^{name}$", {"max-length": 3}, "operator-policies") as operator:
        called = [it.at.rsplit("/", 1)[1] for it in (high, operator)]
        wait_for(lambda: told(channel, name) == (
            *called, {"max-length": 3, "message-ttl": 60_000}), "the listing")
        publish(channel, name, *[b"x"] * 5)
        wait_for(lambda: depth(channel, name) == 3, "three messages")
    channel.queue_delete(name)


@case
@with_channel
def policy_gives_an_exchange_an_alternate(channel):
    source, name = unique("source"), queue(channel)
    channel.exchange_declare(source, "direct")
    channel.queue_bind(name, "amq.fanout")
    with Policy(f"^{source}$", {"alternate-exchange": "amq.fanout"}, **{"apply-to": "exchanges"}):
        wait_for(lambda: get(path("exchanges", "/", source)).get("policy"), "the policy")
        publish(channel, "nowhere", b"1", exchange=source)
        same(take(channel, name)[2], b"1")
    channel.exchange_delete(source)


@case
@with_channel
def policy_makes_a_queue_refuse(channel):
    name = queue(channel, durable=True)
    channel.confirm_delivery()
    with Policy(f"^{name}$", {"max-length": 1, "overflow": "reject-publish"}):
        wait_for(lambda: told(channel, name)[0], "the policy")
        publish(channel, name, b"1")
        raises(exceptions.NackError, lambda: publish(channel, name, b"2"))
    channel.queue_delete(name)


@case
def policies_are_listed_and_deleted():
    vhost = unique("vhost")
    put(path("vhosts", vhost), {})
    for sort in ("policies", "operator-policies"):
        at = path(sort, vhost, "p")
        given = {"pattern": "^a", "apply-to": "queues", "priority": 3,
                 "definition": {"expires": 60_000}}
        put(at, given)
        shown = {"vhost": vhost, "name": "p", **given}
        same(get(at), shown)
        same(get(path(sort, vhost)), [shown])
        assert shown in get(sort)
        put(at, {"pattern": "b", "definition": {"max-length": 1}})
        same(get(at), {"vhost": vhost, "name": "p", "pattern": "b", "apply-to": "all",
                       "priority": 0, "definition": {"max-length": 1}})
        delete(at)
        same(ask("GET", at)[0], 404)
        same(ask("DELETE", at)[0], 404)
    delete(path("vhosts", vhost))


@case(each=[({"pattern": "a"}, None), ({"definition": {"expires": 1}}, None),
            ({"pattern": "a", "definition": {"message-ttl": -1}}, "message TTL"),
            ({"pattern": "a", "definition": {"expires": 0}}, "0"),
            ({"pattern": "a", "definition": {"no-such": 1}}, "not recognised policy settings"),
            ({"pattern": "(", "definition": {"expires": 1}}, None),
            ({"pattern": "a", "definition": {"expires": 1}, "apply-to": "all things"}, "apply-to")])
def policy_that_is_not_right_is_refused(refused):
    given, part = refused
    status, answer = ask("PUT", path("policies", "/", unique("policy")), given)
    same((status, answer["error"]), (400, "bad_request"))
    assert part is None or part in answer["reason"], answer


@case
def policies_are_for_policymakers():
    user, maker = new_user(unique("user"), "management"), new_user(unique("maker"), "policymaker")
    for name in (user, maker):
        permit(name)
    at, given = path("policies", "/", unique("policy")), {"pattern": "^none$",
                                                          "definition": {"expires": 60_000}}
    same(ask("PUT", at, given, user=user)[0], 401)
    same(ask("GET", "policies", user=user)[0], 200)
    put(at, given, user=maker)
    same(ask("PUT", at.replace("policies", "operator-policies"), given, user=maker)[0], 401)
    delete(at, user=maker)
    for name in (user, maker):
        delete(f"users/{name}")


@case
def virtual_host_has_as_many_queues_as_it_may():
    vhost = unique("vhost")
    put(path("vhosts", vhost), {})
    put(path("vhost-limits", vhost, "max-queues"), {"value": 1})
    same(get(path("vhost-limits", vhost)), [{"vhost": vhost, "value": {"max-queues": 1}}])
    connection = connect(virtual_host=vhost)
    channel = connection.channel()
    channel.queue_declare("one")
    channel.queue_declare("one")
    error = raises(exceptions.ChannelClosedByBroker, lambda: channel.queue_declare("two"))
    same((error.reply_code, error.reply_text), (
        406, f"PRECONDITION_FAILED - cannot declare queue 'two': queue limit in vhost '{vhost}' (1) "
             "is reached"))
    delete(path("vhost-limits", vhost, "max-queues"))
    connection.channel().queue_declare("two")
    close(connection)
    same(get(path("vhost-limits", vhost)), [])
    delete(path("vhosts", vhost))


@case
def virtual_host_has_as_many_connections_as_it_may():
    vhost = unique("vhost")
    put(path("vhosts", vhost), {})
    put(path("vhost-limits", vhost, "max-connections"), {"value": 1})
    first = connect(virtual_host=vhost)
    error = raises(exceptions.ProbableAccessDeniedError, lambda: connect(virtual_host=vhost))
    text = f"NOT_ALLOWED - access to vhost '{vhost}' refused for user 'guest': connection limit (1) is reached"
    assert "530" in str(error) and text in str(error), str(error)
    close(first)
    wait_for(lambda: succeeds(lambda: close(connect(virtual_host=vhost))), "the place to be free")
    put(path("vhost-limits", vhost, "max-connections"), {"value": -1})
    close(connect(virtual_host=vhost))
    delete(path("vhosts", vhost))


def succeeds(what):
    try:
        what()
    except exceptions.AMQPError:
        return False
    return True


@case
def parameters_are_kept():
    name = unique("parameter")
    at = path("global-parameters", name)
    put(at, {"name": name, "value": {"a": [1, "two", {"b": None}]}})
    same(get(at), {"name": name, "value": {"a": [1, "two", {"b": None}]}})
    assert get(at) in get("global-parameters")
    delete(at)
    same(ask("GET", at)[0], 404)


@case
def policies_and_parameters_are_defined():
    vhost, copy = unique("vhost"), unique("copy")
    put(path("vhosts", vhost), {})
    put(path("policies", vhost, "p"), {"pattern": "^a", "definition": {"max-length": 5},
                                      "priority": 1, "apply-to": "queues"})
    put(path("operator-policies", vhost, "o"), {"pattern": "^b", "definition": {"expires": 60_000}})
    put(path("vhost-limits", vhost, "max-queues"), {"value": 9})
    defined = get(path("definitions", vhost))
    put(path("vhosts", copy), {})
    same(ask("POST", path("definitions", copy), defined), (204, None))
    for sort in ("policies", "operator-policies", "vhost-limits"):
        of = [[{**it, "vhost": None} for it in get(path(sort, each))] for each in (vhost, copy)]
        same(of[0], of[1], sort)
        assert of[0], sort
    def policies(vhost):
        return [{**it, "vhost": None} for it in get(path("definitions", vhost))["policies"]]
    same(policies(copy), policies(vhost))
    for each in (vhost, copy):
        delete(path("vhosts", each))


@case
def rabbitmqadmin_declares_policies():
    name = unique("policy")
    rabbitmqadmin("declare", "policy", f"name={name}", "pattern=^none$",
                  'definition={"max-length": 7}', "apply-to=queues", "priority=4")
    assert name in rabbitmqadmin("list", "policies")
    same(get(path("policies", "/", name))["definition"], {"max-length": 7})
    rabbitmqadmin("delete", "policy", f"name={name}")
    same(ask("GET", path("policies", "/", name))[0], 404)
