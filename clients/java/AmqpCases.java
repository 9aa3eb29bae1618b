import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AlreadyClosedException;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.LongString;
import com.rabbitmq.client.RpcClient;
import com.rabbitmq.client.RpcClientParams;
import com.rabbitmq.client.RpcServer;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** RabbitMQ's own Java client, with its topology recovery. */
final class AmqpCases {
    interface OnChannel { void run(Channel channel, Connection connection) throws Exception; }

    static ConnectionFactory factory() {
        String[] address = System.getenv("AMQP").split(":");
        ConnectionFactory factory = new ConnectionFactory();
        factory.setHost(address[0]);
        factory.setPort(Integer.parseInt(address[1]));
        factory.setNetworkRecoveryInterval(500);
        return factory;
    }

    static Cases.Body with(OnChannel body) {
        return () -> {
            try (Connection connection = factory().newConnection()) {
                body.run(connection.createChannel(), connection);
            }
        };
    }

    static String queue(Channel channel, Map<String, Object> arguments) throws IOException {
        return channel.queueDeclare(Cases.unique("q"), false, true, false, arguments).getQueue();
    }

    static void send(Channel channel, String queue, String body) throws IOException {
        channel.basicPublish("", queue, null, body.getBytes());
    }

    static GetResponse get(Channel channel, String queue, boolean autoAck) throws Exception {
        GetResponse[] found = new GetResponse[1];
        Cases.waitFor("a message in " + queue, () -> (found[0] = channel.basicGet(queue, autoAck)) != null);
        return found[0];
    }

    static BlockingQueue<Delivery> consume(Channel channel, String queue, boolean autoAck,
            Map<String, Object> arguments) throws IOException {
        BlockingQueue<Delivery> deliveries = new LinkedBlockingQueue<>();
        channel.basicConsume(queue, autoAck, arguments, (tag, delivery) -> deliveries.add(delivery), tag -> {});
        return deliveries;
    }

    static Delivery next(BlockingQueue<Delivery> deliveries) throws Exception {
        Delivery delivery = deliveries.poll(20, TimeUnit.SECONDS);
        if (delivery == null) throw new AssertionError("no delivery in time");
        return delivery;
    }

    static AMQP.Channel.Close channelClose(Cases.Body body) {
        return (AMQP.Channel.Close) Cases.refused(ShutdownSignalException.class, body).getReason();
    }

