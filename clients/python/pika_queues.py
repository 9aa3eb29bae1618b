"""pika: queues and their declarations, and the errors of those that do not fit."""

from pika import exceptions

from amqp_pika import (Consumer, close, connect, depth, drain, get, publish, queue, with_channel)
from casebook import case, raises, same, unique, wait_for


def error_of(body, *arguments, **named):
    """(code, text, class id, method id are logged by pika; code and text are what it gives)."""
    error = raises(exceptions.ChannelClosedByBroker, body, *arguments, **named)
    return error.reply_code, error.reply_text


@case
@with_channel
def server_names_a_queue(channel):
    first = channel.queue_declare("", exclusive=True).method.queue
    second = channel.queue_declare("", exclusive=True).method.queue
    assert first.startswith("amq.gen-") and first != second, (first, second)
    # An empty name in other methods is the channel's last declared queue.
    channel.queue_bind("", "amq.direct", "k-" + second)
    publish(channel, "k-" + second, b"x", exchange="amq.direct")
    same(drain(channel, second), [b"x"])


@case
@with_channel
def passive_declare_counts_messages_and_consumers(channel):
    name = queue(channel, exclusive=False, auto_delete=False)
    publish(channel, name, b"1", b"2", b"3")
    Consumer(channel, name)
    other = channel.connection.channel()
    spare = queue(other)
    publish(other, spare, b"1", b"2", b"3")
    # Counts may lag behind unconfirmed publishes: RabbitMQ answers them ahead of other work.
    wait_for(lambda: depth(other, spare) == 3, "three ready messages")
    found = other.queue_declare(spare, passive=True).method
    same((found.queue, found.message_count, found.consumer_count), (spare, 3, 0))
    wait_for(lambda: depth(other, name) == 0, "all delivered")
    found = other.queue_declare(name, passive=True).method
    # Delivered and not acknowledged: no longer counted as ready.
    same((found.message_count, found.consumer_count), (0, 1))
    channel.queue_delete(name)


@case
@with_channel
def passive_declare_of_a_missing_queue_is_404(channel):
    name = unique("missing")
    same(error_of(channel.queue_declare, name, passive=True),
         (404, f"NOT_FOUND - no queue '{name}' in vhost '/'"))


@case
@with_channel
def declaring_again_the_same_is_fine(channel):
    arguments = {"x-message-ttl": 60000, "x-max-length": 10}
    name = queue(channel, durable=True, arguments=arguments)
    channel.queue_declare(name, durable=True, arguments=arguments)
    channel.queue_delete(name)


@case(each=["durable", "auto_delete", "x-message-ttl", "x-max-length", "x-expires",
            "x-queue-type"])
def declaring_again_with_another_value_is_406(what):
    connection = connect()
    channel = connection.channel()
    arguments = {"x-message-ttl": 60000, "x-max-length": 10, "x-expires": 600000}
    name = queue(channel, durable=True, arguments=arguments)
    other = {"durable": True, "auto_delete": False, "arguments": dict(arguments)}
    if what == "x-queue-type":
        other["arguments"][what] = "quorum"
    elif what.startswith("x-"):
        other["arguments"][what] += 1
    else:
        other[what] = not other[what]
    code, text = error_of(connection.channel().queue_declare, name, **other)
    same(code, 406)
    assert text.startswith(f"PRECONDITION_FAILED - inequivalent arg '{what}' for queue '{name}' "
                           "in vhost '/': received "), text
    channel.queue_delete(name)
    close(connection)


@case
@with_channel
def inequivalent_argument_is_worded_as_rabbitmq_does(channel):
    name = queue(channel, durable=True)
    other = channel.connection.channel()
    same(error_of(other.queue_declare, name, durable=False)[1],
         f"PRECONDITION_FAILED - inequivalent arg 'durable' for queue '{name}' in vhost '/': "
         "received 'false' but current is 'true'")
    other = channel.connection.channel()
    same(error_of(other.queue_declare, name, durable=True, arguments={"x-max-length": 5})[1],
         f"PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue '{name}' in vhost '/': "
         "received the value '5' of type 'signedint' but current is none")
    channel.queue_delete(name)


