"""pika: what is there after the broker was restarted."""

import pika
from pika import exceptions

from amqp_pika import close, connect, drain, get, publish, queue
from casebook import case, raises, restart_server, same, unique, wait_for


@case(restart=True)
def durable_things_outlive_a_restart_and_others_do_not():
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    kept = queue(channel, durable=True)
    quorum = queue(channel, durable=True, arguments={"x-queue-type": "quorum"})
    transient = queue(channel, exclusive=False)
    source = unique("exchange")
    channel.exchange_declare(source, "topic", durable=True)
    channel.exchange_declare(source + "-transient", "topic")
    channel.queue_bind(kept, source, "a.*")
    properties = pika.BasicProperties(delivery_mode=2, headers={"n": 1, "t": {"u": [True]}},
                                      message_id="id", timestamp=1_700_000_000)
    for number in range(10):
        channel.basic_publish(source, "a.b", str(number).encode(), properties)
    publish(channel, kept, b"transient", delivery_mode=1)
    publish(channel, quorum, b"quorum", delivery_mode=2)
    taken = get(channel, kept, auto_ack=False)
    channel.basic_ack(taken[0].delivery_tag)
    held = get(channel, kept, auto_ack=False)
    same(held[2], b"1")
    # A round trip, so that the acknowledgement is not overtaken by the stop.
    channel.queue_declare(kept, passive=True)

    restart_server()

    close(connection)
    connection = connect()
    channel = connection.channel()
    method, found, body = get(channel, kept)
    same((body, method.exchange, method.routing_key), (b"1", source, "a.b"))
    same((found.headers, found.message_id, found.timestamp, found.delivery_mode),
         (properties.headers, "id", 1_700_000_000, 2))
    rest = drain(channel, kept)
    same([text for text in rest if text != b"transient"],
         [str(number).encode() for number in range(2, 10)])
    same(wait_for(lambda: drain(channel, quorum), "the quorum queue"), [b"quorum"])
    for name in (transient,):
        error = raises(exceptions.ChannelClosedByBroker,
                       connection.channel().queue_declare, name, passive=True)
        same(error.reply_code, 404)
    error = raises(exceptions.ChannelClosedByBroker,
                   connection.channel().exchange_declare, source + "-transient", passive=True)
    same(error.reply_code, 404)
    channel.basic_publish(source, "a.c", b"the binding is there")
    same(get(channel, kept)[2], b"the binding is there")
    for name in (kept, quorum):
        channel.queue_delete(name)
    channel.exchange_delete(source)
    connection.close()
