//! The cases of rdkafka: `rdkafka-cases rdkafka [--list] [--restart] [--only TEXT]`.

use std::{future::Future, sync::Arc, time::Duration};

use client_cases::casebook::{Case, Outcome, restart_server, run, unique};
use client_cases::{cases, same};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    client::DefaultClientContext,
    consumer::{CommitMode, Consumer, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, Headers, OwnedHeaders, OwnedMessage},
    producer::{FutureProducer, FutureRecord},
};
use tokio::task::JoinHandle;

const VERSION: &str = "0.39.0";
const WAIT_MAX: Duration = Duration::from_secs(20);
const RESTART_WAIT_MAX: Duration = Duration::from_secs(50);

type Fault = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    let version = format!("{VERSION} (librdkafka {librdkafka})");
    println!("{}", serde_json::json!({"client": "rdkafka", "version": version}));
    let cases = cases![
        record_keeps_key_value_headers_and_timestamp,
        null_and_empty_stay_distinct,
        batches_of_every_codec_come_back,
        produced_with_any_acks_is_readable,
        idempotent_producer_keeps_order,
        producing_creates_the_topic,
        reading_starts_inside_a_batch,
        offsets_are_found_by_time,
        out_of_range_offset_is_an_error,
        too_large_record_is_refused,
        ten_mebibyte_record_comes_back,
        group_resumes_at_its_commit,
        two_members_share_and_hand_over_with_range,
        two_members_share_and_hand_over_with_roundrobin,
        two_members_share_and_hand_over_with_cooperative_sticky,
        topics_are_grown_configured_and_deleted,
        groups_are_listed_and_deleted,
        records_are_deleted,
        clients_come_back_after_a_restart: true,
    ];
    run(cases, &arguments).await;
}

fn config(settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", std::env::var("KAFKA").unwrap_or_default());
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

fn producer(settings: &[(&str, &str)]) -> Result<FutureProducer, KafkaError> {
    config(settings).create()
}

fn consumer(group: &str, settings: &[(&str, &str)]) -> Result<StreamConsumer, KafkaError> {
    let mut config = config(&[
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "300"),
        ("fetch.wait.max.ms", "100"),
        ("topic.metadata.refresh.interval.ms", "1000"),
    ]);
    config.set("group.id", group);
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create()
}

fn admin() -> Result<AdminClient<DefaultClientContext>, KafkaError> {
    config(&[]).create()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(WAIT_MAX)).request_timeout(Some(WAIT_MAX))
}

async fn topic(name: &str, count: i32, set: &[(&str, &str)]) -> Result<String, Fault> {
    let name = unique(name);
    let mut new = NewTopic::new(&name, count, TopicReplication::Fixed(1));
    for (key, value) in set {
        new = new.set(key, value);
    }
    let made = admin()?.create_topics([&new], &options()).await?;
    made.into_iter().next().ok_or("no answer")?.map_err(|(_, code)| code)?;
    // Kafka answers when its controller knows the topic; the broker follows a moment later.
    let count = usize::try_from(count)?;
    wait_for("the new topic", async || partitions(&name) == count).await?;
    Ok(name)
}

/// Sends values of the numbers from 0 to partition 0, all at once.
async fn send_numbers(to: &FutureProducer, topic: &str, count: usize) -> Outcome {
    let values: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    let mut sent = Vec::new();
    for value in &values {
        let record = FutureRecord::<(), _>::to(topic).partition(0).payload(value);
        sent.push(to.send_result(record).map_err(|(error, _)| error)?);
    }
    for delivery in sent {
        delivery.await?.map_err(|(error, _)| error)?;
    }
    Ok(())
}

async fn send(
    to: &FutureProducer,
    record: FutureRecord<'_, [u8], [u8]>,
) -> Result<i64, KafkaError> {
    Ok(to.send(record, WAIT_MAX).await.map_err(|(error, _)| error)?.offset)
}

async fn take(from: &StreamConsumer, count: usize) -> Result<Vec<OwnedMessage>, Fault> {
    let mut found = Vec::new();
    while found.len() < count {
        found.push(tokio::time::timeout(WAIT_MAX, from.recv()).await??.detach());
    }
    Ok(found)
}

async fn read(topic: &str, count: usize, at: Offset) -> Result<Vec<OwnedMessage>, Fault> {
    let consumer = consumer(&unique("reader"), &[("fetch.message.max.bytes", "12582912")])?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, at)?;
    consumer.assign(&list)?;
    take(&consumer, count).await
}

