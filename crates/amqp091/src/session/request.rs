//! The request that waits for the engine, and how it goes on.

use super::consume::Fetched;
use super::{AmqpSession, blame};
use crate::codec::Method;
use crate::dialect;
use crate::errors::{Code, Exception, MethodId, Resource};
use engine::api::{Op, Reply};
use engine::catalog::{Name, Outcome, Refusal};
use frontend::Cx;
use types::{Error, Kind, Token};

/// A method that is being carried out.
#[derive(Debug)]
pub(super) struct Request {
    /// Replies that are missing.
    tokens: Vec<Token>,
    failed: Option<Error>,
    channel: u16,
    method: MethodId,
    step: Step,
}

/// What the replies are for.
#[derive(Debug)]
pub(super) enum Step {
    /// A change that has nothing to tell; none with nowait. `deletes`: what may not be deleted is
    /// told in other words than what may not be declared.
    Change {
        ok: Option<Method<'static>>,
        deletes: bool,
    },
    /// A queue is declared; to be counted if it was there.
    DeclareQueue {
        name: Name,
        nowait: bool,
    },
    /// A declared queue is counted.
    CountDeclared {
        name: Name,
        nowait: bool,
    },
    /// A queue that is to be deleted is counted.
    CountDeleted {
        name: Name,
        if_unused: bool,
        if_empty: bool,
        nowait: bool,
    },
    /// A queue that held so many messages is deleted.
    DeleteQueue {
        message_count: u32,
        nowait: bool,
    },
    Purge {
        name: Name,
        nowait: bool,
    },
    /// The queue that replies to a channel come by is declared.
    DeclareReplies {
        name: Name,
        tag: Box<str>,
        nowait: bool,
    },
    /// The consumer at a place is registered.
    Consume {
        place: u32,
        nowait: bool,
    },
    /// The consumer at a place ends.
    Cancel {
        place: u32,
        nowait: bool,
    },
    Get(Box<Fetched>),
    Commit,
    CloseChannel,
    CloseConnection,
}

impl AmqpSession {
    /// Submits an operation that a method waits for.
    pub(super) fn ask(
        &mut self,
        number: u16,
        method: MethodId,
        step: Step,
        op: Op,
        cx: &mut Cx<'_>,
    ) {
        self.publisher.flush(cx);
        self.settles.flush(cx);
        let token = cx.submit(op);
        self.ask_all(vec![token], number, method, step, cx);
    }

    /// Waits for several replies; takes no frame until they are there.
    pub(super) fn ask_all(
        &mut self,
        tokens: Vec<Token>,
        channel: u16,
        method: MethodId,
        step: Step,
        cx: &mut Cx<'_>,
    ) {
        self.request = Some(Request { tokens, failed: None, channel, method, step });
        cx.pause_input();
    }

    /// Takes an operation's answer.
    pub(super) fn replied(&mut self, token: Token, result: Result<Reply, Error>, cx: &mut Cx<'_>) {
        let channels = &mut self.channels;
        let appended = self.publisher.answered(token, &result, |(number, epoch), group, stored| {
            let lane = channels.get_mut(&number).map(|channel| &mut channel.lane);
            let lane = lane.filter(|lane| lane.epoch == epoch);
            let confirms = lane.and_then(|lane| lane.confirms.as_mut());
            confirms.map(|confirms| confirms.settle(group, stored)).is_some()
        });
        if appended {
            return;
        }
        let Some(request) = &mut self.request else { return };
        let Some(at) = request.tokens.iter().position(|waited| *waited == token) else { return };
        request.tokens.swap_remove(at);
        let reply = match result {
            Ok(reply) => Some(reply),
            Err(error) => {
                request.failed.get_or_insert(error);
                None
            }
        };
        if !request.tokens.is_empty() {
            return;
        }
        let Some(Request { failed, channel, method, step, .. }) = self.request.take() else {
            return;
        };
        let result = match (failed, reply) {
            (None, Some(reply)) => Ok(reply),
            (Some(error), _) => Err(error),
            (None, None) => return,
        };
        if let Err(exception) = self.go_on((channel, method), step, result, cx) {
            self.fail(channel, blame(exception, method), cx);
        }
    }

