package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

func segmentio() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(os.Getenv("KAFKA")), Timeout: waitMax}
}

func ask[Q, A any](call func(context.Context, Q) (A, error), question Q) A {
	return got(call(context.Background(), question))
}

func segmentioTopic(name string, partitions int, entries ...kafka.ConfigEntry) string {
	name = unique(name)
	made := ask(segmentio().CreateTopics, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: name,
		NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: entries}}})
	must(made.Errors[name])
	// Kafka answers when its controller knows the topic; the broker follows a moment later.
	waitFor("the new topic", func() bool { return segmentioPartitions(name) == partitions })
	return name
}

func segmentioPartitions(topic string) int {
	found := ask(segmentio().Metadata, &kafka.MetadataRequest{Topics: []string{topic}}).Topics
	if len(found) == 0 || found[0].Error != nil {
		return 0
	}
	return len(found[0].Partitions)
}

func segmentioWriter(topic string) *kafka.Writer {
	return &kafka.Writer{Addr: kafka.TCP(os.Getenv("KAFKA")), Topic: topic, RequiredAcks: kafka.RequireAll,
		BatchTimeout: 5 * time.Millisecond, BatchSize: 1000, BatchBytes: 12 << 20, Transport: &kafka.Transport{}}
}

func segmentioSend(writer *kafka.Writer, messages ...kafka.Message) error {
	defer func() { _ = writer.Close() }()
	limit, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	return writer.WriteMessages(limit, messages...)
}

func segmentioNumbers(count int) []kafka.Message {
	var messages []kafka.Message
	for number := range count {
		messages = append(messages, kafka.Message{Value: fmt.Append(nil, number)})
	}
	return messages
}

func segmentioTake(reader *kafka.Reader, count int) []kafka.Message {
	limit, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	var found []kafka.Message
	for len(found) < count {
		found = append(found, got(reader.FetchMessage(limit)))
	}
	return found
}

func segmentioReader(config kafka.ReaderConfig) *kafka.Reader {
	config.Brokers = []string{os.Getenv("KAFKA")}
	config.MinBytes, config.MaxBytes, config.MaxWait = 1, 16<<20, 100*time.Millisecond
	if config.GroupID != "" {
		config.StartOffset = kafka.FirstOffset
		config.SessionTimeout, config.HeartbeatInterval = 6*time.Second, 300*time.Millisecond
		config.RebalanceTimeout, config.JoinGroupBackoff = 10*time.Second, 100*time.Millisecond
	}
	return kafka.NewReader(config)
}

func segmentioRead(topic string, count int, offset int64) []kafka.Message {
	reader := segmentioReader(kafka.ReaderConfig{Topic: topic})
	defer func() { _ = reader.Close() }()
	must(reader.SetOffset(offset))
	return segmentioTake(reader, count)
}

// segmentioMember is a group member that only holds what it is assigned.
type segmentioMember struct {
	group *kafka.ConsumerGroup
	lock  sync.Mutex
	held  int
}

func newSegmentioMember(topic, group string, balancer kafka.GroupBalancer) *segmentioMember {
	member := &segmentioMember{group: got(kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{ID: group,
		Brokers: []string{os.Getenv("KAFKA")}, Topics: []string{topic}, StartOffset: kafka.FirstOffset,
		GroupBalancers: []kafka.GroupBalancer{balancer}, HeartbeatInterval: 300 * time.Millisecond,
		SessionTimeout: 6 * time.Second, RebalanceTimeout: 10 * time.Second, JoinGroupBackoff: 100 * time.Millisecond}))}
	go func() {
		for {
			generation, err := member.group.Next(context.Background())
			if errors.Is(err, kafka.ErrGroupClosed) {
				return
			}
			if err != nil {
				continue
			}
			member.hold(len(generation.Assignments[topic]))
			generation.Start(func(ending context.Context) {
				<-ending.Done()
				member.hold(0)
			})
		}
	}()
	return member
}

func (member *segmentioMember) hold(count int) {
	member.lock.Lock()
	defer member.lock.Unlock()
	member.held = count
}

func (member *segmentioMember) holds() int {
	member.lock.Lock()
	defer member.lock.Unlock()
	return member.held
}

