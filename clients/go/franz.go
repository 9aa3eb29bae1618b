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

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func franz(options ...kgo.Opt) *kgo.Client {
	base := []kgo.Opt{kgo.SeedBrokers(os.Getenv("KAFKA")), kgo.FetchMaxWait(200 * time.Millisecond),
		kgo.AllowAutoTopicCreation()}
	return got(kgo.NewClient(append(base, options...)...))
}

func withAdmin[T any](body func(context.Context, *kadm.Client) T) T {
	client := franz()
	defer client.Close()
	limit, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	return body(limit, kadm.NewClient(client))
}

func newTopic(name string, partitions int32, configs map[string]string) string {
	name = unique(name)
	values := map[string]*string{}
	for key, value := range configs {
		values[key] = kadm.StringPtr(value)
	}
	return withAdmin(func(limit context.Context, admin *kadm.Client) string {
		must(got(admin.CreateTopic(limit, partitions, 1, values, name)).Err)
		return name
	})
}

func franzSend(records []*kgo.Record, options ...kgo.Opt) error {
	client := franz(options...)
	defer client.Close()
	limit, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	return client.ProduceSync(limit, records...).FirstErr()
}

func numbered(topic string, count int) []*kgo.Record {
	var records []*kgo.Record
	for number := range count {
		records = append(records, &kgo.Record{Topic: topic, Value: fmt.Append(nil, number)})
	}
	return records
}

func franzTake(client *kgo.Client, count int) []*kgo.Record {
	limit, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	var found []*kgo.Record
	for len(found) < count {
		fetches := client.PollFetches(limit)
		must(fetches.Err())
		found = append(found, fetches.Records()...)
	}
	return found
}

func franzRead(topic string, count int, at kgo.Offset, options ...kgo.Opt) []*kgo.Record {
	client := franz(append(options, kgo.ConsumePartitions(
		map[string]map[int32]kgo.Offset{topic: {0: at}}))...)
	defer client.Close()
	return franzTake(client, count)
}

// franzMember is a group member that a goroutine of its own polls.
type franzMember struct {
	client  *kgo.Client
	lock    sync.Mutex
	records []string
	held    []int32
}

func newFranzMember(topic, group string, options ...kgo.Opt) *franzMember {
	member := &franzMember{}
	options = append(options, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(300*time.Millisecond), kgo.RebalanceTimeout(10*time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
			member.change(func() { member.held = append(member.held, added[topic]...) })
		}))
	lost := func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
		member.change(func() {
			member.held = slices.DeleteFunc(member.held, func(partition int32) bool {
				return slices.Contains(gone[topic], partition)
			})
		})
	}
	member.client = franz(append(options, kgo.OnPartitionsRevoked(lost), kgo.OnPartitionsLost(lost))...)
	go func() {
		for {
			fetches := member.client.PollFetches(context.Background())
			if fetches.IsClientClosed() {
				return
			}
			member.change(func() {
				fetches.EachRecord(func(record *kgo.Record) {
					member.records = append(member.records, string(record.Value))
				})
			})
		}
	}()
	return member
}

func (member *franzMember) change(body func()) {
	member.lock.Lock()
	defer member.lock.Unlock()
	body()
}

func (member *franzMember) holds() (count int) {
	member.change(func() { count = len(member.held) })
	return count
}

func (member *franzMember) saw(value string) (seen bool) {
	member.change(func() { seen = slices.Contains(member.records, value) })
	return seen
}

