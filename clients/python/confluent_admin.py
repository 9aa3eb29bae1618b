"""confluent-kafka: topics, their settings, and the cluster, through the admin client."""

import confluent_kafka as ck
from confluent_kafka.admin import (AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource,
                                   NewPartitions, NewTopic, ResourceType)

from casebook import KAFKA, case, raises, same, unique, wait_for
from confluent import admin, read, send, topic, values


def refused(request):
    """The error code with which every future of an admin request ends."""
    def result():
        for future in request.values():
            future.result(10)
    return raises(ck.KafkaException, result).args[0].code()


def resource(name):
    return ConfigResource(ResourceType.TOPIC, name)


def config(name):
    key = resource(name)
    return admin().describe_configs([key])[key].result(10)


def alter(name, **entries):
    """Sets each entry, or removes it where the value is None."""
    changes = [ConfigEntry(key.replace("_", "."), value, incremental_operation=(
        AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET))
        for key, value in entries.items()]
    key = ConfigResource(ResourceType.TOPIC, name, incremental_configs=changes)
    return admin().incremental_alter_configs([key])


@case
def created_topic_has_its_partitions():
    name = topic("created", 5)
    found = admin().list_topics(name, timeout=10).topics[name]
    same(sorted(found.partitions), [0, 1, 2, 3, 4])
    for partition in found.partitions.values():
        same((len(partition.replicas), len(partition.isrs)), (1, 1))
        assert partition.leader in admin().list_topics(timeout=10).brokers


@case
def described_topic_has_an_id_and_leaders():
    name = topic("described", 2)
    found = admin().describe_topics(ck.TopicCollection([name]))[name].result(10)
    same((found.name, len(found.partitions), found.is_internal), (name, 2, False))
    assert str(found.topic_id) != "AAAAAAAAAAAAAAAAAAAAAA", found.topic_id
    assert f"{found.partitions[0].leader.host}:{found.partitions[0].leader.port}" == KAFKA


@case
def creating_a_topic_twice_is_refused():
    name = topic("twice")
    same(refused(admin().create_topics([NewTopic(name, 1, 1)])),
         ck.KafkaError.TOPIC_ALREADY_EXISTS)


@case(each=["no/slash", "a" * 250, "..", "spa ce"])
def illegal_topic_name_is_refused(name):
    same(refused(admin().create_topics([NewTopic(name, 1, 1)])), ck.KafkaError.TOPIC_EXCEPTION)


@case
def replication_beyond_the_brokers_is_refused():
    same(refused(admin().create_topics([NewTopic(unique("replicas"), 1, 3)])),
         ck.KafkaError.INVALID_REPLICATION_FACTOR)


@case
def unknown_topic_setting_is_refused():
    same(refused(admin().create_topics(
        [NewTopic(unique("setting"), 1, 1, config={"no.such.setting": "1"})])),
        ck.KafkaError.INVALID_CONFIG)


@case
def validating_creates_nothing():
    name = unique("validate")
    admin().create_topics([NewTopic(name, 1, 1)], validate_only=True)[name].result(10)
    assert name not in admin().list_topics(timeout=10).topics


@case
def several_topics_are_created_at_once_and_one_may_fail():
    good, bad = unique("several"), topic("several-taken")
    made = admin().create_topics([NewTopic(good, 1, 1), NewTopic(bad, 1, 1)])
    made[good].result(10)
    error = raises(ck.KafkaException, made[bad].result, 10)
    same(error.args[0].code(), ck.KafkaError.TOPIC_ALREADY_EXISTS)


@case
def partitions_grow_but_never_shrink():
    name = topic("partitions")
    admin().create_partitions([NewPartitions(name, 4)])[name].result(10)
    wait_for(lambda: len(admin().list_topics(name, timeout=10).topics[name].partitions) == 4,
             "four partitions")
    same(refused(admin().create_partitions([NewPartitions(name, 2)])),
         ck.KafkaError.INVALID_PARTITIONS)
    send([{"topic": name, "value": b"v", "partition": 3}])
    same(len(read(name, 1, partition=3)), 1)


