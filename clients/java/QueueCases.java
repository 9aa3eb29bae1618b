import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** What queues and exchanges can be told beyond first in, first out, with RabbitMQ's own client. */
final class QueueCases {
    static final boolean OURS = "crossdock".equals(System.getenv("TARGET"));

    /** Exclusive to the connection, as classic queues may be. */
    static String queue(Channel channel, Object... arguments) throws IOException {
        return AmqpCases.queue(channel, table(arguments));
    }

    /** Durable, of a type that has to be. */
    static String durable(Channel channel, String type, Object... arguments) throws IOException {
        Map<String, Object> all = table(arguments);
        all.put("x-queue-type", type);
        return channel.queueDeclare(Cases.unique(type), true, false, false, all).getQueue();
    }

    static Map<String, Object> table(Object... pairs) {
        Map<String, Object> table = new HashMap<>();
        for (int at = 0; at < pairs.length; at += 2) table.put((String) pairs[at], pairs[at + 1]);
        return table;
    }

    static AMQP.BasicProperties.Builder properties() { return new AMQP.BasicProperties.Builder(); }

    static void send(Channel channel, String queue, AMQP.BasicProperties properties, String... bodies) throws IOException {
        for (String body : bodies) channel.basicPublish("", queue, properties, body.getBytes());
    }

    static String text(GetResponse response) { return new String(response.getBody()); }

    static List<String> drain(Channel channel, String queue) throws IOException {
        List<String> bodies = new ArrayList<>();
        for (GetResponse got = channel.basicGet(queue, true); got != null; got = channel.basicGet(queue, true)) {
            bodies.add(text(got));
        }
        return bodies;
    }

