//! Exchanges and bindings, and how changes of names are sent.

use super::{AmqpSession, Step};
use crate::arguments;
use crate::codec::{Method, Table};
use crate::dialect;
use crate::errors::{self, Exception, MethodId, Resource};
use engine::api::Op;
use engine::catalog::{
    Action, Bind, Change, DeclareRouter, Destination, Elsewhere, Layer, NAMESPACE_DEFAULT, Name,
    Owner, RouterKind, RouterOptions,
};
use frontend::Cx;

/// One end of a binding as a method names it.
struct Ends<'a> {
    source: &'a str,
    destination: Destination,
    key: Name,
    arguments: Table<'a>,
}

impl AmqpSession {
    /// Sends a change of names that a method waits for.
    pub(super) fn ask_change(
        &mut self,
        at: (u16, MethodId),
        step: Step,
        action: Action,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let deletes = matches!(action, Action::DeleteRouter { .. } | Action::DeleteQueue(_));
        let change = Change::new(Name::clone(&self.vhost), action);
        cx.permit_change(&change)?;
        self.ask_own_change(at, step, (change, deletes), cx)
    }

    /// Sends a change that the session makes for itself: no user has to be permitted it.
    pub(super) fn ask_own_change(
        &mut self,
        at: (u16, MethodId),
        step: Step,
        (mut change, deletes): (Change, bool),
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let placed = cx.names().place(&mut change);
        let layer = placed.map_err(|refusal| dialect::refusal(&self.vhost, &refusal, deletes))?;
        let op = Op::Change { shard: engine::shard_of(layer), change: Box::new(change) };
        self.ask(at.0, at.1, step, op, cx);
        Ok(())
    }

    /// exchange.declare, delete, bind and unbind, queue.bind and unbind.
    pub(super) fn exchange_method(
        &mut self,
        number: u16,
        method: &Method<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        match *method {
            Method::ExchangeDeclare { .. } => self.exchange_declare(number, method, cx),
            Method::ExchangeDelete { exchange, if_unused, nowait, .. } => {
                let name = Name::from(exchange);
                let ok = (!nowait).then_some(Method::ExchangeDeleteOk {});
                let step = Step::Change { ok, deletes: true };
                let action = Action::DeleteRouter { name, if_unused };
                self.ask_change((number, method.id()), step, action, cx)
            }
            Method::ExchangeBind {
                destination, source, routing_key, nowait, arguments, ..
            } => {
                let destination = Destination::Router(destination.into());
                let ends = Ends { source, destination, key: routing_key.into(), arguments };
                let ok = (!nowait).then_some(Method::ExchangeBindOk {});
                self.bind((number, method.id()), ends, ok, cx)
            }
            Method::ExchangeUnbind {
                destination, source, routing_key, nowait, arguments, ..
            } => {
                let destination = Destination::Router(destination.into());
                let ends = Ends { source, destination, key: routing_key.into(), arguments };
                let ok = (!nowait).then_some(Method::ExchangeUnbindOk {});
                self.unbind((number, method.id()), ends, ok, cx)
            }
            Method::QueueBind { queue, exchange, routing_key, nowait, arguments, .. } => {
                let ends = self.queue_ends(number, queue, exchange, routing_key, arguments)?;
                let ok = (!nowait).then_some(Method::QueueBindOk {});
                self.bind((number, method.id()), ends, ok, cx)
            }
            Method::QueueUnbind { queue, exchange, routing_key, arguments, .. } => {
                let ends = self.queue_ends(number, queue, exchange, routing_key, arguments)?;
                let ok = Some(Method::QueueUnbindOk {});
                self.unbind((number, method.id()), ends, ok, cx)
            }
            _ => Ok(()),
        }
    }

    fn exchange_declare(
        &mut self,
        number: u16,
        method: &Method<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let Method::ExchangeDeclare {
            exchange,
            kind,
            passive,
            durable,
            auto_delete,
            internal,
            nowait,
            arguments,
            ..
        } = *method
        else {
            return Ok(());
        };
        if exchange.is_empty() {
            return Err(errors::default_exchange());
        }
        let vhost = Name::clone(&self.vhost);
        let resource = Resource::exchange(exchange, &vhost);
        if passive {
            cx.names().router(&vhost, exchange).ok_or_else(|| resource.not_found())?;
            self.reply(number, nowait, &Method::ExchangeDeclareOk {});
            return Ok(());
        }
        let declare = DeclareRouter {
            name: exchange.into(),
            kind: RouterKind::Direct,
            durable,
            auto_delete,
            internal,
            alternate: None,
            arguments: arguments::decode(arguments)?,
            options: RouterOptions::default(),
        };
        let declare = dialect::router(&vhost, kind, declare)?;
        let ok = (!nowait).then_some(Method::ExchangeDeclareOk {});
        let step = Step::Change { ok, deletes: false };
        self.ask_change((number, method.id()), step, Action::DeclareRouter(declare), cx)
    }

    /// The ends of a queue's binding: an empty name is the channel's last queue, and then an empty
    /// key is its name too.
    fn queue_ends<'a>(
        &self,
        number: u16,
        queue: &str,
        source: &'a str,
        routing_key: &str,
        arguments: Table<'a>,
    ) -> Result<Ends<'a>, Exception> {
        let name = self.queue_name(number, queue)?;
        let key = match queue.is_empty() && routing_key.is_empty() {
            true => Name::clone(&name),
            false => routing_key.into(),
        };
        Ok(Ends { source, destination: Destination::Queue(name), key, arguments })
    }

    fn bind(
        &mut self,
        at: (u16, MethodId),
        ends: Ends<'_>,
        ok: Option<Method<'static>>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let bind = binding(ends, cx.owner())?;
        self.ask_change(at, Step::Change { ok, deletes: false }, Action::Bind(bind), cx)
    }

    fn unbind(
        &mut self,
        at: (u16, MethodId),
        ends: Ends<'_>,
        ok: Option<Method<'static>>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let bind = binding(ends, cx.owner())?;
        self.ask_change(at, Step::Change { ok, deletes: false }, Action::Unbind(bind), cx)
    }
}

/// Deletes what is exclusive to a connection.
pub(super) fn remove_client(owner: Owner) -> Op {
    let change = Change::new(NAMESPACE_DEFAULT, Action::RemoveClient(owner));
    Op::Change { shard: engine::shard_of(Layer::Local), change: Box::new(change) }
}

fn binding(ends: Ends<'_>, owner: Owner) -> Result<Bind, Exception> {
    Ok(Bind {
        source: ends.source.into(),
        destination: ends.destination,
        key: ends.key,
        arguments: arguments::decode(ends.arguments)?,
        by: Some(owner),
        elsewhere: Elsewhere::default(),
    })
}
