"""confluent-kafka: what is there, and who comes back, after the broker was restarted."""

import confluent_kafka as ck

from casebook import case, restart_server, same, unique, wait_for
from confluent import admin, consumer, producer, read, send, take, topic


def committed(group, name):
    try:
        return consumer(group_id=group).committed([ck.TopicPartition(name, 0)], timeout=20)[0]
    except ck.KafkaException as error:
        # Just after its start a broker may still be loading the groups.
        if error.args[0].code() not in (ck.KafkaError.NOT_COORDINATOR,
                                        ck.KafkaError.COORDINATOR_LOAD_IN_PROGRESS):
            raise
        return None


@case(restart=True)
def records_offsets_and_clients_outlive_a_restart():
    name, group = topic("restart", 2, retention_ms=1234567), unique("group")
    headers = [("h", b"1"), ("h", None)]
    send([{"topic": name, "key": b"k", "value": f"{number}", "partition": 0, "headers": headers}
          for number in range(100)])
    reader = consumer(group_id=group, topic_metadata_refresh_interval_ms=500)
    reader.subscribe([name])
    take(reader, 100)
    reader.commit(offsets=[ck.TopicPartition(name, 0, 60, metadata="half")], asynchronous=False)
    source = producer(enable_idempotence=True)
    source.produce(name, b"before", partition=1)
    same(source.flush(20), 0)

    restart_server()

    same([record.value() for record in read(name, 100)],
         [f"{number}".encode() for number in range(100)])
    same(read(name, 1)[0].headers(), headers)
    found = wait_for(lambda: committed(group, name), "the coordinator", seconds=60, pause=0.2)
    same((found.offset, found.metadata), (60, "half"))
    key = ck.admin.ConfigResource(ck.admin.ResourceType.TOPIC, name)
    same(admin().describe_configs([key])[key].result(20)["retention.ms"].value, "1234567")

    source.produce(name, b"after", partition=1)
    same(source.flush(30), 0)
    same([record.value() for record in read(name, 2, partition=1)], [b"before", b"after"])
    seen = []

    def arrives():
        message = reader.poll(0.1)
        if message is not None and not message.error():
            seen.append(message.value())
        return b"after" in seen
    wait_for(arrives, "the old consumer reads on", seconds=60)
    reader.close()
