//! Whom a connection speaks for: login, and what the user may do.
//!
//! A connection of a wire that asks for no login speaks for nobody, and may do everything.

use crate::Cx;
use engine::Place;
use engine::catalog::{Change, Demand, Denied, Limit, LoginRefused, Name};

/// The user of a connection, and the namespace it has entered.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) user: Name,
    /// Empty before one is entered.
    pub(crate) namespace: Name,
    /// What it is counted there by.
    place: Option<Place>,
}

/// Why a namespace is not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEntered {
    /// There is no such namespace.
    NotFound,
    /// The user may not enter it.
    Refused,
    /// So many connections have entered it as may.
    Full(u64),
}

impl Cx<'_> {
    /// From now on the connection speaks for the user whose name and password these are; gives the
    /// name. It has entered no namespace then.
    ///
    /// # Errors
    /// Says why there is no such user, which is for the log only.
    pub fn log_in(&mut self, user: &str, password: &[u8]) -> Result<Name, LoginRefused> {
        let local = self.peer.address.ip().to_canonical().is_loopback();
        let names = self.names();
        let logged_in = names.log_in(user, password, local);
        self.state.login = Some(logged_in.is_ok());
        let user = Name::clone(&logged_in?.name);
        let (user_too, namespace) = (Name::clone(&user), "".into());
        self.state.identity = Some(Identity { user: user_too, namespace, place: None });
        Ok(user)
    }

    /// Enters a namespace: what is permitted is asked of it from now on.
    ///
    /// # Errors
    /// Says why it may not be entered.
    pub fn enter(&mut self, namespace: &str) -> Result<(), NotEntered> {
        let names = self.names();
        if !names.has_namespace(namespace) {
            return Err(NotEntered::NotFound);
        }
        let presence = self.door.presence();
        let Some(identity) = &mut self.state.identity else { return Ok(()) };
        if !names.may_enter(&identity.user, namespace) {
            return Err(NotEntered::Refused);
        }
        let most = names.limit(namespace, Limit::Connections);
        identity.place = presence.enter(namespace, most);
        if identity.place.is_none() {
            return Err(NotEntered::Full(most.unwrap_or_default()));
        }
        identity.namespace = namespace.into();
        Ok(())
    }

    /// Checks that the connection's user has what `demand` asks for.
    ///
    /// # Errors
    /// Says what the user does not have.
    pub fn permit(&self, demand: Demand<'_>) -> Result<(), Denied> {
        match &self.state.identity {
            Some(identity) => self.names().permit(&identity.user, &identity.namespace, demand),
            None => Ok(()),
        }
    }

    /// Checks that the connection's user may make `change`.
    ///
    /// # Errors
    /// Names the first right that the user does not have.
    pub fn permit_change(&self, change: &Change) -> Result<(), Denied> {
        match &self.state.identity {
            Some(identity) => self.names().permit_change(&identity.user, change),
            None => Ok(()),
        }
    }
}
