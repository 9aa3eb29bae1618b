//! basic.consume, cancel, get and qos, and deliveries.

use super::channel::is_reply_to;
use super::filtering::{PassedOver, StreamFilter};
use super::holdings::{Holder, Holdings, Reading};
use super::publish::REPLY_TO;
use super::queues::{clamped, token};
use super::request::{changed, queue_failed, unexpected};
use super::{AmqpSession, Step};
use crate::arguments::{self, ConsumeArguments, StreamStart};
use crate::codec::Method;
use crate::dialect;
use crate::errors::{self, Code, Exception, MethodId, Resource};
use crate::message::{ContentWriter, Message};
use engine::api::{Delivery, Get, Leave, Op, Reply, Source, StartAt, Take, Window};
use engine::catalog::{
    Action, Change, DeclareQueue, Demand, Found, Guarded, Name, Outcome, QueueKind, QueueOptions,
};
use frontend::{ConsumerTerms, Cx};
use record::properties::Value;
use record::tail;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{ConsumerId, Error, Millis, Offset, ShardId, SubscriptionId};

/// What frames and fields of a delivery take beside its tail, roughly.
const DELIVERY_BYTES: usize = 128;

/// What a basic.get is for.
#[derive(Debug)]
pub(super) struct Fetched {
    holder: Holder,
    no_ack: bool,
}

impl AmqpSession {
    pub(super) fn qos(
        &mut self,
        number: u16,
        method: &Method<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let Method::BasicQos { prefetch_size, prefetch_count, global } = *method else {
            return Ok(());
        };
        if prefetch_size != 0 {
            let text = format!("prefetch_size!=0 ({prefetch_size})");
            return Err(Exception::new(Code::NotImplemented, text));
        }
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let prefetch = u32::from(prefetch_count);
        if !global {
            channel.qos.prefetch = prefetch;
        } else if prefetch > 0 || channel.qos.window.is_some() {
            channel.qos.window = Some(prefetch);
            for (shard, binds) in bound(&channel.holdings) {
                let window = Window { shard, window: number.into(), prefetch, binds };
                cx.submit_unanswered(Op::Window(window));
            }
        }
        self.link.send(number, &Method::BasicQosOk {});
        Ok(())
    }

    pub(super) fn consume(
        &mut self,
        number: u16,
        method: &Method<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let Method::BasicConsume { queue, consumer_tag, no_ack, nowait, .. } = *method else {
            return Ok(());
        };
        let name = self.queue_name(number, queue)?;
        let tag: Box<str> = match consumer_tag.is_empty() {
            true => format!("amq.ctag-{}", token(cx)).into(),
            false => consumer_tag.into(),
        };
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        if channel.holdings.consumer(&tag).is_some() {
            return Err(errors::consumer_tag_reused(&tag));
        }
        if is_reply_to(&name) {
            let refused = match (no_ack, &channel.lane.replies) {
                (false, _) => Some("reply consumer cannot acknowledge"),
                (true, Some(_)) => Some("reply consumer already set"),
                (true, None) => None,
            };
            return match refused {
                Some(text) => Err(Exception::new(Code::PreconditionFailed, text)),
                None => self.declare_replies((number, method.id()), tag, nowait, cx),
            };
        }
        cx.permit(Demand::read(Guarded::Queue(&name)))?;
        let found = self.find_queue(&name, cx)?;
        let (source, reading) = self.source(number, &found, method, cx.time())?;
        let holder = Holder { tag: Some(tag), reading, ..Holder::new(NEW, source, name) };
        self.take(number, holder, method, cx)
    }

    /// What a consumer of a queue or topic reads, and what its deliveries tell.
    fn source(
        &self,
        number: u16,
        found: &Found,
        method: &Method<'_>,
        now: Millis,
    ) -> Result<(Source, Reading), Exception> {
        let Method::BasicConsume { no_ack, arguments, .. } = *method else {
            return Err(Exception::new(Code::InternalError, "not a consume"));
        };
        let resource = Resource::queue(found.name(), &self.vhost);
        let given = arguments::decode(arguments)?;
        let start = ConsumeArguments::parse(resource, &given)?.start;
        let by_offset = |log, start: Option<StreamStart>| {
            if no_ack {
                let text = format!("automatic acknowledgement not supported by stream {resource}");
                return Err(Exception::new(Code::NotImplemented, text));
            }
            if self.channels.get(&number).is_none_or(|channel| channel.qos.prefetch == 0) {
                let text = format!("consumer prefetch count is not set for stream {resource}");
                return Err(Exception::new(Code::PreconditionFailed, text));
            }
            Ok(Source::Log { log, from: start.map_or(StartAt::Next, |start| start_at(start, now)) })
        };
        let subscription = || {
            let subscription = found.subscription().ok_or_else(|| resource.not_found())?;
            Ok::<_, Exception>(Source::Subscription(subscription))
        };
        match found {
            Found::Queue(queue) => match queue.options.kind {
                QueueKind::Classic if queue.options.serving.retry.is_some() => {
                    Ok((subscription()?, Reading::Quorum))
                }
                QueueKind::Classic => Ok((subscription()?, Reading::Classic)),
                QueueKind::Quorum => Ok((subscription()?, Reading::Quorum)),
                QueueKind::Stream => {
                    let filter = StreamFilter::parse(resource, &given)?.map(Box::new);
                    Ok((by_offset(queue.log, start)?, Reading::Stream(filter)))
                }
            },
            Found::Topic(topic) => {
                let reading = Reading::topic(&topic.partitions);
                match (start, &topic.partitions[..]) {
                    (None, _) => Ok((subscription()?, reading)),
                    (Some(_), [log]) => Ok((by_offset(*log, start)?, reading)),
                    (Some(_), _) => {
                        let why = "a topic of several partitions is not read by offset";
                        Err(resource.invalid_argument("x-stream-offset", why))
                    }
                }
            }
        }
    }

