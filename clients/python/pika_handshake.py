"""pika: the connection's beginning and end, and its channels."""

import socket
import struct
import time

from pika import exceptions

from amqp_pika import VERSION, close, connect, publish, queue, with_channel, get
from casebook import AMQP, case, raises, same

__all__ = ["VERSION"]


@case
def right_password_is_let_in():
    connection = connect()
    assert connection.is_open
    channel = connection.channel()
    same(channel.channel_number, 1)
    connection.close()
    assert connection.is_closed


@case(each=["guest/wrong", "nobody/guest"])
def wrong_credentials_get_access_refused(credentials):
    user, password = credentials.split("/")
    error = raises(exceptions.AMQPConnectionError, connect, user=user, password=password)
    same(type(error), exceptions.ProbableAuthenticationError)
    assert "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN" \
        in str(error), str(error)
    assert "403" in str(error), str(error)


@case
def unknown_vhost_gets_not_allowed():
    error = raises(exceptions.AMQPConnectionError, connect, virtual_host="no-such")
    same(type(error), exceptions.ProbableAccessDeniedError)
    assert "NOT_ALLOWED - vhost no-such not found" in str(error), str(error)
    assert "530" in str(error), str(error)


@case
def server_tells_its_product_and_capabilities():
    connection = connect()
    properties = connection._impl.server_properties
    for key in ("product", "version", "platform", "capabilities"):
        assert properties.get(key), (key, properties)
    wanted = ["publisher_confirms", "exchange_exchange_bindings", "basic.nack",
              "consumer_cancel_notify", "connection.blocked", "consumer_priorities",
              "authentication_failure_close", "per_consumer_qos", "direct_reply_to"]
    missing = [name for name in wanted if properties["capabilities"].get(name) is not True]
    same(missing, [])
    connection.close()


@case
def tuned_values_are_rabbitmqs():
    # Its defaults: 131072 bytes a frame, 2047 channels, 60 s of heartbeat.
    connection = connect(heartbeat=None)
    impl = connection._impl
    same((impl.params.frame_max, impl.params.channel_max, impl.params.heartbeat),
         (131072, 2047, 60))
    connection.close()


@case
def smaller_frames_are_kept_to():
    connection = connect(frame_max=4096)
    channel = connection.channel()
    name = queue(channel)
    publish(channel, name, bytes(range(256)) * 100)
    same(get(channel, name)[2], bytes(range(256)) * 100)
    connection.close()


@case
def wrong_protocol_header_is_answered_with_the_right_one():
    host, port = AMQP.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(b"AMQP\x09\x09\x09\x09")
        same(raw.recv(8), b"AMQP\x00\x00\x09\x01")
        assert ended(raw)


@case
def frame_on_a_channel_that_was_never_opened_is_a_channel_error():
    connection = connect()
    channel = connection.channel()
    channel._impl.channel_number = 77
    error = raises(exceptions.AMQPError, channel.queue_declare, "x", passive=True)
    same((error.reply_code, type(error)), (504, exceptions.ConnectionClosedByBroker))
    assert "CHANNEL_ERROR" in error.reply_text, error.reply_text
    close(connection)


@case
def heartbeats_are_sent_to_an_idle_client():
    host, port = AMQP.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        stream = raw.makefile("rb")
        raw.sendall(b"AMQP\x00\x00\x09\x01")
        read_frame(stream)
        login = b"\x00guest\x00guest"
        send_method(raw, 10, 11, b"\0\0\0\0" + short("PLAIN") + long(login) + short("en_US"))
        read_frame(stream)
        send_method(raw, 10, 31, struct.pack(">HIH", 2047, 131072, 1))
        send_method(raw, 10, 40, short("/") + b"\0\0")
        same(read_frame(stream)[2][:4], struct.pack(">HH", 10, 41))
        began = time.monotonic()
        same(read_frame(stream), (8, 0, b""))
        # The interval is half of the agreed second at the least, and the whole at most.
        assert time.monotonic() - began < 2
        # A client that stays silent for two intervals is dropped.
        assert ended(raw)
        assert time.monotonic() - began < 8


