"""aio-pika: its own channels, its RPC pattern, and its robust connections."""

import asyncio
import datetime

import aio_pika
from aio_pika.exceptions import ChannelPreconditionFailed, DeliveryError
from aio_pika.patterns import RPC
from aiormq.exceptions import AMQPConnectionError, ChannelNotFoundEntity, InvalidFrameError

from casebook import AMQP, case, restart_server_async, same, unique, wait_for_async

VERSION = aio_pika.__version__


def url(user="guest", password="guest", vhost=""):
    return f"amqp://{user}:{password}@{AMQP}/{vhost}"


async def connect():
    return await aio_pika.connect(url())


@case
async def published_message_is_got():
    async with await connect() as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(unique("q"), exclusive=True)
        await channel.default_exchange.publish(aio_pika.Message(b"body"), queue.name)
        message = await queue.get(timeout=5)
        same((message.body, message.redelivered), (b"body", False))
        await message.ack()


@case
async def properties_and_headers_come_back():
    async with await connect() as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(unique("q"), exclusive=True)
        headers = {"int": 7, "text": "żółć", "none": None, "list": [1, "a"], "t": {"x": True}}
        when = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
        sent = aio_pika.Message(
            b"x", headers=headers, content_type="text/plain", content_encoding="utf-8",
            delivery_mode=2, priority=3, correlation_id="c", reply_to="r", expiration=600,
            message_id="m", timestamp=when, type="t", user_id="guest", app_id="a")
        await channel.default_exchange.publish(sent, queue.name)
        found = await queue.get(no_ack=True, timeout=5)
        for key in ("content_type", "content_encoding", "delivery_mode", "priority",
                    "correlation_id", "reply_to", "expiration", "message_id", "timestamp",
                    "type", "user_id", "app_id"):
            same(getattr(found, key), getattr(sent, key), key)
        same(found.headers, headers)


@case
async def wrong_password_is_refused():
    try:
        await aio_pika.connect(url(password="wrong"))
    except AMQPConnectionError as error:
        assert "ACCESS_REFUSED" in str(error), error
    else:
        raise AssertionError("let in")


@case
async def unknown_vhost_is_refused():
    try:
        await aio_pika.connect(url(vhost="no-such"))
    except (AMQPConnectionError, InvalidFrameError) as error:
        # aiormq 7.2 does not expect connection.close in this place, though it is RabbitMQ's way.
        assert "NOT_ALLOWED" in str(error) or "Connection.Close" in str(error), error
    else:
        raise AssertionError("let in")


@case
async def many_confirmed_publishes_run_at_once():
    async with await connect() as connection:
        channel = await connection.channel(publisher_confirms=True)
        queue = await channel.declare_queue(unique("q"), durable=True)
        await asyncio.gather(*[channel.default_exchange.publish(
            aio_pika.Message(str(number).encode(), delivery_mode=2), queue.name)
            for number in range(500)])
        found = await queue.declare()
        same(found.message_count, 500)
        await queue.delete(if_empty=False)


@case
async def unroutable_mandatory_message_raises():
    async with await connect() as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        try:
            await channel.default_exchange.publish(aio_pika.Message(b"x"), unique("missing"))
        except DeliveryError as error:
            same(error.message.delivery.reply_code, 312)
        else:
            raise AssertionError("not returned")


@case
async def iterator_consumes_in_order():
    async with await connect() as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=5)
        queue = await channel.declare_queue(unique("q"), exclusive=True)
        for number in range(50):
            await channel.default_exchange.publish(
                aio_pika.Message(str(number).encode()), queue.name)
        seen = []
        async with asyncio.timeout(10), queue.iterator() as messages:
            async for message in messages:
                async with message.process():
                    seen.append(int(message.body))
                if len(seen) == 50:
                    break
        same(seen, list(range(50)))


@case
async def failed_processing_requeues():
    async with await connect() as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(unique("q"), exclusive=True)
        await channel.default_exchange.publish(aio_pika.Message(b"x"), queue.name)
        message = await queue.get(timeout=5)
        try:
            async with message.process(requeue=True):
                raise ValueError
        except ValueError:
            pass
        again = await wait_for_async(lambda: queue.get(fail=False), "the message again")
        same((again.body, again.redelivered), (b"x", True))
        await again.reject(requeue=False)


@case
async def topic_exchange_routes():
    async with await connect() as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(unique("x"), "topic", auto_delete=True)
        queue = await channel.declare_queue(unique("q"), exclusive=True)
        await queue.bind(exchange, "a.*.c")
        for key in ("a.b.c", "a.c", "a.x.c"):
            await exchange.publish(aio_pika.Message(key.encode()), key, mandatory=False)
        same([(await queue.get(no_ack=True, timeout=5)).body for _ in range(2)],
             [b"a.b.c", b"a.x.c"])
        same(await queue.get(fail=False), None)


@case
async def transaction_commits_and_rolls_back():
    async with await connect() as connection:
        channel = await connection.channel(publisher_confirms=False)
        queue = await channel.declare_queue(unique("q"), exclusive=True)
        async with channel.transaction():
            await channel.default_exchange.publish(aio_pika.Message(b"kept"), queue.name)
        transaction = channel.transaction()
        await transaction.select()
        await channel.default_exchange.publish(aio_pika.Message(b"dropped"), queue.name)
        await transaction.rollback()
        same((await queue.get(no_ack=True, timeout=5)).body, b"kept")
        same(await queue.get(fail=False), None)


@case
async def missing_queue_and_other_arguments_are_errors():
    async with await connect() as connection:
        channel = await connection.channel()
        try:
            await channel.declare_queue(unique("missing"), passive=True)
        except ChannelNotFoundEntity:
            pass
        else:
            raise AssertionError("found")
        channel = await connection.channel()
        name = unique("q")
        await channel.declare_queue(name, exclusive=True)
        try:
            await channel.declare_queue(name, exclusive=True, arguments={"x-max-length": 3})
        except ChannelPreconditionFailed as error:
            assert "inequivalent arg 'x-max-length'" in str(error), error
        else:
            raise AssertionError("accepted")


@case
async def rpc_pattern_answers():
    async with await connect() as connection:
        channel = await connection.channel()
        rpc = await RPC.create(channel)

        async def double(*, number):
            return number * 2
        name = unique("double")
        await rpc.register(name, double, auto_delete=True)
        same(await asyncio.gather(*[rpc.call(name, {"number": number}) for number in range(20)]),
             [number * 2 for number in range(20)])
        await rpc.close()


@case(restart=True)
async def robust_connection_consumes_on_after_a_restart():
    connection = await aio_pika.connect_robust(url(), reconnect_interval=0.5)
    channel = await connection.channel()
    queue = await channel.declare_queue(unique("robust"), durable=True)
    seen = []

    async def take(message):
        seen.append(message.body)
        await message.ack()
    await queue.consume(take)
    await channel.default_exchange.publish(aio_pika.Message(b"before", delivery_mode=2), queue.name)
    await wait_for_async(lambda: seen == [b"before"], "the first message")
    await restart_server_async()

    async def publishes():
        try:
            await asyncio.wait_for(channel.default_exchange.publish(
                aio_pika.Message(b"after", delivery_mode=2), queue.name), 5)
            return True
        except Exception:
            return False
    await wait_for_async(publishes, "a publish after the restart", seconds=60, pause=0.5)
    await wait_for_async(lambda: b"after" in seen, "its delivery", seconds=60)
    await queue.delete(if_unused=False, if_empty=False)
    await connection.close()
