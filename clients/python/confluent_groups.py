"""confluent-kafka: consumer groups of the classic protocol."""

import threading
import time

import confluent_kafka as ck

from casebook import case, raises, same, unique, wait_for
from confluent import admin, consumer, producer, send, take, topic, values


class Member:
    """A group member that is polled by a thread of its own and keeps what it was given."""

    def __init__(self, name, group, **config):
        self.consumer = consumer(group_id=group, **config)
        self.assigned = set()
        self.history = []
        self.records = []
        self.error = None
        self._stop = threading.Event()
        cooperative = config.get("partition_assignment_strategy") == "cooperative-sticky"
        self.consumer.subscribe(
            [name] if isinstance(name, str) else name,
            on_assign=self._added if cooperative else self._assigned, on_revoke=self._revoked)
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def _assigned(self, _, places):
        self.assigned = {(place.topic, place.partition) for place in places}
        self.history.append(("assigned", len(places)))

    def _added(self, _, places):
        self.assigned |= {(place.topic, place.partition) for place in places}
        self.history.append(("assigned", len(places)))

    def _revoked(self, _, places):
        self.assigned -= {(place.topic, place.partition) for place in places}
        self.history.append(("revoked", len(places)))

    def _poll(self):
        while not self._stop.is_set():
            message = self.consumer.poll(0.05)
            if message is not None and message.error():
                self.error = message.error()
            elif message is not None:
                self.records.append(message)

    def close(self):
        self._stop.set()
        self._thread.join(10)
        self.consumer.close()


def shared(members, name, partitions):
    """True when the members hold the partitions of the topic between them, each at least one."""
    held = [place for member in members for place in member.assigned]
    return (all(member.assigned for member in members) and len(held) == partitions
            and set(held) == {(name, partition) for partition in range(partitions)})


@case
def group_resumes_at_its_commit():
    name, group = topic("resume"), unique("group")
    send(values(name, [str(number) for number in range(10)]))
    first = consumer(group_id=group)
    first.subscribe([name])
    take(first, 4)
    first.commit(offsets=[ck.TopicPartition(name, 0, 4)], asynchronous=False)
    first.close()
    second = consumer(group_id=group)
    second.subscribe([name])
    same([record.offset() for record in take(second, 6)], list(range(4, 10)))
    second.close()


@case
def commit_keeps_its_metadata():
    name, group = topic("metadata"), unique("group")
    reader = consumer(group_id=group)
    reader.commit(offsets=[ck.TopicPartition(name, 0, 7, metadata="where I was")],
                  asynchronous=False)
    found = reader.committed([ck.TopicPartition(name, 0)], timeout=10)[0]
    same((found.offset, found.metadata), (7, "where I was"))
    reader.close()


@case
def partition_without_commit_says_so():
    name = topic("no-commit")
    reader = consumer()
    same(reader.committed([ck.TopicPartition(name, 0)], timeout=10)[0].offset, ck.OFFSET_INVALID)
    reader.close()


@case
def automatic_commit_reaches_the_group():
    name, group = topic("auto-commit"), unique("group")
    send(values(name, [b"x"] * 5))
    reader = consumer(group_id=group, enable_auto_commit=True, auto_commit_interval_ms=100)
    reader.subscribe([name])
    take(reader, 5)

    def committed():
        reader.poll(0.05)
        return reader.committed([ck.TopicPartition(name, 0)], timeout=10)[0].offset == 5
    wait_for(committed, "the automatic commit")
    reader.close()


@case(each=["earliest", "latest"])
def group_without_commit_starts_at_the_reset(reset):
    name = topic("reset")
    send(values(name, [b"old"]))
    reader = consumer(auto_offset_reset=reset)
    reader.subscribe([name])

    def positioned():
        message = reader.poll(0.1)
        found = reader.position([ck.TopicPartition(name, 0)])[0].offset
        return message is not None or (reset == "latest" and reader.assignment() and found >= 0)
    if reset == "latest":
        wait_for(lambda: reader.poll(0.1) or reader.assignment(), "an assignment")
        fresh = iter(range(10_000))

        # The reader finds the end some time after its assignment: what comes later, it sees.
        def newer():
            send(values(name, [f"new {next(fresh)}"]))
            return reader.poll(0.2)
        record = wait_for(newer, "a record sent after the assignment")
        assert record.value().startswith(b"new"), record.value()
    else:
        same(take(reader, 1)[0].value(), b"old")
    reader.close()


