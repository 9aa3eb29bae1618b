//! The cases of lapin: `lapin-cases lapin [--list] [--restart] [--only TEXT]`.

use std::time::Duration;

use client_cases::casebook::{Case, Outcome, restart_server, run, unique};
use client_cases::{cases, same};
use futures_lite::stream::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Error, ErrorKind,
    ExchangeKind,
    message::BasicGetMessage,
    options::*,
    types::{AMQPValue, FieldArray, FieldTable, ShortString},
};

const VERSION: &str = "4.12.3";

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    println!("{}", serde_json::json!({"client": "lapin", "version": VERSION}));
    let cases = cases![
        published_message_is_got,
        wrong_password_is_refused_with_403,
        unknown_vhost_is_refused_with_530,
        properties_and_typed_headers_come_back,
        thousand_publishes_are_confirmed,
        mandatory_message_without_a_queue_is_returned,
        consumer_under_prefetch_gets_all_in_order,
        settling_multiple_and_requeue,
        errors_carry_their_codes,
        missing_exchange_closes_the_channel,
        exclusive_queue_is_locked_to_others,
        consumer_ends_with_its_queue,
        exchanges_route_through_each_other,
        transaction_commits_and_rolls_back,
        direct_reply_answers_a_request,
        body_of_10_mebibytes_comes_back,
        lifetime_and_length_are_kept,
        stream_is_read_from_its_first_message,
        durable_message_outlives_a_restart: true,
    ];
    run(cases, &arguments).await;
}

fn address(user: &str, vhost: &str) -> String {
    format!("amqp://{user}@{}/{vhost}", std::env::var("AMQP").unwrap_or_default())
}

async fn connect() -> Result<Connection, Error> {
    Connection::connect(&address("guest:guest", "%2f"), ConnectionProperties::default()).await
}

async fn queue(channel: &Channel, arguments: FieldTable) -> Result<ShortString, Error> {
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let queue = channel.queue_declare(unique("q").into(), options, arguments).await?;
    Ok(queue.name().clone())
}

async fn send(channel: &Channel, queue: &ShortString, body: &[u8]) -> Result<(), Error> {
    let options = BasicPublishOptions::default();
    channel
        .basic_publish("".into(), queue.clone(), options, body, BasicProperties::default())
        .await?
        .await?;
    Ok(())
}

async fn get(
    channel: &Channel,
    queue: &ShortString,
    no_ack: bool,
) -> Result<BasicGetMessage, String> {
    for _ in 0..1000 {
        let options = BasicGetOptions { no_ack };
        let found = channel.basic_get(queue.clone(), options).await;
        if let Some(message) = found.map_err(|error| error.to_string())? {
            return Ok(message);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("no message in {queue}"))
}

fn code<T>(result: Result<T, Error>) -> Result<u16, String> {
    match result {
        Ok(_) => Err("nothing was refused".to_owned()),
        Err(error) => match error.kind() {
            ErrorKind::ProtocolError(refused) => Ok(refused.get_id()),
            other => Err(format!("another error: {other:?}")),
        },
    }
}

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert((*key).into(), value.clone());
    }
    table
}

async fn published_message_is_got() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = queue(&channel, FieldTable::default()).await?;
    send(&channel, &queue, &[0, 255]).await?;
    same!(get(&channel, &queue, true).await?.delivery.data.to_vec(), vec![0, 255]);
    same!(channel.basic_get(queue, BasicGetOptions::default()).await?.is_none(), true);
    connection.close(200, "bye".into()).await?;
    Ok(())
}

async fn wrong_password_is_refused_with_403() -> Outcome {
    let uri = address("guest:wrong", "%2f");
    same!(code(Connection::connect(&uri, ConnectionProperties::default()).await)?, 403);
    Ok(())
}

async fn unknown_vhost_is_refused_with_530() -> Outcome {
    let uri = address("guest:guest", "no-such");
    same!(code(Connection::connect(&uri, ConnectionProperties::default()).await)?, 530);
    Ok(())
}

