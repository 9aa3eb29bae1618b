"""pika: exchanges of every type, their bindings, and where messages end up."""

from pika import exceptions

from amqp_pika import connect, drain, exchange, publish, queue, with_channel
from casebook import case, raises, same, unique


def bound(channel, source, *keys, **more):
    name = queue(channel)
    for key in keys:
        channel.queue_bind(name, source, key, **more)
    return name


@case
@with_channel
def default_exchange_routes_by_queue_name(channel):
    name = queue(channel)
    publish(channel, name, b"direct")
    publish(channel, "no-such-queue", b"lost")
    same(drain(channel, name), [b"direct"])


@case
@with_channel
def direct_exchange_matches_the_whole_key(channel):
    source = exchange(channel, "direct")
    one, both = bound(channel, source, "a"), bound(channel, source, "a", "b")
    publish(channel, "a", b"1", exchange=source)
    publish(channel, "b", b"2", exchange=source)
    publish(channel, "a.b", b"3", exchange=source)
    same((drain(channel, one), drain(channel, both)), ([b"1"], [b"1", b"2"]))
    channel.exchange_delete(source)


@case
@with_channel
def fanout_exchange_ignores_the_key(channel):
    source = exchange(channel, "fanout")
    names = [bound(channel, source, key) for key in ("", "x", "y")]
    publish(channel, "whatever", b"all", exchange=source)
    same([drain(channel, name) for name in names], [[b"all"]] * 3)
    channel.exchange_delete(source)


@case
@with_channel
def topic_exchange_knows_star_and_hash(channel):
    source = exchange(channel, "topic")
    patterns = ["*.orange.*", "*.*.rabbit", "lazy.#", "#", "a.#.z", "", "*", "#.#", "a.*.#"]
    names = {pattern: bound(channel, source, pattern) for pattern in patterns}
    wanted = {
        "quick.orange.rabbit": ["*.orange.*", "*.*.rabbit", "#", "#.#"],
        "lazy": ["lazy.#", "#", "*", "#.#"],
        "lazy.a.b.c": ["lazy.#", "#", "#.#"],
        "a.z": ["#", "a.#.z", "#.#", "a.*.#"],
        "a.b.c.z": ["#", "a.#.z", "#.#", "a.*.#"],
        "": ["#", "", "#.#", "*"],
        "a..z": ["#", "a.#.z", "#.#", "a.*.#"],
    }
    # RabbitMQ splits the empty key into no words, so `*` does not match it.
    wanted[""].remove("*")
    for key in wanted:
        publish(channel, key, key.encode(), exchange=source)
    for pattern, name in names.items():
        found = [body.decode() for body in drain(channel, name)]
        same(found, [key for key, matching in wanted.items() if pattern in matching], pattern)
    channel.exchange_delete(source)


@case
@with_channel
def headers_exchange_matches_all_or_any(channel):
    source = exchange(channel, "headers")
    every = bound(channel, source, "", arguments={"x-match": "all", "a": 1, "b": "two"})
    some = bound(channel, source, "", arguments={"x-match": "any", "a": 1, "b": "two"})
    implied = bound(channel, source, "", arguments={"a": 1})
    publish(channel, "", b"both", exchange=source, headers={"a": 1, "b": "two", "c": 3})
    publish(channel, "", b"one", exchange=source, headers={"a": 1, "b": "other"})
    publish(channel, "", b"none", exchange=source, headers={"c": 3})
    publish(channel, "", b"bare", exchange=source)
    same((drain(channel, every), drain(channel, some), drain(channel, implied)),
         ([b"both"], [b"both", b"one"], [b"both", b"one"]))
    channel.exchange_delete(source)


@case
@with_channel
def headers_exchange_leaves_x_headers_out_unless_asked(channel):
    source = exchange(channel, "headers")
    plain = bound(channel, source, "", arguments={"x-match": "all", "a": 1, "x-b": 2})
    with_x = bound(channel, source, "", arguments={"x-match": "all-with-x", "a": 1, "x-b": 2})
    any_x = bound(channel, source, "", arguments={"x-match": "any-with-x", "x-b": 2})
    publish(channel, "", b"a", exchange=source, headers={"a": 1})
    publish(channel, "", b"ab", exchange=source, headers={"a": 1, "x-b": 2})
    same((drain(channel, plain), drain(channel, with_x), drain(channel, any_x)),
         ([b"a", b"ab"], [b"ab"], [b"ab"]))
    channel.exchange_delete(source)


@case
@with_channel
def message_reaches_a_queue_once_however_many_bindings_match(channel):
    source = exchange(channel, "topic")
    name = bound(channel, source, "a.#", "#", "a.b")
    publish(channel, "a.b", b"once", exchange=source)
    same(drain(channel, name), [b"once"])
    channel.exchange_delete(source)


@case
@with_channel
def unbound_queue_gets_nothing_more(channel):
    source = exchange(channel, "direct")
    name = bound(channel, source, "k")
    publish(channel, "k", b"1", exchange=source)
    channel.queue_unbind(name, source, "k")
    publish(channel, "k", b"2", exchange=source)
    same(drain(channel, name), [b"1"])
    channel.queue_unbind(name, source, "never-bound")
    channel.exchange_delete(source)


