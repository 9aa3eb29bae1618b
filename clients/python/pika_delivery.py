"""pika: deliveries, acknowledgements, prefetch, confirms, transactions."""

import pika
from pika import exceptions

from amqp_pika import (Consumer, close, connect, depth, drain, get, publish, queue, with_channel)
from casebook import case, raises, same, unique, wait_for


def filled(channel, count, **more):
    name = queue(channel, **more)
    publish(channel, name, *[str(number).encode() for number in range(count)])
    return name


def numbers(*which):
    return [str(number).encode() for number in which]


@case
@with_channel
def deliveries_come_in_order_with_rising_tags(channel):
    name = filled(channel, 100)
    consumer = Consumer(channel, name, consumer_tag="my-tag")
    consumer.wait(100)
    same(consumer.bodies, numbers(*range(100)))
    same(consumer.tags, list(range(1, 101)))
    method = consumer.deliveries[0][0]
    same((method.consumer_tag, method.exchange, method.routing_key, method.redelivered),
         ("my-tag", "", name, False))


@case
@with_channel
def get_tells_how_many_are_left(channel):
    name = filled(channel, 3)
    found = [channel.basic_get(name, auto_ack=True) for _ in range(4)]
    same([method.message_count for method, _, _ in found[:3]], [2, 1, 0])
    same(found[3], (None, None, None))


@case
@with_channel
def acknowledged_message_does_not_come_again(channel):
    name = filled(channel, 2)
    other = channel.connection.channel()
    first, second = get(other, name, auto_ack=False), get(other, name, auto_ack=False)
    other.basic_ack(first[0].delivery_tag)
    other.close()
    method, _, body = get(channel, name)
    same((body, method.redelivered), (second[2], True))
    same(drain(channel, name), [])


@case
@with_channel
def acknowledging_multiple_takes_all_up_to_the_tag(channel):
    name = filled(channel, 5)
    other = channel.connection.channel()
    consumer = Consumer(other, name)
    consumer.wait(5)
    other.basic_ack(3, multiple=True)
    other.close()
    same(drain(channel, name), numbers(3, 4))


@case
@with_channel
def tag_zero_with_multiple_means_all(channel):
    name = filled(channel, 4)
    other = channel.connection.channel()
    Consumer(other, name).wait(4)
    other.basic_ack(0, multiple=True)
    other.close()
    same(drain(channel, name), [])


@case
@with_channel
def returned_messages_keep_their_place(channel):
    name = filled(channel, 5)
    tags = [get(channel, name, auto_ack=False)[0].delivery_tag for _ in range(3)]
    channel.basic_nack(tags[1], requeue=True)
    same(get(channel, name, auto_ack=False)[2], b"1")
    channel.basic_nack(0, multiple=True, requeue=True)
    found = [channel.basic_get(name, auto_ack=True) for _ in range(5)]
    same([body for _, _, body in found], numbers(*range(5)))
    same([method.redelivered for method, _, _ in found], [True, True, True, False, False])


@case
@with_channel
def rejected_message_is_dropped_or_returned(channel):
    name = filled(channel, 2)
    method, _, _ = get(channel, name, auto_ack=False)
    channel.basic_reject(method.delivery_tag, requeue=True)
    method, _, body = get(channel, name, auto_ack=False)
    same((body, method.redelivered), (b"0", True))
    channel.basic_reject(method.delivery_tag, requeue=False)
    same(drain(channel, name), [b"1"])


@case
@with_channel
def nack_multiple_without_requeue_drops_them(channel):
    name = filled(channel, 4)
    tags = [get(channel, name, auto_ack=False)[0].delivery_tag for _ in range(3)]
    channel.basic_nack(tags[1], multiple=True, requeue=False)
    channel.basic_nack(tags[2], requeue=True)
    same(drain(channel, name), numbers(2, 3))


@case
@with_channel
def recover_brings_all_back_redelivered(channel):
    name = filled(channel, 3)
    consumer = Consumer(channel, name)
    consumer.wait(3)
    channel.basic_recover(requeue=True)
    consumer.wait(6)
    same(consumer.bodies, numbers(0, 1, 2, 0, 1, 2))
    same([method.redelivered for method, _, _ in consumer.deliveries], [False] * 3 + [True] * 3)