    /// Registers a consumer.
    fn take(
        &mut self,
        number: u16,
        holder: Holder,
        method: &Method<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let Method::BasicConsume { no_ack, exclusive, nowait, arguments, .. } = *method else {
            return Ok(());
        };
        let given = arguments::decode(arguments)?;
        let resource = Resource::queue(&holder.name, &self.vhost);
        let ConsumeArguments { priority, sessions_max, .. } =
            ConsumeArguments::parse(resource, &given)?;
        // One consumer is active anyway: RabbitMQ's quorum queues do not mind.
        let exclusive = exclusive
            && !matches!(cx.names().find(&self.vhost, &holder.name), Some(Found::Queue(queue))
                if queue.options.serving.single_active && queue.options.kind == QueueKind::Quorum);
        let consumer = self.next_consumer();
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let (source, qos) = (holder.source, channel.qos);
        let window = qos.window.filter(|_| !no_ack);
        if let Some(prefetch) = window {
            let binds = Vec::new();
            let window = Window { shard: source.shard(), window: number.into(), prefetch, binds };
            cx.submit_unanswered(Op::Window(window));
        }
        let prefetch = if no_ack { 0 } else { qos.prefetch };
        let terms = Some(Arc::new(ConsumerTerms { prefetch, exclusive, arguments: given }));
        let place = channel.holdings.add(Holder { consumer, no_ack, terms, ..holder });
        self.consumers.insert(consumer, (number, place));
        let take = Take {
            consumer,
            source,
            prefetch,
            window: window.map(|_| number.into()),
            settle_on_delivery: no_ack,
            exclusive,
            priority,
            sessions_max,
        };
        self.ask(number, method.id(), Step::Consume { place, nowait }, Op::Take(take), cx);
        Ok(())
    }

    pub(super) fn consumed(
        &mut self,
        number: u16,
        place: u32,
        nowait: bool,
        result: Result<Reply, Error>,
    ) -> Result<(), Exception> {
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let Some(holder) = channel.holdings.holder_mut(place) else { return Ok(()) };
        match result {
            Ok(_) => {
                let consumer_tag = holder.tag.as_deref().unwrap_or_default();
                if !nowait {
                    self.link.send(number, &Method::BasicConsumeOk { consumer_tag });
                }
                Ok(())
            }
            Err(error) => {
                let failed = queue_failed(&error, Resource::queue(&holder.name, &self.vhost));
                self.consumers.remove(&holder.consumer);
                channel.holdings.end_consumer(place);
                Err(failed)
            }
        }
    }

    /// Makes the queue that replies to the channel will come by.
    fn declare_replies(
        &mut self,
        at: (u16, MethodId),
        tag: Box<str>,
        nowait: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let name = Name::from(format!("{REPLY_TO}.{}", token(cx)));
        let declare = DeclareQueue {
            name: Name::clone(&name),
            id: cx.new_topic_id(),
            durable: false,
            exclusive: Some(cx.owner()),
            auto_delete: false,
            server_named: true,
            arguments: Vec::new(),
            options: QueueOptions::default(),
        };
        self.owns_names = true;
        let step = Step::DeclareReplies { name, tag, nowait };
        let change = Change::new(Name::clone(&self.vhost), Action::DeclareQueue(declare));
        self.ask_own_change(at, step, (change, false), cx)
    }