    static void register(Cases cases) {
        cases.add("published_message_is_got", with((channel, connection) -> {
            String queue = queue(channel, null);
            channel.basicPublish("", queue, null, new byte[] {0, -1});
            Cases.same(get(channel, queue, true).getBody(), new byte[] {0, -1});
            Cases.same(channel.basicGet(queue, true), null);
        }));
        cases.add("wrong_password_is_refused", () -> {
            ConnectionFactory factory = factory();
            factory.setPassword("wrong");
            String text = Cases.refused(AuthenticationFailureException.class, factory::newConnection).getMessage();
            Cases.same(text.contains("ACCESS_REFUSED"), true);
        });
        cases.add("unknown_vhost_is_530", () -> {
            ConnectionFactory factory = factory();
            factory.setVirtualHost("no-such");
            AMQP.Connection.Close close = (AMQP.Connection.Close) Cases.refused(
                ShutdownSignalException.class, factory::newConnection).getReason();
            Cases.same(close.getReplyCode(), 530);
        });
        cases.add("properties_and_typed_headers_come_back", with(AmqpCases::properties));
        cases.add("thousand_publishes_are_confirmed", with((channel, connection) -> {
            String queue = queue(channel, null);
            channel.confirmSelect();
            for (int number = 0; number < 1000; number++) send(channel, queue, "" + number);
            channel.waitForConfirmsOrDie(20_000);
            Cases.same(channel.messageCount(queue), 1000L);
        }));
        cases.add("consumer_under_prefetch_gets_all_in_order", with((channel, connection) -> {
            String queue = queue(channel, null);
            channel.basicQos(5);
            BlockingQueue<Delivery> deliveries = consume(channel, queue, false, null);
            for (int number = 0; number < 200; number++) send(channel, queue, "" + number);
            for (int number = 0; number < 200; number++) {
                Delivery delivery = next(deliveries);
                Cases.same(new String(delivery.getBody()), "" + number);
                channel.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
            }
        }));
        cases.add("settling_multiple_and_requeue", with(AmqpCases::settle));
        cases.add("recover_gives_again", with((channel, connection) -> {
            String queue = queue(channel, null);
            send(channel, queue, "x");
            get(channel, queue, false);
            channel.basicRecover(true);
            Cases.same(get(channel, queue, true).getEnvelope().isRedeliver(), true);
        }));
        cases.add("mandatory_message_without_a_queue_is_returned", with((channel, connection) -> {
            BlockingQueue<Integer> codes = new LinkedBlockingQueue<>();
            channel.addReturnListener(returned -> codes.add(returned.getReplyCode()));
            channel.basicPublish("", Cases.unique("missing"), true, null, new byte[1]);
            Cases.same(codes.poll(20, TimeUnit.SECONDS), 312);
        }));
        cases.add("errors_carry_code_class_and_method", with((channel, connection) -> {
            AMQP.Channel.Close close = channelClose(() -> channel.queueDeclarePassive(Cases.unique("missing")));
            Cases.same(List.of(close.getReplyCode(), close.getClassId(), close.getMethodId()), List.of(404, 50, 10));
            String queue = queue(connection.createChannel(), Map.of("x-max-length", 5));
            AMQP.Channel.Close other = channelClose(() -> connection.createChannel()
                .queueDeclare(queue, false, true, false, Map.of("x-max-length", 6)));
            Cases.same(List.of(other.getReplyCode(), other.getClassId(), other.getMethodId()), List.of(406, 50, 10));
            Channel third = connection.createChannel();
            third.basicAck(17, false);
            Cases.waitFor("the channel's end", () -> !third.isOpen());
            AMQP.Channel.Close tag = (AMQP.Channel.Close) third.getCloseReason().getReason();
            Cases.same(List.of(tag.getReplyCode(), tag.getClassId(), tag.getMethodId()), List.of(406, 60, 80));
        }));
        cases.add("missing_exchange_closes_the_channel", with((channel, connection) -> {
            channel.basicPublish(Cases.unique("missing"), "k", null, new byte[1]);
            Cases.waitFor("the channel's end", () -> !channel.isOpen());
            AMQP.Channel.Close close = (AMQP.Channel.Close) channel.getCloseReason().getReason();
            Cases.same(List.of(close.getReplyCode(), close.getClassId(), close.getMethodId()), List.of(404, 60, 40));
            Cases.refused(AlreadyClosedException.class, () -> send(channel, "q", "x"));
        }));
        cases.add("exclusive_queue_is_locked_to_others", with((channel, connection) -> {
            String queue = queue(channel, null);
            try (Connection other = factory().newConnection()) {
                Cases.same(channelClose(() -> other.createChannel().queueDeclarePassive(queue)).getReplyCode(), 405);
            }
        }));
        cases.add("consumer_is_told_of_the_end_of_its_queue", with((channel, connection) -> {
            String queue = queue(channel, null);
            BlockingQueue<String> cancelled = new LinkedBlockingQueue<>();
            String tag = channel.basicConsume(queue, false, (consumer, delivery) -> {}, cancelled::add);
            connection.createChannel().queueDelete(queue);
            Cases.same(cancelled.poll(20, TimeUnit.SECONDS), tag);
        }));
        cases.add("exchanges_route_through_each_other", with(AmqpCases::route));
        cases.add("transaction_commits_and_rolls_back", with((channel, connection) -> {
            String queue = queue(channel, null);
            Channel other = connection.createChannel();
            channel.txSelect();
            send(channel, queue, "dropped");
            channel.txRollback();
            send(channel, queue, "kept");
            channel.txCommit();
            Cases.same(new String(get(other, queue, true).getBody()), "kept");
            Cases.same(other.basicGet(queue, true), null);
        }));
        cases.add("rpc_over_direct_reply_answers", with(AmqpCases::rpc));
        cases.add("body_of_10_mebibytes_comes_back", with((channel, connection) -> {
            String queue = queue(channel, null);
            byte[] body = new byte[10 << 20];
            Arrays.fill(body, (byte) 42);
            channel.basicPublish("", queue, null, body);
            Cases.same(Arrays.equals(get(channel, queue, true).getBody(), body), true);
        }));
        cases.add("lifetime_and_length_are_kept", with((channel, connection) -> {
            String queue = queue(channel, Map.of("x-max-length", 2, "x-message-ttl", 300));
            for (String body : List.of("1", "2", "3")) send(channel, queue, body);
            Cases.same(new String(get(channel, queue, true).getBody()), "2");
            Cases.waitFor("the end of the rest", () -> channel.messageCount(queue) == 0);
        }));
        cases.add("stream_is_read_from_its_first_message", with((channel, connection) -> {
            String queue = Cases.unique("stream");
            channel.queueDeclare(queue, true, false, false, Map.of("x-queue-type", "stream"));
            for (int number = 0; number < 10; number++) send(channel, queue, "" + number);
            channel.basicQos(20);
            BlockingQueue<Delivery> deliveries = consume(channel, queue, false, Map.of("x-stream-offset", "first"));
            for (int number = 0; number < 10; number++) Cases.same(new String(next(deliveries).getBody()), "" + number);
            channel.queueDelete(queue);
        }));
        cases.addRestart("connection_channels_and_consumers_recover", AmqpCases::recover);
    }