    /// Goes on with a method whose replies are there.
    fn go_on(
        &mut self,
        at: (u16, MethodId),
        step: Step,
        result: Result<Reply, Error>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let number = at.0;
        match step {
            Step::Change { ok, deletes } => {
                match changed(result)? {
                    Ok(_) => {}
                    // What is to be deleted is gone already.
                    Err(Refusal::NotFound { .. }) if deletes => {}
                    Err(refusal) => return Err(dialect::refusal(&self.vhost, &refusal, deletes)),
                }
                if let Some(ok) = ok {
                    self.link.send(number, &ok);
                }
                Ok(())
            }
            Step::DeclareQueue { name, nowait } => {
                self.queue_declared(at, name, nowait, result, cx)
            }
            Step::CountDeclared { name, nowait } => {
                self.declared_counted(number, &name, nowait, result)
            }
            Step::CountDeleted { name, if_unused, if_empty, nowait } => {
                let conditions = (if_unused, if_empty);
                self.deleted_counted(at, (name, nowait), conditions, result, cx)
            }
            Step::DeleteQueue { message_count, nowait } => {
                match changed(result)? {
                    Ok(_) | Err(Refusal::NotFound { .. }) => {}
                    Err(refusal) => return Err(dialect::refusal(&self.vhost, &refusal, true)),
                }
                self.reply(number, nowait, &Method::QueueDeleteOk { message_count });
                Ok(())
            }
            Step::Purge { name, nowait } => self.purged(number, &name, nowait, result),
            Step::DeclareReplies { name, tag, nowait } => {
                self.replies_declared(at, (name, tag), nowait, result, cx)
            }
            Step::Consume { place, nowait } => self.consumed(number, place, nowait, result),
            Step::Cancel { place, nowait } => {
                self.cancelled(number, place, nowait, cx);
                Ok(())
            }
            Step::Get(fetched) => self.got(number, *fetched, result),
            Step::Commit => match result {
                Ok(_) => {
                    self.link.send(number, &Method::TxCommitOk {});
                    Ok(())
                }
                Err(error) if error.kind == Kind::Full => {
                    Err(Exception::new(Code::PreconditionFailed, "partial tx completion"))
                }
                Err(error) => {
                    let text = format!("commit failed: {error}");
                    Err(Exception::new(Code::InternalError, text))
                }
            },
            Step::CloseChannel => {
                self.link.send(number, &Method::ChannelCloseOk {});
                Ok(())
            }
            Step::CloseConnection => {
                self.closed(cx);
                Ok(())
            }
        }
    }

    /// Sends the answer to a method unless it asked for none.
    pub(super) fn reply(&mut self, number: u16, nowait: bool, method: &Method<'_>) {
        if !nowait {
            self.link.send(number, method);
        }
    }
}

/// What a change of names came to.
pub(super) fn changed(result: Result<Reply, Error>) -> Result<Result<Outcome, Refusal>, Exception> {
    match result {
        Ok(Reply::Changed(changed)) => Ok(*changed),
        Ok(other) => Err(unexpected(&other)),
        Err(error) => Err(Exception::from(&error)),
    }
}

/// An operation on a queue failed.
pub(super) fn queue_failed(error: &Error, queue: Resource<'_>) -> Exception {
    match error.kind {
        Kind::NotFound => queue.not_found(),
        Kind::InUse => queue.in_exclusive_use(),
        _ => Exception::from(error),
    }
}

/// The engine answered something else than was asked.
pub(super) fn unexpected(reply: &Reply) -> Exception {
    tracing::error!(?reply, "not an answer to what was asked");
    Exception::new(Code::InternalError, "unexpected answer")
}