    pub(super) fn replies_declared(
        &mut self,
        at: (u16, MethodId),
        (name, tag): (Name, Box<str>),
        nowait: bool,
        result: Result<Reply, Error>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let outcome =
            changed(result)?.map_err(|refusal| dialect::refusal(&self.vhost, &refusal, false))?;
        let Outcome::Queue { subscription, .. } = outcome else {
            return Err(Exception::new(Code::InternalError, "not a queue"));
        };
        if let Some(channel) = self.channels.get_mut(&at.0) {
            channel.lane.replies = Some(Name::clone(&name));
        }
        let source = Source::Subscription(subscription);
        let holder = Holder { tag: Some(tag), ..Holder::new(NEW, source, name) };
        let method = Method::BasicConsume {
            ticket: 0,
            queue: REPLY_TO,
            consumer_tag: "",
            no_local: false,
            no_ack: true,
            exclusive: true,
            nowait,
            arguments: crate::codec::Table::default(),
        };
        self.take(at.0, holder, &method, cx)
    }

    pub(super) fn cancel(&mut self, number: u16, tag: &str, nowait: bool, cx: &mut Cx<'_>) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let place = channel.holdings.consumer(tag);
        let holder = place.and_then(|place| channel.holdings.holder_mut(place));
        let (Some(place), Some(holder)) = (place, holder) else {
            return self.reply(number, nowait, &Method::BasicCancelOk { consumer_tag: tag });
        };
        let (consumer, source) = (holder.consumer, holder.source);
        let leave = Op::Leave(Leave { consumer, source, release: false });
        self.ask(number, (60, 30), Step::Cancel { place, nowait }, leave, cx);
    }

    pub(super) fn cancelled(&mut self, number: u16, place: u32, nowait: bool, cx: &mut Cx<'_>) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let Some(holder) = channel.holdings.holder_mut(place) else { return };
        self.consumers.remove(&holder.consumer);
        let consumer_tag = holder.tag.take().unwrap_or_default();
        if let Some(replies) = channel.lane.replies.take_if(|name| *name == holder.name) {
            let delete = super::queues::delete_replies(&self.vhost, replies, cx.owner());
            cx.submit_unanswered(delete);
        }
        channel.holdings.end_consumer(place);
        self.reply(number, nowait, &Method::BasicCancelOk { consumer_tag: &consumer_tag });
    }

    /// What a consumer consumed is gone.
    pub(super) fn consumer_gone(&mut self, consumer: ConsumerId) {
        let Some((number, place)) = self.consumers.remove(&consumer) else { return };
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let Some(holder) = channel.holdings.holder_mut(place) else { return };
        let consumer_tag = holder.tag.take().unwrap_or_default();
        channel.lane.replies.take_if(|name| *name == holder.name);
        channel.holdings.end_consumer(place);
        if self.link.client.consumer_cancel_notify {
            let cancel = Method::BasicCancel { consumer_tag: &consumer_tag, nowait: true };
            self.link.send(number, &cancel);
        }
    }

    pub(super) fn get(
        &mut self,
        number: u16,
        queue: &str,
        no_ack: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let name = self.queue_name(number, queue)?;
        cx.permit(Demand::read(Guarded::Queue(&name)))?;
        let resource = Resource::queue(&name, &self.vhost);
        let found = self.find_queue(&name, cx)?;
        let reading = match &found {
            Found::Queue(queue) => match queue.options.kind {
                QueueKind::Classic if queue.options.serving.retry.is_some() => Reading::Quorum,
                QueueKind::Classic => Reading::Classic,
                QueueKind::Quorum if queue.options.serving.single_active => {
                    return Err(resource.not_got_from());
                }
                QueueKind::Quorum => Reading::Quorum,
                QueueKind::Stream => {
                    let text = format!("basic.get not supported by stream {resource}");
                    return Err(Exception::new(Code::NotImplemented, text));
                }
            },
            Found::Topic(topic) => Reading::topic(&topic.partitions),
        };
        let subscription = found.subscription().ok_or_else(|| resource.not_found())?;
        let Some(channel) = self.channels.get(&number) else { return Ok(()) };
        let consumer = channel.getter;
        let source = Source::Subscription(subscription);
        let holder = Holder { reading, ..Holder::new(consumer, source, name) };
        let step = Step::Get(Box::new(Fetched { holder, no_ack }));
        let get = Get { consumer, subscription, settle_on_delivery: no_ack };
        self.ask(number, (60, 70), step, Op::Get(get), cx);
        Ok(())
    }

