//! Channels: their lives, and which method goes where.

use super::holdings::Holdings;
use super::publish::{Lane, REPLY_TO};
use super::{AmqpSession, Step, Taken};
use crate::codec::frame::FrameKind;
use crate::codec::{Assembly, Frame, Method};
use crate::errors::{self, Code, Exception};
use engine::api::{Disposition, Leave, Op};
use engine::catalog::Name;
use frontend::Cx;
use types::{ConsumerId, Token};

/// An open channel, or one that was closed from here and whose close-ok has not come.
#[derive(Debug, Default)]
pub(super) struct Channel {
    pub(super) closing: bool,
    pub(super) assembly: Assembly,
    pub(super) lane: Lane,
    pub(super) holdings: Holdings,
    pub(super) qos: Qos,
    /// Who holds what basic.get gave.
    pub(super) getter: ConsumerId,
    /// The queue declared last.
    pub(super) last_queue: Option<Name>,
}

impl Channel {
    /// Bytes of a message that is not complete, and of what is not committed.
    pub(super) fn held_bytes(&self) -> usize {
        let transaction = self.lane.transaction.as_ref().map_or(0, |it| it.bytes());
        self.assembly.held_bytes() + transaction
    }
}

/// What basic.qos asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Qos {
    /// Of each consumer from now on; 0 is no limit.
    pub(super) prefetch: u32,
    /// Of all consumers together.
    pub(super) window: Option<u32>,
}

impl AmqpSession {
    /// A frame of a channel that is not open.
    pub(super) fn unopened(&mut self, frame: &Frame<'_>) -> Result<Taken, Exception> {
        if frame.kind != FrameKind::Method {
            return Err(frame.unexpected());
        }
        let method = Method::decode(frame.payload)?;
        match method {
            Method::ChannelOpen { .. } => {}
            // The channel was closed from both sides at once.
            Method::ChannelCloseOk {} => return Ok(Taken::Yes),
            _ => {
                let expected = Exception::new(Code::ChannelError, "expected 'channel.open'");
                return Err(expected.in_method(method.id()));
            }
        }
        let open_count = self.channels.len();
        if open_count >= usize::from(self.link.channel_max) {
            return Err(errors::too_many_channels(open_count, self.link.channel_max));
        }
        self.ids.epoch += 1;
        let lane = Lane { channel: frame.channel, epoch: self.ids.epoch, ..Lane::default() };
        let getter = self.next_consumer();
        let channel = Channel { lane, getter, ..Channel::default() };
        self.channels.insert(frame.channel, channel);
        self.link.send(frame.channel, &Method::ChannelOpenOk { channel_id: b"" });
        Ok(Taken::Yes)
    }

    /// A frame of a channel that was closed from here: only close and close-ok count.
    pub(super) fn closing_channel(&mut self, frame: &Frame<'_>) -> Result<Taken, Exception> {
        if frame.kind == FrameKind::Method {
            match Method::decode(frame.payload) {
                Ok(Method::ChannelCloseOk {}) => {
                    self.channels.remove(&frame.channel);
                }
                Ok(Method::ChannelClose { .. }) => {
                    self.link.send(frame.channel, &Method::ChannelCloseOk {});
                }
                _ => {}
            }
        }
        Ok(Taken::Yes)
    }

    pub(super) fn next_consumer(&mut self) -> ConsumerId {
        self.ids.consumer += 1;
        ConsumerId(self.ids.consumer)
    }