@case
@with_channel
def messages_return_when_their_channel_closes(channel):
    name = filled(channel, 3)
    other = channel.connection.channel()
    Consumer(other, name).wait(3)
    same(depth(channel, name), 0)
    other.close()
    same(drain(channel, name), numbers(0, 1, 2))


@case
@with_channel
def cancelled_consumer_keeps_what_it_was_given(channel):
    name = filled(channel, 2)
    consumer = Consumer(channel, name)
    consumer.wait(2)
    channel.basic_cancel(consumer.tag)
    publish(channel, name, b"later")
    for tag in consumer.tags:
        channel.basic_ack(tag)
    same(drain(channel, name), [b"later"])


@case
@with_channel
def prefetch_limits_each_consumer(channel):
    name = filled(channel, 10)
    channel.basic_qos(prefetch_count=3)
    first = Consumer(channel, name)
    first.wait(3)
    second = Consumer(channel, name)
    second.wait(3)
    same((len(first.settle()), len(second.settle())), (3, 3))
    channel.basic_ack(first.tags[0])
    first.wait(4)
    same((len(first.settle()), len(second.settle())), (4, 3))


@case
@with_channel
def prefetch_counts_only_for_later_consumers(channel):
    name = filled(channel, 6)
    channel.basic_qos(prefetch_count=1)
    first = Consumer(channel, name)
    first.wait(1)
    channel.basic_qos(prefetch_count=2)
    second = Consumer(channel, name)
    second.wait(2)
    same((len(first.settle()), len(second.settle())), (1, 2))


@case
@with_channel
def global_prefetch_limits_the_channel(channel):
    name = filled(channel, 10)
    channel.basic_qos(prefetch_count=4, global_qos=True)
    consumers = [Consumer(channel, name), Consumer(channel, name)]

    def given():
        for consumer in consumers:
            consumer.settle()
        return sum(len(consumer.deliveries) for consumer in consumers)
    wait_for(lambda: given() == 4, "four deliveries")
    same(given(), 4)
    channel.basic_ack(1)
    wait_for(lambda: given() == 5, "one more")
    same(given(), 5)


@case
@with_channel
def global_prefetch_binds_consumers_that_were_there_before(channel):
    name = queue(channel)
    consumers = [Consumer(channel, name), Consumer(channel, name)]
    publish(channel, name, *numbers(*range(2)))

    def given():
        for consumer in consumers:
            consumer.settle()
        return sum(len(consumer.deliveries) for consumer in consumers)
    wait_for(lambda: given() == 2, "what came before the limit")
    channel.basic_qos(prefetch_count=3, global_qos=True)
    publish(channel, name, *numbers(*range(2, 8)))
    wait_for(lambda: given() == 3, "one more: what came before counts")
    same(given(), 3)
    channel.basic_ack(2, multiple=True)
    wait_for(lambda: given() == 5, "two more")
    same(given(), 5)
    channel.basic_qos(prefetch_count=0, global_qos=True)
    wait_for(lambda: given() == 8, "the rest, without a limit")


@case
@with_channel
def prefetch_does_not_bind_a_consumer_without_acknowledgements(channel):
    name = filled(channel, 20)
    channel.basic_qos(prefetch_count=1)
    Consumer(channel, name, auto_ack=True).wait(20)


@case
@with_channel
def competing_consumers_share_evenly(channel):
    name = queue(channel)
    channel.basic_qos(prefetch_count=1)
    consumers = [Consumer(channel, name) for _ in range(2)]
    publish(channel, name, *numbers(*range(10)))
    seen = 0
    while seen < 10:
        seen = 0
        for consumer in consumers:
            consumer.settle()
            for tag in consumer.tags[getattr(consumer, "acked", 0):]:
                channel.basic_ack(tag)
            consumer.acked = len(consumer.deliveries)
            seen += consumer.acked
    same([len(consumer.deliveries) for consumer in consumers], [5, 5])


@case
@with_channel
def consumer_of_higher_priority_is_served_first(channel):
    name = queue(channel)
    low = Consumer(channel, name)
    high = Consumer(channel, name, arguments={"x-priority": 10})
    publish(channel, name, *numbers(*range(5)))
    high.wait(5)
    same(low.settle(), [])