@case
def deleted_topic_is_gone():
    name = topic("deleted")
    send(values(name, [b"v"]))
    admin().delete_topics([name])[name].result(10)
    wait_for(lambda: name not in admin().list_topics(timeout=10).topics, "the topic's end")
    same(refused(admin().delete_topics([name])), ck.KafkaError.UNKNOWN_TOPIC_OR_PART)


@case
def topic_created_anew_is_empty():
    name = topic("anew")
    send(values(name, [b"old"]))
    admin().delete_topics([name])[name].result(10)

    def created():
        try:
            admin().create_topics([NewTopic(name, 1, 1)])[name].result(10)
            return True
        except ck.KafkaException:
            return False
    wait_for(created, "the name is free again")
    send(values(name, [b"new"]))
    record = read(name, 1)[0]
    same((record.offset(), record.value()), (0, b"new"))


@case
def settings_given_at_creation_are_described():
    name = topic("settings", retention_ms=123456, max_message_bytes=54321)
    found = config(name)
    same((found["retention.ms"].value, found["max.message.bytes"].value), ("123456", "54321"))
    same(ConfigSource(found["retention.ms"].source), ConfigSource.DYNAMIC_TOPIC_CONFIG)
    assert not found["retention.ms"].is_default


@case
def settings_not_given_have_kafkas_defaults():
    found = config(topic("defaults"))
    wanted = {"cleanup.policy": "delete", "compression.type": "producer",
              "message.timestamp.type": "CreateTime", "retention.ms": "604800000",
              "retention.bytes": "-1"}
    same({key: found[key].value for key in wanted}, wanted)
    assert found["retention.ms"].is_default
    # Kafka's default is 1 MiB and 12 bytes of batch overhead.
    same(found["max.message.bytes"].value, "1048588")


@case
def setting_is_changed_and_removed():
    name = topic("alter")
    for future in alter(name, retention_ms="60000").values():
        future.result(10)
    wait_for(lambda: config(name)["retention.ms"].value == "60000", "the new value")
    for future in alter(name, retention_ms=None).values():
        future.result(10)
    wait_for(lambda: config(name)["retention.ms"].value == "604800000", "the default again")


@case
def changed_max_message_bytes_takes_effect():
    name = topic("alter-max")
    big = [{"topic": name, "value": bytes(2_000_000)}]
    config = {"message_max_bytes": 10_000_000, "compression_type": "none"}
    raises(AssertionError, send, big, **config)
    for future in alter(name, max_message_bytes="4000000").values():
        future.result(10)

    def accepted():
        try:
            send(big, **config)
            return True
        except AssertionError:
            return False
    wait_for(accepted, "the larger record is taken")


@case
def nonsense_value_of_a_setting_is_refused():
    name = topic("nonsense")
    same(refused(alter(name, retention_ms="soon")), ck.KafkaError.INVALID_CONFIG)


@case
def settings_of_an_unknown_topic_are_refused():
    key = resource(unique("unknown"))
    same(refused(admin().describe_configs([key])), ck.KafkaError.UNKNOWN_TOPIC_OR_PART)
    same(refused(alter(unique("unknown"), retention_ms="1000")),
         ck.KafkaError.UNKNOWN_TOPIC_OR_PART)


@case
def cluster_is_described_with_its_address():
    found = admin().describe_cluster().result(10)
    same([f"{node.host}:{node.port}" for node in found.nodes], [KAFKA])
    assert found.cluster_id
    assert found.controller is not None


@case
def broker_settings_are_described():
    broker = next(iter(admin().list_topics(timeout=10).brokers))
    key = ConfigResource(ResourceType.BROKER, str(broker))
    found = admin().describe_configs([key])[key].result(10)
    assert "auto.create.topics.enable" in found, sorted(found)


@case
def old_style_alter_replaces_the_settings():
    name = topic("alter-old", max_message_bytes=50_000)
    key = ConfigResource(ResourceType.TOPIC, name, set_config={"retention.ms": "70000"})
    admin().alter_configs([key])[key].result(10)
    wait_for(lambda: config(name)["retention.ms"].value == "70000", "the new value")
    same(config(name)["max.message.bytes"].value, "1048588")
