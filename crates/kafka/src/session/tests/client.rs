//! A broker without sockets, and a client of it.

use crate::codec::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchedPartition,
};
use crate::codec::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use crate::codec::messages::produce::{
    ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic, ProducedPartition,
};
use crate::codec::messages::topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::codec::{Message, Records, decode, encode_request};
use crate::errors::ErrorCode;
use crate::{KafkaWire, Options};
use bytes::{Buf as _, Bytes, BytesMut};
use engine::{Engine, catalog};
use frontend::{Connection, Peer, Wire as _};
use io::SystemClock;
use io::sim::{SimDisk, SimRandom};
use record::batch::Builder;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use types::Millis;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where every client comes in.
pub(crate) const PORT: u16 = 9092;

/// An engine on a disk in memory.
pub(crate) struct Broker {
    pub(crate) disk: Arc<SimDisk>,
    engine: Option<Engine>,
    pub(crate) options: Options,
}

/// One connection to it.
pub(crate) struct Client {
    connection: Connection,
    door: engine::Client,
    bell: Arc<Bell>,
    received: BytesMut,
    correlation_id: i32,
}

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let rung = self.rung.lock().unwrap();
        let (mut rung, late) =
            self.changed.wait_timeout_while(rung, PATIENCE, |rung| !*rung).unwrap();
        assert!(!late.timed_out(), "the engine did not answer");
        *rung = false;
    }
}

impl Broker {
    /// A new one, with two shards.
    pub(crate) fn new() -> Broker {
        let disk = Arc::new(SimDisk::new(11));
        let options = Options { group_initial_delay: Millis(0), ..Options::default() };
        let mut broker = Broker { disk, engine: None, options };
        broker.start();
        broker
    }

    fn start(&mut self) {
        let engine = Engine::open(engine::Options {
            disk: Arc::clone(&self.disk) as Arc<dyn io::Disk>,
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SimRandom::new(5)),
            workers: 2,
            shards: 2,
            memory_limit: usize::MAX,
            producer_idle: engine::PRODUCER_IDLE,
            cache_bytes: 8 << 20,
            salvage: false,
            disk_free_min: None,
            scrub_bytes: 0,
            sizes: Default::default(),
        });
        self.engine = Some(engine.unwrap());
    }

    /// Stops it and opens the store again.
    pub(crate) fn restart(&mut self) {
        self.engine.take().unwrap().stop();
        self.start();
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        let bell = Arc::new(Bell::default());
        let ringing = Arc::clone(&bell);
        let door = self.engine().handle().connect(Arc::new(move || ringing.ring()));
        let peer = Peer {
            client: door.id(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)),
            local: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
        };
        let session = KafkaWire::new(self.options.clone()).session(&peer);
        let connection = Connection::new(session, peer);
        Client { connection, door, bell, received: BytesMut::new(), correlation_id: 0 }
    }

    /// Makes a change of names as another wire would.
    pub(crate) fn change(&self, action: catalog::Action) {
        let mut change = catalog::Change::new("/", action);
        let handle = self.engine().handle();
        let shard = engine::shard_of(handle.names().place(&mut change).unwrap());
        let op = engine::api::Op::Change { shard, change: Box::new(change) };
        self.do_op(op);
    }

    /// Does one operation of the engine.
    pub(crate) fn do_op(&self, op: engine::api::Op) -> engine::api::Reply {
        let bell = Arc::new(Bell::default());
        let ringing = Arc::clone(&bell);
        let door = self.engine().handle().connect(Arc::new(move || ringing.ring()));
        door.submit(op.shard(), vec![engine::api::Call { token: types::Token(1), op }]);
        loop {
            for event in door.outbox().take() {
                if let engine::api::Event::Reply { result, .. } = event {
                    return result.unwrap();
                }
            }
            bell.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop();
        }
    }
}

