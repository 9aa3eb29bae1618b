"""pika: exchanges that choose one queue by a hash (RabbitMQ's consistent-hash and sharding plugins)."""

from collections import Counter

from pika import exceptions

from amqp_pika import close, connect, drain, exchange, publish, queue, with_channel
from casebook import case, raises, same

MESSAGES = 3000


def bound(channel, source, weights):
    names = [queue(channel) for _ in weights]
    for name, weight in zip(names, weights):
        channel.queue_bind(name, source, weight)
    return names


def spread(channel, source, names, count=MESSAGES, keyed=lambda at: (f"key-{at}", {})):
    """Which of the queues each message went to; it is in one and no other."""
    for at in range(count):
        key, more = keyed(at)
        publish(channel, key, b"%d" % at, exchange=source, **more)
    places = {}
    for place, name in enumerate(names):
        for body in drain(channel, name):
            assert int(body) not in places, "it is in two queues"
            places[int(body)] = place
    same(len(places), count)
    return [places[at] for at in range(count)]


@case
@with_channel
def consistent_hash_shares_out_by_weight(channel):
    source = exchange(channel, "x-consistent-hash")
    names = bound(channel, source, ["10", "10", "20"])
    counts = Counter(spread(channel, source, names))
    for place, wanted in enumerate([MESSAGES // 4, MESSAGES // 4, MESSAGES // 2]):
        assert abs(counts[place] - wanted) < wanted // 5, counts
    channel.exchange_delete(source)


@case
@with_channel
def same_key_goes_to_the_same_queue(channel):
    source = exchange(channel, "x-consistent-hash")
    names = bound(channel, source, ["1"] * 5)
    places = spread(channel, source, names, 500, lambda at: (f"key-{at % 50}", {}))
    same(places[50:], places[:-50])
    assert len(set(places)) == 5
    channel.exchange_delete(source)


@case
@with_channel
def new_queue_takes_its_share_and_gives_it_back(channel):
    source = exchange(channel, "x-consistent-hash")
    names = bound(channel, source, ["10"] * 3)
    before = spread(channel, source, names)
    names += bound(channel, source, ["10"])
    after = spread(channel, source, names)
    moved = [new for old, new in zip(before, after) if old != new]
    same(set(moved), {3})
    assert abs(len(moved) - MESSAGES // 4) < MESSAGES // 20, len(moved)
    channel.queue_unbind(names[3], source, "10")
    same(spread(channel, source, names), before)
    channel.exchange_delete(source)


@case(each=["hash-header", "correlation_id", "message_id"])
def hash_is_of_a_header_or_property_where_the_exchange_says_so(what):
    connection = connect()
    try:
        channel = connection.channel()
        arguments = {"hash-header": "id"} if what == "hash-header" else {"hash-property": what}

        def keyed(at):
            text = f"id-{at % 40}"
            return f"key-{at}", {"headers": {"id": text}} if what == "hash-header" else {what: text}
        source = exchange(channel, "x-consistent-hash", arguments=arguments)
        names = bound(channel, source, ["1"] * 4)
        places = spread(channel, source, names, 400, keyed)
        same(places[40:], places[:-40])
        assert len(set(places)) > 1
        same(len(set(spread(channel, source, names, 40, lambda at: (f"key-{at}", {})))), 1)
        channel.exchange_delete(source)
    finally:
        close(connection)


@case
@with_channel
def modulus_hash_shares_out_alike(channel):
    source = exchange(channel, "x-modulus-hash")
    names = bound(channel, source, ["", "x", "3"])
    places = spread(channel, source, names)
    for count in Counter(places).values():
        assert abs(count - MESSAGES // 3) < MESSAGES // 15, count
    same(spread(channel, source, names), places)
    channel.exchange_delete(source)


@case(each=[("", "The binding key must be an integer: <<>>"),
            ("ten", "The binding key must be an integer: <<\"ten\">>"),
            ("0", "The binding key must be greater than 0"),
            ("-2", "The binding key must be greater than 0")])
def key_of_a_binding_by_consistent_hash_is_a_weight(refused):
    key, text = refused
    connection = connect()
    try:
        channel = connection.channel()
        source, name = exchange(channel, "x-consistent-hash", auto_delete=True), queue(channel, "w")
        error = raises(exceptions.ChannelClosedByBroker,
                       lambda: channel.queue_bind(name, source, key))
        same((error.reply_code, error.reply_text), (406, "PRECONDITION_FAILED - " + text))
    finally:
        close(connection)


@case(each=[({"hash-property": "app_id"}, "Unsupported property: app_id"),
            ({"hash-property": "message_id", "hash-header": "id"},
             "hash-header and hash-property are mutually exclusive")])
def consistent_hash_looks_at_one_known_thing(refused):
    arguments, text = refused
    connection = connect()
    try:
        channel = connection.channel()
        error = raises(exceptions.ChannelClosedByBroker, lambda: exchange(
            channel, "x-consistent-hash", arguments=arguments))
        same((error.reply_code, error.reply_text), (406, "PRECONDITION_FAILED - " + text))
    finally:
        close(connection)
