package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Retry.Max = 60
	config.Producer.Retry.Backoff = 500 * time.Millisecond
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	config.Consumer.Group.Rebalance.Timeout = 10 * time.Second
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	return config
}

func seeds() []string { return []string{os.Getenv("KAFKA")} }

func saramaAdmin() sarama.ClusterAdmin {
	return got(sarama.NewClusterAdmin(seeds(), saramaConfig()))
}

func saramaTopic(name string, partitions int32, entries map[string]*string) string {
	admin := saramaAdmin()
	defer func() { _ = admin.Close() }()
	name = unique(name)
	must(admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1,
		ConfigEntries: entries}, false))
	return name
}

func saramaSend(config *sarama.Config, messages ...*sarama.ProducerMessage) error {
	producer := got(sarama.NewSyncProducer(seeds(), config))
	defer func() { _ = producer.Close() }()
	return producer.SendMessages(messages)
}

func saramaNumbers(topic string, count int) []*sarama.ProducerMessage {
	var messages []*sarama.ProducerMessage
	for number := range count {
		messages = append(messages, &sarama.ProducerMessage{Topic: topic,
			Value: sarama.StringEncoder(fmt.Sprint(number))})
	}
	return messages
}

func saramaRead(topic string, count int, offset int64) []*sarama.ConsumerMessage {
	consumer := got(sarama.NewConsumer(seeds(), saramaConfig()))
	defer func() { _ = consumer.Close() }()
	partition := got(consumer.ConsumePartition(topic, 0, offset))
	defer func() { _ = partition.Close() }()
	var found []*sarama.ConsumerMessage
	for len(found) < count {
		found = append(found, receive(partition.Messages()))
	}
	return found
}

// saramaMember is a group member; Sarama calls it back with its claims.
type saramaMember struct {
	group  sarama.ConsumerGroup
	stop   context.CancelFunc
	lock   sync.Mutex
	claims int
	values []string
}

func newSaramaMember(topic, group string, strategy sarama.BalanceStrategy) *saramaMember {
	config := saramaConfig()
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy}
	running, stop := context.WithCancel(context.Background())
	member := &saramaMember{group: got(sarama.NewConsumerGroup(seeds(), group, config)), stop: stop}
	go func() {
		for running.Err() == nil {
			if err := member.group.Consume(running, []string{topic}, member); err != nil {
				time.Sleep(100 * time.Millisecond)
			}
		}
	}()
	return member
}

func (member *saramaMember) Setup(session sarama.ConsumerGroupSession) error {
	member.lock.Lock()
	defer member.lock.Unlock()
	member.claims = 0
	for _, partitions := range session.Claims() {
		member.claims += len(partitions)
	}
	return nil
}

func (member *saramaMember) Cleanup(sarama.ConsumerGroupSession) error {
	member.lock.Lock()
	defer member.lock.Unlock()
	member.claims = 0
	return nil
}

func (member *saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			member.lock.Lock()
			member.values = append(member.values, string(message.Value))
			member.lock.Unlock()
			session.MarkMessage(message, "seen")
			session.Commit()
		case <-session.Context().Done():
			return nil
		}
	}
}

func (member *saramaMember) holds() int {
	member.lock.Lock()
	defer member.lock.Unlock()
	return member.claims
}

func (member *saramaMember) saw(value string) bool {
	member.lock.Lock()
	defer member.lock.Unlock()
	return slices.Contains(member.values, value)
}

func (member *saramaMember) close() {
	member.stop()
	_ = member.group.Close()
}