async fn properties_and_typed_headers_come_back() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = queue(&channel, FieldTable::default()).await?;
    let headers = table(&[
        ("bool", AMQPValue::Boolean(true)),
        ("i8", AMQPValue::ShortShortInt(-3)),
        ("u8", AMQPValue::ShortShortUInt(200)),
        ("i16", AMQPValue::ShortInt(300)),
        ("i32", AMQPValue::LongInt(-70_000)),
        ("u32", AMQPValue::LongUInt(3_000_000_000)),
        ("i64", AMQPValue::LongLongInt(1 << 40)),
        ("f32", AMQPValue::Float(0.5)),
        ("f64", AMQPValue::Double(1.25)),
        ("text", AMQPValue::LongString("żółć".into())),
        ("when", AMQPValue::Timestamp(1_700_000_000)),
        ("bytes", AMQPValue::ByteArray(vec![0, 255].into())),
        ("void", AMQPValue::Void),
        (
            "list",
            AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::LongInt(1), AMQPValue::Void])),
        ),
        ("table", AMQPValue::FieldTable(table(&[("a", AMQPValue::Boolean(false))]))),
    ]);
    let sent = BasicProperties::default()
        .with_content_type("a/b".into())
        .with_content_encoding("x".into())
        .with_headers(headers)
        .with_delivery_mode(2)
        .with_priority(5)
        .with_correlation_id("c".into())
        .with_reply_to("r".into())
        .with_expiration("600000".into())
        .with_message_id("m".into())
        .with_timestamp(1_700_000_000)
        .with_type("t".into())
        .with_user_id("guest".into())
        .with_app_id("a".into());
    let options = BasicPublishOptions::default();
    channel.basic_publish("".into(), queue.clone(), options, b"", sent.clone()).await?.await?;
    same!(get(&channel, &queue, true).await?.delivery.properties, sent);
    Ok(())
}

async fn thousand_publishes_are_confirmed() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let queue = queue(&channel, FieldTable::default()).await?;
    let mut waiting = Vec::new();
    for _ in 0..1000 {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default().with_delivery_mode(2);
        waiting.push(
            channel.basic_publish("".into(), queue.clone(), options, b"x", properties).await?,
        );
    }
    for confirm in waiting {
        same!(matches!(confirm.await?, Confirmation::Ack(None)), true);
    }
    let options = QueueDeclareOptions { passive: true, exclusive: true, ..Default::default() };
    same!(
        channel.queue_declare(queue, options, FieldTable::default()).await?.message_count(),
        1000
    );
    Ok(())
}

async fn mandatory_message_without_a_queue_is_returned() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let properties = BasicProperties::default();
    let confirm = channel
        .basic_publish("".into(), unique("missing").into(), options, b"x", properties)
        .await?
        .await?;
    match confirm {
        Confirmation::Ack(Some(returned)) => same!(returned.reply_code, 312),
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}