@case
@with_channel
def bindings_differ_by_their_arguments(channel):
    source = exchange(channel, "headers")
    name = bound(channel, source, "", arguments={"x-match": "all", "a": 1})
    channel.queue_bind(name, source, "", arguments={"x-match": "all", "a": 2})
    channel.queue_unbind(name, source, "", arguments={"x-match": "all", "a": 1})
    publish(channel, "", b"1", exchange=source, headers={"a": 1})
    publish(channel, "", b"2", exchange=source, headers={"a": 2})
    same(drain(channel, name), [b"2"])
    channel.exchange_delete(source)


@case
@with_channel
def exchanges_are_bound_to_exchanges(channel):
    first, second = exchange(channel, "topic"), exchange(channel, "fanout")
    name = bound(channel, second, "")
    channel.exchange_bind(second, first, "a.*")
    publish(channel, "a.b", b"through", exchange=first)
    publish(channel, "b.b", b"not", exchange=first)
    same(drain(channel, name), [b"through"])
    channel.exchange_unbind(second, first, "a.*")
    publish(channel, "a.b", b"not any more", exchange=first)
    same(drain(channel, name), [])
    channel.exchange_delete(first)
    channel.exchange_delete(second)


@case
@with_channel
def circles_of_exchanges_end(channel):
    first, second = exchange(channel, "fanout"), exchange(channel, "fanout")
    channel.exchange_bind(second, first)
    channel.exchange_bind(first, second)
    name = bound(channel, second, "")
    publish(channel, "", b"round", exchange=first)
    same(drain(channel, name), [b"round"])
    channel.exchange_delete(first)
    channel.exchange_delete(second)


@case
@with_channel
def alternate_exchange_takes_what_nothing_else_took(channel):
    spare = exchange(channel, "fanout")
    source = exchange(channel, "direct", arguments={"alternate-exchange": spare})
    usual, rest = bound(channel, source, "k"), bound(channel, spare, "")
    publish(channel, "k", b"usual", exchange=source)
    publish(channel, "other", b"rest", exchange=source)
    same((drain(channel, usual), drain(channel, rest)), ([b"usual"], [b"rest"]))
    channel.exchange_delete(source)
    channel.exchange_delete(spare)


@case
@with_channel
def internal_exchange_refuses_publishers(channel):
    inner = exchange(channel, "fanout", internal=True)
    source = exchange(channel, "fanout")
    channel.exchange_bind(inner, source)
    name = bound(channel, inner, "")
    publish(channel, "", b"through", exchange=source)
    same(drain(channel, name), [b"through"])
    channel.confirm_delivery()
    error = raises(exceptions.ChannelClosedByBroker, publish, channel, "", b"x", exchange=inner)
    same(error.reply_code, 403)
    other = channel.connection.channel()
    other.exchange_delete(source)
    other.exchange_delete(inner)


@case
@with_channel
def auto_delete_exchange_goes_with_its_last_binding(channel):
    source = exchange(channel, "direct", auto_delete=True)
    name = bound(channel, source, "a", "b")
    channel.queue_unbind(name, source, "a")
    channel.exchange_declare(source, passive=True)
    channel.queue_unbind(name, source, "b")
    error = raises(exceptions.ChannelClosedByBroker,
                   channel.exchange_declare, source, passive=True)
    same(error.reply_code, 404)


@case
@with_channel
def exchange_in_use_is_not_deleted_if_unused_is_asked(channel):
    source = exchange(channel, "direct")
    name = bound(channel, source, "a")
    other = channel.connection.channel()
    error = raises(exceptions.ChannelClosedByBroker, other.exchange_delete, source, if_unused=True)
    same(error.reply_code, 406)
    assert "in use" in error.reply_text, error.reply_text
    channel.queue_unbind(name, source, "a")
    channel.exchange_delete(source, if_unused=True)


@case(each=["amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match"])
def predeclared_exchange_is_there(name):
    kind = {"amq.match": "headers"}.get(name, name.removeprefix("amq."))
    connection = connect()
    connection.channel().exchange_declare(name, kind, durable=True)
    error = raises(exceptions.ChannelClosedByBroker, connection.channel().exchange_delete, name)
    same(error.reply_code, 403)
    connection.close()


@case
@with_channel
def deleted_exchange_takes_its_bindings_along(channel):
    source = exchange(channel, "fanout")
    name = bound(channel, source, "")
    channel.exchange_delete(source)
    channel.exchange_declare(source, "fanout")
    publish(channel, "", b"x", exchange=source)
    same(drain(channel, name), [])
    channel.exchange_delete(source)
    # Deleting what is not there is no error.
    channel.exchange_delete(unique("never-there"))


@case
@with_channel
def copies_go_where_cc_and_bcc_say_and_bcc_is_removed(channel):
    first, second, third = queue(channel), queue(channel), queue(channel)
    publish(channel, first, b"copy", headers={"CC": [second], "BCC": [third], "x": 1})
    for name in (first, second, third):
        _, properties, body = channel.basic_get(name, auto_ack=True)
        same((body, properties.headers), (b"copy", {"CC": [second], "x": 1}), name)


@case
@with_channel
def key_of_255_bytes_is_carried(channel):
    source = exchange(channel, "topic")
    key = ".".join(["word"] * 51)
    assert len(key) == 254
    name = bound(channel, source, "#")
    publish(channel, key + "s", b"x", exchange=source)
    same(channel.basic_get(name, auto_ack=True)[0].routing_key, key + "s")
    channel.exchange_delete(source)
