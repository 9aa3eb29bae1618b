//! Who may log in and what they may do: users, their tags, and the patterns of names that they may
//! configure, write and read.
//!
//! The rules are RabbitMQ's. Nothing here knows a protocol: a front end says which right on which
//! thing a request needs ([`Demand`]), or hands a [`Change`](crate::Change) over, whose demands are
//! known here; [`Names`](crate::Names) says yes or no.

mod demands;
mod password;
mod pattern;

#[cfg(test)]
mod tests;

use crate::Name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

pub(crate) use demands::demands;
pub use password::{HashAlgorithm, PasswordHash};
pub use pattern::{BadPattern, Pattern};

/// The user of a new store; logs in from the broker's own machine only.
pub const GUEST: &str = "guest";

/// The tag of users who may do everything in the management of the broker.
pub const ADMINISTRATOR: &str = "administrator";

/// The tag of users who may publish in other users' names.
pub const IMPERSONATOR: &str = "impersonator";

/// Somebody who can log in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// The name.
    pub name: Name,
    /// How a password is known to be the user's.
    pub password: PasswordHash,
    /// What the user may manage, in words that the management side knows.
    pub tags: Vec<Name>,
    /// What the user may do, by namespace; one that is not here may not be entered.
    pub permissions: BTreeMap<Name, Permission>,
    /// Which keys the user may use with a topic router, by namespace and router; one that is not
    /// here takes any.
    pub topic_permissions: BTreeMap<(Name, Name), TopicPermission>,
}

/// The names of queues and routers that a user may …
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Permission {
    /// … declare and delete,
    pub configure: Pattern,
    /// … publish to, and bind,
    pub write: Pattern,
    /// … consume, purge, and bind from.
    pub read: Pattern,
}

/// The routing keys of one topic router that a user may …
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicPermission {
    /// … publish with,
    pub write: Pattern,
    /// … bind with.
    pub read: Pattern,
}

/// A right on a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Right {
    /// To declare and delete it.
    Configure,
    /// To put something into it.
    Write,
    /// To get something out of it.
    Read,
}

/// What a right is asked on, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded<'a> {
    /// A queue or a topic.
    Queue(&'a str),
    /// A router.
    Router(&'a str),
    /// A routing key of a topic router.
    Key {
        /// The router.
        router: &'a str,
        /// The key.
        key: &'a str,
    },
}

/// A right that somebody has to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand<'a> {
    /// Which right.
    pub right: Right,
    /// On what.
    pub of: Guarded<'a>,
}

/// Somebody does not have a right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Who.
    pub user: Name,
    /// In which namespace.
    pub namespace: Name,
    /// Which right.
    pub right: Right,
    /// On what.
    pub of: DeniedThing,
}

/// What a right was denied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeniedThing {
    /// A queue or a topic.
    Queue(Name),
    /// A router; the default one is called [`DEFAULT_ROUTER`].
    Router(Name),
    /// A routing key of a topic router.
    Key {
        /// The router.
        router: Name,
        /// The key.
        key: Name,
    },
}

/// Why somebody cannot log in. For the log: whoever tried is not told which it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRefused {
    /// There is no such user.
    NoUser,
    /// It is not the user's password, or the user has none.
    WrongPassword,
    /// The user is to log in from the broker's own machine.
    NotLocal,
}

/// What patterns know the default router by, whose own name is empty.
pub const DEFAULT_ROUTER: &str = "amq.default";

impl User {
    /// Whether the user has `tag`.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| **own == *tag)
    }

    /// Whether the user has what `demand` asks for in `namespace`.
    #[must_use]
    pub fn has(&self, namespace: &str, demand: Demand<'_>) -> bool {
        let name = match demand.of {
            Guarded::Queue(name) => name,
            Guarded::Router("") => DEFAULT_ROUTER,
            Guarded::Router(name) => name,
            Guarded::Key { router, key } => {
                return self.has_key(namespace, router, (demand.right, key));
            }
        };
        let Some(permission) = self.permissions.get(namespace) else { return false };
        let pattern = match demand.right {
            Right::Configure => &permission.configure,
            Right::Write => &permission.write,
            Right::Read => &permission.read,
        };
        pattern.matches(name)
    }

    fn has_key(&self, namespace: &str, router: &str, (right, key): (Right, &str)) -> bool {
        // Most users have none, and a look-up needs names of its own.
        let mut all = self.topic_permissions.iter();
        let found = all.find(|((space, name), _)| **space == *namespace && **name == *router);
        let Some((_, permission)) = found else { return true };
        match right {
            Right::Configure => true,
            Right::Write => permission.write.matches(key),
            Right::Read => permission.read.matches(key),
        }
    }
}

impl Permission {
    /// Everything there is.
    #[must_use]
    pub fn all() -> Permission {
        let all = Pattern::all();
        Permission { configure: all.clone(), write: all.clone(), read: all }
    }
}

impl<'a> Demand<'a> {
    /// To declare or delete `of`.
    #[must_use]
    pub fn configure(of: Guarded<'a>) -> Demand<'a> {
        Demand { right: Right::Configure, of }
    }

    /// To put something into `of`.
    #[must_use]
    pub fn write(of: Guarded<'a>) -> Demand<'a> {
        Demand { right: Right::Write, of }
    }

    /// To get something out of `of`.
    #[must_use]
    pub fn read(of: Guarded<'a>) -> Demand<'a> {
        Demand { right: Right::Read, of }
    }

    pub(crate) fn denied(self, user: &str, namespace: &str) -> Denied {
        let of = match self.of {
            Guarded::Queue(name) => DeniedThing::Queue(name.into()),
            Guarded::Router("") => DeniedThing::Router(DEFAULT_ROUTER.into()),
            Guarded::Router(name) => DeniedThing::Router(name.into()),
            Guarded::Key { router, key } => {
                DeniedThing::Key { router: router.into(), key: key.into() }
            }
        };
        Denied { user: user.into(), namespace: namespace.into(), right: self.right, of }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Right::Configure => "configure",
            Right::Write => "write",
            Right::Read => "read",
        })
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Denied { user, namespace, right, of } = self;
        match of {
            DeniedThing::Queue(name) => write!(f, "user '{user}' may not {right} queue '{name}'")?,
            DeniedThing::Router(name) => {
                write!(f, "user '{user}' may not {right} router '{name}'")?;
            }
            DeniedThing::Key { router, key } => {
                write!(f, "user '{user}' may not {right} with key '{key}' at router '{router}'")?;
            }
        }
        write!(f, " of namespace '{namespace}'")
    }
}

impl std::error::Error for Denied {}

impl fmt::Display for LoginRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LoginRefused::NoUser => "there is no such user",
            LoginRefused::WrongPassword => "the password is wrong",
            LoginRefused::NotLocal => "the user can only connect from this machine",
        })
    }
}

impl std::error::Error for LoginRefused {}
