"""pika: queues that hand out one message of a key at a time. No RabbitMQ has them."""

from pika import exceptions

from amqp_pika import Consumer, close, connect, depth, drain, get, publish, queue, with_channel
from casebook import case, raises, restart_server, same, unique, wait_for

BY_CUSTOMER = {"x-order-key": "customer"}
OURS = ["crossdock"]


def send(channel, name, *bodies, **properties):
    """Messages whose customer is the first letter of their body."""
    for body in bodies:
        publish(channel, name, body.encode(), headers={"customer": body[0]}, **properties)


def bodies(consumer):
    return [body.decode() for _, _, body in consumer.deliveries]


def tag_of(consumer, wanted):
    return next(method.delivery_tag for method, _, body in reversed(consumer.deliveries)
                if body.decode() == wanted)


@case(each=["classic", "quorum"], only=OURS)
def of_each_key_one_message_is_out(kind):
    connection = connect()
    channel = connection.channel()
    name = queue(channel, durable=True, arguments={**BY_CUSTOMER, "x-queue-type": kind})
    send(channel, name, "a1", "a2", "b1", "a3", "b2")
    consumer = Consumer(channel, name)
    consumer.wait(2)
    same(depth(channel, name), 3)
    for done, count, have in [("b1", 3, "b2"), ("a1", 4, "a2"), ("a2", 5, "a3")]:
        channel.basic_ack(tag_of(consumer, done))
        consumer.wait(count)
        same(bodies(consumer)[-1], have)
    channel.queue_delete(name)
    close(connection)


@case(only=OURS)
@with_channel
def so_many_messages_of_a_key_are_out_as_the_queue_says(channel):
    name = queue(channel, arguments={**BY_CUSTOMER, "x-max-in-flight-per-key": 2})
    send(channel, name, "a1", "a2", "a3", "b1", "a4")
    consumer = Consumer(channel, name)
    consumer.wait(3)
    same(bodies(consumer), ["a1", "a2", "b1"])
    for done, have in [("a2", "a3"), ("a1", "a4")]:
        channel.basic_ack(tag_of(consumer, done))
        consumer.wait(len(consumer.deliveries) + 1)
        same(bodies(consumer)[-1], have)


@case(only=OURS)
@with_channel
def cap_of_each_key_needs_no_name_of_a_key(channel):
    name = queue(channel, arguments={"x-max-in-flight-per-key": 1})
    for body, key in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("none", None), ("none too", None)]:
        headers = {"x-kafka-key": key} if key else {}
        publish(channel, name, body.encode(), headers=headers)
    consumer = Consumer(channel, name)
    consumer.wait(4)
    same(bodies(consumer), ["a1", "b1", "none", "none too"])
    channel.basic_ack(tag_of(consumer, "a1"))
    consumer.wait(5)
    same(bodies(consumer)[-1], "a2")


@case(only=OURS)
@with_channel
def returned_message_comes_before_later_ones_of_its_key(channel):
    name = queue(channel, arguments=BY_CUSTOMER)
    send(channel, name, "a1", "a2")
    consumer = Consumer(channel, name)
    consumer.wait(1)
    channel.basic_nack(tag_of(consumer, "a1"), requeue=True)
    consumer.wait(2)
    channel.basic_ack(tag_of(consumer, "a1"))
    consumer.wait(3)
    same(bodies(consumer), ["a1", "a1", "a2"])


@case(only=OURS)
@with_channel
def order_by_key_goes_with_priorities(channel):
    name = queue(channel, arguments={**BY_CUSTOMER, "x-max-priority": 5})
    send(channel, name, "a1")
    send(channel, name, "b1", "a2", priority=5)
    wait_for(lambda: depth(channel, name) == 3, "all are ready")
    consumer = Consumer(channel, name)
    consumer.wait(2)
    same(bodies(consumer), ["b1", "a2"])
    channel.basic_ack(tag_of(consumer, "a2"))
    consumer.wait(3)
    same(bodies(consumer)[-1], "a1")


@case(only=OURS)
@with_channel
def routing_key_can_be_the_key(channel):
    name = queue(channel, arguments={"x-order-key": "routing-key"})
    for key in ("k", "l"):
        channel.queue_bind(name, "amq.direct", key)
    for key, body in [("k", b"k1"), ("k", b"k2"), ("l", b"l1")]:
        publish(channel, key, body, exchange="amq.direct")
    first = [get(channel, name, auto_ack=False) for _ in range(2)]
    same([body for _, _, body in first], [b"k1", b"l1"])
    same(channel.basic_get(name)[0], None)
    channel.basic_ack(first[0][0].delivery_tag)
    same(get(channel, name)[2], b"k2")


@case(only=OURS)
@with_channel
def dead_letter_lets_its_key_go_on(channel):
    grave = queue(channel)
    name = queue(channel, arguments={
        **BY_CUSTOMER, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": grave})
    send(channel, name, "a1", "a2")
    consumer = Consumer(channel, name)
    consumer.wait(1)
    channel.basic_reject(tag_of(consumer, "a1"), requeue=False)
    consumer.wait(2)
    same(bodies(consumer), ["a1", "a2"])
    same(get(channel, grave)[2], b"a1")


@case(only=OURS)
@with_channel
def no_ack_holds_up_nothing(channel):
    name = queue(channel, arguments=BY_CUSTOMER)
    send(channel, name, "a1", "a2")
    wait_for(lambda: depth(channel, name) == 2, "both are ready")
    same(drain(channel, name), [b"a1", b"a2"])


@case(only=OURS)
def order_key_that_is_no_name_is_refused():
    connection = connect()
    error = raises(exceptions.ChannelClosedByBroker, connection.channel().queue_declare,
                   unique("q"), arguments={"x-order-key": 5})
    same(error.reply_code, 406)
    assert "invalid arg 'x-order-key'" in error.reply_text, error.reply_text
    close(connection)


@case(only=OURS, restart=True)
def order_of_keys_outlives_a_restart():
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    name = queue(channel, durable=True, arguments=BY_CUSTOMER)
    send(channel, name, "a1", "a2", "b1", delivery_mode=2)
    consumer = Consumer(channel, name)
    consumer.wait(2)
    close(connection)
    restart_server()
    connection = connect()
    channel = connection.channel()
    consumer = Consumer(channel, name)
    consumer.wait(2)
    same(bodies(consumer), ["a1", "b1"])
    channel.basic_ack(tag_of(consumer, "a1"))
    consumer.wait(3)
    same(bodies(consumer)[-1], "a2")
    channel.queue_delete(name)
    close(connection)
