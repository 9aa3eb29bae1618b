"""The Kafka load of crash.py: acknowledged records, committed offsets, created topics.

Topic `crash` has three partitions and keeps everything; each round is compared with what its
clients were told, and the last offsets of the round before are where reading starts.
"""

import random
import subprocess
import sys
import threading
from pathlib import Path

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, NewTopic

from crash_bodies import Sender, identify, order_faults

PARTITIONS = 3
READER = Path(__file__).with_name("crash_kafka_reader.py")
JOIN_SECONDS_MAX = 20
# No request of one life of the server may wait for its next one.
LIMITS = {"request_timeout": 2, "operation_timeout": 2}


class Load:
    def __init__(self, target, chance):
        self.target = target
        self.seed = chance.random()
        self.ends = [0] * PARTITIONS
        self.topics = {}
        self.commits = {}

    def settings(self, **more):
        return {"bootstrap.servers": self.target.address("kafka"), "log_level": 0,
                "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200,
                **{key.replace("_", "."): value for key, value in more.items()}}

    def prepare(self):
        admin = AdminClient(self.settings())
        made = admin.create_topics([NewTopic("crash", PARTITIONS, 1, config={
            "max.message.bytes": str(8 << 20)})])
        made["crash"].result(30)

    def begin(self, number):
        self.round = number
        self.over = threading.Event()
        self.killed = False
        self.early = []
        self.readers = []
        self.lock = threading.Lock()
        self.acknowledged = {}
        self.read = {}
        bodies = [lambda name: self.produce(name, enable_idempotence=True),
                  lambda name: self.produce(name, enable_idempotence=False, linger_ms=5,
                                            compression_type="lz4",
                                            max_in_flight_requests_per_connection=1),
                  lambda name: self.consume(name, standing=True),
                  lambda name: self.consume(name, standing=False), self.create]
        self.threads = [threading.Thread(target=self.guarded, args=(body, index), daemon=True)
                        for index, body in enumerate(bodies)]
        for thread in self.threads:
            thread.start()

    def guarded(self, body, index):
        try:
            body(f"r{self.round}-k{index}")
        except ck.KafkaException as error:
            # When the server is gone, what was acknowledged until then is in the log.
            if not self.killed:
                self.early.append(f"a kafka client ended before the kill: {error!r}")

    def killing(self):
        self.killed = True
        for reader in self.readers:
            if reader.poll() is not None:
                self.early.append(f"a kafka reader ended before the kill with {reader.returncode}")

    def end(self):
        self.over.set()
        for reader in self.readers:
            reader.kill()
            reader.wait()
        for thread in self.threads:
            thread.join(JOIN_SECONDS_MAX)

    def produce(self, name, **config):
        """Each partition gets a sequence of its own from this producer."""
        source = ck.Producer(self.settings(acks="all", message_max_bytes=8 << 20,
                                           queue_buffering_max_messages=500, **config))
        senders = [Sender(f"{name}-p{partition}", self.seed) for partition in range(PARTITIONS)]
        chance = random.Random(f"{self.seed}/{name}")

        def note(key, error, message):
            if error is None:
                with self.lock:
                    self.acknowledged[message.partition(), message.offset()] = key
        while not self.over.is_set():
            partition = chance.randrange(PARTITIONS)
            key, body = senders[partition].next()
            while not self.over.is_set():
                try:
                    source.produce("crash", body, partition=partition,
                                   on_delivery=lambda *it, key=key: note(key, *it))
                    break
                except BufferError:
                    source.poll(0.01)
            source.poll(0)
        # What is still on its way must not be sent to the server's next life.
        source.purge(in_queue=True, in_flight=True)
        source.flush(5)

    def consume(self, name, standing):
        """Starts a reader and keeps its log; the standing group is read without membership."""
        group = "crash-standing" if standing else f"crash-{name}"
        starts = [str(end) for end in self.ends] if standing else ["group"]
        reader = subprocess.Popen(
            [sys.executable, str(READER), self.target.address("kafka"), group, *starts],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.readers.append(reader)
        for line in reader.stdout:
            if line.endswith("\n"):
                self.keep(group, line.split())

    def keep(self, group, words):
        partition, offset = int(words[1]), int(words[2])
        place = (group, partition)
        low, _ = self.commits.get(place, (-1, -1))
        if words[0] == "read":
            with self.lock:
                self.read[partition, offset] = (words[3], int(words[4]))
        elif words[0] == "asked":
            self.commits[place] = (low, offset)
        else:
            self.commits[place] = (offset, offset)

    def create(self, name):
        admin = AdminClient(self.settings(socket_timeout_ms=3000))
        chance = random.Random(f"{self.seed}/{name}")
        for number in range(1, 1_000_000):
            if self.over.wait(0.05):
                return
            topic, partitions = f"crash-{name}-{number}", chance.randint(1, 3)
            self.topics[topic] = ("unsure", partitions)
            made = admin.create_topics([NewTopic(topic, partitions, 1)], **LIMITS)
            made[topic].result()
            self.topics[topic] = ("there", partitions)
            if chance.random() < 0.5:
                self.topics[topic] = ("unsure", partitions)
                admin.delete_topics([topic], **LIMITS)[topic].result()
                self.topics[topic] = ("gone", partitions)

    def verify(self):
        faults = list(self.early)
        for partition in range(PARTITIONS):
            faults += self.verify_partition(partition)
        faults += self.verify_commits()
        faults += self.verify_topics()
        return faults

    def verify_partition(self, partition):
        faults, found = [], {}
        reader = ck.Consumer(self.settings(
            group_id="crash-verify", enable_auto_commit=False, auto_offset_reset="error",
            check_crcs=True, fetch_wait_max_ms=50))
        place = ck.TopicPartition("crash", partition, self.ends[partition])
        _, high = reader.get_watermark_offsets(place, timeout=20)
        if high < self.ends[partition]:
            return [f"crash/{partition}: ends at {high}, and ended at {self.ends[partition]} before"]
        reader.assign([place])
        next_offset, silent = self.ends[partition], 0
        while next_offset < high and silent < 100:
            message = reader.poll(0.2)
            if message is None:
                silent += 1
                continue
            if message.error():
                faults.append(f"crash/{partition}: {message.error()} at {next_offset}")
                break
            if message.offset() != next_offset:
                faults.append(f"crash/{partition}: {message.offset()} follows {next_offset - 1}")
            next_offset = message.offset() + 1
            try:
                found[message.offset()] = identify(message.value())[0]
            except ValueError as error:
                faults.append(f"crash/{partition} at {message.offset()}: {error}")
        reader.close()
        if next_offset < high:
            faults.append(f"crash/{partition}: nothing comes from {next_offset}, end is {high}")
        self.ends[partition] = high
        faults += order_faults(f"crash/{partition}", found.values())
        for what, promised in (("acknowledged", self.acknowledged), ("read", self.read)):
            for (where, offset), key in sorted(promised.items()):
                if where == partition and offset in range(place.offset, high):
                    if found.get(offset) != key:
                        faults.append(f"crash/{where} at {offset}: {what} {key}, now "
                                      f"{found.get(offset)}")
                elif where == partition and offset >= high:
                    faults.append(f"crash/{where} at {offset}: {what} {key}, and lost")
        return faults

    def verify_commits(self):
        for group in {group for group, _ in self.commits}:
            reader = ck.Consumer(self.settings(group_id=group, enable_auto_commit=False))
            places = [ck.TopicPartition("crash", partition) for partition in range(PARTITIONS)]
            for place in reader.committed(places, timeout=30):
                low, high = self.commits.get((group, place.partition), (-1, -1))
                if not (low <= place.offset <= high or low < 0 > place.offset):
                    yield (f"{group}: partition {place.partition} is committed at {place.offset}, "
                           f"and was acknowledged at {low}, last asked for {high}")
                elif place.offset >= 0:
                    self.commits[group, place.partition] = (place.offset, place.offset)
            reader.close()
        # Only the standing group and the last round's are looked at again.
        recent = ("crash-standing", f"crash-r{self.round}-k3")
        self.commits = {key: value for key, value in self.commits.items() if key[0] in recent}

    def verify_topics(self):
        admin = AdminClient(self.settings())
        found = admin.list_topics(timeout=30).topics
        for name, (state, partitions) in list(self.topics.items()):
            if state == "there" and name not in found:
                yield f"the created topic {name} is not there"
            elif state == "there" and len(found[name].partitions) != partitions:
                yield f"{name} has {len(found[name].partitions)} partitions, not {partitions}"
            if state == "gone" and name in found:
                yield f"the deleted topic {name} is there again"
            if name in found:
                admin.delete_topics([name])[name].result(30)
            self.topics[name] = ("gone", partitions)
            if state == "gone":
                del self.topics[name]

    def acknowledged_count(self):
        return len(self.acknowledged)

    def counts(self):
        done = [low for low, _ in self.commits.values() if low >= 0]
        return (f"kafka {len(self.acknowledged)} acknowledged, {len(self.read)} read, "
                f"{len(done)} commits, {len(self.topics)} creates")