@case(each=["range", "roundrobin", "cooperative-sticky"])
def two_members_share_the_partitions(strategy):
    name, group = topic("share", 4), unique("group")
    first = Member(name, group, partition_assignment_strategy=strategy)
    wait_for(lambda: len(first.assigned) == 4, "the first member has all")
    second = Member(name, group, partition_assignment_strategy=strategy)
    wait_for(lambda: shared([first, second], name, 4), "each has its part")
    same((len(first.assigned), len(second.assigned)), (2, 2))
    send([{"topic": name, "value": str(number), "partition": number % 4} for number in range(40)])
    wait_for(lambda: len(first.records) + len(second.records) == 40, "all records")
    for member in (first, second):
        assert {(record.topic(), record.partition()) for record in member.records} \
            == member.assigned
    first.close()
    second.close()


@case
def cooperative_rebalance_takes_only_what_moves():
    name, group = topic("cooperative", 6), unique("group")
    strategy = "cooperative-sticky"
    first = Member(name, group, partition_assignment_strategy=strategy)
    wait_for(lambda: len(first.assigned) == 6, "the first member has all")
    second = Member(name, group, partition_assignment_strategy=strategy)
    wait_for(lambda: shared([first, second], name, 6), "each has its part")
    same(sum(count for what, count in first.history if what == "revoked"), 3)
    first.close()
    second.close()


@case
def leaving_member_hands_over_at_once():
    name, group = topic("leave", 4), unique("group")
    stayer = Member(name, group, session_timeout_ms=45_000)
    wait_for(lambda: len(stayer.assigned) == 4, "the first member has all")
    leaver = Member(name, group, session_timeout_ms=45_000)
    wait_for(lambda: shared([stayer, leaver], name, 4), "each has its part")
    leaver.close()
    wait_for(lambda: len(stayer.assigned) == 4, "the rest has all again, before any timeout")
    stayer.close()


@case
def static_member_comes_back_without_a_rebalance():
    name, group = topic("static", 4), unique("group")
    settings = {"session_timeout_ms": 30_000}
    stayer = Member(name, group, group_instance_id="one", **settings)
    goer = Member(name, group, group_instance_id="two", **settings)
    wait_for(lambda: shared([stayer, goer], name, 4), "each has its part")
    before, rounds = set(goer.assigned), len(stayer.history)
    goer.close()
    back = Member(name, group, group_instance_id="two", **settings)
    wait_for(lambda: back.assigned, "the same member is back")
    same(back.assigned, before)
    same(len(stayer.history), rounds, "rebalances that the other member saw")
    stayer.close()
    back.close()


@case
def second_member_of_one_instance_id_fences_the_first():
    name, group = topic("fence"), unique("group")
    first = Member(name, group, group_instance_id="same")
    wait_for(lambda: first.assigned, "the first member's assignment")
    second = Member(name, group, group_instance_id="same")
    wait_for(lambda: second.assigned, "the second member's assignment")
    error = wait_for(lambda: first.error, "the first member's error")
    # librdkafka reports the fencing as a fatal error.
    assert error.code() in (ck.KafkaError._FATAL, ck.KafkaError.FENCED_INSTANCE_ID), error
    second.close()
    first.close()


@case
def static_member_that_stays_away_is_expelled_after_its_session():
    name, group = topic("expel", 2), unique("group")
    stayer = Member(name, group, group_instance_id="one", session_timeout_ms=6000)
    goer = Member(name, group, group_instance_id="two", session_timeout_ms=6000)
    wait_for(lambda: shared([stayer, goer], name, 2), "each has its part")
    goer.close()
    closed = time.monotonic()
    wait_for(lambda: len(stayer.assigned) == 2, "the rest has all")
    took = time.monotonic() - closed
    assert 3 < took < 15, f"{took} s, with a session of 6 s"
    stayer.close()