func saramaCases() []testCase {
	cases := []testCase{
		{name: "record_keeps_key_value_headers_and_timestamp", body: saramaRecord},
		{name: "null_value_comes_back_null", body: func() {
			topic := saramaTopic("null", 1, nil)
			must(saramaSend(saramaConfig(), &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder("k")}))
			same(saramaRead(topic, 1, sarama.OffsetOldest)[0].Value == nil, true)
		}},
		{name: "idempotent_producer_keeps_order", body: saramaIdempotent},
		{name: "producing_creates_the_topic", body: func() {
			topic := unique("auto")
			must(saramaSend(saramaConfig(), saramaNumbers(topic, 1)...))
			same(len(saramaRead(topic, 1, sarama.OffsetOldest)), 1)
		}},
		{name: "reading_starts_inside_a_batch", body: func() {
			topic := saramaTopic("seek", 1, nil)
			must(saramaSend(saramaConfig(), saramaNumbers(topic, 100)...))
			same(saramaRead(topic, 1, 42)[0].Offset, int64(42))
		}},
		{name: "out_of_range_offset_is_an_error", body: func() {
			topic := saramaTopic("range", 1, nil)
			consumer := got(sarama.NewConsumer(seeds(), saramaConfig()))
			_, err := consumer.ConsumePartition(topic, 0, 1000)
			same(errors.Is(err, sarama.ErrOffsetOutOfRange), true)
			must(consumer.Close())
		}},
		{name: "too_large_record_is_refused", body: func() {
			limit := "10000"
			topic := saramaTopic("large", 1, map[string]*string{"max.message.bytes": &limit})
			err := saramaSend(saramaConfig(), &sarama.ProducerMessage{Topic: topic,
				Value: sarama.ByteEncoder(make([]byte, 50_000))})
			var all sarama.ProducerErrors
			same(errors.As(err, &all) && errors.Is(all[0].Err, sarama.ErrMessageSizeTooLarge), true)
		}},
		{name: "offsets_are_found_by_time", body: saramaTimes},
		{name: "topics_are_grown_configured_and_deleted", body: saramaTopics},
		{name: "groups_are_listed_described_and_deleted", body: saramaGroups},
		{name: "records_are_deleted", body: saramaDeleteRecords},
		{name: "log_directories_are_described", body: saramaLogDirs},
		{name: "clients_come_back_after_a_restart", restart: true, body: saramaRestart},
	}
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP,
		sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
		cases = append(cases, testCase{name: fmt.Sprintf("compressed_batch_comes_back[%v]", codec), body: func() {
			topic := saramaTopic("codec", 1, nil)
			config := saramaConfig()
			config.Producer.Compression = codec
			must(saramaSend(config, saramaNumbers(topic, 200)...))
			for number, message := range saramaRead(topic, 200, sarama.OffsetOldest) {
				same(string(message.Value), fmt.Sprint(number))
			}
		}})
	}
	for name, acks := range map[string]sarama.RequiredAcks{"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll} {
		cases = append(cases, testCase{name: "produced_with_acks_is_readable[" + name + "]", body: func() {
			topic := saramaTopic("acks", 1, nil)
			config := saramaConfig()
			config.Producer.RequiredAcks = acks
			must(saramaSend(config, saramaNumbers(topic, 3)...))
			same(len(saramaRead(topic, 3, sarama.OffsetOldest)), 3)
		}})
	}
	for name, strategy := range map[string]sarama.BalanceStrategy{"range": sarama.NewBalanceStrategyRange(),
		"roundrobin": sarama.NewBalanceStrategyRoundRobin(), "sticky": sarama.NewBalanceStrategySticky()} {
		cases = append(cases, testCase{name: "two_members_share_and_hand_over[" + name + "]", body: func() {
			topic, group := saramaTopic("share", 4, nil), unique("group")
			first := newSaramaMember(topic, group, strategy)
			waitFor("the first has all", func() bool { return first.holds() == 4 })
			second := newSaramaMember(topic, group, strategy)
			waitFor("each has half", func() bool { return first.holds() == 2 && second.holds() == 2 })
			second.close()
			waitFor("the rest has all", func() bool { return first.holds() == 4 })
			first.close()
		}})
	}
	return cases
}

func saramaRecord() {
	topic := saramaTopic("record", 1, nil)
	when := time.UnixMilli(1_600_000_000_123)
	must(saramaSend(saramaConfig(), &sarama.ProducerMessage{Topic: topic, Timestamp: when,
		Key: sarama.ByteEncoder{0, 1}, Value: sarama.ByteEncoder{255},
		Headers: []sarama.RecordHeader{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("a"), Value: []byte{0, 255}}}}))
	found := saramaRead(topic, 1, sarama.OffsetOldest)[0]
	same([]any{found.Key, found.Value, found.Timestamp.UnixMilli()},
		[]any{[]byte{0, 1}, []byte{255}, int64(1_600_000_000_123)})
	same([]any{string(found.Headers[0].Value), found.Headers[1].Value}, []any{"1", []byte{0, 255}})
}

func saramaIdempotent() {
	topic := saramaTopic("idempotent", 1, nil)
	config := saramaConfig()
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	must(saramaSend(config, saramaNumbers(topic, 1000)...))
	for number, message := range saramaRead(topic, 1000, sarama.OffsetOldest) {
		same(string(message.Value), fmt.Sprint(number))
	}
}

