//! queue.declare, purge and delete.

use super::channel::is_reply_to;
use super::request::{changed, queue_failed, unexpected};
use super::{AmqpSession, Step};
use crate::arguments;
use crate::codec::Method;
use crate::dialect;
use crate::errors::{Code, Exception, MethodId, Resource};
use engine::api::{Op, Reply};
use engine::catalog::{
    Action, Change, DeclareQueue, DeleteQueue, Demand, Found, Guarded, Layer, Name, Outcome, Owner,
    QueueKind, QueueOptions,
};
use frontend::Cx;
use record::properties::Value;
use types::{Error, SubscriptionRef};

/// What begins the name of a queue that the broker names.
const GENERATED: &str = "amq.gen-";

impl AmqpSession {
    /// The queue or topic `name`; 404 if there is none, 405 if it is another connection's own.
    pub(super) fn find_queue(&self, name: &str, cx: &Cx<'_>) -> Result<Found, Exception> {
        let resource = Resource::queue(name, &self.vhost);
        let names = cx.names();
        let found = names.find(&self.vhost, name).ok_or_else(|| resource.not_found())?;
        match found {
            Found::Queue(queue) if queue.exclusive.is_some_and(|owner| owner != cx.owner()) => {
                Err(resource.locked())
            }
            found => Ok(found.clone()),
        }
    }

    /// What consumers of the queue or topic `name` share; 404 if there is none.
    fn find_subscription(&self, name: &str, cx: &Cx<'_>) -> Result<SubscriptionRef, Exception> {
        let found = self.find_queue(name, cx)?;
        found.subscription().ok_or_else(|| Resource::queue(name, &self.vhost).not_found())
    }

    pub(super) fn queue_declare(
        &mut self,
        number: u16,
        method: &Method<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let Method::QueueDeclare { queue, passive, nowait, exclusive, .. } = *method else {
            return Ok(());
        };
        let at = (number, method.id());
        if is_reply_to(queue) {
            let ok = Method::QueueDeclareOk { queue, message_count: 0, consumer_count: 1 };
            self.reply(number, nowait, &ok);
            return Ok(());
        }
        if passive && queue.starts_with(super::publish::REPLY_TO) {
            let resource = Resource::queue(queue, &self.vhost);
            cx.names().find(&self.vhost, queue).ok_or_else(|| resource.not_found())?;
            let ok = Method::QueueDeclareOk { queue, message_count: 0, consumer_count: 1 };
            self.reply(number, nowait, &ok);
            return Ok(());
        }
        if passive {
            let subscription = self.find_subscription(queue, cx)?;
            return self.count_declared(at, queue.into(), nowait, subscription, cx);
        }
        let declare = self.declaration(method, cx)?;
        self.permit_dead_lettering(&declare, cx)?;
        self.owns_names |= exclusive;
        let step = Step::DeclareQueue { name: Name::clone(&declare.name), nowait };
        self.ask_change(at, step, Action::DeclareQueue(declare), cx)
    }

    /// A new queue that dead-letters passes on what is in it, to where its declarer may publish.
    fn permit_dead_lettering(&self, declare: &DeclareQueue, cx: &Cx<'_>) -> Result<(), Exception> {
        let target = arguments::find(&declare.arguments, "x-dead-letter-exchange");
        let Some(Value::String(exchange)) = target else { return Ok(()) };
        if cx.names().find(&self.vhost, &declare.name).is_none() {
            let queue = Guarded::Queue(&declare.name);
            cx.permit(Demand::configure(queue))?;
            cx.permit(Demand::read(queue))?;
            cx.permit(Demand::write(Guarded::Router(exchange)))?;
        }
        Ok(())
    }

    /// What a queue.declare asks for.
    fn declaration(&self, method: &Method<'_>, cx: &Cx<'_>) -> Result<DeclareQueue, Exception> {
        let Method::QueueDeclare { queue, durable, exclusive, auto_delete, arguments, .. } =
            *method
        else {
            return Err(Exception::new(Code::InternalError, "not a declaration"));
        };
        let arguments = arguments::decode(arguments)?;
        let server_named = queue.is_empty();
        let name = match server_named {
            true => Name::from(format!("{GENERATED}{}", token(cx))),
            false => Name::from(queue),
        };
        let declare = DeclareQueue {
            id: cx.new_topic_id(),
            durable,
            exclusive: exclusive.then(|| cx.owner()),
            auto_delete,
            server_named,
            options: QueueOptions::default(),
            arguments,
            name,
        };
        dialect::queue(&cx.names(), &self.vhost, declare)
    }

    pub(super) fn queue_declared(
        &mut self,
        at: (u16, MethodId),
        name: Name,
        nowait: bool,
        result: Result<Reply, Error>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let outcome =
            changed(result)?.map_err(|refusal| dialect::refusal(&self.vhost, &refusal, false))?;
        if let Some(channel) = self.channels.get_mut(&at.0) {
            channel.last_queue = Some(Name::clone(&name));
        }
        match outcome {
            Outcome::Queue { created: true, .. } => {
                let (message_count, consumer_count) = (0, 0);
                let ok = Method::QueueDeclareOk { queue: &name, message_count, consumer_count };
                self.reply(at.0, nowait, &ok);
                Ok(())
            }
            Outcome::Queue { subscription, .. } | Outcome::Subscription { subscription, .. } => {
                self.count_declared(at, name, nowait, subscription, cx)
            }
            _ => Err(Exception::new(Code::InternalError, "not a queue")),
        }
    }

