//! Users and what they may do.

use super::{Catalog, Layer};
use crate::access::{
    ADMINISTRATOR, GUEST, HashAlgorithm, PasswordHash, Permission, TopicPermission, User,
};
use crate::change::PutUser;
use crate::outcome::{Deleted, Outcome, Refusal, Thing};
use crate::{NAMESPACE_DEFAULT, Name, naming};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everybody knows this password: its salt need not be random.
const GUEST_SALT: [u8; 4] = *b"salt";

impl Catalog {
    /// The user of a new store, who may do everything.
    pub(super) fn create_guest(&mut self) {
        let guest = User {
            name: Name::from(GUEST),
            password: PasswordHash::new(HashAlgorithm::default(), GUEST, GUEST_SALT),
            tags: vec![Name::from(ADMINISTRATOR)],
            permissions: [(Name::from(NAMESPACE_DEFAULT), Permission::all())].into(),
            topic_permissions: BTreeMap::new(),
        };
        self.names.version += 1;
        self.names.users.insert(Name::clone(&guest.name), Arc::new(guest));
    }

    pub(super) fn put_user(&mut self, put: &PutUser) -> Result<Outcome, Refusal> {
        naming::check(Thing::User, &put.name)?;
        if self.layer != Layer::Shared {
            return Ok(Outcome::Declared { created: false });
        }
        self.names.version += 1;
        let (password, tags) = (put.password.clone(), put.tags.clone());
        let created = !self.names.users.contains_key(&put.name);
        if created {
            let user = User {
                name: Name::clone(&put.name),
                password,
                tags,
                permissions: BTreeMap::new(),
                topic_permissions: BTreeMap::new(),
            };
            self.names.users.insert(Name::clone(&put.name), Arc::new(user));
        } else if let Ok(user) = self.user_mut(&put.name) {
            user.password = password;
            user.tags = tags;
        }
        Ok(Outcome::Declared { created })
    }

    pub(super) fn delete_user(&mut self, name: &Name) -> Result<Outcome, Refusal> {
        if self.names.users.remove(name).is_none() {
            return Err(Refusal::NotFound { what: Thing::User, name: Name::clone(name) });
        }
        self.names.version += 1;
        Ok(Outcome::Deleted(Deleted::default()))
    }

    pub(super) fn permit(
        &mut self,
        namespace: &Name,
        user: &Name,
        permission: &Permission,
    ) -> Result<Outcome, Refusal> {
        let permissions = &mut self.user_mut(user)?.permissions;
        let before = permissions.insert(Name::clone(namespace), permission.clone());
        Ok(Outcome::Declared { created: before.is_none() })
    }

    pub(super) fn forbid(&mut self, namespace: &Name, user: &Name) -> Result<Outcome, Refusal> {
        let known = self.user(user)?.permissions.contains_key(namespace);
        if !known {
            return Err(Refusal::NotFound { what: Thing::Permission, name: Name::clone(user) });
        }
        self.user_mut(user)?.permissions.remove(namespace);
        Ok(Outcome::Deleted(Deleted::default()))
    }

    pub(super) fn permit_keys(
        &mut self,
        (namespace, router): (&Name, &Name),
        user: &Name,
        permission: &TopicPermission,
    ) -> Result<Outcome, Refusal> {
        let permissions = &mut self.user_mut(user)?.topic_permissions;
        let at = (Name::clone(namespace), Name::clone(router));
        let before = permissions.insert(at, permission.clone());
        Ok(Outcome::Declared { created: before.is_none() })
    }

    pub(super) fn forbid_keys(
        &mut self,
        namespace: &Name,
        user: &Name,
        router: Option<&Name>,
    ) -> Result<Outcome, Refusal> {
        let goes = |(space, name): &(Name, Name)| {
            space == namespace && router.is_none_or(|router| router == name)
        };
        if !self.user(user)?.topic_permissions.keys().any(goes) {
            return Err(Refusal::NotFound { what: Thing::Permission, name: Name::clone(user) });
        }
        self.user_mut(user)?.topic_permissions.retain(|at, _| !goes(at));
        Ok(Outcome::Deleted(Deleted::default()))
    }

    /// What users may do in a namespace goes with it.
    pub(super) fn forbid_all(&mut self, namespace: &Name) {
        let within = |user: &User| {
            user.permissions.contains_key(namespace)
                || user.topic_permissions.keys().any(|(space, _)| space == namespace)
        };
        let users: Vec<Name> = self
            .names
            .users
            .iter()
            .filter(|(_, user)| within(user))
            .map(|(name, _)| Name::clone(name))
            .collect();
        for name in users {
            if let Ok(user) = self.user_mut(&name) {
                user.permissions.remove(namespace);
                user.topic_permissions.retain(|(space, _), _| space != namespace);
            }
        }
    }

    fn user(&self, name: &Name) -> Result<&User, Refusal> {
        let found = self.names.users.get(name);
        let missing = || Refusal::NotFound { what: Thing::User, name: Name::clone(name) };
        found.map(Arc::as_ref).ok_or_else(missing)
    }

    /// The user, to be changed: raises the version.
    fn user_mut(&mut self, name: &Name) -> Result<&mut User, Refusal> {
        let missing = || Refusal::NotFound { what: Thing::User, name: Name::clone(name) };
        let user = self.names.users.get_mut(name).ok_or_else(missing)?;
        self.names.version += 1;
        Ok(Arc::make_mut(user))
    }
}
