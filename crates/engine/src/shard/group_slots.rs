//! The groups of a shard, in chunks of those that share a slot.

use super::chunked::{ChunkKey, Chunked};
use crate::command::GroupName;
use catalog::{Name, group_slot};
use groups::Groups;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

/// Which of the slots that groups are placed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Slot(u32);

impl ChunkKey for Slot {
    fn number(self) -> u32 {
        self.0
    }

    fn of(number: u32) -> Slot {
        Slot(number)
    }
}

/// Groups by slot and namespace.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct GroupSlots(Chunked<Slot, BTreeMap<Name, Groups>>);

impl GroupSlots {
    /// None.
    pub(super) fn new() -> GroupSlots {
        GroupSlots(Chunked::new(0))
    }

    /// The groups among which one of this name is, if it is there.
    pub(crate) fn beside(&self, name: &GroupName) -> Option<&Groups> {
        self.0.get(&slot(name))?.get(&name.namespace)
    }

    pub(super) fn beside_mut(&mut self, name: &GroupName) -> &mut Groups {
        let slot = self.0.get_or_insert_with(slot(name), BTreeMap::new);
        slot.entry(Name::clone(&name.namespace)).or_default()
    }

    /// Some of the groups of a namespace at a time.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Name, &Groups)> {
        self.0.values().flatten()
    }
}

impl Deref for GroupSlots {
    type Target = Chunked<Slot, BTreeMap<Name, Groups>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for GroupSlots {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

fn slot(name: &GroupName) -> Slot {
    Slot(u32::try_from(group_slot(&name.namespace, &name.group)).expect("slots are few"))
}
