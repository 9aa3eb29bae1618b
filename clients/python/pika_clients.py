"""pika and the management API: connections, and their ends."""

from pika import exceptions

from amqp_pika import VERSION, close, connect
from casebook import AMQP, case, same, unique, wait_for
from management import ask, delete, get, new_user, permit, put
from pika_managing import path

__all__ = ["VERSION"]

def listed(user):
    """The connection of a user who has one; RabbitMQ looks every five seconds."""
    def look():
        return [it for it in get("connections") if it.get("user") == user and it.get("channels")]
    return wait_for(look, f"a connection of {user}", pause=0.2)[0]


def end_of(connection):
    """How the broker ends a connection."""
    def ended():
        try:
            connection.process_data_events(0.2)
        except exceptions.ConnectionClosedByBroker as error:
            return error.reply_code, error.reply_text
        return None
    return wait_for(ended, "the connection's end")


@case
def api_shows_connections_channels_and_consumers():
    user = new_user(unique("user"), "management")
    permit(user)
    connection = connect(user=user, password=user, client_properties={"connection_name": "mine"})
    channel, second = connection.channel(1), connection.channel(7)
    second.confirm_delivery()
    queue = unique("consumed")
    channel.queue_declare(queue)
    channel.basic_qos(prefetch_count=5)
    channel.basic_consume(queue, print, consumer_tag="tag", arguments={"x-priority": 3})
    found = listed(user)
    name = found["name"]
    port = int(AMQP.rsplit(":", 1)[1])
    same({field: found[field] for field in [
        "protocol", "state", "vhost", "port", "channels", "channel_max", "frame_max", "timeout",
        "auth_mechanism", "user_provided_name", "type", "ssl", "peer_host"]},
        {"protocol": "AMQP 0-9-1", "state": "running", "vhost": "/", "port": port, "channels": 2,
         "channel_max": 2047, "frame_max": 131072, "timeout": 30, "auth_mechanism": "PLAIN",
         "user_provided_name": "mine", "type": "network", "ssl": False, "peer_host": "127.0.0.1"})
    same(found["client_properties"]["product"], "Pika Python Client Library")
    same(found["client_properties"]["capabilities"]["basic.nack"], True)
    same(name, f"127.0.0.1:{found['peer_port']} -> 127.0.0.1:{port}")
    assert found["recv_oct"] > 0 and found["send_oct"] > 0 and found["connected_at"] > 0
    same(get(path("connections", name))["name"], name)
    channels = get(path("connections", name, "channels"))
    same([(it["name"], it["number"], it["confirm"], it["prefetch_count"], it["consumer_count"],
           it["messages_unacknowledged"], it["transactional"]) for it in channels],
         [(f"{name} (1)", 1, False, 5, 1, 0, False), (f"{name} (7)", 7, True, 0, 0, 0, False)])
    same(channels[0]["connection_details"]["name"], name)
    same(get(path("channels", f"{name} (1)"))["number"], 1)
    consumer, = [it for it in get("consumers/%2F") if it["queue"]["name"] == queue]
    same({field: consumer[field] for field in [
        "consumer_tag", "ack_required", "exclusive", "prefetch_count", "arguments", "active"]},
        {"consumer_tag": "tag", "ack_required": True, "exclusive": False, "prefetch_count": 5,
         "arguments": {"x-priority": 3}, "active": True})
    same(consumer["channel_details"]["connection_name"], name)
    same([it["consumer_tag"] for it in get(path("queues", "/", queue))["consumer_details"]], ["tag"])
    # Who does not monitor sees the user's own.
    same({it["user"] for it in get("connections", user=user)}, {user})
    close(connection)
    delete(path("queues", "/", queue))
    delete(f"users/{user}")


@case
def api_ends_a_connection():
    user = new_user(unique("user"))
    permit(user)
    connection = connect(user=user, password=user)
    connection.channel()
    name = listed(user)["name"]
    delete(path("connections", name))
    same(end_of(connection), (320, "CONNECTION_FORCED - Closed via management plugin"))
    same(ask("DELETE", path("connections", name))[0], 404)
    delete(f"users/{user}")


@case
def connections_of_a_deleted_user_end():
    user = new_user(unique("user"))
    permit(user)
    connection, other = connect(user=user, password=user), connect()
    delete(f"users/{user}")
    same(end_of(connection), (320, f"CONNECTION_FORCED - user '{user}' is deleted"))
    assert other.channel().is_open
    close(other)


@case
def connections_of_a_deleted_vhost_end():
    vhost = unique("vhost")
    put(path("vhosts", vhost), {})
    connection, other = connect(virtual_host=vhost), connect()
    delete(path("vhosts", vhost))
    same(end_of(connection), (320, f"CONNECTION_FORCED - vhost '{vhost}' is deleted"))
    assert other.channel().is_open
    close(other)
