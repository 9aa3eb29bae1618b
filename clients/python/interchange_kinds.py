"""Interchange: a queue seen as a topic, and a topic consumed as a queue."""

import confluent_kafka as ck
from pika import exceptions

from amqp_pika import Consumer, close, connect, drain, get, publish, queue, with_channel
from casebook import case, raises, restart_server, same, unique
from confluent import admin, consumer, read, send, take, topic, values
from interchange import declare_topic_queue


def filled(channel, *bodies, **more):
    name = queue(channel, "kind", durable=True, **more)
    # Confirmed one by one, so that each is a batch of its own.
    channel.confirm_delivery()
    publish(channel, name, *bodies, delivery_mode=2)
    return name


@case
@with_channel
def queue_is_a_topic_of_one_partition(channel):
    name = filled(channel, b"a", b"b")
    same(sorted(admin().list_topics(timeout=10).topics[name].partitions), [0])
    channel.queue_delete(name)
    assert name not in admin().list_topics(timeout=10).topics


@case
@with_channel
def transient_and_exclusive_queues_are_not_seen_by_kafka(channel):
    exclusive = queue(channel, exclusive=True)
    transient = queue(channel, exclusive=False, auto_delete=True)
    topics = admin().list_topics(timeout=10).topics
    assert exclusive not in topics and transient not in topics
    channel.queue_delete(transient)


@case
@with_channel
def reading_with_kafka_settles_nothing(channel):
    name = filled(channel, b"1", b"2", b"3")
    for _ in range(2):
        same([record.value() for record in read(name, 3)], [b"1", b"2", b"3"])
    group = unique("group")
    reader = consumer(group_id=group)
    reader.subscribe([name])
    take(reader, 3)
    reader.commit(asynchronous=False)
    reader.close()
    same(drain(channel, name), [b"1", b"2", b"3"])
    channel.queue_delete(name)


@case
@with_channel
def settled_messages_are_holes_that_a_fetch_steps_over(channel):
    name = filled(channel, *[str(number).encode() for number in range(6)])
    for _ in range(3):
        method, _, _ = get(channel, name, auto_ack=False)
        channel.basic_ack(method.delivery_tag)
    channel.queue_declare(name, passive=True)
    # Without a reset an OFFSET_OUT_OF_RANGE would end this read.
    reader = consumer(auto_offset_reset="error")
    reader.assign([ck.TopicPartition(name, 0, 0)])
    found = []
    while not found or found[-1].value() != b"5":
        found.extend(take(reader, 1))
    reader.close()
    assert [record.value() for record in found][-3:] == [b"3", b"4", b"5"], found
    same([record.offset() for record in found][-3:], [3, 4, 5])
    channel.queue_delete(name)


@case
@with_channel
def held_message_is_still_there_for_kafka(channel):
    name = filled(channel, b"held")
    get(channel, name, auto_ack=False)
    same(read(name, 1)[0].value(), b"held")
    channel.queue_delete(name)


@case(each=["durable", "transient"])
def declaring_a_topic_joins_its_subscription_whatever_the_flags(flags):
    @with_channel
    def check(channel):
        name = topic("declared")
        send(values(name, [b"earlier"]))
        found = channel.queue_declare(name, durable=flags == "durable").method
        same(found.queue, name)
        same(get(channel, name)[2], b"earlier")
    check()


@case
@with_channel
def amqp_consumers_compete_within_a_topic(channel):
    name = topic("compete", 3)
    send([{"topic": name, "value": str(number), "partition": number % 3} for number in range(60)])
    declare_topic_queue(channel, name)
    other = connect()
    second = other.channel()
    declare_topic_queue(second, name)
    for side in (channel, second):
        side.basic_qos(prefetch_count=5)
    consumers = [Consumer(channel, name), Consumer(second, name)]
    acked = [0, 0]
    while sum(acked) < 60:
        for which, reader in enumerate(consumers):
            reader.settle()
            for tag in reader.tags[acked[which]:]:
                reader.channel.basic_ack(tag)
            acked[which] = len(reader.deliveries)
    same(sorted(int(body) for reader in consumers for body in reader.bodies), list(range(60)))
    assert all(acked), acked
    other.close()


@case
@with_channel
def acknowledging_over_amqp_never_trims_the_topic(channel):
    name = topic("trim")
    send(values(name, [b"1", b"2", b"3"]))
    declare_topic_queue(channel, name)
    same(drain(channel, name), [b"1", b"2", b"3"])
    same([record.value() for record in read(name, 3)], [b"1", b"2", b"3"])
    reader = consumer()
    same(reader.get_watermark_offsets(ck.TopicPartition(name, 0), timeout=10), (0, 3))
    reader.close()


@case
def unacknowledged_record_of_a_topic_goes_to_the_next_consumer():
    first, second = connect(), connect()
    name = topic("return")
    send(values(name, [b"a", b"b"]))
    channel = first.channel()
    declare_topic_queue(channel, name)
    tags = [get(channel, name, auto_ack=False)[0].delivery_tag for _ in range(2)]
    channel.basic_ack(tags[0])
    first.close()
    method, _, body = get(second.channel(), name)
    same((body, method.redelivered), (b"b", True))
    second.close()


@case
def name_of_a_topic_is_not_a_queue_with_arguments():
    connection = connect()
    name = topic("arguments")
    error = raises(exceptions.ChannelClosedByBroker, connection.channel().queue_declare, name,
                   durable=True, arguments={"x-max-length": 5})
    same(error.reply_code, 406)
    close(connection)


@case
@with_channel
def name_of_a_queue_is_not_free_for_a_topic(channel):
    name = filled(channel)
    made = admin().create_topics([ck.admin.NewTopic(name, 1, 1)])
    error = raises(ck.KafkaException, made[name].result, 10)
    same(error.args[0].code(), ck.KafkaError.TOPIC_ALREADY_EXISTS)
    channel.queue_delete(name)


@case(restart=True)
def subscription_of_a_topic_goes_on_after_a_restart():
    connection = connect()
    channel = connection.channel()
    name = topic("restart")
    send(values(name, [b"1", b"2", b"3"]))
    declare_topic_queue(channel, name)
    method, _, _ = get(channel, name, auto_ack=False)
    channel.basic_ack(method.delivery_tag)
    held = get(channel, name, auto_ack=False)
    same(held[2], b"2")
    # A clean close of the channel proves that the acknowledgement was taken.
    channel.close()

    restart_server()

    close(connection)
    connection = connect()
    channel = connection.channel()
    declare_topic_queue(channel, name)
    same(drain(channel, name), [b"2", b"3"])
    same([record.value() for record in read(name, 3)], [b"1", b"2", b"3"])
    connection.close()
