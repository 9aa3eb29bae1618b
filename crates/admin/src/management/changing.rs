//! Changes of names that a user asks for.

use super::asker::Asker;
use super::refused::Refused;
use crate::{Admin, Told};
use engine::api::{Op, Reply};
use engine::catalog::{Action, Change, Outcome};
use types::{Error, Kind};

/// What AMQP's 403 and 404 are here.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;

impl Admin {
    /// Carries a change out if the user may make it.
    pub(super) async fn change_as(
        &self,
        asker: &Asker,
        vhost: &str,
        action: Action,
    ) -> Result<Outcome, Refused> {
        let change = Change::new(vhost, action);
        let names = self.engine().names();
        names.permit_change(&asker.user().name, &change).map_err(|_| Refused::access())?;
        self.change(vhost, change.action).await
    }

    /// Carries a change out, whoever asks.
    pub(super) async fn change(&self, vhost: &str, action: Action) -> Result<Outcome, Refused> {
        let deletes = matches!(action, Action::DeleteQueue(_) | Action::DeleteRouter { .. });
        let mut change = Change::new(vhost, action);
        let refused = |refusal| refused((self.dialect.refusal)(vhost, &refusal, deletes));
        let layer = self.engine().names().place(&mut change).map_err(refused)?;
        let op = Op::Change { shard: engine::shard_of(layer), change: Box::new(change) };
        match self.local.call(op).await? {
            Reply::Changed(changed) => changed.map_err(refused),
            other => Err(Error::new(Kind::Invalid, format!("the engine said {other:?}")).into()),
        }
    }
}

/// A refused declaration.
pub(super) fn refused(told: Told) -> Refused {
    match told.code {
        ACCESS_REFUSED => Refused::access(),
        NOT_FOUND => Refused::missing(told.text),
        _ => Refused::bad(told.text),
    }
}