    private static void properties(Channel channel, Connection connection) throws Exception {
        String queue = queue(channel, null);
        Date when = new Date(1_700_000_000_000L);
        Map<String, Object> headers = new HashMap<>();
        headers.put("bool", true);
        headers.put("byte", (byte) -3);
        headers.put("short", (short) 300);
        headers.put("int", -70000);
        headers.put("long", 1L << 40);
        headers.put("float", 0.5f);
        headers.put("double", 1.25);
        headers.put("bytes", new byte[] {0, -1});
        headers.put("when", when);
        headers.put("null", null);
        headers.put("list", Arrays.asList(1, null, Collections.emptyList()));
        headers.put("table", Map.of("a", Map.of("b", 1)));
        headers.put("decimal", new java.math.BigDecimal("12.34"));
        AMQP.BasicProperties sent = new AMQP.BasicProperties("a/b", "x", headers, 2, 5, "c", "r", "600000", "m",
            when, "t", "guest", "a", "cluster");
        channel.basicPublish("", queue, sent, new byte[1]);
        AMQP.BasicProperties found = get(channel, queue, true).getProps();
        for (String key : headers.keySet()) Cases.same(found.getHeaders().get(key), headers.get(key));
        Cases.same(found.getHeaders().size(), headers.size());
        Cases.same(List.of(found.getContentType(), found.getContentEncoding(), found.getDeliveryMode(),
            found.getPriority(), found.getCorrelationId(), found.getReplyTo(), found.getExpiration(),
            found.getMessageId(), found.getTimestamp(), found.getType(), found.getUserId(), found.getAppId(),
            found.getClusterId()),
            List.of("a/b", "x", 2, 5, "c", "r", "600000", "m", when, "t", "guest", "a", "cluster"));
        channel.basicPublish("", queue, new AMQP.BasicProperties.Builder().headers(Map.of("text", "żółć")).build(), null);
        LongString text = (LongString) get(channel, queue, true).getProps().getHeaders().get("text");
        Cases.same(text.toString(), "żółć");
    }

    private static void settle(Channel channel, Connection connection) throws Exception {
        String queue = queue(channel, null);
        for (String body : List.of("1", "2", "3", "4")) send(channel, queue, body);
        Channel other = connection.createChannel();
        List<Long> tags = new ArrayList<>();
        for (int count = 0; count < 4; count++) tags.add(get(other, queue, false).getEnvelope().getDeliveryTag());
        other.basicAck(tags.get(1), true);
        other.basicNack(tags.get(2), true, true);
        other.basicReject(tags.get(3), false);
        other.close();
        GetResponse left = get(channel, queue, true);
        Cases.same(List.of(new String(left.getBody()), left.getEnvelope().isRedeliver()), List.of("3", true));
        Cases.same(channel.basicGet(queue, true), null);
    }

    private static void route(Channel channel, Connection connection) throws Exception {
        String outer = Cases.unique("topic");
        String spare = Cases.unique("spare");
        channel.exchangeDeclare(spare, "fanout", false, true, null);
        channel.exchangeDeclare(outer, "topic", false, true, Map.of("alternate-exchange", spare));
        String matched = queue(channel, null);
        String rest = queue(channel, null);
        channel.queueBind(matched, outer, "a.*");
        channel.queueBind(rest, spare, "");
        channel.basicPublish(outer, "a.b", null, "matched".getBytes());
        channel.basicPublish(outer, "b", null, "rest".getBytes());
        Cases.same(new String(get(channel, matched, true).getBody()), "matched");
        Cases.same(new String(get(channel, rest, true).getBody()), "rest");
    }

    private static void rpc(Channel channel, Connection connection) throws Exception {
        String queue = queue(channel, null);
        RpcServer server = new RpcServer(connection.createChannel(), queue) {
            @Override
            public byte[] handleCall(byte[] request, AMQP.BasicProperties properties) {
                return (new String(request) + "!").getBytes();
            }
        };
        Thread loop = new Thread(() -> {
            try {
                server.mainloop();
            } catch (IOException ended) {
                // The case is over.
            }
        });
        loop.setDaemon(true);
        loop.start();
        RpcClient client = new RpcClient(new RpcClientParams().channel(channel).exchange("").routingKey(queue)
            .timeout(10_000));
        for (int number = 0; number < 20; number++) Cases.same(client.stringCall("" + number), number + "!");
        client.close();
    }

    private static void recover() throws Exception {
        Connection connection = factory().newConnection();
        Channel channel = connection.createChannel();
        String exchange = Cases.unique("exchange");
        channel.exchangeDeclare(exchange, "direct", false, true, null);
        // A server-named queue: recovery declares it anew and follows the new name.
        String queue = channel.queueDeclare().getQueue();
        channel.queueBind(queue, exchange, "k");
        BlockingQueue<Delivery> deliveries = consume(channel, queue, true, null);
        channel.basicPublish(exchange, "k", null, "before".getBytes());
        Cases.same(new String(next(deliveries).getBody()), "before");
        Cases.restartServer();
        Cases.waitFor("a delivery after the restart", 60_000, () -> {
            try {
                channel.basicPublish(exchange, "k", null, "after".getBytes());
            } catch (AlreadyClosedException | IOException not) {
                Thread.sleep(200);
            }
            return !deliveries.isEmpty();
        });
        Cases.same(new String(deliveries.take().getBody()), "after");
        connection.close();
    }
}