func segmentioCases() []testCase {
	cases := []testCase{
		{name: "record_keeps_key_value_headers_and_timestamp", body: segmentioRecord},
		{name: "null_and_empty_stay_distinct", body: func() {
			topic := segmentioTopic("nulls", 1)
			must(segmentioSend(segmentioWriter(topic), kafka.Message{}, kafka.Message{Key: []byte{}, Value: []byte{}}))
			// Its Reader gives nothing for both; its Fetch tells them apart.
			fetched := ask(segmentio().Fetch, &kafka.FetchRequest{Topic: topic, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: waitMax})
			must(fetched.Error)
			var found []bool
			for range 2 {
				record := got(fetched.Records.ReadRecord())
				found = append(found, record.Key == nil, record.Value == nil)
			}
			same(found, []bool{true, true, false, false})
		}},
		{name: "large_batches_keep_order", body: func() {
			topic := segmentioTopic("order", 1)
			must(segmentioSend(segmentioWriter(topic), segmentioNumbers(5000)...))
			for number, message := range segmentioRead(topic, 5000, 0) {
				same([]any{string(message.Value), message.Offset}, []any{fmt.Sprint(number), int64(number)})
			}
		}},
		{name: "producing_creates_the_topic", body: func() {
			topic := unique("auto")
			writer := segmentioWriter(topic)
			writer.AllowAutoTopicCreation = true
			// Kafka has a new topic before the topic has a leader.
			waitFor("a write to the new topic", func() bool {
				return writer.WriteMessages(context.Background(), segmentioNumbers(1)...) == nil
			})
			must(writer.Close())
			same(len(segmentioRead(topic, 1, 0)), 1)
		}},
		{name: "reading_starts_inside_a_batch", body: func() {
			topic := segmentioTopic("seek", 1)
			must(segmentioSend(segmentioWriter(topic), segmentioNumbers(100)...))
			same(segmentioRead(topic, 1, 42)[0].Offset, int64(42))
		}},
		{name: "reading_starts_at_a_time", body: segmentioTimes},
		{name: "out_of_range_offset_is_an_error", body: func() {
			topic := segmentioTopic("range", 1)
			reader := segmentioReader(kafka.ReaderConfig{Topic: topic, OffsetOutOfRangeError: true})
			defer func() { _ = reader.Close() }()
			must(reader.SetOffset(1000))
			_, err := reader.FetchMessage(context.Background())
			same(errors.Is(err, kafka.OffsetOutOfRange), true)
		}},
		{name: "too_large_record_is_refused", body: func() {
			topic := segmentioTopic("large", 1, kafka.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: "10000"})
			err := segmentioSend(segmentioWriter(topic), kafka.Message{Value: make([]byte, 50_000)})
			var all kafka.WriteErrors
			same(errors.As(err, &all) && errors.Is(all[0], kafka.MessageSizeTooLarge), true)
		}},
		{name: "ten_mebibyte_record_comes_back", body: func() {
			topic := segmentioTopic("large", 1, kafka.ConfigEntry{ConfigName: "max.message.bytes",
				ConfigValue: fmt.Sprint(12 << 20)})
			body := bytes.Repeat([]byte("0123456789abcdef"), 10<<16)
			must(segmentioSend(segmentioWriter(topic), kafka.Message{Value: body}))
			same(bytes.Equal(segmentioRead(topic, 1, 0)[0].Value, body), true)
		}},
		{name: "group_resumes_at_its_commit", body: segmentioResume},
		{name: "offsets_are_committed_found_and_deleted", body: segmentioOffsets},
		{name: "topics_are_grown_configured_and_deleted", body: segmentioTopics},
		{name: "groups_are_listed_described_and_deleted", body: segmentioGroups},
		{name: "producers_get_numbers_of_their_own", body: func() {
			number := func() (id int) {
				// Kafka takes a moment until it has its first numbers.
				waitFor("a number", func() bool {
					answer := ask(segmentio().InitProducerID, &kafka.InitProducerIDRequest{})
					if answer.Error == nil {
						id = answer.Producer.ProducerID
					}
					return answer.Error == nil
				})
				return id
			}
			same(number() != number(), true)
		}},
		{name: "clients_come_back_after_a_restart", restart: true, body: segmentioRestart},
	}
	codecs := map[string]kafka.Compression{"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy,
		"lz4": kafka.Lz4, "zstd": kafka.Zstd}
	for name, codec := range codecs {
		cases = append(cases, testCase{name: "compressed_batch_comes_back[" + name + "]", body: func() {
			topic := segmentioTopic("codec", 1)
			writer := segmentioWriter(topic)
			writer.Compression = codec
			must(segmentioSend(writer, segmentioNumbers(500)...))
			same(string(segmentioRead(topic, 500, 0)[499].Value), "499")
		}})
	}
	for name, acks := range map[string]kafka.RequiredAcks{"0": kafka.RequireNone, "1": kafka.RequireOne, "all": kafka.RequireAll} {
		cases = append(cases, testCase{name: "produced_with_acks_is_readable[" + name + "]", body: func() {
			topic := segmentioTopic("acks", 1)
			writer := segmentioWriter(topic)
			writer.RequiredAcks = acks
			must(segmentioSend(writer, segmentioNumbers(3)...))
			same(len(segmentioRead(topic, 3, 0)), 3)
		}})
	}
	balancers := map[string]kafka.GroupBalancer{"range": kafka.RangeGroupBalancer{},
		"roundrobin": kafka.RoundRobinGroupBalancer{}}
	for name, balancer := range balancers {
		cases = append(cases, testCase{name: "two_members_share_and_hand_over[" + name + "]", body: func() {
			topic, group := segmentioTopic("share", 4), unique("group")
			first := newSegmentioMember(topic, group, balancer)
			waitFor("the first has all", func() bool { return first.holds() == 4 })
			second := newSegmentioMember(topic, group, balancer)
			waitFor("each has half", func() bool { return first.holds() == 2 && second.holds() == 2 })
			_ = second.group.Close()
			waitFor("the rest has all", func() bool { return first.holds() == 4 })
			_ = first.group.Close()
		}})
	}
	return cases
}