async fn consumer_under_prefetch_gets_all_in_order() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = queue(&channel, FieldTable::default()).await?;
    channel.basic_qos(5, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer =
        channel.basic_consume(queue.clone(), "tag".into(), options, FieldTable::default()).await?;
    for number in 0..200 {
        send(&channel, &queue, number.to_string().as_bytes()).await?;
    }
    for number in 0..200 {
        let delivery = consumer.next().await.ok_or("the consumer ended")??;
        same!(delivery.data.to_vec(), number.to_string().into_bytes());
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

async fn settling_multiple_and_requeue() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = queue(&channel, FieldTable::default()).await?;
    for body in ["1", "2", "3", "4"] {
        send(&channel, &queue, body.as_bytes()).await?;
    }
    let other = connection.create_channel().await?;
    let mut tags = Vec::new();
    for _ in 0..4 {
        tags.push(get(&other, &queue, false).await?.delivery.delivery_tag);
    }
    other.basic_ack(tags[1], BasicAckOptions { multiple: true }).await?;
    other.basic_nack(tags[2], BasicNackOptions { multiple: false, requeue: true }).await?;
    other.basic_reject(tags[3], BasicRejectOptions { requeue: false }).await?;
    other.close(200, "bye".into()).await?;
    let left = get(&channel, &queue, true).await?.delivery;
    same!((left.data.to_vec(), left.redelivered), (b"3".to_vec(), true));
    same!(channel.basic_get(queue, BasicGetOptions::default()).await?.is_none(), true);
    Ok(())
}

async fn errors_carry_their_codes() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    let missing = unique("missing").into();
    same!(code(channel.queue_declare(missing, passive, FieldTable::default()).await)?, 404);
    let channel = connection.create_channel().await?;
    let five = table(&[("x-max-length", AMQPValue::LongInt(5))]);
    let queue = queue(&channel, five).await?;
    let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let six = table(&[("x-max-length", AMQPValue::LongInt(6))]);
    same!(code(channel.queue_declare(queue, exclusive, six).await)?, 406);
    Ok(())
}

async fn missing_exchange_closes_the_channel() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    let confirm = channel
        .basic_publish(unique("missing").into(), "k".into(), options, b"x", properties)
        .await?;
    same!(code(confirm.await)?, 404);
    Ok(())
}

async fn exclusive_queue_is_locked_to_others() -> Outcome {
    let (connection, other) = (connect().await?, connect().await?);
    let queue = queue(&connection.create_channel().await?, FieldTable::default()).await?;
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    let channel = other.create_channel().await?;
    same!(code(channel.queue_declare(queue, passive, FieldTable::default()).await)?, 405);
    Ok(())
}

async fn consumer_ends_with_its_queue() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = queue(&channel, FieldTable::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer =
        channel.basic_consume(queue.clone(), "".into(), options, FieldTable::default()).await?;
    let other = connection.create_channel().await?;
    other.queue_delete(queue, QueueDeleteOptions::default()).await?;
    let ended = tokio::time::timeout(Duration::from_secs(20), consumer.next()).await?;
    same!(ended.is_none(), true);
    Ok(())
}

async fn exchanges_route_through_each_other() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = queue(&channel, FieldTable::default()).await?;
    let (outer, inner) = (ShortString::from(unique("topic")), ShortString::from(unique("headers")));
    let options = ExchangeDeclareOptions { auto_delete: true, ..Default::default() };
    let none = FieldTable::default();
    channel.exchange_declare(outer.clone(), ExchangeKind::Topic, options, none.clone()).await?;
    channel.exchange_declare(inner.clone(), ExchangeKind::Headers, options, none.clone()).await?;
    let bind = ExchangeBindOptions::default();
    channel.exchange_bind(inner.clone(), outer.clone(), "a.*".into(), bind, none).await?;
    let wanted =
        table(&[("x-match", AMQPValue::LongString("any".into())), ("n", AMQPValue::LongInt(1))]);
    channel
        .queue_bind(queue.clone(), inner, "".into(), QueueBindOptions::default(), wanted)
        .await?;
    for number in [1, 2] {
        let headers = table(&[("n", AMQPValue::LongInt(number))]);
        let properties = BasicProperties::default().with_headers(headers);
        let body = number.to_string();
        let options = BasicPublishOptions::default();
        channel
            .basic_publish(outer.clone(), "a.b".into(), options, body.as_bytes(), properties)
            .await?
            .await?;
    }
    same!(get(&channel, &queue, true).await?.delivery.data.to_vec(), b"1".to_vec());
    same!(channel.basic_get(queue, BasicGetOptions::default()).await?.is_none(), true);
    Ok(())
}

