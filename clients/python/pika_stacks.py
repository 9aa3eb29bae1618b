"""pika: the topologies that frameworks build, and what they count on. Names and arguments are theirs."""

import uuid

import pika

from amqp_pika import Consumer, close, connect, depth, drain, get, publish
from casebook import case, same, unique, wait_for
from management import get as ask
from management import quote


class Topology:
    """A connection with a channel in confirm mode, and durable things that go when it is left."""

    def __enter__(self):
        self.connection = connect()
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.exchanges, self.queues = [], []
        return self

    def __exit__(self, *_):
        channel = self.connection.channel() if self.connection.is_open else None
        if channel:
            for name in self.queues:
                channel.queue_delete(name)
            for name in self.exchanges:
                channel.exchange_delete(name)
        close(self.connection)

    def exchange(self, name, kind="fanout", **more):
        self.channel.exchange_declare(name, kind, durable=True, **more)
        self.exchanges.append(name)
        return name

    def queue(self, name, **arguments):
        self.channel.queue_declare(name, durable=True, arguments={
            f"x-{key.replace('_', '-')}": value for key, value in arguments.items()})
        self.queues.append(name)
        return name

    def send(self, exchange, key="", body=b"m", mandatory=True, **properties):
        properties.setdefault("delivery_mode", 2)
        self.channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties),
                                   mandatory=mandatory)


class Bus(Topology):
    """MassTransit: a fanout exchange for each message type and for each endpoint, bound in a row."""

    def type(self, name, *implements):
        self.exchange(name)
        for base in implements:
            self.channel.exchange_bind(base, name)
        return name

    def endpoint(self, name, *types):
        self.queue(self.exchange(name))
        self.channel.queue_bind(name, name)
        for kind in types:
            self.channel.exchange_bind(name, kind)
        return name

    def aside(self, endpoint, suffix):
        """The queue of what failed, or that nobody had a consumer for; made when it is needed."""
        name = self.queue(self.exchange(f"{endpoint}_{suffix}"))
        self.channel.queue_bind(name, name)
        return name

    def publish(self, exchange, body=b"{}", **headers):
        self.send(exchange, body=body, message_id=str(uuid.uuid4()),
                  content_type="application/vnd.masstransit+json",
                  headers={"publishId": "1", **headers})


@case
def masstransit_message_reaches_every_endpoint_of_its_types():
    with Bus() as bus:
        base = bus.type(unique("Messages:IOrderEvent"))
        submitted = bus.type(unique("Messages:OrderSubmitted"), base)
        service = bus.endpoint(unique("order-service"), submitted)
        audit = bus.endpoint(unique("audit"), base)
        both = bus.endpoint(unique("both"), base, submitted)
        bus.publish(submitted)
        bus.publish(base)
        # An endpoint that is reached in two ways gets one copy.
        same([depth(bus.channel, name) for name in (service, audit, both)], [1, 2, 2])
        method, properties, _ = get(bus.channel, service)
        same((method.exchange, method.routing_key), (submitted, ""))
        same((properties.content_type, properties.headers["publishId"]),
             ("application/vnd.masstransit+json", "1"))


@case
def masstransit_moves_what_fails_and_what_nobody_takes():
    with Bus() as bus:
        kind = bus.type(unique("Messages:Pay"))
        endpoint = bus.endpoint(unique("payments"), kind)
        bus.publish(kind, b"fails")
        bus.publish(kind, b"unknown")
        taken = Consumer(bus.channel, endpoint)
        for (method, properties, body), suffix in zip(taken.wait(2), ["error", "skipped"]):
            name = bus.aside(endpoint, suffix)
            headers = {**properties.headers, "MT-Reason": "fault" if body == b"fails" else "dead-letter",
                       "MT-Fault-RetryCount": 3}
            # The move is confirmed before the original is acknowledged.
            bus.send(name, body=body, headers=headers, message_id=properties.message_id)
            bus.channel.basic_ack(method.delivery_tag)
        bus.channel.basic_cancel(taken.tag)
        _, properties, body = get(bus.channel, f"{endpoint}_error")
        same((body, properties.headers["MT-Reason"], properties.headers["MT-Fault-RetryCount"]),
             (b"fails", "fault", 3))
        same(get(bus.channel, f"{endpoint}_skipped")[2], b"unknown")
        same(depth(bus.channel, endpoint), 0)


