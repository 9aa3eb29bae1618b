import static java.nio.charset.StandardCharsets.UTF_8;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Kafka project's own client. */
final class KafkaCases {
    static final long SECONDS = 20;

    static Map<String, Object> settings(Object... pairs) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", System.getenv("KAFKA"));
        for (int index = 0; index < pairs.length; index += 2) settings.put((String) pairs[index], pairs[index + 1]);
        return settings;
    }

    static Admin admin() { return Admin.create(settings()); }

    static <T> T done(Future<T> future) throws Exception { return future.get(SECONDS, TimeUnit.SECONDS); }

    static String topic(String name, int partitions, Map<String, String> configs) throws Exception {
        String unique = Cases.unique(name);
        try (Admin admin = admin()) {
            done(admin.createTopics(List.of(new NewTopic(unique, partitions, (short) 1).configs(configs))).all());
        }
        return unique;
    }

    static KafkaProducer<byte[], byte[]> producer(Object... pairs) {
        return new KafkaProducer<>(settings(pairs), new ByteArraySerializer(), new ByteArraySerializer());
    }

    static List<RecordMetadata> send(List<ProducerRecord<byte[], byte[]>> records, Object... pairs) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(pairs)) {
            List<Future<RecordMetadata>> futures = new ArrayList<>();
            for (ProducerRecord<byte[], byte[]> record : records) futures.add(producer.send(record));
            List<RecordMetadata> found = new ArrayList<>();
            for (Future<RecordMetadata> future : futures) found.add(done(future));
            return found;
        }
    }

    static List<ProducerRecord<byte[], byte[]>> numbered(String topic, int count) {
        return IntStream.range(0, count).mapToObj(number ->
            new ProducerRecord<byte[], byte[]>(topic, 0, null, bytes("" + number))).toList();
    }

    static byte[] bytes(String text) { return text.getBytes(UTF_8); }

    static KafkaConsumer<byte[], byte[]> consumer(Object... pairs) {
        Map<String, Object> settings = settings("auto.offset.reset", "earliest", "enable.auto.commit", false,
            "fetch.max.wait.ms", 100, "session.timeout.ms", 6000, "heartbeat.interval.ms", 500);
        for (int index = 0; index < pairs.length; index += 2) settings.put((String) pairs[index], pairs[index + 1]);
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static List<ConsumerRecord<byte[], byte[]>> take(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> found = new ArrayList<>();
        long deadline = System.currentTimeMillis() + SECONDS * 1000;
        while (found.size() < count) {
            if (System.currentTimeMillis() > deadline) throw new AssertionError(found.size() + " of " + count + " records");
            consumer.poll(Duration.ofMillis(100)).forEach(found::add);
        }
        return found;
    }

    static List<ConsumerRecord<byte[], byte[]>> read(String topic, int count, long offset, Object... pairs) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(pairs)) {
            TopicPartition place = new TopicPartition(topic, 0);
            consumer.assign(List.of(place));
            consumer.seek(place, offset);
            return take(consumer, count);
        }
    }

    /** A group member that a thread of its own polls. */
    static final class Member implements AutoCloseable, ConsumerRebalanceListener {
        final KafkaConsumer<byte[], byte[]> consumer;
        final List<String> values = new ArrayList<>();
        final Set<Integer> held = new TreeSet<>();
        volatile boolean ended;
        final Thread thread;

        Member(String topic, String group, Object... pairs) {
            Object[] all = java.util.stream.Stream.concat(
                java.util.stream.Stream.of("group.id", group), java.util.stream.Stream.of(pairs)).toArray();
            consumer = consumer(all);
            consumer.subscribe(List.of(topic), this);
            thread = new Thread(() -> {
                while (!ended) {
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                        synchronized (this) { values.add(new String(record.value(), UTF_8)); }
                    }
                }
                consumer.close();
            });
            thread.setDaemon(true);
            thread.start();
        }

        @Override
        public synchronized void onPartitionsAssigned(Collection<TopicPartition> added) {
            added.forEach(place -> held.add(place.partition()));
        }

        @Override
        public synchronized void onPartitionsRevoked(Collection<TopicPartition> gone) {
            gone.forEach(place -> held.remove(place.partition()));
        }

        synchronized int holds() { return held.size(); }

        synchronized boolean saw(String value) { return values.contains(value); }

        @Override
        public void close() throws Exception {
            ended = true;
            thread.join(15_000);
        }
    }

    static void register(Cases cases) {
        cases.add("record_keeps_key_value_headers_and_timestamp", KafkaCases::record);
        cases.add("null_and_empty_stay_distinct", () -> {
            String topic = topic("nulls", 1, Map.of());
            send(List.of(new ProducerRecord<>(topic, null, null), new ProducerRecord<>(topic, new byte[0], new byte[0])));
            List<ConsumerRecord<byte[], byte[]>> found = read(topic, 2, 0);
            Cases.same(found.get(0).key() == null && found.get(0).value() == null, true);
            Cases.same(List.of(found.get(1).key().length, found.get(1).value().length), List.of(0, 0));
        });
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            cases.add("compressed_batch_comes_back[" + codec + "]", () -> {
                String topic = topic("codec", 1, Map.of());
                send(numbered(topic, 500), "compression.type", codec, "linger.ms", 50);
                Cases.same(new String(read(topic, 500, 0).get(499).value()), "499");
            });
        }
        for (String acks : List.of("0", "1", "all")) {
            cases.add("produced_with_acks_is_readable[" + acks + "]", () -> {
                String topic = topic("acks", 1, Map.of());
                send(numbered(topic, 3), "acks", acks, "enable.idempotence", acks.equals("all"));
                Cases.same(read(topic, 3, 0).size(), 3);
            });
        }
        cases.add("idempotent_producer_keeps_order", () -> {
            String topic = topic("order", 1, Map.of());
            send(numbered(topic, 5000), "batch.size", 1000, "enable.idempotence", true);
            List<ConsumerRecord<byte[], byte[]>> found = read(topic, 5000, 0);
            for (int number = 0; number < 5000; number++) Cases.same(new String(found.get(number).value()), "" + number);
            Cases.same(found.get(4999).offset(), 4999L);
        });
        cases.add("producing_creates_the_topic", () -> {
            String topic = Cases.unique("auto");
            send(List.of(new ProducerRecord<>(topic, bytes("v"))));
            Cases.same(read(topic, 1, 0).size(), 1);
        });
        cases.add("seek_lands_inside_a_batch", () -> {
            String topic = topic("seek", 1, Map.of());
            send(numbered(topic, 200), "linger.ms", 50);
            Cases.same(read(topic, 1, 77).get(0).offset(), 77L);
        });
        cases.add("offsets_are_found_by_end_and_time", KafkaCases::offsets);
        cases.add("too_large_record_is_refused", () -> {
            String topic = topic("large", 1, Map.of("max.message.bytes", "10000"));
            Cases.refused(RecordTooLargeException.class,
                () -> send(List.of(new ProducerRecord<>(topic, new byte[50_000]))));
        });
        cases.add("ten_mebibyte_record_comes_back", () -> {
            String topic = topic("large", 1, Map.of("max.message.bytes", "" + (12 << 20)));
            byte[] body = new byte[10 << 20];
            java.util.Arrays.fill(body, (byte) 42);
            send(List.of(new ProducerRecord<>(topic, body)), "max.request.size", 12 << 20);
            Cases.same(java.util.Arrays.equals(read(topic, 1, 0).get(0).value(), body), true);
        });
        cases.add("group_resumes_at_its_commit_with_metadata", KafkaCases::resume);
        String prefix = "org.apache.kafka.clients.consumer.";
        for (String strategy : List.of("RangeAssignor", "RoundRobinAssignor", "StickyAssignor", "CooperativeStickyAssignor")) {
            cases.add("two_members_share_and_hand_over[" + strategy + "]", () -> {
                String topic = topic("share", 4, Map.of());
                String group = Cases.unique("group");
                try (Member first = new Member(topic, group, "partition.assignment.strategy", prefix + strategy)) {
                    Cases.waitFor("the first has all", () -> first.holds() == 4);
                    try (Member second = new Member(topic, group, "partition.assignment.strategy", prefix + strategy)) {
                        Cases.waitFor("each has half", () -> first.holds() == 2 && second.holds() == 2);
                    }
                    Cases.waitFor("the rest has all", () -> first.holds() == 4);
                }
            });
        }
        cases.add("groups_are_described_and_deleted_when_empty", KafkaCases::groups);
        cases.add("static_member_is_removed_by_its_instance_id", KafkaCases::removeMember);
        cases.add("topics_are_grown_configured_and_deleted", KafkaCases::topics);
        cases.add("records_are_deleted", () -> {
            String topic = topic("delete-records", 1, Map.of());
            send(numbered(topic, 10));
            TopicPartition place = new TopicPartition(topic, 0);
            try (Admin admin = admin()) {
                Cases.same(done(admin.deleteRecords(Map.of(place, RecordsToDelete.beforeOffset(6)))
                    .lowWatermarks().get(place)).lowWatermark(), 6L);
            }
            Cases.same(read(topic, 4, 6).get(0).offset(), 6L);
        });
        cases.add("cluster_and_log_directories_are_described", () -> {
            String topic = topic("log-dirs", 1, Map.of());
            send(numbered(topic, 10));
            try (Admin admin = admin()) {
                var node = done(admin.describeCluster().nodes()).iterator().next();
                Cases.same(node.host() + ":" + node.port(), System.getenv("KAFKA"));
                var directories = done(admin.describeLogDirs(List.of(node.id())).allDescriptions());
                Cases.same(directories.get(node.id()).values().stream().anyMatch(
                    directory -> directory.replicaInfos().containsKey(new TopicPartition(topic, 0))), true);
            }
        });
        cases.addRestart("clients_come_back_after_a_restart", KafkaCases::restart);
    }

    private static void record() throws Exception {
        String topic = topic("record", 1, Map.of());
        List<Header> headers = List.of(new RecordHeader("a", bytes("1")), new RecordHeader("n", (byte[]) null),
            new RecordHeader("a", new byte[] {0, -1}), new RecordHeader("e", new byte[0]));
        send(List.of(new ProducerRecord<>(topic, 0, 1_600_000_000_123L, new byte[] {0, 1}, new byte[] {-1}, headers)));
        ConsumerRecord<byte[], byte[]> found = read(topic, 1, 0).get(0);
        Cases.same(found.key(), new byte[] {0, 1});
        Cases.same(found.value(), new byte[] {-1});
        Cases.same(List.of(found.timestamp(), found.timestampType().name, found.offset()),
            List.of(1_600_000_000_123L, "CreateTime", 0L));
        Cases.same(List.of(found.headers().toArray()), headers);
    }

    private static void offsets() throws Exception {
        String topic = topic("offsets", 1, Map.of());
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int number = 0; number < 5; number++) {
            records.add(new ProducerRecord<>(topic, 0, 1_700_000_000_000L + number * 1000, null, bytes("v")));
        }
        send(records);
        TopicPartition place = new TopicPartition(topic, 0);
        try (Admin admin = admin()) {
            Map<String, OffsetSpec> specs = Map.of("earliest", OffsetSpec.earliest(), "latest", OffsetSpec.latest(),
                "time", OffsetSpec.forTimestamp(1_700_000_002_500L), "newest", OffsetSpec.maxTimestamp());
            Map<String, Long> found = new HashMap<>();
            for (var spec : specs.entrySet()) {
                found.put(spec.getKey(), done(admin.listOffsets(Map.of(place, spec.getValue())).partitionResult(place)).offset());
            }
            Cases.same(found, Map.of("earliest", 0L, "latest", 5L, "time", 3L, "newest", 4L));
        }
    }

    private static void resume() throws Exception {
        String topic = topic("resume", 1, Map.of());
        String group = Cases.unique("group");
        TopicPartition place = new TopicPartition(topic, 0);
        send(numbered(topic, 10));
        try (KafkaConsumer<byte[], byte[]> first = consumer("group.id", group)) {
            first.subscribe(List.of(topic));
            take(first, 10);
            first.commitSync(Map.of(place, new OffsetAndMetadata(4, "note")));
        }
        try (KafkaConsumer<byte[], byte[]> second = consumer("group.id", group)) {
            second.subscribe(List.of(topic));
            Cases.same(take(second, 6).get(0).offset(), 4L);
            OffsetAndMetadata found = second.committed(Set.of(place)).get(place);
            Cases.same(List.of(found.offset(), found.metadata()), List.of(4L, "note"));
        }
    }

    private static void groups() throws Exception {
        String topic = topic("groups", 2, Map.of());
        String group = Cases.unique("group");
        try (Admin admin = admin()) {
            try (Member member = new Member(topic, group)) {
                Cases.waitFor("the assignment", () -> member.holds() == 2);
                var found = done(admin.describeConsumerGroups(List.of(group)).describedGroups().get(group));
                Cases.same(List.of(found.groupState().toString(), found.members().size()), List.of("Stable", 1));
                Cases.refused(GroupNotEmptyException.class, () -> done(admin.deleteConsumerGroups(List.of(group)).all()));
            }
            TopicPartition place = new TopicPartition(topic, 1);
            done(admin.alterConsumerGroupOffsets(group, Map.of(place, new OffsetAndMetadata(9))).all());
            Cases.same(done(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).get(place).offset(), 9L);
            done(admin.deleteConsumerGroupOffsets(group, Set.of(place)).all());
            done(admin.deleteConsumerGroups(List.of(group)).all());
        }
    }

    private static void removeMember() throws Exception {
        String topic = topic("remove", 1, Map.of());
        String group = Cases.unique("group");
        Member member = new Member(topic, group, "group.instance.id", "the-instance", "session.timeout.ms", 45_000);
        Cases.waitFor("the assignment", () -> member.holds() == 1);
        member.close();
        try (Admin admin = admin()) {
            var options = new org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions(
                List.of(new org.apache.kafka.clients.admin.MemberToRemove("the-instance")));
            done(admin.removeMembersFromConsumerGroup(group, options).all());
            Cases.same(done(admin.describeConsumerGroups(List.of(group)).describedGroups().get(group)).members().size(), 0);
        }
    }

    private static void topics() throws Exception {
        String topic = topic("admin", 1, Map.of("retention.ms", "77000"));
        try (Admin admin = admin()) {
            Cases.refused(TopicExistsException.class,
                () -> done(admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all()));
            done(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all());
            Cases.waitFor("three partitions", () ->
                done(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size() == 3);
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            ConfigEntry found = done(admin.describeConfigs(List.of(resource)).all()).get(resource).get("retention.ms");
            Cases.same(List.of(found.value(), found.isDefault()), List.of("77000", false));
            done(admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(
                new ConfigEntry("retention.ms", "88000"), AlterConfigOp.OpType.SET)))).all());
            Cases.waitFor("the new value", () -> done(admin.describeConfigs(List.of(resource)).all())
                .get(resource).get("retention.ms").value().equals("88000"));
            done(admin.deleteTopics(List.of(topic)).all());
            Cases.waitFor("the end of the topic", () -> !done(admin.listTopics().names()).contains(topic));
            Cases.refused(UnknownTopicOrPartitionException.class,
                () -> done(admin.describeTopics(List.of(topic)).allTopicNames()));
        }
    }

    private static void restart() throws Exception {
        String topic = topic("restart", 1, Map.of());
        KafkaProducer<byte[], byte[]> source = producer("delivery.timeout.ms", 90_000, "reconnect.backoff.max.ms", 500);
        done(source.send(new ProducerRecord<>(topic, bytes("before"))));
        try (Member member = new Member(topic, Cases.unique("group"), "reconnect.backoff.max.ms", 500)) {
            Cases.waitFor("the first record", () -> member.saw("before"));
            Cases.restartServer();
            source.send(new ProducerRecord<>(topic, bytes("after"))).get(90, TimeUnit.SECONDS);
            Cases.waitFor("the record after the restart", 60_000, () -> member.saw("after"));
        }
        source.close();
        Cases.same(read(topic, 2, 0).size(), 2);
    }
}
