"""pika: users, virtual hosts and permissions. Users are made through the management API."""

import pika
from pika import exceptions

from amqp_pika import VERSION, close, connect, get, publish
from casebook import case, raises, same, unique
from management import delete, new_user, permit, put, quote

__all__ = ["VERSION"]


def user(**permissions):
    """A new user, who has these permissions in `/`."""
    name = new_user(unique("user"))
    permit(name, **permissions)
    return name


def as_user(name, **more):
    return connect(user=name, password=name, **more)


def refusal(name, act):
    """The text of the channel's end when `act` is done as a user."""
    connection = as_user(name)
    try:
        error = raises(exceptions.ChannelClosedByBroker, act, connection.channel())
        same(error.reply_code, 403)
        return error.reply_text
    finally:
        close(connection)


@case
def new_user_is_let_in_with_the_right_password_only():
    name = user()
    connection = as_user(name)
    assert connection.channel().is_open
    connection.close()
    error = raises(exceptions.AMQPConnectionError, connect, user=name, password="wrong")
    same(type(error), exceptions.ProbableAuthenticationError)
    put(f"users/{name}", {"password": "other", "tags": ""})
    raises(exceptions.AMQPConnectionError, as_user, name)
    connect(user=name, password="other").close()
    delete(f"users/{name}")
    raises(exceptions.AMQPConnectionError, connect, user=name, password="other")


@case
def user_without_a_password_is_kept_out():
    name = unique("user")
    put(f"users/{name}", {"password_hash": "", "tags": ""})
    permit(name)
    raises(exceptions.AMQPConnectionError, connect, user=name, password="")


@case
def user_without_permissions_is_kept_out_of_the_vhost():
    name = new_user(unique("user"))
    error = raises(exceptions.AMQPConnectionError, as_user, name)
    same(type(error), exceptions.ProbableAccessDeniedError)
    text = f"NOT_ALLOWED - access to vhost '/' refused for user '{name}'"
    assert text in str(error) and "530" in str(error), str(error)


@case
def vhosts_have_names_of_their_own():
    vhost = unique("vhost")
    put(f"vhosts/{vhost}", {})
    name = user()
    permit(name, vhost=vhost)
    here, there = as_user(name), as_user(name, virtual_host=vhost)
    try:
        queue = unique("q")
        here.channel().queue_declare(queue, exclusive=True)
        channel = there.channel()
        error = raises(exceptions.ChannelClosedByBroker, channel.queue_declare, queue, passive=True)
        same(error.reply_text, f"NOT_FOUND - no queue '{queue}' in vhost '{vhost}'")
        channel = there.channel()
        channel.queue_declare(queue, durable=True)
        publish(channel, queue, b"there")
        same(get(channel, queue)[2], b"there")
        channel.queue_delete(queue)
    finally:
        close(here)
        close(there)
        delete(f"vhosts/{vhost}")


METHODS = {
    "queue.declare": ("queue", lambda channel, it: channel.queue_declare(it)),
    "queue.delete": ("queue", lambda channel, it: channel.queue_delete(it)),
    "queue.purge": ("queue", lambda channel, it: channel.queue_purge(it)),
    "queue.bind to": ("queue", lambda channel, it: channel.queue_bind(it, "amq.direct", "k")),
    "queue.bind from": ("exchange", lambda channel, it: channel.queue_bind("mine", it, "k")),
    "queue.unbind": ("queue", lambda channel, it: channel.queue_unbind(it, "amq.direct", "k")),
    "exchange.declare": ("exchange", lambda channel, it: channel.exchange_declare(it)),
    "exchange.delete": ("exchange", lambda channel, it: channel.exchange_delete(it)),
    "exchange.bind to": ("exchange", lambda channel, it: channel.exchange_bind(it, "amq.direct")),
    "exchange.bind from": ("exchange", lambda channel, it: channel.exchange_bind("mine", it)),
    "alternate-exchange": ("exchange", lambda channel, it: channel.exchange_declare(
        "mine-" + unique("x"), arguments={"alternate-exchange": it})),
    "basic.get": ("queue", lambda channel, it: channel.basic_get(it)),
    "basic.consume": ("queue", lambda channel, it: channel.basic_consume(it, print)),
}