async fn transaction_commits_and_rolls_back() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let other = connection.create_channel().await?;
    let queue = queue(&channel, FieldTable::default()).await?;
    channel.tx_select().await?;
    send(&channel, &queue, b"dropped").await?;
    channel.tx_rollback().await?;
    send(&channel, &queue, b"kept").await?;
    channel.tx_commit().await?;
    same!(get(&other, &queue, true).await?.delivery.data.to_vec(), b"kept".to_vec());
    same!(other.basic_get(queue, BasicGetOptions::default()).await?.is_none(), true);
    Ok(())
}

async fn direct_reply_answers_a_request() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = queue(&channel, FieldTable::default()).await?;
    let replies: ShortString = "amq.rabbitmq.reply-to".into();
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let mut answers =
        channel.basic_consume(replies.clone(), "".into(), options, FieldTable::default()).await?;
    let properties = BasicProperties::default().with_reply_to(replies);
    let options = BasicPublishOptions::default();
    channel
        .basic_publish("".into(), queue.clone(), options, b"question", properties)
        .await?
        .await?;
    let server = connection.create_channel().await?;
    let request = get(&server, &queue, true).await?.delivery;
    let to = request.properties.reply_to().clone().ok_or("no reply-to")?;
    send(&server, &to, b"answer").await?;
    let answer = tokio::time::timeout(Duration::from_secs(20), answers.next()).await?;
    same!(answer.ok_or("the consumer ended")??.data.to_vec(), b"answer".to_vec());
    Ok(())
}

async fn body_of_10_mebibytes_comes_back() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = queue(&channel, FieldTable::default()).await?;
    let body: Vec<u8> = (0..10 << 20).map(|at: u32| at.to_le_bytes()[1]).collect();
    send(&channel, &queue, &body).await?;
    same!(get(&channel, &queue, true).await?.delivery.data.to_vec() == body, true);
    Ok(())
}

async fn lifetime_and_length_are_kept() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let arguments = table(&[
        ("x-max-length", AMQPValue::LongInt(2)),
        ("x-message-ttl", AMQPValue::LongInt(300)),
    ]);
    let queue = queue(&channel, arguments).await?;
    for body in ["1", "2", "3"] {
        send(&channel, &queue, body.as_bytes()).await?;
    }
    same!(get(&channel, &queue, true).await?.delivery.data.to_vec(), b"2".to_vec());
    let options = QueueDeclareOptions { passive: true, exclusive: true, ..Default::default() };
    for _ in 0..1000 {
        let none = FieldTable::default();
        if channel.queue_declare(queue.clone(), options, none).await?.message_count() == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("the rest did not expire".into())
}

async fn stream_is_read_from_its_first_message() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue: ShortString = unique("stream").into();
    let arguments = table(&[("x-queue-type", AMQPValue::LongString("stream".into()))]);
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue.clone(), durable, arguments).await?;
    for number in 0..10 {
        send(&channel, &queue, number.to_string().as_bytes()).await?;
    }
    channel.basic_qos(20, BasicQosOptions::default()).await?;
    let first = table(&[("x-stream-offset", AMQPValue::LongString("first".into()))]);
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(queue.clone(), "".into(), options, first).await?;
    for number in 0..10 {
        let delivery = consumer.next().await.ok_or("the consumer ended")??;
        same!(delivery.data.to_vec(), number.to_string().into_bytes());
    }
    channel.queue_delete(queue, QueueDeleteOptions::default()).await?;
    Ok(())
}

async fn durable_message_outlives_a_restart() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let queue: ShortString = unique("restart").into();
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue.clone(), durable, FieldTable::default()).await?;
    let properties = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    channel.basic_publish("".into(), queue.clone(), options, b"kept", properties).await?.await?;
    restart_server().await?;
    same!(channel.status().connected(), false);
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    same!(get(&channel, &queue, true).await?.delivery.data.to_vec(), b"kept".to_vec());
    channel.queue_delete(queue, QueueDeleteOptions::default()).await?;
    Ok(())
}