@case
@with_channel
def exclusive_consumer_is_alone(channel):
    name = queue(channel)
    consumer = Consumer(channel, name, exclusive=True)
    other = channel.connection.channel()
    error = raises(exceptions.ChannelClosedByBroker,
                   other.basic_consume, name, lambda *_: None)
    same(error.reply_code, 403)
    assert "in exclusive use" in error.reply_text, error.reply_text
    channel.basic_cancel(consumer.tag)
    channel.connection.channel().basic_consume(name, lambda *_: None)


@case
@with_channel
def consumer_is_told_when_its_queue_is_deleted(channel):
    name = queue(channel, durable=True)
    told = []
    channel.add_on_cancel_callback(told.append)
    consumer = Consumer(channel, name)
    channel.connection.channel().queue_delete(name)
    wait_for(lambda: channel.connection.process_data_events(0.05) or told, "the cancellation")
    same(told[0].method.consumer_tag, consumer.tag)


@case
@with_channel
def consumer_tags_are_made_when_none_is_given(channel):
    name = queue(channel)
    # pika makes tags of its own, so this one is asked for with a bare method.
    answer = channel._impl.connection, name
    assert answer
    method = pika.spec.Basic.Consume(queue=name, consumer_tag="")
    tags = []
    channel._impl._rpc(method, lambda frame: tags.append(frame.method.consumer_tag),
                       [(pika.spec.Basic.ConsumeOk, {})])
    wait_for(lambda: channel.connection.process_data_events(0.05) or tags, "consume-ok")
    assert tags[0].startswith("amq.ctag-"), tags


@case
@with_channel
def tag_twice_on_one_channel_is_refused(channel):
    name = queue(channel)
    method = pika.spec.Basic.Consume(queue=name, consumer_tag="same")
    codes = []
    channel._impl.add_on_close_callback(lambda _, why: codes.append(why.reply_code))
    channel._impl._send_method(method)
    channel._impl._send_method(method)
    # 530 closes the connection.
    raises(exceptions.ConnectionClosedByBroker,
           lambda: wait_for(lambda: channel.connection.process_data_events(0.05), "the error"))


@case
@with_channel
def unknown_delivery_tag_closes_the_channel(channel):
    channel.basic_ack(99)
    error = raises(exceptions.ChannelClosedByBroker,
                   channel.queue_declare, "amq.whatever", passive=True)
    same((error.reply_code, error.reply_text),
         (406, "PRECONDITION_FAILED - unknown delivery tag 99"))


@case
@with_channel
def acknowledging_twice_closes_the_channel(channel):
    name = filled(channel, 1)
    tag = get(channel, name, auto_ack=False)[0].delivery_tag
    channel.basic_ack(tag)
    channel.basic_ack(tag)
    error = raises(exceptions.ChannelClosedByBroker, channel.queue_declare, name, passive=True)
    same((error.reply_code, error.reply_text),
         (406, f"PRECONDITION_FAILED - unknown delivery tag {tag}"))


@case
@with_channel
def confirmed_publish_is_routed_or_returned(channel):
    channel.confirm_delivery()
    name = queue(channel)
    channel.basic_publish("", name, b"routed", mandatory=True)
    missing = unique("missing")
    error = raises(exceptions.UnroutableError,
                   channel.basic_publish, "", missing, b"lost", mandatory=True)
    returned = error.messages[0]
    same((returned.method.reply_code, returned.method.reply_text), (312, "NO_ROUTE"))
    same((returned.method.exchange, returned.method.routing_key, returned.body),
         ("", missing, b"lost"))
    # Without mandatory an unroutable message is confirmed all the same.
    channel.basic_publish("", missing, b"lost")
    same(drain(channel, name), [b"routed"])


@case
@with_channel
def mandatory_return_carries_properties_and_body(channel):
    returned = []
    channel.add_on_return_callback(lambda _, *message: returned.append(message))
    missing = unique("missing")
    properties = pika.BasicProperties(message_id="id", headers={"a": 1})
    channel.basic_publish("amq.direct", missing, b"body", properties, mandatory=True)
    wait_for(lambda: channel.connection.process_data_events(0.05) or returned, "the return")
    method, properties, body = returned[0]
    same((method.reply_code, method.exchange, method.routing_key), (312, "amq.direct", missing))
    same((properties.message_id, properties.headers, body), ("id", {"a": 1}, b"body"))


