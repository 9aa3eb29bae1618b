//! How a request comes to its answer: operations, and what to do with their results.

use crate::apis::ApiKey;
use crate::codec::{Message, encode_response};
use crate::fetch_session::FetchSessions;
use crate::wire::Options;
use bytes::Bytes;
use engine::api::{Op, Reply};
use frontend::Cx;
use types::Error;

/// What an operation came to.
pub(crate) type Answer = Result<Reply, Error>;

/// What follows when every operation was answered.
pub(crate) type Then = Box<dyn FnOnce(Vec<Answer>, &mut Turn<'_, '_>) -> Step + Send>;

/// Which request is answered, and how its answer is encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
}

/// What a request works with.
pub(crate) struct Turn<'a, 'c> {
    pub(crate) cx: &'a mut Cx<'c>,
    pub(crate) options: &'a Options,
    pub(crate) fetches: &'a mut FetchSessions,
    /// Publishing is blocked.
    pub(crate) blocked: bool,
    pub(crate) request: Request,
}

/// What a request comes to next.
pub(crate) enum Step {
    /// It is answered with these segments; without any, in silence.
    Answer(Vec<Bytes>),
    /// It needs operations done.
    Ask(Ask),
    /// It ends the connection.
    Close,
}

/// Operations, and what follows.
pub(crate) struct Ask {
    /// What to do; the results come in this order.
    pub(crate) ops: Vec<Op>,
    /// All are reads, and the rest end when one has something.
    pub(crate) first_wins: bool,
    /// What to do with the results.
    pub(crate) then: Then,
}

impl Step {
    /// Operations, then what follows.
    pub(crate) fn ask(
        ops: Vec<Op>,
        then: impl FnOnce(Vec<Answer>, &mut Turn<'_, '_>) -> Step + Send + 'static,
    ) -> Step {
        Step::Ask(Ask { ops, first_wins: false, then: Box::new(then) })
    }
}

impl Turn<'_, '_> {
    /// The request is answered with `body`.
    pub(crate) fn answer<M: Message>(&self, body: &M) -> Step {
        debug_assert_eq!(M::KEY, self.request.key as i16, "the answer is of the request's kind");
        Step::Answer(encode_response(self.request.correlation_id, self.request.version, body))
    }

    /// The request's version.
    pub(crate) fn version(&self) -> i16 {
        self.request.version
    }

    /// Where clients are told that this broker is.
    pub(crate) fn address(&self) -> (String, i32) {
        match &self.options.advertised {
            Some((host, port)) => (host.clone(), i32::from(*port)),
            None => {
                let local = self.cx.peer().local;
                (local.ip().to_canonical().to_string(), i32::from(local.port()))
            }
        }
    }
}