func franzCases() []testCase {
	cases := []testCase{
		{name: "record_keeps_everything", body: franzRecord},
		{name: "null_and_empty_stay_distinct", body: franzNulls},
		{name: "idempotent_producer_keeps_order", body: franzOrder},
		{name: "producing_creates_the_topic", body: func() {
			topic := unique("auto")
			must(franzSend(numbered(topic, 1)))
			same(len(franzRead(topic, 1, kgo.NewOffset().AtStart())), 1)
		}},
		{name: "seek_lands_inside_a_batch", body: func() {
			topic := newTopic("seek", 1, nil)
			must(franzSend(numbered(topic, 300)))
			same(franzRead(topic, 1, kgo.NewOffset().At(123))[0].Offset, int64(123))
		}},
		{name: "consuming_starts_at_a_time", body: franzTimes},
		{name: "too_large_record_is_refused", body: func() {
			topic := newTopic("large", 1, map[string]string{"max.message.bytes": "10000"})
			err := franzSend([]*kgo.Record{{Topic: topic, Value: make([]byte, 50_000)}},
				kgo.ProducerBatchCompression(kgo.NoCompression()))
			same(errors.Is(err, kerr.MessageTooLarge), true)
		}},
		{name: "ten_mebibyte_record_comes_back", body: franzLarge},
		{name: "group_resumes_at_its_commit", body: franzResume},
		{name: "static_member_is_described", body: franzStatic},
		{name: "offsets_are_found_altered_and_deleted", body: franzOffsets},
		{name: "records_are_deleted", body: franzDeleteRecords},
		{name: "topics_are_grown_configured_and_deleted", body: franzTopics},
		{name: "log_directories_are_described", body: franzLogDirs},
		{name: "cluster_and_api_versions_are_described", body: franzCluster},
		{name: "leader_epochs_have_an_end_offset", body: franzEpochs},
		{name: "clients_come_back_after_a_restart", restart: true, body: franzRestart},
	}
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	for name, codec := range codecs {
		cases = append(cases, testCase{name: "compressed_batch_comes_back[" + name + "]", body: func() {
			topic := newTopic("codec", 1, nil)
			must(franzSend(numbered(topic, 500), kgo.ProducerBatchCompression(codec)))
			same(len(franzRead(topic, 500, kgo.NewOffset().AtStart())), 500)
		}})
	}
	for name, acks := range map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()} {
		cases = append(cases, testCase{name: "produced_with_acks_is_readable[" + name + "]", body: func() {
			topic := newTopic("acks", 1, nil)
			options := []kgo.Opt{kgo.RequiredAcks(acks)}
			if name != "all" {
				options = append(options, kgo.DisableIdempotentWrite())
			}
			must(franzSend(numbered(topic, 3), options...))
			same(len(franzRead(topic, 3, kgo.NewOffset().AtStart())), 3)
		}})
	}
	balancers := map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(),
		"roundrobin": kgo.RoundRobinBalancer(), "sticky": kgo.StickyBalancer(),
		"cooperative-sticky": kgo.CooperativeStickyBalancer()}
	for name, balancer := range balancers {
		cases = append(cases, testCase{name: "two_members_share_and_hand_over[" + name + "]",
			body: func() { franzShare(balancer) }})
	}
	return cases
}

func franzRecord() {
	topic := newTopic("record", 2, nil)
	headers := []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "n", Value: nil},
		{Key: "a", Value: []byte{0, 255}}, {Key: "e", Value: []byte{}}}
	when := time.UnixMilli(1_600_000_000_123)
	must(franzSend([]*kgo.Record{{Topic: topic, Partition: 0, Key: []byte{0, 1}, Value: []byte{255},
		Headers: headers, Timestamp: when}}, kgo.RecordPartitioner(kgo.ManualPartitioner())))
	found := franzRead(topic, 1, kgo.NewOffset().AtStart())[0]
	same([]any{found.Key, found.Value, found.Timestamp.UnixMilli(), found.Offset},
		[]any{[]byte{0, 1}, []byte{255}, int64(1_600_000_000_123), int64(0)})
	same(found.Headers, headers)
}

func franzNulls() {
	topic := newTopic("nulls", 1, nil)
	must(franzSend([]*kgo.Record{{Topic: topic}, {Topic: topic, Key: []byte{}, Value: []byte{}}}))
	found := franzRead(topic, 2, kgo.NewOffset().AtStart())
	same([]bool{found[0].Key == nil, found[0].Value == nil, found[1].Key == nil, found[1].Value == nil},
		[]bool{true, true, false, false})
}

func franzOrder() {
	topic := newTopic("order", 1, nil)
	must(franzSend(numbered(topic, 5000), kgo.ProducerBatchMaxBytes(2000)))
	for number, record := range franzRead(topic, 5000, kgo.NewOffset().AtStart()) {
		same([]any{string(record.Value), record.Offset}, []any{fmt.Sprint(number), int64(number)})
	}
}