    static void awaitDepth(Channel channel, String queue, long count) throws Exception {
        Cases.waitFor(count + " messages in " + queue, () -> channel.messageCount(queue) == count);
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> death(GetResponse response) {
        return ((List<Map<String, Object>>) response.getProps().getHeaders().get("x-death")).get(0);
    }

    static Object[] toGrave(String grave, Object... more) {
        List<Object> all = new ArrayList<>(List.of(more));
        all.addAll(List.of("x-dead-letter-exchange", "", "x-dead-letter-routing-key", grave));
        return all.toArray();
    }

    static void register(Cases cases) {
        cases.add("highest_priority_comes_first", AmqpCases.with(QueueCases::priorities));
        cases.add("lifetime_of_a_queue_and_of_a_message", AmqpCases.with(QueueCases::lifetimes));
        cases.add("unused_queue_expires", AmqpCases.with((channel, connection) -> {
            String queue = queue(channel, "x-expires", 300);
            Cases.waitFor("the end of the queue", () -> {
                Channel probe = connection.createChannel();
                try {
                    // A use of it would have it live longer: binding something else to it is none.
                    probe.queueBind(queue, "amq.direct", "k");
                    probe.close();
                    return false;
                } catch (IOException gone) {
                    return true;
                }
            });
        }));
        cases.add("dead_letter_tells_its_history", AmqpCases.with(QueueCases::history));
        cases.add("dead_letters_go_by_the_exchange_and_keep_their_key", AmqpCases.with((channel, connection) -> {
            String exchange = Cases.unique("graves");
            channel.exchangeDeclare(exchange, "direct", false, true, null);
            String queue = queue(channel, "x-dead-letter-exchange", exchange);
            String grave = queue(channel);
            channel.queueBind(grave, exchange, queue);
            send(channel, queue, null, "x");
            channel.basicNack(AmqpCases.get(channel, queue, false).getEnvelope().getDeliveryTag(), false, false);
            Cases.same(AmqpCases.get(channel, grave, true).getEnvelope().getRoutingKey(), queue);
        }));
        cases.add("message_that_came_back_too_often_is_a_dead_letter", AmqpCases.with(QueueCases::deliveryLimit));
        cases.add("full_queue_drops_its_head", AmqpCases.with((channel, connection) -> {
            String grave = queue(channel);
            String queue = queue(channel, toGrave(grave, "x-max-length", 2));
            send(channel, queue, null, "0", "1", "2");
            awaitDepth(channel, grave, 1);
            GetResponse dead = AmqpCases.get(channel, grave, true);
            Cases.same(List.of(text(dead), death(dead).get("reason").toString()), List.of("0", "maxlen"));
            Cases.same(drain(channel, queue), List.of("1", "2"));
        }));
        cases.add("queue_full_of_bytes_drops_its_head", AmqpCases.with((channel, connection) -> {
            String queue = queue(channel, "x-max-length-bytes", 5);
            send(channel, queue, null, "aaa", "bbb", "cc");
            awaitDepth(channel, queue, 2);
            Cases.same(drain(channel, queue), List.of("bbb", "cc"));
        }));
        cases.add("publish_to_a_full_queue_is_nacked", AmqpCases.with((channel, connection) ->
            Cases.same(overflow(channel, "reject-publish", null), List.of("ack", "nack"))));
        cases.add("refused_publish_may_be_a_dead_letter", AmqpCases.with((channel, connection) -> {
            String grave = queue(channel);
            Cases.same(overflow(channel, "reject-publish-dlx", grave), List.of("ack", "nack"));
            GetResponse dead = AmqpCases.get(channel, grave, true);
            Cases.same(List.of(text(dead), death(dead).get("reason").toString()), List.of("1", "maxlen"));
        }));
        for (String type : List.of("classic", "quorum")) {
            cases.add("single_consumer_is_active[" + type + "]",
                AmqpCases.with((channel, connection) -> singleActive(channel, connection, type)));
        }
        cases.add("consumer_of_a_higher_priority_comes_first", AmqpCases.with((channel, connection) -> {
            String queue = queue(channel);
            channel.basicQos(2);
            BlockingQueue<Delivery> low = AmqpCases.consume(channel, queue, false, Map.of("x-priority", 1));
            BlockingQueue<Delivery> high = AmqpCases.consume(channel, queue, false, Map.of("x-priority", 2));
            send(channel, queue, null, "0", "1", "2");
            Cases.same(new String(AmqpCases.next(low).getBody()), "2");
            Cases.waitFor("two for the other one", () -> high.size() == 2);
        }));
        cases.add("exclusive_consumer_is_alone", AmqpCases.with((channel, connection) -> {
            String queue = queue(channel);
            channel.basicConsume(queue, false, "", false, true, null, (tag, delivery) -> {}, tag -> {});
            Channel other = connection.createChannel();
            Cases.same(AmqpCases.channelClose(() -> AmqpCases.consume(other, queue, false, null)).getReplyCode(), 403);
        }));
        cases.add("hash_spreads_by_weight_and_keeps_keys_together", AmqpCases.with(QueueCases::hash));
        cases.add("stream_is_read_from_where_a_consumer_says", AmqpCases.with(QueueCases::streamOffsets));
        cases.add("stream_is_read_from_an_age_on", AmqpCases.with((channel, connection) -> {
            String queue = durable(channel, "stream");
            channel.basicQos(5);
            send(channel, queue, null, "x");
            Cases.same(new String(AmqpCases.next(AmqpCases.consume(channel, queue, false,
                Map.of("x-stream-offset", "1h"))).getBody()), "x");
            channel.queueDelete(queue);
        }));
        cases.add("argument_that_makes_no_sense_is_406", AmqpCases.with((channel, connection) -> {
            for (Map<String, Object> wrong : List.<Map<String, Object>>of(
                    Map.of("x-max-priority", 256), Map.of("x-message-ttl", -1), Map.of("x-expires", 0),
                    Map.of("x-max-length", "many"), Map.of("x-overflow", "explode"),
                    Map.of("x-queue-type", "quorum", "x-max-priority", 5))) {
                Channel own = connection.createChannel();
                boolean durable = wrong.containsKey("x-queue-type");
                Cases.same(AmqpCases.channelClose(() ->
                    own.queueDeclare(Cases.unique("q"), durable, !durable, false, wrong)).getReplyCode(), 406);
            }
        }));
        cases.addRestart("queue_features_outlive_a_restart", QueueCases::restart);
        if (OURS) registerOurs(cases);
    }

    /** What Debian's RabbitMQ has not: plugins that are not packaged, and what came with 3.13 and 4.3. */
    private static void registerOurs(Cases cases) {
        cases.add("delayed_exchange_delivers_in_the_order_of_times", AmqpCases.with((channel, connection) -> {
            String exchange = Cases.unique("later");
            channel.exchangeDeclare(exchange, "x-delayed-message", true, false, Map.of("x-delayed-type", "direct"));
            String queue = queue(channel);
            channel.queueBind(queue, exchange, "k");
            BlockingQueue<Delivery> deliveries = AmqpCases.consume(channel, queue, true, null);
            long began = System.currentTimeMillis();
            for (int delay : List.of(600, 300)) {
                channel.basicPublish(exchange, "k", properties().headers(Map.of("x-delay", delay)).build(),
                    ("" + delay).getBytes());
            }
            for (int delay : List.of(300, 600)) {
                Cases.same(new String(AmqpCases.next(deliveries).getBody()), "" + delay);
                Cases.same(System.currentTimeMillis() - began >= delay, true);
            }
            channel.exchangeDelete(exchange);
        }));
        cases.add("rejected_message_waits_for_its_retry", AmqpCases.with((channel, connection) -> {
            String queue = durable(channel, "quorum", "x-delayed-retry-type", "failed", "x-delayed-retry-min", 300);
            send(channel, queue, null, "x");
            long tag = AmqpCases.get(channel, queue, false).getEnvelope().getDeliveryTag();
            long began = System.currentTimeMillis();
            channel.basicReject(tag, true);
            Cases.same(((Number) AmqpCases.get(channel, queue, true).getProps().getHeaders()
                .get("x-delivery-count")).longValue(), 1L);
            Cases.same(System.currentTimeMillis() - began >= 300, true);
            channel.queueDelete(queue);
        }));
        cases.add("queue_takes_an_id_once", AmqpCases.with((channel, connection) -> {
            String queue = queue(channel, "x-message-deduplication", true);
            for (String id : List.of("a", "b", "a")) {
                send(channel, queue, properties().headers(Map.of("x-deduplication-header", id)).build(), id);
            }
            Cases.waitFor("two messages", () -> channel.messageCount(queue) == 2);
            Cases.same(drain(channel, queue), List.of("a", "b"));
        }));
        cases.add("consumer_of_a_stream_filters", AmqpCases.with((channel, connection) -> {
            String queue = durable(channel, "stream");
            for (int number = 0; number < 9; number++) {
                send(channel, queue, properties().headers(Map.of("x-stream-filter-value", "v" + number % 3)).build(), "" + number);
            }
            channel.basicQos(20);
            BlockingQueue<Delivery> deliveries = AmqpCases.consume(channel, queue, false,
                Map.of("x-stream-offset", "first", "x-stream-filter", "v1"));
            for (int number : List.of(1, 4, 7)) Cases.same(new String(AmqpCases.next(deliveries).getBody()), "" + number);
            channel.queueDelete(queue);
        }));
    }

    private static void priorities(Channel channel, Connection connection) throws Exception {
        String queue = queue(channel, "x-max-priority", 5);
        for (int priority : List.of(1, 0, 5, 3, 9, 5)) {
            send(channel, queue, properties().priority(priority).build(), "p" + priority);
        }
        send(channel, queue, null, "none");
        awaitDepth(channel, queue, 7);
        // What is above the highest counts as that, and what has none as 0.
        Cases.same(drain(channel, queue), List.of("p5", "p9", "p5", "p3", "p1", "p0", "none"));
    }

    private static void lifetimes(Channel channel, Connection connection) throws Exception {
        String grave = queue(channel);
        String queue = queue(channel, toGrave(grave, "x-message-ttl", 300));
        send(channel, queue, null, "old");
        GetResponse dead = AmqpCases.get(channel, grave, true);
        Cases.same(List.of(text(dead), death(dead).get("reason").toString()), List.of("old", "expired"));
        String plain = queue(channel, toGrave(grave));
        send(channel, plain, properties().expiration("200").build(), "short");
        dead = AmqpCases.get(channel, grave, true);
        Cases.same(List.of(text(dead), death(dead).get("original-expiration").toString()), List.of("short", "200"));
        Cases.same(dead.getProps().getExpiration(), null);
    }

    private static void history(Channel channel, Connection connection) throws Exception {
        String grave = queue(channel);
        String queue = queue(channel, toGrave(grave));
        channel.queueBind(queue, "amq.direct", Cases.unique("k"));
        send(channel, queue, properties().headers(Map.of("mine", "kept")).build(), "x");
        channel.basicReject(AmqpCases.get(channel, queue, false).getEnvelope().getDeliveryTag(), false);
        GetResponse dead = AmqpCases.get(channel, grave, true);
        Map<String, Object> headers = dead.getProps().getHeaders();
        Map<String, Object> death = death(dead);
        Cases.same(List.of(death.get("count"), death.get("reason").toString(), death.get("queue").toString(),
            death.get("exchange").toString(), death.get("routing-keys").toString()),
            List.of(1L, "rejected", queue, "", List.of(queue).toString()));
        Cases.same(death.get("time") instanceof java.util.Date, true);
        Cases.same(List.of(headers.get("mine").toString(), headers.get("x-first-death-queue").toString(),
            headers.get("x-first-death-reason").toString()), List.of("kept", queue, "rejected"));
    }

    private static void deliveryLimit(Channel channel, Connection connection) throws Exception {
        String grave = queue(channel);
        String queue = durable(channel, "quorum", toGrave(grave, "x-delivery-limit", 2));
        send(channel, queue, null, "x");
        for (int count = 0; count <= 2; count++) {
            GetResponse got = AmqpCases.get(channel, queue, false);
            Map<String, Object> headers = got.getProps().getHeaders();
            Object told = headers == null ? null : headers.get("x-delivery-count");
            Cases.same(told == null ? 0L : ((Number) told).longValue(), (long) count);
            channel.basicReject(got.getEnvelope().getDeliveryTag(), true);
        }
        Cases.same(death(AmqpCases.get(channel, grave, true)).get("reason").toString(), "delivery_limit");
        Cases.same(channel.basicGet(queue, true), null);
        channel.queueDelete(queue);
    }

    /** What becomes of two publishes to a queue that takes one. */
    private static List<String> overflow(Channel channel, String word, String grave) throws Exception {
        Object[] limit = {"x-max-length", 1, "x-overflow", word};
        String queue = queue(channel, grave == null ? limit : toGrave(grave, limit));
        channel.confirmSelect();
        BlockingQueue<String> answers = new LinkedBlockingQueue<>();
        channel.addConfirmListener((tag, multiple) -> answers.add("ack"), (tag, multiple) -> answers.add("nack"));
        List<String> told = new ArrayList<>();
        for (String body : List.of("0", "1")) {
            send(channel, queue, null, body);
            told.add(answers.poll(20, TimeUnit.SECONDS));
        }
        Cases.same(drain(channel, queue), List.of("0"));
        return told;
    }

    private static void singleActive(Channel channel, Connection connection, String type) throws Exception {
        String queue = durable(channel, type, "x-single-active-consumer", true);
        Channel first = connection.createChannel();
        Channel second = connection.createChannel();
        BlockingQueue<Delivery> active = AmqpCases.consume(first, queue, false, null);
        BlockingQueue<Delivery> waiting = AmqpCases.consume(second, queue, false, null);
        send(channel, queue, null, "0", "1");
        for (String body : List.of("0", "1")) Cases.same(new String(AmqpCases.next(active).getBody()), body);
        Cases.same(waiting.size(), 0);
        first.close();
        for (String body : List.of("0", "1")) {
            Delivery delivery = AmqpCases.next(waiting);
            Cases.same(List.of(new String(delivery.getBody()), delivery.getEnvelope().isRedeliver()), List.of(body, true));
            second.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
        }
        channel.queueDelete(queue);
    }

    private static void hash(Channel channel, Connection connection) throws Exception {
        String exchange = Cases.unique("hash");
        channel.exchangeDeclare(exchange, "x-consistent-hash", false, true, null);
        List<String> queues = List.of(queue(channel), queue(channel));
        channel.queueBind(queues.get(0), exchange, "10");
        channel.queueBind(queues.get(1), exchange, "30");
        channel.confirmSelect();
        for (int number = 0; number < 2000; number++) {
            channel.basicPublish(exchange, "key-" + number % 500, null, ("" + number % 500).getBytes());
        }
        channel.waitForConfirmsOrDie(20_000);
        List<String> few = drain(channel, queues.get(0));
        List<String> many = drain(channel, queues.get(1));
        Cases.same(few.size() + many.size(), 2000);
        Cases.same(few.size() > 250 && few.size() < 750, true);
        Set<String> both = new HashSet<>(few);
        both.retainAll(many);
        Cases.same(both, Set.of());
    }

    private static void streamOffsets(Channel channel, Connection connection) throws Exception {
        String queue = durable(channel, "stream", "x-max-age", "7D");
        channel.confirmSelect();
        for (int number = 0; number < 10; number++) send(channel, queue, null, "" + number);
        channel.waitForConfirmsOrDie(20_000);
        for (Map.Entry<Object, String> from : Map.<Object, String>of("first", "0", 7, "7").entrySet()) {
            Channel own = connection.createChannel();
            own.basicQos(50);
            BlockingQueue<Delivery> deliveries = AmqpCases.consume(own, queue, false, Map.of("x-stream-offset", from.getKey()));
            Delivery delivery = AmqpCases.next(deliveries);
            Cases.same(new String(delivery.getBody()), from.getValue());
            Cases.same(delivery.getProperties().getHeaders().get("x-stream-offset"), Long.valueOf(from.getValue()));
            own.close();
        }
        Channel own = connection.createChannel();
        own.basicQos(50);
        BlockingQueue<Delivery> deliveries = AmqpCases.consume(own, queue, false, Map.of("x-stream-offset", "next"));
        send(channel, queue, null, "10");
        Cases.same(new String(AmqpCases.next(deliveries).getBody()), "10");
        channel.queueDelete(queue);
    }

    private static void restart() throws Exception {
        String ordered;
        String limited;
        String grave;
        try (Connection connection = AmqpCases.factory().newConnection()) {
            Channel channel = connection.createChannel();
            channel.confirmSelect();
            grave = durable(channel, "classic");
            ordered = durable(channel, "classic", "x-max-priority", 5);
            limited = durable(channel, "quorum", toGrave(grave, "x-delivery-limit", 1));
            for (int priority : List.of(1, 4)) {
                send(channel, ordered, properties().priority(priority).deliveryMode(2).build(), "p" + priority);
            }
            send(channel, limited, properties().deliveryMode(2).build(), "x");
            channel.waitForConfirmsOrDie(20_000);
            channel.basicReject(AmqpCases.get(channel, limited, false).getEnvelope().getDeliveryTag(), true);
            awaitDepth(channel, limited, 1);
        }
        Cases.restartServer();
        try (Connection connection = AmqpCases.factory().newConnection()) {
            Channel channel = connection.createChannel();
            Cases.same(List.of(text(AmqpCases.get(channel, ordered, true)), text(AmqpCases.get(channel, ordered, true))),
                List.of("p4", "p1"));
            channel.basicReject(AmqpCases.get(channel, limited, false).getEnvelope().getDeliveryTag(), true);
            Cases.same(text(AmqpCases.get(channel, grave, true)), "x");
            for (String queue : List.of(ordered, limited, grave)) channel.queueDelete(queue);
        }
    }
}