    /// A method other than the most frequent ones.
    pub(super) fn channel_method(
        &mut self,
        number: u16,
        method: &Method<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<Taken, Exception> {
        let tells_of_queues = matches!(
            method,
            Method::QueueDeclare { .. }
                | Method::QueuePurge { .. }
                | Method::QueueDelete { .. }
                | Method::BasicConsume { .. }
                | Method::BasicGet { .. }
                | Method::ChannelClose { .. }
        );
        if tells_of_queues && self.publishes_wait(cx) {
            return Ok(Taken::Later);
        }
        match *method {
            Method::ExchangeDeclare { .. }
            | Method::ExchangeDelete { .. }
            | Method::ExchangeBind { .. }
            | Method::ExchangeUnbind { .. }
            | Method::QueueBind { .. }
            | Method::QueueUnbind { .. } => self.exchange_method(number, method, cx)?,
            Method::QueueDeclare { .. } => self.queue_declare(number, method, cx)?,
            Method::QueuePurge { queue, nowait, .. } => {
                self.queue_purge(number, queue, nowait, cx)?;
            }
            Method::QueueDelete { .. } => self.queue_delete(number, method, cx)?,
            Method::BasicConsume { .. } => self.consume(number, method, cx)?,
            Method::BasicCancel { consumer_tag, nowait } => {
                self.cancel(number, consumer_tag, nowait, cx);
            }
            Method::BasicGet { queue, no_ack, .. } => self.get(number, queue, no_ack, cx)?,
            Method::BasicQos { .. } => self.qos(number, method, cx)?,
            Method::BasicReject { delivery_tag, requeue } => {
                let given_back = Disposition::Returned;
                return self.settle(number, delivery_tag, false, refused(requeue, given_back));
            }
            Method::BasicNack { delivery_tag, multiple, requeue } => {
                let given_back = Disposition::Released;
                return self.settle(number, delivery_tag, multiple, refused(requeue, given_back));
            }
            Method::BasicRecover { requeue } => {
                self.recover(number, requeue)?;
                self.link.send(number, &Method::BasicRecoverOk {});
            }
            Method::BasicRecoverAsync { requeue } => self.recover(number, requeue)?,
            Method::ConfirmSelect { nowait } => self.confirm_select(number, nowait)?,
            Method::TxSelect {} => self.tx_select(number)?,
            Method::TxCommit {} => self.tx_commit(number, cx)?,
            Method::TxRollback {} => self.tx_rollback(number)?,
            Method::ChannelFlow { active: true } => {
                self.link.send(number, &Method::ChannelFlowOk { active: true });
            }
            Method::ChannelFlow { active: false } => {
                return Err(Exception::new(Code::NotImplemented, "active=false"));
            }
            Method::AccessRequest { .. } => {
                self.link.send(number, &Method::AccessRequestOk { ticket: 1 });
            }
            Method::ChannelClose { .. } => self.end_channel(number, cx),
            // Answers to what the server asks; nothing depends on them.
            Method::BasicCancelOk { .. } | Method::ChannelFlowOk { .. } => {}
            Method::ChannelOpen { .. } => {
                return Err(Exception::new(Code::ChannelError, "second 'channel.open' seen"));
            }
            _ => {
                let text = format!("unexpected method {}", method.name());
                return Err(Exception::new(Code::CommandInvalid, text));
            }
        }
        Ok(Taken::Yes)
    }

    /// The client closes a channel: close-ok when what it settled is durable.
    fn end_channel(&mut self, number: u16, cx: &mut Cx<'_>) {
        let Some(channel) = self.channels.remove(&number) else { return };
        let mut tokens = Vec::new();
        self.release(channel, &mut tokens, cx);
        self.await_settled(&mut tokens, cx);
        match tokens.is_empty() {
            true => self.link.send(number, &Method::ChannelCloseOk {}),
            false => self.ask_all(tokens, number, (20, 40), Step::CloseChannel, cx),
        }
    }

    /// Closes a channel from this side.
    pub(super) fn close_channel(
        &mut self,
        channel: Channel,
        exception: &Exception,
        cx: &mut Cx<'_>,
    ) {
        let number = channel.lane.channel;
        self.release(channel, &mut Vec::new(), cx);
        let (class_id, method_id) = exception.method;
        let close = Method::ChannelClose {
            reply_code: exception.code.number(),
            reply_text: &exception.reply_text(),
            class_id,
            method_id,
        };
        self.link.send(number, &close);
        self.channels.insert(number, Channel { closing: true, ..Channel::default() });
    }

    /// Ends a channel's consumers; what it has not settled returns. Adds the tokens of replies
    /// that say so.
    pub(super) fn release(&mut self, channel: Channel, tokens: &mut Vec<Token>, cx: &mut Cx<'_>) {
        self.publisher.flush(cx);
        self.settles.flush(cx);
        for holder in channel.holdings.holders() {
            self.consumers.remove(&holder.consumer);
            let (consumer, source) = (holder.consumer, holder.source);
            tokens.push(cx.submit(Op::Leave(Leave { consumer, source, release: true })));
        }
        if let Some(name) = channel.lane.replies {
            tokens.push(cx.submit(super::queues::delete_replies(&self.vhost, name, cx.owner())));
        }
    }

    /// Adds the tokens of replies that say that everything settled is durable.
    pub(super) fn await_settled(&mut self, tokens: &mut Vec<Token>, cx: &mut Cx<'_>) {
        self.settles.flush(cx);
        tokens.extend(self.settles.sync().map(|op| cx.submit(op)));
    }

    /// The name a method means: the one given, or the channel's last declared queue.
    pub(super) fn queue_name(&self, number: u16, given: &str) -> Result<Name, Exception> {
        if !given.is_empty() {
            return Ok(Name::from(given));
        }
        let last = self.channels.get(&number).and_then(|channel| channel.last_queue.clone());
        last.ok_or_else(errors::no_previous_queue)
    }
}

/// Whether a name stands for the channel's own replies.
pub(super) fn is_reply_to(name: &str) -> bool {
    name == REPLY_TO
}

fn refused(requeue: bool, given_back: Disposition) -> Disposition {
    if requeue { given_back } else { Disposition::Rejected }
}