@case(each=METHODS)
def method_on_what_is_not_permitted_gets_access_refused(method):
    kind, act = METHODS[method]
    name, it = user(configure="^mine", write="^mine", read="^mine"), unique("theirs")
    same(refusal(name, lambda channel: act(channel, it)),
         f"ACCESS_REFUSED - access to {kind} '{it}' in vhost '/' refused for user '{name}'")


@case
def publish_to_an_exchange_that_is_not_permitted_gets_access_refused():
    name = user(write="^mine")

    def act(channel):
        channel.confirm_delivery()
        channel.basic_publish("", "q", b"x")
    same(refusal(name, act), "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' "
         f"refused for user '{name}'")


@case
def passive_declares_need_no_permission():
    owner, name = connect(), user(configure="", write="", read="")
    queue = unique("q")
    owner.channel().queue_declare(queue)
    connection = as_user(name)
    channel = connection.channel()
    channel.queue_declare(queue, passive=True)
    channel.exchange_declare("amq.topic", passive=True)
    connection.close()
    owner.channel().queue_delete(queue)
    owner.close()


@case
def patterns_are_regular_expressions_over_names():
    name = user(configure=r"^q-[0-9a-f]+$|^amq\.gen", write="^amq.default$", read="q-")
    connection = as_user(name)
    channel = connection.channel()
    queue = unique("q")
    channel.queue_declare(queue, exclusive=True)
    channel.queue_declare("", exclusive=True)
    publish(channel, queue, b"through the default exchange")
    same(get(channel, queue)[2], b"through the default exchange")
    raises(exceptions.ChannelClosedByBroker, channel.queue_declare, queue + "-more")
    connection.close()


def topic_user(**keys):
    name = user()
    put(f"topic-permissions/%2F/{name}", {"exchange": "amq.topic", **keys})
    return name


@case
def keys_of_a_topic_exchange_can_be_forbidden():
    name = topic_user(write="^allowed", read="^seen")

    def act(channel):
        channel.confirm_delivery()
        channel.basic_publish("amq.topic", "allowed.x", b"x")
        channel.basic_publish("amq.direct", "other.x", b"x")
        channel.basic_publish("amq.topic", "other.x", b"x")
    text = f"in exchange 'amq.topic' in vhost '/' refused for user '{name}'"
    same(refusal(name, act), f"ACCESS_REFUSED - access to topic 'other.x' {text}")

    def bind(channel):
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "amq.topic", "seen.#")
        channel.queue_bind(queue, "amq.topic", "#")
    same(refusal(name, bind), f"ACCESS_REFUSED - access to topic '#' {text}")


@case
def keys_may_begin_with_the_users_name():
    name = topic_user(write="^{username}-{vhost}", read="")
    connection = as_user(name)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("amq.topic", f"{name}-/.x", b"x")
    connection.close()


@case
def user_id_of_another_is_for_impersonators():
    plain, special = user(), new_user(unique("user"), tags="impersonator")
    permit(special)
    somebody = pika.BasicProperties(user_id="somebody")
    for name, code in ((plain, 406), (special, None)):
        connection = as_user(name)
        channel = connection.channel()
        channel.confirm_delivery()
        if code is None:
            channel.basic_publish("amq.direct", "k", b"x", somebody)
        else:
            error = raises(exceptions.ChannelClosedByBroker, channel.basic_publish,
                           "amq.direct", "k", b"x", somebody)
            same((error.reply_code, error.reply_text), (code, "PRECONDITION_FAILED - user_id "
                 f"property set to 'somebody' but authenticated user was '{name}'"))
        close(connection)


@case
def names_may_have_any_characters():
    name, vhost = unique("a/b é:"), unique("v/ é")
    put(f"vhosts/{quote(vhost, safe='')}", {})
    new_user(name)
    permit(name, vhost=vhost)
    connection = as_user(name, virtual_host=vhost)
    assert connection.channel().is_open
    connection.close()
    delete(f"vhosts/{quote(vhost, safe='')}")
    delete(f"users/{quote(name, safe='')}")