func segmentioRecord() {
	topic := segmentioTopic("record", 1)
	headers := []kafka.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte{0, 255}}}
	must(segmentioSend(segmentioWriter(topic), kafka.Message{Key: []byte{0, 1}, Value: []byte{255},
		Headers: headers, Time: time.UnixMilli(1_600_000_000_123)}))
	found := segmentioRead(topic, 1, 0)[0]
	same([]any{found.Key, found.Value, found.Time.UnixMilli(), found.Headers},
		[]any{[]byte{0, 1}, []byte{255}, int64(1_600_000_000_123), headers})
}

func segmentioTimes() {
	topic := segmentioTopic("times", 1)
	messages := segmentioNumbers(5)
	for number := range messages {
		messages[number].Time = time.UnixMilli(1_700_000_000_000 + int64(number)*1000)
	}
	must(segmentioSend(segmentioWriter(topic), messages...))
	reader := segmentioReader(kafka.ReaderConfig{Topic: topic})
	defer func() { _ = reader.Close() }()
	must(reader.SetOffsetAt(context.Background(), time.UnixMilli(1_700_000_002_500)))
	same(segmentioTake(reader, 1)[0].Offset, int64(3))
	found := ask(segmentio().ListOffsets, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
		topic: {kafka.FirstOffsetOf(0), kafka.LastOffsetOf(0)}}}).Topics[topic][0]
	same([]int64{found.FirstOffset, found.LastOffset}, []int64{0, 5})
}

func segmentioResume() {
	topic, group := segmentioTopic("resume", 1), unique("group")
	must(segmentioSend(segmentioWriter(topic), segmentioNumbers(10)...))
	first := segmentioReader(kafka.ReaderConfig{Topic: topic, GroupID: group})
	must(first.CommitMessages(context.Background(), segmentioTake(first, 10)[3]))
	must(first.Close())
	second := segmentioReader(kafka.ReaderConfig{Topic: topic, GroupID: group})
	same(segmentioTake(second, 1)[0].Offset, int64(4))
	must(second.Close())
}