fn text(message: &OwnedMessage) -> String {
    String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned()
}

async fn wait_for<F: Future<Output = bool>>(what: &str, mut fact: impl FnMut() -> F) -> Outcome {
    let deadline = tokio::time::Instant::now() + RESTART_WAIT_MAX;
    while !fact().await {
        if tokio::time::Instant::now() > deadline {
            return Err(format!("not in time: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn record_keeps_key_value_headers_and_timestamp() -> Outcome {
    let topic = topic("record", 1, &[]).await?;
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some(b"1") })
        .insert(Header { key: "n", value: None::<&[u8]> })
        .insert(Header { key: "a", value: Some(&[0u8, 255]) });
    let record = FutureRecord::to(&topic).key(&[0u8, 1][..]).payload(&[255u8][..]);
    send(&producer(&[])?, record.headers(headers).timestamp(1_600_000_000_123)).await?;
    let found = read(&topic, 1, Offset::Beginning).await?.remove(0);
    same!(found.key(), Some(&[0u8, 1][..]));
    same!(found.payload(), Some(&[255u8][..]));
    same!(found.timestamp().to_millis(), Some(1_600_000_000_123));
    let headers = found.headers().ok_or("no headers")?;
    let headers: Vec<_> = headers.iter().map(|header| (header.key, header.value)).collect();
    same!(headers, vec![("a", Some(&b"1"[..])), ("n", None), ("a", Some(&[0u8, 255][..]))]);
    Ok(())
}

async fn null_and_empty_stay_distinct() -> Outcome {
    let topic = topic("nulls", 1, &[]).await?;
    let producer = producer(&[])?;
    send(&producer, FutureRecord::to(&topic)).await?;
    send(&producer, FutureRecord::to(&topic).key(&[][..]).payload(&[][..])).await?;
    let found = read(&topic, 2, Offset::Beginning).await?;
    same!((found[0].key(), found[0].payload()), (None, None));
    same!((found[1].key(), found[1].payload()), (Some(&[][..]), Some(&[][..])));
    Ok(())
}

async fn batches_of_every_codec_come_back() -> Outcome {
    for codec in ["none", "gzip", "snappy", "lz4"] {
        let topic = topic(codec, 1, &[]).await?;
        let settings = [("compression.type", codec), ("linger.ms", "50")];
        send_numbers(&producer(&settings)?, &topic, 500).await?;
        let found: Vec<String> =
            read(&topic, 500, Offset::Beginning).await?.iter().map(text).collect();
        same!(found, (0..500).map(|number| number.to_string()).collect::<Vec<_>>());
    }
    Ok(())
}

async fn produced_with_any_acks_is_readable() -> Outcome {
    for acks in ["0", "1", "all"] {
        let topic = topic("acks", 1, &[]).await?;
        send_numbers(&producer(&[("acks", acks)])?, &topic, 3).await?;
        same!(read(&topic, 3, Offset::Beginning).await?.len(), 3);
    }
    Ok(())
}

async fn idempotent_producer_keeps_order() -> Outcome {
    let topic = topic("order", 1, &[]).await?;
    let settings = [("enable.idempotence", "true"), ("batch.num.messages", "50")];
    send_numbers(&producer(&settings)?, &topic, 3000).await?;
    let found = read(&topic, 3000, Offset::Beginning).await?;
    for (number, message) in found.iter().enumerate() {
        same!((text(message), message.offset()), (number.to_string(), number as i64));
    }
    Ok(())
}

async fn producing_creates_the_topic() -> Outcome {
    let topic = unique("auto");
    send_numbers(&producer(&[])?, &topic, 1).await?;
    same!(read(&topic, 1, Offset::Beginning).await?.len(), 1);
    Ok(())
}

async fn reading_starts_inside_a_batch() -> Outcome {
    let topic = topic("seek", 1, &[]).await?;
    send_numbers(&producer(&[("linger.ms", "50")])?, &topic, 100).await?;
    same!(read(&topic, 1, Offset::Offset(42)).await?[0].offset(), 42);
    Ok(())
}

async fn offsets_are_found_by_time() -> Outcome {
    let topic = topic("times", 1, &[]).await?;
    let producer = producer(&[])?;
    for number in 0..5 {
        let record = FutureRecord::to(&topic).payload(&b"v"[..]);
        send(&producer, record.timestamp(1_700_000_000_000 + number * 1000)).await?;
    }
    let found = tokio::task::spawn_blocking(move || {
        let consumer = consumer(&unique("reader"), &[])?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::Offset(1_700_000_002_500))?;
        let found = consumer.offsets_for_times(list, WAIT_MAX)?;
        let offset = found.find_partition(&topic, 0).map(|entry| entry.offset());
        Ok::<_, KafkaError>((offset, consumer.fetch_watermarks(&topic, 0, WAIT_MAX)?))
    });
    same!(found.await??, (Some(Offset::Offset(3)), (0, 5)));
    Ok(())
}

async fn out_of_range_offset_is_an_error() -> Outcome {
    let topic = topic("range", 1, &[]).await?;
    let consumer = consumer(&unique("reader"), &[("auto.offset.reset", "error")])?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(1000))?;
    consumer.assign(&list)?;
    let found = tokio::time::timeout(WAIT_MAX, consumer.recv()).await?;
    let code = found.err().and_then(|error| error.rdkafka_error_code());
    same!(code, Some(RDKafkaErrorCode::AutoOffsetReset));
    Ok(())
}

