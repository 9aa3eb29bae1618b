//! Sessions of queues, and what is kept for them.

use super::{Local, unexpected};
use bytes::Bytes;
use engine::api::{Op, Reply, Session, SessionSet, Sessions, SetSession};
use types::{Error, Kind, SubscriptionRef};

impl Local {
    /// Sessions of a queue that are a consumer's or have a state, in the order of their keys from `from` on,
    /// and the key of the next one. Without the states.
    ///
    /// Fails with `NotFound` when there is no such queue, and with `Invalid` when its keys are no sessions.
    pub async fn sessions(
        &self,
        queue: &str,
        from: Bytes,
        count: u32,
    ) -> Result<(Vec<Session>, Option<Bytes>), Error> {
        let subscription = self.queue(queue)?;
        self.shown(Sessions { subscription, from, count, with_state: false }).await
    }

    /// One session of a queue, with its state. One that is nobody's and has none is as any other.
    ///
    /// Fails as [`Local::sessions`] does.
    pub async fn session(&self, queue: &str, key: Bytes) -> Result<Session, Error> {
        let subscription = self.queue(queue)?;
        let from = Bytes::clone(&key);
        let (found, _) =
            self.shown(Sessions { subscription, from, count: 1, with_state: true }).await?;
        let found = found.into_iter().find(|session| session.key == key);
        Ok(found.unwrap_or_else(|| Session { key, ..Session::default() }))
    }

    /// Keeps a state for a session of a queue, or takes it away, and waits until that is durable: gives its
    /// version, 0 for none, or the version that is there where another one was expected.
    ///
    /// Fails as [`Local::sessions`] does, with `TooLarge`, with `Full` when the queue has too much of them, and
    /// with `Throttled` when all queues have.
    pub async fn set_session(
        &self,
        queue: &str,
        key: Bytes,
        (expected, state): (Option<u64>, Option<Bytes>),
    ) -> Result<Result<u64, u64>, Error> {
        let subscription = self.queue(queue)?;
        let op = SetSession { subscription, key, expected, state };
        match self.call(Op::SetSession(op)).await? {
            Reply::SessionSet(SessionSet::Done(version)) => Ok(Ok(version)),
            Reply::SessionSet(SessionSet::Unexpected(version)) => Ok(Err(version)),
            Reply::SessionSet(SessionSet::Full) => {
                Err(Error::new(Kind::Full, format!("the states of '{queue}' take all they may")))
            }
            Reply::SessionSet(SessionSet::Gone) => {
                Err(Error::new(Kind::NotFound, format!("there is no queue '{queue}' any more")))
            }
            other => Err(unexpected(&other)),
        }
    }

    fn queue(&self, name: &str) -> Result<SubscriptionRef, Error> {
        let subscription = self.find(name)?.subscription();
        let none = || Error::new(Kind::Invalid, format!("'{name}' has no sessions"));
        subscription.ok_or_else(none)
    }

    async fn shown(&self, op: Sessions) -> Result<(Vec<Session>, Option<Bytes>), Error> {
        match self.call(Op::Sessions(op)).await? {
            Reply::Sessions(sessions, next) => Ok((sessions, next)),
            other => Err(unexpected(&other)),
        }
    }
}
