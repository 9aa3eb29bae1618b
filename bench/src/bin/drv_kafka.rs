//! Drives Kafka through librdkafka. Modes: prepare pub con lat.
//!
//! Options: `--topic TOPIC --acks all --linger 5 --idempotent 0 --compress none`. With `--mock 1` the
//! broker is librdkafka's own, in this process: the ceiling of the driver.

use bench::Args;
use bench::probe::{Meter, now_ns, open_loop_stamp, pace, payload, read_stamp, stamp};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// Counts what was acknowledged.
struct Acked<'a>(&'a AtomicU64);

impl ClientContext for Acked<'_> {}

impl ProducerContext for Acked<'_> {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if let Err((error, _)) = result {
            panic!("delivery: {error}");
        }
        self.0.fetch_add(1, Relaxed);
    }
}

struct Driver {
    args: Args,
    servers: String,
    topic: String,
}

impl Driver {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    fn producer<'a>(&self, acked: &'a AtomicU64) -> BaseProducer<Acked<'a>> {
        let idempotent = if self.args.flag("idempotent", false) { "true" } else { "false" };
        self.config()
            .set("acks", self.args.text("acks", "all"))
            .set("linger.ms", self.args.text("linger", "5"))
            .set("enable.idempotence", idempotent)
            .set("compression.type", self.args.text("compress", "none"))
            .set("queue.buffering.max.messages", "200000")
            .set("batch.num.messages", "10000")
            .set("batch.size", "1000000")
            .create_with_context(Acked(acked))
            .expect("a producer")
    }

    fn consumer(&self, from: Offset) -> BaseConsumer {
        let consumer: BaseConsumer = self
            .config()
            .set("group.id", format!("bench-{}", std::process::id()))
            .set("fetch.wait.max.ms", "100")
            .set("fetch.min.bytes", "1")
            .set("check.crcs", "false")
            .set("queued.max.messages.kbytes", "65536")
            .set("fetch.error.backoff.ms", "1")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, 0, from).expect("a partition");
        consumer.assign(&list).expect("an assignment");
        consumer
    }

    fn send(&self, producer: &BaseProducer<Acked<'_>>, body: &[u8]) {
        loop {
            let record = BaseRecord::<(), [u8]>::to(&self.topic).payload(body);
            match producer.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(Duration::from_millis(1));
                }
                Err((error, _)) => panic!("send: {error}"),
            }
        }
    }

    fn prepare(&self) {
        let admin: AdminClient<_> = self.config().create().expect("an admin client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let options = AdminOptions::new();
            // It may not exist yet.
            let _ = admin.delete_topics(&[&self.topic], &options).await;
            // A deletion may still be under way.
            for _ in 0..100 {
                let topic = NewTopic::new(&self.topic, 1, TopicReplication::Fixed(1));
                let created = admin.create_topics(&[topic], &options).await;
                if created.expect("an answer").iter().all(Result::is_ok) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("the topic cannot be created");
        });
        println!("{{\"driver\":\"librdkafka\",\"mode\":\"prepare\"}}");
    }

    fn publish(&self) {
        let (messages, acked) = (self.args.messages(), AtomicU64::new(0));
        let meter = Meter::start(&self.args);
        let (producer, body) = (self.producer(&acked), payload(self.args.size()));
        for index in 0..messages {
            self.send(&producer, &body);
            if index % 256 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(Duration::from_secs(60)).expect("a flush");
        assert_eq!(acked.load(Relaxed), messages);
        meter.report("librdkafka", &self.args, messages, &mut []);
    }

    /// Takes `messages`; gives how long each was on its way, if asked.
    fn take(&self, consumer: &BaseConsumer, messages: u64, record: bool) -> Vec<u64> {
        let (mut got, mut latencies) = (0, Vec::new());
        let mut idle_since = None;
        while got < messages {
            match consumer.poll(PATIENCE) {
                Some(Ok(message)) => {
                    (got, idle_since) = (got + 1, None);
                    if record {
                        let time = read_stamp(message.payload().expect("a body"));
                        latencies.push(now_ns().saturating_sub(time));
                    }
                }
                Some(Err(error)) => eprintln!("consume: {error}"),
                // A poll also ends early, when librdkafka served itself.
                None => {
                    let since = *idle_since.get_or_insert_with(Instant::now);
                    assert!(since.elapsed() < PATIENCE, "{got} of {messages} came");
                }
            }
        }
        latencies
    }

    fn consume(&self) {
        let meter = Meter::start(&self.args);
        self.take(&self.consumer(Offset::Beginning), self.args.messages(), false);
        meter.report("librdkafka", &self.args, self.args.messages(), &mut []);
    }

    fn latency(&self) {
        let (messages, rate) = (self.args.messages(), self.args.number("rate", 2000));
        let acked = AtomicU64::new(0);
        let (producer, consumer) = (self.producer(&acked), self.consumer(Offset::End));
        // One message through before the clock starts: both ends are connected then.
        let mut tries = 0;
        loop {
            self.send(&producer, &payload(self.args.size()));
            producer.flush(PATIENCE).expect("a flush");
            if let Some(Ok(_)) = consumer.poll(Duration::from_millis(500)) {
                break;
            }
            tries += 1;
            assert!(tries < 40, "nothing comes back");
        }
        while consumer.poll(Duration::from_millis(300)).is_some() {}
        let meter = Meter::start(&self.args);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut body = payload(self.args.size());
                let start = now_ns();
                for index in 0..messages {
                    let due = start + index * 1_000_000_000 / rate;
                    pace(due);
                    stamp(&mut body, open_loop_stamp(due));
                    self.send(&producer, &body);
                    producer.poll(Duration::ZERO);
                }
                producer.flush(PATIENCE).expect("a flush");
            });
            let mut latencies = self.take(&consumer, messages, true);
            meter.report("librdkafka", &self.args, messages, &mut latencies);
        });
    }
}

fn main() {
    let args = Args::parse();
    let topic = args.text("topic", "bench-topic");
    let mock = args.flag("mock", false).then(|| MockCluster::new(1).expect("a mock broker"));
    let servers = match &mock {
        Some(mock) => {
            mock.create_topic(&topic, 1, 1).expect("a topic");
            mock.bootstrap_servers()
        }
        None => args.address(9092),
    };
    let mode = args.mode();
    let driver = Driver { args, servers, topic };
    match mode.as_str() {
        "prepare" => driver.prepare(),
        "pub" => driver.publish(),
        "con" => driver.consume(),
        "lat" => driver.latency(),
        other => panic!("--mode {other}: want prepare, pub, con or lat"),
    }
    // librdkafka's own shutdown takes a second and proves nothing.
    std::process::exit(0);
}