@case
def masstransit_redelivers_later_through_a_queue_that_expires():
    with Bus() as bus:
        endpoint = bus.endpoint(unique("later"))
        delay = bus.queue(f"{endpoint}_delay", dead_letter_exchange=endpoint, message_ttl=60_000)
        bus.send("", delay, b"again", expiration="150", headers={"MT-Redelivery-Count": 1})
        same(depth(bus.channel, endpoint), 0)
        method, properties, body = get(bus.channel, endpoint)
        same((body, method.exchange, properties.headers["MT-Redelivery-Count"]),
             (b"again", endpoint, 1))
        same(properties.headers["x-death"][0]["reason"], "expired")


@case
def masstransit_response_comes_to_the_queue_of_the_bus():
    with Bus() as bus:
        service = bus.endpoint(unique("service"))
        # The temporary endpoint of a bus: auto-delete, and gone a minute after its last use.
        name = unique("host_dotnet_bus")
        bus.channel.exchange_declare(name, "fanout", auto_delete=True)
        bus.channel.queue_declare(name, auto_delete=True, arguments={"x-expires": 60_000})
        bus.channel.queue_bind(name, name)
        answers = Consumer(bus.channel, name, auto_ack=True)
        bus.send(service, body=b"ask", reply_to=name, correlation_id="1")
        method, properties, _ = get(bus.channel, service, auto_ack=False)
        bus.send(properties.reply_to, body=b"answer", correlation_id=properties.correlation_id,
                 mandatory=False)
        bus.channel.basic_ack(method.delivery_tag)
        (_, properties, body), = answers.wait(1)
        same((properties.correlation_id, body), ("1", b"answer"))
        bus.channel.basic_cancel(answers.tag)
        gone = connect()
        try:
            gone.channel().queue_declare(name, passive=True)
            raise AssertionError("the queue outlived its consumer")
        except pika.exceptions.ChannelClosedByBroker as error:
            same(error.reply_code, 404)
        finally:
            close(gone)


class Spring(Topology):
    """Spring AMQP: a topic exchange, quorum queues with a delivery limit, a dead-letter exchange."""

    def listener(self, name, **more):
        self.events = self.exchange(unique("orders.events"), "topic")
        self.dlx = self.exchange(unique("orders.dlx"), "direct")
        self.name = self.queue(unique(name), queue_type="quorum", dead_letter_exchange=self.dlx,
                               dead_letter_routing_key="dead", **more)
        self.channel.queue_bind(self.name, self.events, "order.#")
        self.dead = self.queue(unique(f"{name}.dlq"))
        self.channel.queue_bind(self.dead, self.dlx, "dead")
        return self.name

    def convert_and_send(self, key, body):
        self.send(self.events, key, body, content_type="application/json", content_encoding="UTF-8",
                  headers={"__TypeId__": "com.example.Order"},
                  message_id=str(uuid.uuid4()), priority=0)


@case
def spring_container_retries_up_to_the_delivery_limit():
    with Spring() as spring:
        spring.listener("orders", delivery_limit=2)
        spring.convert_and_send("order.created", b'{"id":1}')
        spring.channel.basic_qos(prefetch_count=250)
        counts = []

        def fail(channel, method, properties, body):
            counts.append((properties.headers or {}).get("x-delivery-count") or 0)
            # RabbitMQ 4.3 counts no basic.nack.
            channel.basic_reject(method.delivery_tag, requeue=True)
        spring.channel.basic_consume(spring.name, fail)
        watching = connect()
        buried = wait_for(lambda: turn(spring.connection, watching.channel(), spring.dead),
                          "the message in the dead-letter queue")
        close(watching)
        same(counts, [0, 1, 2])
        _, properties, body = buried
        same((body, properties.headers["__TypeId__"]), (b'{"id":1}', "com.example.Order"))
        death, = properties.headers["x-death"]
        same((death["reason"], death["queue"], death["routing-keys"]),
             ("delivery_limit", spring.name, ["order.created"]))