func segmentioOffsets() {
	client, group := segmentio(), unique("group")
	topic := segmentioTopic("offsets", 2)
	done := ask(client.OffsetCommit, &kafka.OffsetCommitRequest{GroupID: group, GenerationID: -1,
		Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: 3, Metadata: "seen"}, {Partition: 1, Offset: 4}}}})
	for _, partition := range done.Topics[topic] {
		must(partition.Error)
	}
	fetch := func() map[int]kafka.OffsetFetchPartition {
		found := map[int]kafka.OffsetFetchPartition{}
		answer := ask(client.OffsetFetch, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0, 1}}})
		for _, partition := range answer.Topics[topic] {
			found[partition.Partition] = partition
		}
		return found
	}
	found := fetch()
	same([]any{found[0].CommittedOffset, found[0].Metadata, found[1].CommittedOffset}, []any{int64(3), "seen", int64(4)})
	gone := ask(client.OffsetDelete, &kafka.OffsetDeleteRequest{GroupID: group, Topics: map[string][]int{topic: {0}}})
	must(errors.Join(gone.Error, gone.Topics[topic][0].Error))
	same(fetch()[0].CommittedOffset, int64(-1))
}

func segmentioTopics() {
	client := segmentio()
	topic := segmentioTopic("admin", 1)
	grown := ask(client.CreatePartitions, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 3}}})
	must(grown.Errors[topic])
	waitFor("three partitions", func() bool { return segmentioPartitions(topic) == 3 })
	altered := ask(client.IncrementalAlterConfigs, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: "88000",
				ConfigOperation: kafka.ConfigOperationSet}}}}})
	must(altered.Resources[0].Error)
	waitFor("the new value", func() bool {
		found := ask(client.DescribeConfigs, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
			{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{"retention.ms"}}}})
		entries := found.Resources[0].ConfigEntries
		return len(entries) == 1 && entries[0].ConfigValue == "88000"
	})
	again := ask(client.CreateTopics, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic,
		NumPartitions: 1, ReplicationFactor: 1}}})
	same(errors.Is(again.Errors[topic], kafka.TopicAlreadyExists), true)
	must(ask(client.DeleteTopics, &kafka.DeleteTopicsRequest{Topics: []string{topic}}).Errors[topic])
	waitFor("the end of the topic", func() bool { return segmentioPartitions(topic) == 0 })
}

func segmentioGroups() {
	client := segmentio()
	topic, group := segmentioTopic("groups", 1), unique("group")
	member := newSegmentioMember(topic, group, kafka.RangeGroupBalancer{})
	waitFor("the assignment", func() bool { return member.holds() == 1 })
	listed := ask(client.ListGroups, &kafka.ListGroupsRequest{}).Groups
	same(slices.ContainsFunc(listed, func(entry kafka.ListGroupsResponseGroup) bool { return entry.GroupID == group }), true)
	state := func() string {
		return ask(client.DescribeGroups, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}}).Groups[0].GroupState
	}
	same(state(), "Stable")
	remove := func() error {
		return ask(client.DeleteGroups, &kafka.DeleteGroupsRequest{GroupIDs: []string{group}}).Errors[group]
	}
	same(errors.Is(remove(), kafka.NonEmptyGroup), true)
	must(member.group.Close())
	// Kafka drops a group without commits with its last member.
	waitFor("an empty group", func() bool { return state() != "Stable" })
	if err := remove(); err != nil {
		same(errors.Is(err, kafka.GroupIdNotFound), true)
	}
}

func segmentioRestart() {
	topic, group := segmentioTopic("restart", 1), unique("group")
	writer := segmentioWriter(topic)
	must(writer.WriteMessages(context.Background(), segmentioNumbers(1)...))
	reader := segmentioReader(kafka.ReaderConfig{Topic: topic, GroupID: group})
	first := segmentioTake(reader, 1)[0]
	same(string(first.Value), "0")
	must(reader.CommitMessages(context.Background(), first))
	restartServer()
	waitLonger(time.Minute, "a write after the restart", func() bool {
		return writer.WriteMessages(context.Background(), kafka.Message{Value: []byte("after")}) == nil
	})
	// The reader hands over what keeps its group from coming back at once.
	waitLonger(time.Minute, "the record after the restart", func() bool {
		limit, cancel := context.WithTimeout(context.Background(), waitMax)
		defer cancel()
		message, err := reader.FetchMessage(limit)
		return err == nil && string(message.Value) == "after"
	})
	must(writer.Close())
	must(reader.Close())
}
