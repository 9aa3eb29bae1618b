"""A consumer of crash_kafka as a process of its own, so that it can be killed with the server.

librdkafka would otherwise carry a commit that waits for its answer into the server's next life.
Arguments: address, group, and either `group` or the offset of each partition to start at. Prints
`read PARTITION OFFSET SENDER NUMBER`, `asked PARTITION OFFSET` before a commit, and
`done PARTITION OFFSET` when it was acknowledged.
"""

import sys

import confluent_kafka as ck

from crash_bodies import identify


def main():
    address, group, *starts = sys.argv[1:]

    def committed(error, places):
        if error is None:
            say("done", places)
        waiting.clear()
    waiting, positions, count = [], {}, 0
    reader = ck.Consumer({
        "bootstrap.servers": address, "group.id": group, "enable.auto.commit": False,
        "auto.offset.reset": "earliest", "session.timeout.ms": 6000, "log_level": 0,
        "heartbeat.interval.ms": 500, "fetch.wait.max.ms": 50}, on_commit=committed)
    if starts == ["group"]:
        reader.subscribe(["crash"])
    else:
        reader.assign([ck.TopicPartition("crash", partition, int(offset))
                       for partition, offset in enumerate(starts)])
    while True:
        message = reader.poll(0.05)
        if message is None or message.error():
            continue
        (sender, number), _ = identify(message.value())
        print("read", message.partition(), message.offset(), sender, number, flush=True)
        positions[message.partition()] = message.offset() + 1
        count += 1
        if count % 20 == 0 and not waiting:
            places = [ck.TopicPartition("crash", partition, offset)
                      for partition, offset in positions.items()]
            waiting.append(places)
            say("asked", places)
            reader.commit(offsets=places, asynchronous=True)


def say(what, places):
    for place in places:
        print(what, place.partition, place.offset, flush=True)


if __name__ == "__main__":
    main()