impl Client {
    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.connection.input().extend_from_slice(bytes);
        self.connection.received(bytes.len(), &self.door, Millis(0));
    }

    /// Sends a request; gives its correlation id.
    pub(crate) fn send<M: Message>(&mut self, version: i16, body: &M) -> i32 {
        self.correlation_id += 1;
        let frame = encode_request(self.correlation_id, Some("tester"), version, body);
        self.send_bytes(&frame.concat());
        self.correlation_id
    }

    /// The next response, which must be to `correlation_id`.
    pub(crate) fn receive<M: Message>(&mut self, version: i16, correlation_id: i32) -> M {
        let frame = loop {
            match self.take_frame() {
                Some(frame) => break frame,
                None => {
                    assert!(!self.connection.finished(), "the connection was closed");
                    self.bell.wait();
                    self.connection.events(&self.door, Millis(0));
                }
            }
        };
        assert_eq!(i32::from_be_bytes(frame[..4].try_into().unwrap()), correlation_id);
        let flexible = version >= M::FLEXIBLE_FROM && M::KEY != 18;
        decode(&frame, if flexible { 5 } else { 4 }, version).unwrap()
    }

    /// Asks and waits for the answer.
    pub(crate) fn ask<R: Message>(&mut self, version: i16, request: &impl Message) -> R {
        let id = self.send(version, request);
        self.receive(version, id)
    }

    /// Whether there is an answer already.
    pub(crate) fn has_answer(&mut self) -> bool {
        self.connection.events(&self.door, Millis(0));
        self.collect();
        !self.received.is_empty()
    }

    /// Whether the session has closed the connection.
    pub(crate) fn closed(&mut self) -> bool {
        self.collect();
        self.connection.finished()
    }

    /// Waits until the session has closed the connection.
    pub(crate) fn wait_closed(&mut self) {
        while !self.closed() {
            self.bell.wait();
            self.connection.events(&self.door, Millis(0));
        }
    }

    /// The broker stops.
    pub(crate) fn drain(&mut self) {
        self.connection.drain(&self.door, Millis(0));
    }

    fn collect(&mut self) {
        while self.connection.output_pending() > 0 {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.connection.output(&mut slices);
            let count = slices[..filled].iter().map(|slice| slice.len()).sum();
            slices[..filled].iter().for_each(|slice| self.received.extend_from_slice(slice));
            self.connection.written(count, &self.door);
        }
    }

    fn take_frame(&mut self) -> Option<Bytes> {
        self.collect();
        let length = self.received.get(..4)?;
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if self.received.len() < 4 + length {
            return None;
        }
        self.received.advance(4);
        Some(self.received.split_to(length).freeze())
    }

    /// Creates a topic.
    pub(crate) fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
        });
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let response: CreateTopicsResponse = self.ask(7, &request);
        assert_eq!(response.topics[0].error_code, ErrorCode::NONE, "{response:?}");
    }

    /// Asks for a topic, creating it if `create`.
    pub(crate) fn metadata(&mut self, name: &str, create: bool) -> MetadataResponseTopic {
        let topic = MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: create,
            ..Default::default()
        };
        let mut response: MetadataResponse = self.ask(12, &request);
        response.topics.pop().unwrap()
    }

    /// Produces one batch by topic name, with version 9.
    pub(crate) fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> ProducedPartition {
        let request = produce_request(topic, partition, batch, -1);
        let mut response: ProduceResponse = self.ask(9, &request);
        response.responses.remove(0).partition_responses.remove(0)
    }

    /// Fetches one partition without a session, by version 11, and without waiting.
    pub(crate) fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> FetchedPartition {
        let mut response: FetchResponse =
            self.ask(11, &fetch_request(&[(topic, partition, offset)]));
        assert_eq!(response.error_code, ErrorCode::NONE);
        response.responses.remove(0).partitions.remove(0)
    }
}

/// A Produce request for one partition.
pub(crate) fn produce_request(
    topic: &str,
    partition: i32,
    batch: Bytes,
    acks: i16,
) -> ProduceRequest {
    let partition = ProducePartition { index: partition, records: Some(Records::whole(batch)) };
    let topic = ProduceTopic {
        name: topic.to_owned(),
        partition_data: vec![partition],
        ..Default::default()
    };
    ProduceRequest { acks, timeout_ms: 1_000, topic_data: vec![topic], ..Default::default() }
}

/// A Fetch request by names, without a session and without waiting.
pub(crate) fn fetch_request(wanted: &[(&str, i32, i64)]) -> FetchRequest {
    let topics = wanted.iter().map(|(topic, partition, offset)| FetchTopic {
        topic: (*topic).to_owned(),
        partitions: vec![FetchPartition {
            partition: *partition,
            fetch_offset: *offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        }],
        ..Default::default()
    });
    FetchRequest {
        min_bytes: 1,
        max_bytes: 1 << 24,
        topics: topics.collect(),
        ..Default::default()
    }
}

/// A builder of batches of records that have these values.
pub(crate) fn builder(time: i64, values: &[&str]) -> Builder {
    let mut builder = Builder::new(Millis(time));
    for (value, after) in values.iter().zip(0..) {
        let mut tail = Vec::new();
        record::tail::encode(&mut tail, Some(b"key"), Some(value.as_bytes()), [].into_iter());
        builder.push(Millis(time + after), &tail);
    }
    builder
}

/// A batch of records that have these values.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    builder(1_000, values).finish()
}

/// The same from an idempotent producer.
pub(crate) fn batch_of(producer_id: i64, epoch: i16, sequence: i32, values: &[&str]) -> Bytes {
    let mut builder = builder(1_000, values);
    builder.set_producer(producer_id, epoch, sequence);
    builder.finish()
}

/// Offset and value of every record that was fetched.
pub(crate) fn values(partition: &FetchedPartition) -> Vec<(i64, String)> {
    let bytes = partition.records.clone().unwrap_or_default().into_bytes();
    let limits = record::batch::Limits { batch_bytes_max: usize::MAX, record_count_max: u32::MAX };
    let mut values = Vec::new();
    for batch in record::batch::Batches::new(bytes, limits) {
        let (header, batch) = batch.unwrap();
        assert_eq!(header.leader_epoch, 0);
        let body = record::batch::decompress(&header, &batch, 1 << 26).unwrap();
        for record in record::batch::Records::new(&header, &body) {
            let record = record.unwrap();
            let offset = header.base_offset.plus(record.offset_delta).0;
            values.push((offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
        }
    }
    values
}

/// The same as the texts alone.
pub(crate) fn texts(partition: &FetchedPartition) -> Vec<String> {
    values(partition).into_iter().map(|(_, value)| value).collect()
}