def turn(connection, channel, name):
    """Lets a connection's consumers work a little; a message of the queue, if there is one."""
    connection.process_data_events(0.05)
    found = channel.basic_get(name, auto_ack=True)
    channel.close()
    return found if found[0] else None


@case
def spring_parks_a_message_after_three_rounds_of_waiting():
    with Spring() as spring:
        spring.listener("billing")
        wait = spring.queue(unique("billing.wait"), message_ttl=50, dead_letter_exchange="",
                            dead_letter_routing_key=spring.name)
        spring.channel.queue_bind(wait, spring.dlx, "wait")
        spring.channel.queue_unbind(spring.dead, spring.dlx, "dead")
        spring.channel.queue_bind(wait, spring.dlx, "dead")
        parking = spring.queue(unique("billing.parking"))
        spring.convert_and_send("order.paid", b"{}")
        for _ in range(4):
            method, properties, body = get(spring.channel, spring.name, auto_ack=False)
            deaths = properties.headers.get("x-death", [])
            rounds = sum(death["count"] for death in deaths if death["queue"] == spring.name)
            if rounds < 3:
                # AmqpRejectAndDontRequeueException
                spring.channel.basic_reject(method.delivery_tag, requeue=False)
                continue
            spring.send("", parking, body, headers=properties.headers)
            spring.channel.basic_ack(method.delivery_tag)
        _, properties, _ = get(spring.channel, parking)
        told = {(death["queue"], death["reason"]): death["count"]
                for death in properties.headers["x-death"]}
        same(told, {(spring.name, "rejected"): 3, (wait, "expired"): 3})
        same(properties.headers["x-first-death-queue"], spring.name)
        same((depth(spring.channel, spring.name), depth(spring.channel, wait)), (0, 0))


@case
def spring_template_gets_its_reply_and_its_returns():
    with Spring() as spring:
        spring.listener("rpc")
        replies = Consumer(spring.channel, "amq.rabbitmq.reply-to", auto_ack=True)
        spring.send(spring.events, "order.ask", b"ask", reply_to="amq.rabbitmq.reply-to",
                    correlation_id="1")
        with Spring() as server:
            method, properties, _ = get(server.channel, spring.name, auto_ack=False)
            server.send("", properties.reply_to, b"reply", correlation_id="1", mandatory=False)
            server.channel.basic_ack(method.delivery_tag)
        (_, properties, body), = replies.wait(1)
        same((properties.correlation_id, body), ("1", b"reply"))
        try:
            spring.convert_and_send("invoice.created", b"{}")
            raise AssertionError("the message was routed")
        except pika.exceptions.UnroutableError as error:
            same([it.method.reply_code for it in error.messages], [312])


@case
def flower_and_keda_are_answered_what_they_ask():
    with Topology() as topology:
        name = topology.queue(unique("celery"))
        publish(topology.channel, name, b"1", b"2", b"3")
        get(topology.channel, name, auto_ack=False)
        wanted = {"messages": 3, "messages_ready": 2, "messages_unacknowledged": 1, "consumers": 0}

        def told(queues):
            found = [queue for queue in queues if queue["name"] == name]
            # RabbitMQ counts every few seconds.
            return found and all(found[0].get(field) == value for field, value in wanted.items())
        # Flower takes the list of the virtual host and looks for its names; KEDA one queue, or a
        # pattern of names by pages.
        wait_for(lambda: told(ask("queues/%2F")), "Flower's list")
        wait_for(lambda: told([ask(f"queues/%2F/{quote(name)}")]), "KEDA's queue")
        path = (f"queues/%2F?page=1&use_regex=true&pagination=false&name={quote(f'^{name}$')}"
                "&page_size=100")
        wait_for(lambda: told(ask(path)["items"]), "KEDA's page")
        stats = ask(f"queues/%2F/{quote(name)}").get("message_stats", {})
        assert stats["publish_details"]["rate"] >= 0, stats
        same(len(drain(topology.channel, name)), 2)