    pub(super) fn got(
        &mut self,
        number: u16,
        fetched: Fetched,
        result: Result<Reply, Error>,
    ) -> Result<(), Exception> {
        let Fetched { holder, no_ack } = fetched;
        let (item, left) = match result {
            Ok(Reply::Got(Some(item), left)) => (item, left),
            Ok(Reply::Got(None, _)) => {
                self.link.send(number, &Method::BasicGetEmpty { cluster_id: "" });
                return Ok(());
            }
            Ok(other) => return Err(unexpected(&other)),
            Err(error) => {
                return Err(queue_failed(&error, Resource::queue(&holder.name, &self.vhost)));
            }
        };
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let tag = channel.holdings.next_tag();
        let mut writer = ContentWriter {
            out: &mut self.link.out,
            channel: number,
            frame_bytes_max: self.link.frame_bytes_max,
        };
        let written = told(&holder.reading, &holder.name, &item, |message| {
            writer.get_ok(tag, item.redelivered, clamped(left), message);
        });
        if !written {
            let text = format!("stored message at offset {} is malformed", item.offset);
            return Err(Exception::new(Code::InternalError, text));
        }
        if !no_ack {
            let place = channel.holdings.getter(holder);
            channel.holdings.hold(tag, item.log, item.offset, place);
        }
        Ok(())
    }

    /// Writes deliveries of a consumer.
    pub(super) fn deliver(&mut self, consumer: ConsumerId, items: Vec<Delivery>, cx: &mut Cx<'_>) {
        let Some(&(number, place)) = self.consumers.get(&consumer) else { return };
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let bytes: usize = items.iter().map(|item| item.tail.len() + DELIVERY_BYTES).sum();
        self.link.out.reserve(bytes);
        let mut passed_over = PassedOver::default();
        let Some(source) = channel.holdings.holder_mut(place).map(|holder| holder.source) else {
            return;
        };
        for item in items {
            let tag = channel.holdings.next_tag();
            let Some(holder) = channel.holdings.holder_mut(place) else { return };
            if let Reading::Stream(Some(filter)) = &holder.reading
                && !filter.wants(&item.tail)
            {
                channel.holdings.take_back_tag();
                passed_over.add(item.log, item.offset);
                continue;
            }
            if let Reading::Topic(places) = &holder.reading
                && places.binary_search_by_key(&item.log, |(log, _)| *log).is_err()
                && let Some(Found::Topic(topic)) = cx.names().find(&self.vhost, &holder.name)
            {
                // The topic has grown.
                holder.reading = Reading::topic(&topic.partitions);
            }
            let mut writer = ContentWriter {
                out: &mut self.link.out,
                channel: number,
                frame_bytes_max: self.link.frame_bytes_max,
            };
            let consumer_tag = holder.tag.as_deref().unwrap_or_default();
            let written = told(&holder.reading, &holder.name, &item, |message| {
                writer.deliver(consumer_tag, tag, item.redelivered, message);
            });
            if !written {
                tracing::error!(log = %item.log, offset = %item.offset, "message is malformed");
            }
            if !holder.no_ack {
                channel.holdings.hold(tag, item.log, item.offset, place);
            }
        }
        if let Some(settle) = passed_over.settle(consumer, source) {
            cx.submit_unanswered(settle);
        }
    }
}

/// The channel's shards, and on each the consumers that a prefetch of the channel binds.
fn bound(holdings: &Holdings) -> BTreeMap<ShardId, Vec<(SubscriptionId, ConsumerId)>> {
    let mut bound = BTreeMap::<_, Vec<_>>::new();
    for holder in holdings.holders() {
        let binds = bound.entry(holder.source.shard()).or_default();
        let Source::Subscription(of) = holder.source else { continue };
        if holder.tag.is_some() && !holder.no_ack {
            binds.push((of.subscription, holder.consumer));
        }
    }
    bound
}

/// Stands for a consumer's number until it has one.
const NEW: ConsumerId = ConsumerId(0);

/// Gives `write` the message with what a reading tells beside it. False for one that is malformed.
#[inline]
fn told(reading: &Reading, name: &str, item: &Delivery, write: impl FnOnce(&Message<'_>)) -> bool {
    let Ok(view) = tail::decode(&item.tail) else { return false };
    let message = Message::new(name, item.timestamp, view);
    match reading {
        Reading::Classic => write(&message),
        Reading::Quorum if item.attempts == 0 => write(&message),
        Reading::Quorum => {
            let count = [("x-delivery-count", Value::I64(item.attempts.into()))];
            write(&message.annotated(&count));
        }
        Reading::Stream(_) => {
            let offset = [("x-stream-offset", Value::I64(item.offset.0))];
            write(&message.annotated(&offset));
        }
        Reading::Topic(places) => match places.binary_search_by_key(&item.log, |(log, _)| *log) {
            Ok(at) => write(&message.at(places[at].1, item.offset)),
            Err(_) => write(&message),
        },
    }
    true
}

fn start_at(start: StreamStart, now: Millis) -> StartAt {
    match start {
        StreamStart::First => StartAt::First,
        StreamStart::Last => StartAt::Last,
        StreamStart::Next => StartAt::Next,
        StreamStart::Offset(offset) => StartAt::Offset(Offset(offset)),
        StreamStart::Time(time) => StartAt::Since(Millis(time)),
        StreamStart::Ago(span) => StartAt::Since(Millis(now.0.saturating_sub(span.0))),
    }
}