@case
@with_channel
def publishing_to_a_missing_exchange_closes_the_channel(channel):
    missing = unique("missing")
    channel.basic_publish(missing, "k", b"x")
    error = raises(exceptions.ChannelClosedByBroker, channel.queue_declare, "", exclusive=True)
    same((error.reply_code, error.reply_text),
         (404, f"NOT_FOUND - no exchange '{missing}' in vhost '/'"))
    assert channel.connection.channel().is_open


@case
@with_channel
def immediate_is_not_implemented(channel):
    channel._impl._send_method(pika.spec.Basic.Publish(exchange="", routing_key="q",
                                                       immediate=True),
                               (pika.BasicProperties(), b"x"))
    error = raises(exceptions.ConnectionClosedByBroker,
                   lambda: channel.queue_declare("", exclusive=True))
    same(error.reply_code, 540)
    assert error.reply_text.startswith("NOT_IMPLEMENTED"), error.reply_text


@case
@with_channel
def committed_transaction_publishes_and_acknowledges(channel):
    source, sink = filled(channel, 2), queue(channel)
    other = channel.connection.channel()
    channel.tx_select()
    tag = get(channel, source, auto_ack=False)[0].delivery_tag
    channel.basic_ack(tag)
    publish(channel, sink, b"answer", b"another")
    same(depth(other, sink), 0)
    channel.tx_commit()
    same(drain(other, sink), [b"answer", b"another"])
    channel.close()
    same(drain(other, source), [b"1"])


@case
@with_channel
def rolled_back_transaction_leaves_nothing(channel):
    source, sink = filled(channel, 1), queue(channel)
    other = channel.connection.channel()
    channel.tx_select()
    tag = get(channel, source, auto_ack=False)[0].delivery_tag
    channel.basic_ack(tag)
    publish(channel, sink, b"never")
    channel.tx_rollback()
    same(depth(other, sink), 0)
    # The acknowledgement is undone, not the delivery: the message is still this channel's.
    same(depth(other, source), 0)
    channel.basic_ack(tag)
    channel.tx_commit()
    channel.close()
    same((drain(other, source), drain(other, sink)), ([], []))


@case
@with_channel
def closing_a_channel_rolls_its_transaction_back(channel):
    source = filled(channel, 1)
    other = channel.connection.channel()
    other.tx_select()
    other.basic_ack(get(other, source, auto_ack=False)[0].delivery_tag)
    other.close()
    same(drain(channel, source), [b"0"])


@case
def transactions_and_confirms_exclude_each_other():
    connection = connect()
    for first, second in (("tx_select", "confirm_delivery"), ("confirm_delivery", "tx_select")):
        channel = connection.channel()
        getattr(channel, first)()
        error = raises(exceptions.ChannelClosedByBroker, getattr(channel, second))
        same(error.reply_code, 406)
    error = raises(exceptions.ChannelClosedByBroker, connection.channel().tx_commit)
    same((error.reply_code, error.reply_text), (406, "PRECONDITION_FAILED - channel is not transactional"))
    close(connection)


@case
@with_channel
def direct_reply_comes_back_without_a_queue(channel):
    requests = queue(channel)
    replies = Consumer(channel, "amq.rabbitmq.reply-to", auto_ack=True)
    publish(channel, requests, b"question", reply_to="amq.rabbitmq.reply-to",
            correlation_id="42")
    server = connect()
    answering = server.channel()
    other = channel.connection.channel()
    same(depth(other, requests), 1)
    _, properties, _ = get(other, requests)
    assert properties.reply_to.startswith("amq.rabbitmq.reply-to."), properties.reply_to
    publish(answering, properties.reply_to, b"answer", correlation_id=properties.correlation_id)
    _, answer, body = replies.wait(1)[0]
    same((body, answer.correlation_id), (b"answer", "42"))
    server.close()


@case
@with_channel
def direct_reply_consumer_must_not_acknowledge(channel):
    error = raises(exceptions.ChannelClosedByBroker, channel.basic_consume,
                   "amq.rabbitmq.reply-to", lambda *_: None, auto_ack=False)
    same(error.reply_code, 406)


@case
@with_channel
def direct_reply_without_a_consumer_is_refused(channel):
    name = queue(channel)
    publish(channel, name, b"x", reply_to="amq.rabbitmq.reply-to")
    error = raises(exceptions.ChannelClosedByBroker, channel.queue_declare, name, passive=True)
    same(error.reply_code, 406)