async fn too_large_record_is_refused() -> Outcome {
    let topic = topic("large", 1, &[("max.message.bytes", "10000")]).await?;
    let sent = send(&producer(&[])?, FutureRecord::to(&topic).payload(&[0u8; 50_000][..])).await;
    let code = sent.err().and_then(|error| error.rdkafka_error_code());
    same!(code, Some(RDKafkaErrorCode::MessageSizeTooLarge));
    Ok(())
}

async fn ten_mebibyte_record_comes_back() -> Outcome {
    let topic = topic("large", 1, &[("max.message.bytes", "12582912")]).await?;
    let body = b"0123456789abcdef".repeat(10 << 16);
    let producer = producer(&[("message.max.bytes", "12582912")])?;
    send(&producer, FutureRecord::to(&topic).payload(&body[..])).await?;
    same!(read(&topic, 1, Offset::Beginning).await?[0].payload() == Some(&body[..]), true);
    Ok(())
}

async fn group_resumes_at_its_commit() -> Outcome {
    let (topic, group) = (topic("resume", 1, &[]).await?, unique("group"));
    send_numbers(&producer(&[])?, &topic, 10).await?;
    let first = consumer(&group, &[])?;
    first.subscribe(&[&topic])?;
    take(&first, 10).await?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(4))?;
    first.commit(&list, CommitMode::Sync)?;
    drop(first);
    let second = consumer(&group, &[])?;
    second.subscribe(&[&topic])?;
    same!(take(&second, 1).await?[0].offset(), 4);
    Ok(())
}

/// A member of a group that a task of its own polls.
struct Member {
    consumer: Arc<StreamConsumer>,
    polling: JoinHandle<()>,
}

impl Member {
    fn join(topic: &str, group: &str, assignor: &str) -> Result<Member, KafkaError> {
        let consumer = Arc::new(consumer(group, &[("partition.assignment.strategy", assignor)])?);
        consumer.subscribe(&[topic])?;
        let polled = Arc::clone(&consumer);
        let polling = tokio::spawn(async move {
            loop {
                let _ = polled.recv().await;
            }
        });
        Ok(Member { consumer, polling })
    }

    fn holds(&self) -> usize {
        self.consumer.assignment().map_or(0, |list| list.count())
    }

    async fn leave(self) {
        self.polling.abort();
        let _ = self.polling.await;
        drop(self.consumer);
    }
}

async fn share(assignor: &str) -> Outcome {
    let (topic, group) = (topic("share", 4, &[]).await?, unique("group"));
    let first = Member::join(&topic, &group, assignor)?;
    wait_for("the first has all", async || first.holds() == 4).await?;
    let second = Member::join(&topic, &group, assignor)?;
    wait_for("each has half", async || first.holds() == 2 && second.holds() == 2).await?;
    second.leave().await;
    wait_for("the rest has all", async || first.holds() == 4).await?;
    first.leave().await;
    Ok(())
}

async fn two_members_share_and_hand_over_with_range() -> Outcome {
    share("range").await
}

async fn two_members_share_and_hand_over_with_roundrobin() -> Outcome {
    share("roundrobin").await
}

async fn two_members_share_and_hand_over_with_cooperative_sticky() -> Outcome {
    share("cooperative-sticky").await
}