@case
@with_channel
def exchange_of_another_type_is_406(channel):
    name = unique("exchange")
    channel.exchange_declare(name, "direct")
    other = channel.connection.channel()
    same(error_of(other.exchange_declare, name, "fanout"),
         (406, f"PRECONDITION_FAILED - inequivalent arg 'type' for exchange '{name}' in vhost '/': "
               "received 'fanout' but current is 'direct'"))
    channel.exchange_delete(name)


@case
def unknown_exchange_type_closes_the_connection():
    connection = connect()
    error = raises(exceptions.ConnectionClosedByBroker,
                   connection.channel().exchange_declare, unique("x"), "no-such-type")
    same(error.reply_code, 503)
    assert "COMMAND_INVALID - unknown exchange type 'no-such-type'" in error.reply_text
    close(connection)


@case(each=["x-message-ttl=-1", "x-message-ttl=soon", "x-expires=0", "x-max-length=-1",
            "x-queue-type=no-such"])
def nonsense_argument_is_refused_by_name(setting):
    connection = connect()
    key, value = setting.split("=")
    value = int(value) if value.lstrip("-").isdigit() else value
    code, text = error_of(connection.channel().queue_declare, unique("q"), durable=True,
                          arguments={key: value})
    same(code, 406)
    assert key in text, text
    close(connection)


@case(each=["x-max-age"], only=["crossdock"])
def argument_that_is_not_built_is_refused_by_name(key):
    value = {"x-max-age": "1h"}[key]
    connection = connect()
    code, text = error_of(connection.channel().queue_declare, unique("q"), durable=True,
                          arguments={key: value})
    same(code, 406)
    assert key in text, text
    close(connection)


@case
def exclusive_queue_is_locked_to_others():
    owner, other = connect(), connect()
    name = queue(owner.channel(), exclusive=True)
    wanted = f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' " \
             "in vhost '/'"
    for attempt in (lambda channel: channel.queue_declare(name, exclusive=True),
                    lambda channel: channel.queue_declare(name, passive=True),
                    lambda channel: channel.basic_get(name),
                    lambda channel: channel.basic_consume(name, lambda *_: None),
                    lambda channel: channel.queue_bind(name, "amq.direct", "k"),
                    lambda channel: channel.queue_purge(name),
                    lambda channel: channel.queue_delete(name)):
        code, text = error_of(attempt, other.channel())
        same(code, 405)
        assert text.startswith(wanted), text
    publish(other.channel(), name, b"but publishing is free")
    same(get(owner.channel(), name)[2], b"but publishing is free")
    owner.close()
    other.close()


@case
@with_channel
def queue_named_as_the_servers_own_is_refused(channel):
    code, text = error_of(channel.queue_declare, "amq.mine")
    same(code, 403)
    assert text.startswith("ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix"), text


@case
@with_channel
def purge_counts_what_it_removed(channel):
    name = queue(channel)
    publish(channel, name, b"1", b"2", b"3", b"4")
    get(channel, name, auto_ack=False)
    same(channel.queue_purge(name).method.message_count, 3)
    same(channel.queue_purge(name).method.message_count, 0)
    # What was delivered and waits for its acknowledgement is not purged.
    channel.basic_recover(requeue=True)
    same(drain(channel, name), [b"1"])