    /// Counts a queue that was there, which is a use of it.
    fn count_declared(
        &mut self,
        at: (u16, MethodId),
        name: Name,
        nowait: bool,
        subscription: SubscriptionRef,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        if let Some(channel) = self.channels.get_mut(&at.0) {
            channel.last_queue = Some(Name::clone(&name));
        }
        self.settles.flush(cx);
        cx.submit_unanswered(Op::Touch(subscription));
        self.ask(at.0, at.1, Step::CountDeclared { name, nowait }, Op::Count(subscription), cx);
        Ok(())
    }

    pub(super) fn declared_counted(
        &mut self,
        number: u16,
        name: &Name,
        nowait: bool,
        result: Result<Reply, Error>,
    ) -> Result<(), Exception> {
        let counts = match result {
            Ok(Reply::Counts(counts)) => counts,
            Ok(other) => return Err(unexpected(&other)),
            Err(error) => return Err(queue_failed(&error, Resource::queue(name, &self.vhost))),
        };
        let ok = Method::QueueDeclareOk {
            queue: name,
            message_count: clamped(counts.ready),
            consumer_count: clamped(counts.consumers),
        };
        self.reply(number, nowait, &ok);
        Ok(())
    }

    pub(super) fn queue_purge(
        &mut self,
        number: u16,
        queue: &str,
        nowait: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let name = self.queue_name(number, queue)?;
        cx.permit(Demand::read(Guarded::Queue(&name)))?;
        let found = self.find_queue(&name, cx)?;
        if let Found::Queue(queue) = &found
            && queue.options.kind == QueueKind::Stream
        {
            let text = format!("queue.purge not supported by stream queue '{name}'");
            return Err(Exception::new(Code::NotImplemented, text));
        }
        let subscription = self.find_subscription(&name, cx)?;
        let step = Step::Purge { name, nowait };
        self.ask(number, (50, 30), step, Op::Purge(subscription), cx);
        Ok(())
    }

    pub(super) fn purged(
        &mut self,
        number: u16,
        name: &Name,
        nowait: bool,
        result: Result<Reply, Error>,
    ) -> Result<(), Exception> {
        let message_count = match result {
            Ok(Reply::Purged(count)) => clamped(count),
            Ok(other) => return Err(unexpected(&other)),
            Err(error) => return Err(queue_failed(&error, Resource::queue(name, &self.vhost))),
        };
        self.reply(number, nowait, &Method::QueuePurgeOk { message_count });
        Ok(())
    }

    pub(super) fn queue_delete(
        &mut self,
        number: u16,
        method: &Method<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let Method::QueueDelete { queue, if_unused, if_empty, nowait, .. } = *method else {
            return Ok(());
        };
        let name = self.queue_name(number, queue)?;
        cx.permit(Demand::configure(Guarded::Queue(&name)))?;
        let known = cx.names().find(&self.vhost, &name).and_then(Found::subscription);
        if known.is_none() {
            self.reply(number, nowait, &Method::QueueDeleteOk { message_count: 0 });
            return Ok(());
        }
        let subscription = self.find_subscription(&name, cx)?;
        let step = Step::CountDeleted { name, if_unused, if_empty, nowait };
        self.ask(number, method.id(), step, Op::Count(subscription), cx);
        Ok(())
    }

    pub(super) fn deleted_counted(
        &mut self,
        at: (u16, MethodId),
        (name, nowait): (Name, bool),
        (if_unused, if_empty): (bool, bool),
        result: Result<Reply, Error>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let resource = Resource::queue(&name, &self.vhost);
        let message_count = match result {
            Ok(Reply::Counts(counts)) if if_unused && counts.consumers > 0 => {
                return Err(resource.in_use());
            }
            Ok(Reply::Counts(counts)) if if_empty && counts.ready + counts.delayed > 0 => {
                return Err(resource.not_empty());
            }
            Ok(Reply::Counts(counts)) => clamped(counts.ready),
            Ok(other) => return Err(unexpected(&other)),
            // It was deleted meanwhile, which the change will find too.
            Err(_) => 0,
        };
        let delete = DeleteQueue { name, by: Some(cx.owner()), only: None };
        let step = Step::DeleteQueue { message_count, nowait };
        self.ask_change(at, step, Action::DeleteQueue(delete), cx)
    }
}

/// Deletes the queue that replies to a channel came by.
pub(super) fn delete_replies(vhost: &Name, name: Name, owner: Owner) -> Op {
    let delete = DeleteQueue { name, by: Some(owner), only: None };
    let change = Change::new(Name::clone(vhost), Action::DeleteQueue(delete));
    Op::Change { shard: engine::shard_of(Layer::Local), change: Box::new(change) }
}

/// A random text of 22 characters, as the broker puts into names.
pub(super) fn token(cx: &Cx<'_>) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = u128::from(cx.random()) << 64 | u128::from(cx.random());
    let mut text = String::with_capacity(22);
    for _ in 0..22 {
        text.push(char::from(LETTERS[(bits & 63) as usize]));
        bits >>= 6;
    }
    text
}

/// A count as a method carries it.
pub(super) fn clamped(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