func franzTimes() {
	topic := newTopic("times", 1, nil)
	records := numbered(topic, 10)
	for number, record := range records {
		record.Timestamp = time.UnixMilli(1_700_000_000_000 + int64(number)*1000)
	}
	must(franzSend(records))
	found := franzRead(topic, 1, kgo.NewOffset().AfterMilli(1_700_000_004_500))
	same(found[0].Offset, int64(5))
}

func franzLarge() {
	topic := newTopic("large", 1, map[string]string{"max.message.bytes": fmt.Sprint(12 << 20)})
	body := bytes.Repeat([]byte("0123456789abcdef"), 10<<16)
	must(franzSend([]*kgo.Record{{Topic: topic, Value: body}}, kgo.ProducerBatchMaxBytes(12<<20),
		kgo.ProducerBatchCompression(kgo.NoCompression())))
	found := franzRead(topic, 1, kgo.NewOffset().AtStart(), kgo.FetchMaxPartitionBytes(12<<20))
	same(bytes.Equal(found[0].Value, body), true)
}

func franzResume() {
	topic, group := newTopic("resume", 1, nil), unique("group")
	must(franzSend(numbered(topic, 10)))
	options := []kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	first := franz(options...)
	found := franzTake(first, 10)
	must(first.CommitRecords(context.Background(), found[3]))
	first.Close()
	second := franz(options...)
	same(franzTake(second, 6)[0].Offset, int64(4))
	second.Close()
}

func franzShare(balancer kgo.GroupBalancer) {
	topic, group := newTopic("share", 4, nil), unique("group")
	first := newFranzMember(topic, group, kgo.Balancers(balancer))
	waitFor("the first has all", func() bool { return first.holds() == 4 })
	second := newFranzMember(topic, group, kgo.Balancers(balancer))
	waitFor("each has half", func() bool { return first.holds() == 2 && second.holds() == 2 })
	second.client.Close()
	waitFor("the rest has all", func() bool { return first.holds() == 4 })
	first.client.Close()
}

func franzStatic() {
	topic, group := newTopic("static", 1, nil), unique("group")
	member := newFranzMember(topic, group, kgo.InstanceID("the-instance"))
	waitFor("the assignment", func() bool { return member.holds() == 1 })
	withAdmin(func(limit context.Context, admin *kadm.Client) any {
		found := got(admin.DescribeGroups(limit, group))[group]
		must(found.Err)
		same(found.State, "Stable")
		same(*found.Members[0].InstanceID, "the-instance")
		left := got(admin.LeaveGroup(limit, kadm.LeaveGroup(group).InstanceIDs("the-instance")))
		must(left.Error())
		return nil
	})
	member.client.Close()
}

func franzOffsets() {
	topic, group := newTopic("offsets", 2, nil), unique("group")
	must(franzSend(numbered(topic, 10)))
	withAdmin(func(limit context.Context, admin *kadm.Client) any {
		ends := got(admin.ListEndOffsets(limit, topic))
		same(ends[topic][0].Offset+ends[topic][1].Offset, int64(10))
		offsets := kadm.Offsets{}
		offsets.AddOffset(topic, 0, 3, -1)
		offsets.AddOffset(topic, 1, 4, -1)
		must(admin.CommitAllOffsets(limit, group, offsets))
		found := got(admin.FetchOffsets(limit, group))
		same([]int64{found[topic][0].At, found[topic][1].At}, []int64{3, 4})
		gone := got(admin.DeleteOffsets(limit, group, kadm.TopicsSet{topic: {0: struct{}{}}}))
		must(gone.Error())
		found = got(admin.FetchOffsets(limit, group))
		_, there := found.Lookup(topic, 0)
		same(there, false)
		must(got(admin.DeleteGroups(limit, group)).Error())
		same(got(admin.DeleteGroups(limit, group))[group].Err, kerr.GroupIDNotFound)
		return nil
	})
}