@case
@with_channel
def delete_counts_and_heeds_its_conditions(channel):
    name = queue(channel, durable=True)
    publish(channel, name, b"1", b"2")
    consumer = Consumer(channel, name)
    consumer.wait(2)
    other = channel.connection.channel()
    code, text = error_of(other.queue_delete, name, if_unused=True)
    same((code, text), (406, f"PRECONDITION_FAILED - queue '{name}' in vhost '/' in use"))
    channel.basic_cancel(consumer.tag)
    channel.basic_recover(requeue=True)
    wait_for(lambda: depth(channel, name) == 2, "both are ready again")
    other = channel.connection.channel()
    code, text = error_of(other.queue_delete, name, if_empty=True)
    same((code, text), (406, f"PRECONDITION_FAILED - queue '{name}' in vhost '/' not empty"))
    same(channel.queue_delete(name).method.message_count, 2)
    # Deleting what is not there is no error.
    same(channel.queue_delete(name).method.message_count, 0)


@case
def auto_delete_queue_goes_with_its_last_consumer():
    connection = connect()
    channel = connection.channel()
    name = queue(channel, exclusive=False, auto_delete=True)
    first, second = Consumer(channel, name), Consumer(channel, name)
    channel.basic_cancel(first.tag)
    channel.queue_declare(name, passive=True)
    channel.basic_cancel(second.tag)
    same(error_of(channel.queue_declare, name, passive=True)[0], 404)
    close(connection)


@case
@with_channel
def auto_delete_queue_that_never_had_a_consumer_stays(channel):
    name = queue(channel, exclusive=False, auto_delete=True)
    publish(channel, name, b"x")
    same(drain(channel, name), [b"x"])
    channel.queue_declare(name, passive=True)
    channel.queue_delete(name)


@case
@with_channel
def binding_to_what_is_missing_is_404(channel):
    name, missing = queue(channel), unique("missing")
    same(error_of(channel.connection.channel().queue_bind, name, missing, "k"),
         (404, f"NOT_FOUND - no exchange '{missing}' in vhost '/'"))
    same(error_of(channel.connection.channel().queue_bind, missing, "amq.direct", "k"),
         (404, f"NOT_FOUND - no queue '{missing}' in vhost '/'"))


@case
def default_exchange_is_nobodys_to_change():
    connection = connect()
    channel = connection.channel()
    name = queue(channel)
    for attempt in (lambda channel: channel.queue_bind(name, "", "k"),
                    lambda channel: channel.queue_unbind(name, "", "k"),
                    lambda channel: channel.exchange_delete(""),
                    lambda channel: channel.exchange_declare("", "direct")):
        code, text = error_of(attempt, connection.channel())
        same(code, 403)
        assert text.startswith("ACCESS_REFUSED - operation not permitted on the default exchange")
    close(connection)


@case(each=["classic", "quorum"])
def queue_of_either_type_works(kind):
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    name = queue(channel, durable=True, arguments={"x-queue-type": kind})
    publish(channel, name, b"1", b"2", b"3", delivery_mode=2)
    channel.basic_qos(prefetch_count=1)
    consumer = Consumer(channel, name)
    consumer.wait(1)
    channel.basic_nack(consumer.tags[0], requeue=True)
    consumer.wait(2)
    channel.basic_ack(consumer.tags[1])
    consumer.wait(3)
    channel.basic_ack(consumer.tags[2])
    consumer.wait(4)
    channel.basic_ack(consumer.tags[3])
    found = [(body, method.redelivered) for method, _, body in consumer.deliveries]
    again = found.index((b"1", True))
    # A quorum queue of RabbitMQ 3.10 without a delivery limit puts what returns at its end.
    assert again == 1 or kind == "quorum", found
    same(found[:again] + found[again + 1:], [(b"1", False), (b"2", False), (b"3", False)])
    channel.basic_cancel(consumer.tag)
    same(drain(channel, name), [])
    channel.queue_delete(name)
    connection.close()


@case(each=["exclusive", "auto_delete", "transient"])
def quorum_queue_must_be_durable_and_shared(what):
    connection = connect()
    settings = {"durable": what != "transient"}
    if what != "transient":
        settings[what] = True
    code, text = error_of(connection.channel().queue_declare, unique("quorum"),
                          arguments={"x-queue-type": "quorum"}, **settings)
    same(code, 406)
    close(connection)