func saramaTimes() {
	topic := saramaTopic("times", 1, nil)
	messages := saramaNumbers(topic, 5)
	for number, message := range messages {
		message.Timestamp = time.UnixMilli(1_700_000_000_000 + int64(number)*1000)
	}
	must(saramaSend(saramaConfig(), messages...))
	client := got(sarama.NewClient(seeds(), saramaConfig()))
	defer func() { _ = client.Close() }()
	same([]int64{got(client.GetOffset(topic, 0, sarama.OffsetOldest)),
		got(client.GetOffset(topic, 0, sarama.OffsetNewest)),
		got(client.GetOffset(topic, 0, 1_700_000_002_500))}, []int64{0, 5, 3})
}

func saramaTopics() {
	admin := saramaAdmin()
	defer func() { _ = admin.Close() }()
	topic := saramaTopic("admin", 1, nil)
	must(admin.CreatePartitions(topic, 3, nil, false))
	waitFor("three partitions", func() bool {
		return len(got(admin.DescribeTopics([]string{topic}))[0].Partitions) == 3
	})
	retention := "88000"
	must(admin.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
		"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &retention}}, false))
	waitFor("the new value", func() bool {
		found := got(admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic,
			ConfigNames: []string{"retention.ms"}}))
		return len(found) == 1 && found[0].Value == retention
	})
	same(errors.Is(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false),
		sarama.ErrTopicAlreadyExists), true)
	must(admin.DeleteTopic(topic))
	waitFor("the end of the topic", func() bool {
		_, there := got(admin.ListTopics())[topic]
		return !there
	})
}

func saramaGroups() {
	admin := saramaAdmin()
	defer func() { _ = admin.Close() }()
	topic, group := saramaTopic("groups", 1, nil), unique("group")
	must(saramaSend(saramaConfig(), saramaNumbers(topic, 3)...))
	member := newSaramaMember(topic, group, sarama.NewBalanceStrategyRange())
	waitFor("the records", func() bool { return member.saw("2") })
	_, listed := got(admin.ListConsumerGroups())[group]
	same(listed, true)
	same(got(admin.DescribeConsumerGroups([]string{group}))[0].State, "Stable")
	waitFor("the commit", func() bool {
		found := got(admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}}))
		block := found.GetBlock(topic, 0)
		return block.Offset == 3 && block.Metadata == "seen"
	})
	same(errors.Is(admin.DeleteConsumerGroup(group), sarama.ErrNonEmptyGroup), true)
	member.close()
	waitFor("an empty group", func() bool {
		return got(admin.DescribeConsumerGroups([]string{group}))[0].State == "Empty"
	})
	must(admin.DeleteConsumerGroup(group))
}

func saramaDeleteRecords() {
	admin := saramaAdmin()
	defer func() { _ = admin.Close() }()
	topic := saramaTopic("delete-records", 1, nil)
	must(saramaSend(saramaConfig(), saramaNumbers(topic, 10)...))
	must(admin.DeleteRecords(topic, map[int32]int64{0: 7}))
	same(saramaRead(topic, 1, sarama.OffsetOldest)[0].Offset, int64(7))
}

func saramaLogDirs() {
	admin := saramaAdmin()
	defer func() { _ = admin.Close() }()
	topic := saramaTopic("log-dirs", 1, nil)
	must(saramaSend(saramaConfig(), saramaNumbers(topic, 10)...))
	brokers, _, err := admin.DescribeCluster()
	must(err)
	same(brokers[0].Addr(), os.Getenv("KAFKA"))
	var seen bool
	for _, directories := range got(admin.DescribeLogDirs([]int32{brokers[0].ID()})) {
		for _, directory := range directories {
			for _, entry := range directory.Topics {
				seen = seen || entry.Topic == topic
			}
		}
	}
	same(seen, true)
}

func saramaRestart() {
	topic, group := saramaTopic("restart", 1, nil), unique("group")
	producer := got(sarama.NewSyncProducer(seeds(), saramaConfig()))
	must(producer.SendMessages(saramaNumbers(topic, 1)))
	member := newSaramaMember(topic, group, sarama.NewBalanceStrategyRange())
	waitFor("the first record", func() bool { return member.saw("0") })
	restartServer()
	must(producer.SendMessages([]*sarama.ProducerMessage{{Topic: topic, Value: sarama.StringEncoder("after")}}))
	waitLonger(time.Minute, "the record after the restart", func() bool { return member.saw("after") })
	must(producer.Close())
	member.close()
}