func franzDeleteRecords() {
	topic := newTopic("delete-records", 1, nil)
	must(franzSend(numbered(topic, 10)))
	withAdmin(func(limit context.Context, admin *kadm.Client) any {
		offsets := kadm.Offsets{}
		offsets.AddOffset(topic, 0, 6, -1)
		found := got(admin.DeleteRecords(limit, offsets))
		same(found[topic][0].LowWatermark, int64(6))
		same(got(admin.ListStartOffsets(limit, topic))[topic][0].Offset, int64(6))
		return nil
	})
	same(franzRead(topic, 4, kgo.NewOffset().AtStart())[0].Offset, int64(6))
}

func franzTopics() {
	topic := newTopic("admin", 1, map[string]string{"retention.ms": "77000"})
	withAdmin(func(limit context.Context, admin *kadm.Client) any {
		must(got(admin.UpdatePartitions(limit, 3, topic)).Error())
		waitFor("three partitions", func() bool {
			return len(got(admin.ListTopics(limit, topic))[topic].Partitions) == 3
		})
		retention := func() (value string) {
			configs := got(admin.DescribeTopicConfigs(limit, topic))
			for _, config := range got(configs.On(topic, nil)).Configs {
				if config.Key == "retention.ms" {
					value = config.MaybeValue()
				}
			}
			return value
		}
		same(retention(), "77000")
		change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("88000")}}
		same(got(admin.AlterTopicConfigs(limit, change, topic))[0].Err, error(nil))
		waitFor("the new value", func() bool { return retention() == "88000" })
		must(got(admin.DeleteTopics(limit, topic)).Error())
		waitFor("the end of the topic", func() bool { return !got(admin.ListTopics(limit)).Has(topic) })
		return nil
	})
}

func franzLogDirs() {
	topic := newTopic("log-dirs", 1, nil)
	must(franzSend([]*kgo.Record{{Topic: topic, Value: make([]byte, 100_000)}},
		kgo.ProducerBatchCompression(kgo.NoCompression())))
	withAdmin(func(limit context.Context, admin *kadm.Client) any {
		found := got(admin.DescribeAllLogDirs(limit, nil))
		var size int64
		found.Each(func(directory kadm.DescribedLogDir) {
			must(directory.Err)
			if partition, there := directory.Topics.Lookup(topic, 0); there {
				size += partition.Size
			}
		})
		same(size >= 100_000, true)
		return nil
	})
}

func franzCluster() {
	withAdmin(func(limit context.Context, admin *kadm.Client) any {
		found := got(admin.BrokerMetadata(limit))
		same(fmt.Sprintf("%s:%d", found.Brokers[0].Host, found.Brokers[0].Port), os.Getenv("KAFKA"))
		same(found.Cluster != "", true)
		versions := got(admin.ApiVersions(limit))
		for _, version := range versions {
			must(version.Err)
			// Produce from 0: librdkafka looks at this range for the features of a broker.
			low, high, there := version.KeyVersions(0)
			same([]any{low, high >= 9, there}, []any{int16(0), true, true})
		}
		return nil
	})
}

func franzEpochs() {
	topic := newTopic("epochs", 1, nil)
	must(franzSend(numbered(topic, 5)))
	withAdmin(func(limit context.Context, admin *kadm.Client) any {
		request := kadm.OffsetForLeaderEpochRequest{}
		epoch := got(admin.ListTopics(limit, topic))[topic].Partitions[0].LeaderEpoch
		request.Add(topic, 0, epoch)
		found := got(admin.OffsetForLeaderEpoch(limit, request))
		same(found[topic][0].EndOffset, int64(5))
		return nil
	})
}

func franzRestart() {
	topic, group := newTopic("restart", 1, nil), unique("group")
	source := franz()
	must(source.ProduceSync(context.Background(), numbered(topic, 1)...).FirstErr())
	member := newFranzMember(topic, group)
	waitFor("the first record", func() bool { return member.saw("0") })
	restartServer()
	limit, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must(source.ProduceSync(limit, &kgo.Record{Topic: topic, Value: []byte("after")}).FirstErr())
	waitLonger(time.Minute, "the record after the restart", func() bool { return member.saw("after") })
	found := franzRead(topic, 2, kgo.NewOffset().AtStart())
	same([]string{string(found[0].Value), string(found[1].Value)}, []string{"0", "after"})
	source.Close()
	member.client.Close()
}