def ended(raw):
    """Reads what still comes until the other side ends the connection, with or without a reset."""
    try:
        while raw.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


def short(text):
    return bytes([len(text)]) + text.encode()


def long(data):
    return struct.pack(">I", len(data)) + data


def send_method(raw, class_id, method_id, arguments):
    body = struct.pack(">HH", class_id, method_id) + arguments
    raw.sendall(struct.pack(">BHI", 1, 0, len(body)) + body + b"\xce")


def read_frame(stream):
    kind, channel, size = struct.unpack(">BHI", stream.read(7))
    body = stream.read(size)
    same(stream.read(1), b"\xce")
    return kind, channel, body


@case
def amqplain_is_a_mechanism_too():
    host, port = AMQP.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        stream = raw.makefile("rb")
        raw.sendall(b"AMQP\x00\x00\x09\x01")
        start = read_frame(stream)[2]
        assert b"PLAIN" in start and b"AMQPLAIN" in start, start
        login = b"".join(short(key) + b"S" + long(b"guest") for key in ("LOGIN", "PASSWORD"))
        send_method(raw, 10, 11, b"\0\0\0\0" + short("AMQPLAIN") + long(login) + short("en_US"))
        same(read_frame(stream)[2][:4], struct.pack(">HH", 10, 30))


@case
def channels_have_lives_of_their_own():
    connection = connect()
    first, second = connection.channel(), connection.channel()
    same((first.channel_number, second.channel_number), (1, 2))
    raises(exceptions.ChannelClosedByBroker, first.queue_declare, "no-such-queue", passive=True)
    assert second.is_open
    name = queue(second)
    publish(second, name, b"still here")
    same(get(second, name)[2], b"still here")
    connection.close()


@case
def closed_channel_number_is_used_again():
    connection = connect()
    for _ in range(20):
        channel = connection.channel(7)
        queue(channel)
        channel.close()
    channel = connection.channel(7)
    raises(exceptions.ChannelClosedByBroker, channel.queue_declare, "no-such", passive=True)
    again = connection.channel(7)
    assert again.is_open
    connection.close()


@case
def many_channels_work_side_by_side():
    connection = connect()
    channels = [connection.channel() for _ in range(200)]
    names = [queue(channel) for channel in channels]
    for channel, name in zip(channels, names):
        publish(channel, name, name.encode())
    same([get(channel, name)[2].decode() for channel, name in zip(channels, names)], names)
    connection.close()


@case
@with_channel
def channel_flow_is_answered(channel):
    same(channel.flow(True), True)


@case
def client_properties_of_any_kind_are_accepted():
    table = {"list": [1, "two", None], "nested": {"deep": {"deeper": True}}}
    connection = connect(client_properties=table)
    assert connection.is_open
    connection.close()


@case
def secret_is_updated_on_an_open_connection():
    connection = connect()
    connection.update_secret("guest", "because")
    assert connection.channel().is_open
    connection.close()


@case
def exclusive_queue_ends_with_its_connection():
    first, second = connect(), connect()
    name = queue(first.channel(), exclusive=True)
    first.close()
    error = raises(exceptions.ChannelClosedByBroker,
                   second.channel().queue_declare, name, passive=True)
    same(error.reply_code, 404)
    second.close()


@case
def connection_can_be_cut_without_goodbye():
    first, second = connect(), connect()
    channel = first.channel()
    name = queue(channel, durable=True)
    publish(channel, name, b"unacked", delivery_mode=2)
    get(channel, name, auto_ack=False)
    first._impl._transport._sock.shutdown(socket.SHUT_RDWR)
    method, _, body = get(second.channel(), name, auto_ack=False)
    same((method.redelivered, body), (True, b"unacked"))
    second.channel().queue_delete(name)
    second.close()
