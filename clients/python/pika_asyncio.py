"""pika's asyncio adapter: callbacks, pipelined publishes and their confirms."""

import asyncio

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from amqp_pika import VERSION, parameters
from casebook import case, same, unique

__all__ = ["VERSION"]


class Open:
    """An open connection with a channel; calls that take a callback become awaitable."""

    def __init__(self, **more):
        self.parameters = parameters(**more)

    async def __aenter__(self):
        opened = asyncio.get_running_loop().create_future()
        self.closed = asyncio.get_running_loop().create_future()
        self.connection = AsyncioConnection(
            self.parameters, on_open_callback=opened.set_result,
            on_open_error_callback=lambda _, error: opened.set_exception(error),
            on_close_callback=lambda _, error: self.closed.done() or self.closed.set_result(error))
        await asyncio.wait_for(opened, 10)
        return self

    async def __aexit__(self, *_):
        if self.connection.is_open:
            self.connection.close()
        await asyncio.wait_for(self.closed, 10)

    async def channel(self):
        return await answer(lambda done: self.connection.channel(on_open_callback=done))


async def answer(call):
    done = asyncio.get_running_loop().create_future()
    call(lambda frame: done.done() or done.set_result(frame))
    return await asyncio.wait_for(done, 15)


async def queue(channel, **more):
    name = unique("async")
    await answer(lambda done: channel.queue_declare(name, exclusive=True, callback=done, **more))
    return name


@case
async def connection_opens_and_closes():
    async with Open() as open_:
        channel = await open_.channel()
        assert channel.is_open
    assert open_.connection.is_closed


@case
async def wrong_password_is_told():
    try:
        async with Open(password="wrong"):
            raise AssertionError("let in")
    except pika.exceptions.AMQPConnectionError as error:
        assert "ACCESS_REFUSED" in str(error) or "403" in str(error), error


@case
async def pipelined_publishes_are_all_confirmed():
    async with Open() as open_:
        channel = await open_.channel()
        name = await queue(channel)
        confirmed, done = set(), asyncio.get_running_loop().create_future()

        def note(frame):
            assert isinstance(frame.method, pika.spec.Basic.Ack), frame
            tag = frame.method.delivery_tag
            confirmed.update(range(1, tag + 1) if frame.method.multiple else [tag])
            if len(confirmed) == 1000 and not done.done():
                done.set_result(True)
        await answer(lambda ok: channel.confirm_delivery(note, callback=ok))
        for number in range(1000):
            channel.basic_publish("", name, str(number).encode())
        await asyncio.wait_for(done, 20)
        same(confirmed, set(range(1, 1001)))


@case
async def deliveries_come_in_order_under_prefetch():
    async with Open() as open_:
        channel = await open_.channel()
        name = await queue(channel)
        await answer(lambda done: channel.basic_qos(prefetch_count=10, callback=done))
        seen, finished = [], asyncio.get_running_loop().create_future()

        def take(_, method, __, body):
            seen.append(int(body))
            channel.basic_ack(method.delivery_tag)
            if len(seen) == 500:
                finished.set_result(True)
        await answer(lambda done: channel.basic_consume(name, take, callback=done))
        for number in range(500):
            channel.basic_publish("", name, str(number).encode())
        await asyncio.wait_for(finished, 20)
        same(seen, list(range(500)))


@case
async def channel_error_carries_code_class_and_method():
    async with Open() as open_:
        channel = await open_.channel()
        closed = asyncio.get_running_loop().create_future()
        frames = []
        open_.connection.callbacks.add(
            channel.channel_number, pika.spec.Channel.Close, frames.append, one_shot=True)
        channel.add_on_close_callback(lambda _, why: closed.set_result(why))
        channel.queue_declare(unique("missing"), passive=True)
        why = await asyncio.wait_for(closed, 10)
        same(why.reply_code, 404)
        # queue.declare is method 10 of class 50.
        same((frames[0].method.class_id, frames[0].method.method_id), (50, 10))


@case
async def publish_to_a_missing_exchange_names_its_method():
    async with Open() as open_:
        channel = await open_.channel()
        frames, closed = [], asyncio.get_running_loop().create_future()
        open_.connection.callbacks.add(
            channel.channel_number, pika.spec.Channel.Close, frames.append, one_shot=True)
        channel.add_on_close_callback(lambda _, why: closed.set_result(why))
        channel.basic_publish(unique("missing"), "k", b"x")
        why = await asyncio.wait_for(closed, 10)
        same(why.reply_code, 404)
        same((frames[0].method.class_id, frames[0].method.method_id), (60, 40))


@case
async def mandatory_return_comes_before_its_confirm():
    async with Open() as open_:
        channel = await open_.channel()
        events, done = [], asyncio.get_running_loop().create_future()

        def confirmed(_):
            events.append("ack")
            done.set_result(True)
        await answer(lambda ok: channel.confirm_delivery(confirmed, callback=ok))
        channel.add_on_return_callback(lambda *_: events.append("return"))
        channel.basic_publish("", unique("missing"), b"x", mandatory=True)
        await asyncio.wait_for(done, 10)
        same(events, ["return", "ack"])


@case
async def cancel_from_the_server_reaches_the_callback():
    async with Open() as open_:
        channel = await open_.channel()
        name = await queue(channel)
        cancelled = asyncio.get_running_loop().create_future()
        channel.add_on_cancel_callback(cancelled.set_result)
        await answer(lambda done: channel.basic_consume(name, lambda *_: None, callback=done))
        other = await open_.channel()
        await answer(lambda done: other.queue_delete(name, callback=done))
        frame = await asyncio.wait_for(cancelled, 10)
        assert frame.method.consumer_tag