@case
def quorum_queue_counts_deliveries():
    connection = connect()
    channel = connection.channel()
    name = queue(channel, durable=True, arguments={"x-queue-type": "quorum"})
    publish(channel, name, b"x")
    counts = []
    for _ in range(3):
        method, properties, _ = get(channel, name, auto_ack=False)
        counts.append((properties.headers or {}).get("x-delivery-count"))
        channel.basic_reject(method.delivery_tag, requeue=True)
    # The first delivery has no count in this version; newer ones say 0.
    assert counts[0] in (None, 0), counts
    same(counts[1:], [1, 2])
    channel.queue_delete(name)
    connection.close()


@case(each=["first", "last", "next", 3, 7])
def stream_is_read_from_an_offset_and_again(offset):
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    name = queue(channel, durable=True, arguments={"x-queue-type": "stream"})
    publish(channel, name, *[str(number).encode() for number in range(5)])
    channel.basic_qos(prefetch_count=10)
    reader = Consumer(channel, name, arguments={"x-stream-offset": offset})
    if offset in ("next", 7):
        # A named offset beyond the end waits for that offset to be written.
        assert not reader.settle()
        publish(channel, name, *[str(number).encode() for number in range(5, 9)])
    begin = {"first": 0, "last": None, "next": 5, 3: 3, 7: 7}[offset]
    if begin is None:
        # `last` is the last chunk: as many records as happened to be written together.
        assert reader.wait(1)
        wait_for(lambda: reader.settle()[-1][2] == b"4", "the end of the stream")
    else:
        count = (9 if offset in ("next", 7) else 5) - begin
        reader.wait(count)
        same(reader.bodies, [str(number).encode() for number in range(begin, begin + count)])
        offsets = [properties.headers["x-stream-offset"] for _, properties, _ in reader.deliveries]
        same(offsets, list(range(begin, begin + count)))
    for tag in reader.tags:
        channel.basic_ack(tag)
    again = Consumer(channel, name, arguments={"x-stream-offset": "first"})
    again.wait(5)
    same(again.bodies[:5], [b"0", b"1", b"2", b"3", b"4"])
    channel.queue_delete(name)
    connection.close()


@case
def stream_wants_a_prefetch():
    connection = connect()
    channel = connection.channel()
    name = queue(channel, durable=True, arguments={"x-queue-type": "stream"})
    code, text = error_of(connection.channel().basic_consume, name, lambda *_: None)
    same(code, 406)
    assert "consumer prefetch count is not set" in text, text
    channel.queue_delete(name)
    connection.close()


@case
def stream_refuses_basic_get_with_540():
    connection = connect()
    channel = connection.channel()
    name = queue(channel, durable=True, arguments={"x-queue-type": "stream"})
    error = raises(exceptions.ConnectionClosedByBroker, connection.channel().basic_get, name)
    same(error.reply_code, 540)
    assert error.reply_text.startswith("NOT_IMPLEMENTED"), error.reply_text
    close(connection)
    connection = connect()
    connection.channel().queue_delete(name)
    connection.close()


@case
def stream_holds_back_at_the_prefetch():
    connection = connect()
    channel = connection.channel()
    name = queue(channel, durable=True, arguments={"x-queue-type": "stream"})
    channel.confirm_delivery()
    publish(channel, name, *[bytes([number]) for number in range(10)])
    channel.basic_qos(prefetch_count=3)
    reader = Consumer(channel, name, arguments={"x-stream-offset": "first"})
    reader.wait(3)
    assert len(reader.settle()) < 10
    given = 0
    while given < 10:
        reader.wait(given + 1)
        channel.basic_ack(reader.tags[given])
        given += 1
    same(reader.bodies, [bytes([number]) for number in range(10)])
    channel.queue_delete(name)
    connection.close()