fn partitions(topic: &str) -> usize {
    let Ok(consumer) = consumer("nobody", &[]) else { return 0 };
    let found = consumer.fetch_metadata(Some(topic), WAIT_MAX);
    let found = found.ok().and_then(|metadata| {
        let topic = metadata.topics().first()?;
        topic.error().is_none().then(|| topic.partitions().len())
    });
    found.unwrap_or(0)
}

async fn topics_are_grown_configured_and_deleted() -> Outcome {
    let topic = topic("admin", 1, &[("retention.ms", "77000")]).await?;
    let admin = admin()?;
    let code = |results: Vec<Result<String, (String, RDKafkaErrorCode)>>| {
        results.into_iter().next().and_then(|result| result.err().map(|(_, code)| code))
    };
    let grow = [NewPartitions::new(&topic, 3)];
    same!(code(admin.create_partitions(&grow, &options()).await?), None);
    wait_for("three partitions", async || partitions(&topic) == 3).await?;
    let resource = ResourceSpecifier::Topic(&topic);
    let change = AlterConfig::new(resource).set("retention.ms", "88000");
    same!(admin.alter_configs([&change], &options()).await?.iter().all(Result::is_ok), true);
    wait_for("the new value", async || {
        let found = admin.describe_configs([&resource], &options()).await;
        let value = found.ok().and_then(|mut all| {
            let described = all.remove(0).ok()?;
            described.get("retention.ms").and_then(|entry| entry.value.clone())
        });
        value.as_deref() == Some("88000")
    })
    .await?;
    let again = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
    let refused = admin.create_topics([&again], &options()).await?;
    same!(code(refused), Some(RDKafkaErrorCode::TopicAlreadyExists));
    same!(code(admin.delete_topics(&[&topic], &options()).await?), None);
    wait_for("the end of the topic", async || partitions(&topic) == 0).await
}

async fn groups_are_listed_and_deleted() -> Outcome {
    let (topic, group) = (topic("groups", 1, &[]).await?, unique("group"));
    let member = Member::join(&topic, &group, "range")?;
    wait_for("the assignment", async || member.holds() == 1).await?;
    let states: Vec<_> = {
        let found = member.consumer.fetch_group_list(Some(&group), WAIT_MAX)?;
        found.groups().iter().map(|group| group.state().to_owned()).collect()
    };
    same!(states, vec!["Stable".to_owned()]);
    let admin = admin()?;
    let refused = admin.delete_groups(&[&group], &options()).await?;
    let code = refused.into_iter().next().and_then(|result| result.err().map(|(_, code)| code));
    same!(code, Some(RDKafkaErrorCode::NonEmptyGroup));
    member.leave().await;
    // Kafka drops a group without commits soon after its last member.
    wait_for("the end of the group", async || {
        let gone = admin.delete_groups(&[&group], &options()).await;
        match gone.ok().and_then(|mut all| all.pop()) {
            Some(Ok(_)) => true,
            Some(Err((_, code))) => code == RDKafkaErrorCode::GroupIdNotFound,
            None => false,
        }
    })
    .await
}

async fn records_are_deleted() -> Outcome {
    let topic = topic("delete-records", 1, &[]).await?;
    send_numbers(&producer(&[])?, &topic, 10).await?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(7))?;
    admin()?.delete_records(&list, &options()).await?;
    same!(read(&topic, 1, Offset::Beginning).await?[0].offset(), 7);
    Ok(())
}

async fn clients_come_back_after_a_restart() -> Outcome {
    let (topic, group) = (topic("restart", 1, &[]).await?, unique("group"));
    let producer = producer(&[("message.timeout.ms", "60000")])?;
    send(&producer, FutureRecord::to(&topic).payload(&b"before"[..])).await?;
    let consumer = consumer(&group, &[])?;
    consumer.subscribe(&[&topic])?;
    same!(text(&take(&consumer, 1).await?[0]), "before");
    restart_server().await?;
    send(&producer, FutureRecord::to(&topic).payload(&b"after"[..])).await?;
    let deadline = tokio::time::Instant::now() + RESTART_WAIT_MAX;
    loop {
        // A lost connection is handed over as an error; what matters is what comes after it.
        match tokio::time::timeout_at(deadline, consumer.recv()).await? {
            Ok(message) if text(&message.detach()) == "after" => return Ok(()),
            _ => {}
        }
    }
}
