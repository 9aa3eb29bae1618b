//! Who is let in, and what they may do.

use super::Names;
use crate::access::{self, Demand, Denied, GUEST, Guarded, LoginRefused, User};
use crate::change::Change;
use crate::entry::RouterKind;
use std::sync::Arc;

impl Names {
    /// The user `name`.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.shared.users.get(name)
    }

    /// All users, by name.
    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.shared.users.values()
    }

    /// The user whose name and password these are. `local`: whoever asks is on the broker's machine.
    ///
    /// # Errors
    /// Says why there is no such user, which is for the log only.
    pub fn log_in(
        &self,
        name: &str,
        password: &[u8],
        local: bool,
    ) -> Result<&Arc<User>, LoginRefused> {
        let user = self.user(name).ok_or(LoginRefused::NoUser)?;
        if !user.password.is_of(password) {
            return Err(LoginRefused::WrongPassword);
        }
        if !local && name == GUEST {
            return Err(LoginRefused::NotLocal);
        }
        Ok(user)
    }

    /// Whether `user` may enter `namespace`.
    #[must_use]
    pub fn may_enter(&self, user: &str, namespace: &str) -> bool {
        self.user(user).is_some_and(|user| user.permissions.contains_key(namespace))
    }

    /// Checks that `user` has in `namespace` what `demand` asks for.
    ///
    /// # Errors
    /// Says what the user does not have.
    pub fn permit(&self, user: &str, namespace: &str, demand: Demand<'_>) -> Result<(), Denied> {
        match self.user(user).is_some_and(|user| user.has(namespace, demand)) {
            true => Ok(()),
            false => Err(demand.denied(user, namespace)),
        }
    }

    /// Checks that `user` may make `change`.
    ///
    /// # Errors
    /// Names the first right that the user does not have.
    pub fn permit_change(&self, user: &str, change: &Change) -> Result<(), Denied> {
        let namespace = &change.namespace;
        let mut demands = access::demands(change, self).into_iter();
        demands.try_for_each(|demand| self.permit(user, namespace, demand))
    }

    /// Checks that `user` may publish to `router` with `key`.
    ///
    /// # Errors
    /// Names the right that the user does not have.
    pub fn permit_publish(
        &self,
        user: &str,
        namespace: &str,
        (router, key): (&str, &str),
    ) -> Result<(), Denied> {
        self.permit(user, namespace, Demand::write(Guarded::Router(router)))?;
        let guarded = self.user(user).is_some_and(|user| !user.topic_permissions.is_empty())
            && self.router(namespace, router).is_some_and(|it| it.kind == RouterKind::Topic);
        match guarded {
            true => self.permit(user, namespace, Demand::write(Guarded::Key { router, key })),
            false => Ok(()),
        }
    }
}