@case
def subscription_by_pattern_finds_a_new_topic():
    prefix, group = unique("pattern"), unique("group")
    member = Member(f"^{prefix}.*", group, topic_metadata_refresh_interval_ms=300)
    source = producer()
    source.produce(f"{prefix}-new", b"v")
    same(source.flush(10), 0)
    wait_for(lambda: member.records, "the record of the new topic")
    same(member.records[0].topic(), f"{prefix}-new")
    member.close()


@case
def new_partition_reaches_the_group():
    name, group = topic("grow"), unique("group")
    member = Member(name, group, topic_metadata_refresh_interval_ms=300)
    wait_for(lambda: len(member.assigned) == 1, "the first partition")
    admin().create_partitions([ck.admin.NewPartitions(name, 3)])[name].result(10)
    wait_for(lambda: len(member.assigned) == 3, "the new partitions")
    member.close()


@case
def commit_of_a_stranger_to_a_live_group_is_refused():
    name, group = topic("stranger"), unique("group")
    member = Member(name, group)
    wait_for(lambda: member.assigned, "an assignment")
    stranger = consumer(group_id=group)
    error = raises(ck.KafkaException, stranger.commit,
                   offsets=[ck.TopicPartition(name, 0, 1)], asynchronous=False)
    same(error.args[0].code(), ck.KafkaError.UNKNOWN_MEMBER_ID)
    member.close()
    stranger.close()


@case
def two_groups_read_the_same_topic_apart():
    name = topic("apart")
    send(values(name, [b"a", b"b"]))
    for _ in range(2):
        reader = consumer()
        reader.subscribe([name])
        same([record.value() for record in take(reader, 2)], [b"a", b"b"])
        reader.close()


@case
def groups_are_listed_and_described_with_their_members():
    name, group = topic("describe", 2), unique("group")
    member = Member(name, group, client_id="the-client")
    wait_for(lambda: len(member.assigned) == 2, "the assignment")
    listed = admin().list_consumer_groups().result(10)
    assert group in [entry.group_id for entry in listed.valid], listed.valid
    found = admin().describe_consumer_groups([group])[group].result(10)
    same(found.state, ck.ConsumerGroupState.STABLE)
    same(found.partition_assignor, "range")
    same([entry.client_id for entry in found.members], ["the-client"])
    same(sorted(place.partition for place in found.members[0].assignment.topic_partitions), [0, 1])
    member.close()
    state = wait_for(lambda: admin().describe_consumer_groups([group])[group].result(10).state
                     == ck.ConsumerGroupState.EMPTY, "an empty group")
    assert state


@case
def group_is_deleted_only_when_empty():
    name, group = topic("delete-group"), unique("group")
    member = Member(name, group)
    wait_for(lambda: member.assigned, "the assignment")
    error = raises(ck.KafkaException,
                   lambda: admin().delete_consumer_groups([group])[group].result(10))
    same(error.args[0].code(), ck.KafkaError.NON_EMPTY_GROUP)
    member.close()
    places = ck.ConsumerGroupTopicPartitions(group, [ck.TopicPartition(name, 0, 0)])
    admin().alter_consumer_group_offsets([places])[group].result(10)
    admin().delete_consumer_groups([group])[group].result(10)
    listed = admin().list_consumer_groups().result(10)
    assert group not in [entry.group_id for entry in listed.valid]
    error = raises(ck.KafkaException,
                   lambda: admin().delete_consumer_groups([group])[group].result(10))
    same(error.args[0].code(), ck.KafkaError.GROUP_ID_NOT_FOUND)


@case
def offsets_of_a_group_are_listed_and_altered_from_outside():
    name, group = topic("alter-offsets", 2), unique("group")
    places = [ck.TopicPartition(name, 0, 11), ck.TopicPartition(name, 1, 22)]
    request = ck.ConsumerGroupTopicPartitions(group, places)
    admin().alter_consumer_group_offsets([request])[group].result(10)
    found = admin().list_consumer_group_offsets(
        [ck.ConsumerGroupTopicPartitions(group)])[group].result(10)
    same(sorted((place.partition, place.offset) for place in found.topic_partitions),
         [(0, 11), (1, 22)])
