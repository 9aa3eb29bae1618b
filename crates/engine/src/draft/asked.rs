//! What is asked of a destination before it takes a batch of a draft, and the ids of messages in it.

use super::Condition;
use crate::api::{MessageId, Told, Within};
use crate::command::Command;
use crate::id_list::IdList;
use crate::id_table::{Hashed, IdTable};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What batches of a frame come with, by their places.
#[derive(Debug, Default)]
pub(super) struct Asked {
    conditions: BTreeMap<usize, Condition>,
    /// The ids of those that every destination takes.
    lists: BTreeMap<usize, IdList>,
    pub(super) ids: Ids,
}

/// The ids of all messages of a frame.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    all: Vec<MessageId>,
    table: IdTable,
}

impl Ids {
    /// Adds one; false if it is there.
    pub(super) fn add(&mut self, id: Hashed) -> bool {
        let number = u32::try_from(self.all.len()).expect("a frame has few messages");
        let found = self.table.find_or_add(&id, number, |at| self.all[at as usize] == id.id);
        if found.is_none() {
            self.all.push(id.id);
        }
        found.is_none()
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        self.all.reserve(more);
        self.table.reserve(more);
    }

    pub(crate) fn has(&self, id: &Hashed) -> bool {
        self.table.find(id, |number| self.all[number as usize] == id.id).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl Asked {
    /// A batch is taken where something is so.
    pub(super) fn put(&mut self, batch: usize, condition: Condition) {
        if let Condition::Once(once) = condition {
            self.ids.add(once.id.into());
        }
        self.conditions.insert(batch, condition);
    }

    /// The records of a batch have ids, or the next ones.
    pub(super) fn list(&mut self, batch: usize, within: Option<Within>, ids: &[MessageId]) {
        self.lists.entry(batch).or_insert_with(|| IdList::new(within)).extend(ids);
    }

    /// Whether the records of a batch have ids, and by which router they came then.
    pub(super) fn within(&self, batch: usize) -> Option<Option<Within>> {
        self.lists.get(&batch).map(|list| list.within)
    }

    /// Says what was found of a key that a batch expects something of.
    pub(super) fn tell(&mut self, batch: usize, told: Told) {
        if let Some(Condition::Expecting(expecting)) = self.conditions.get_mut(&batch) {
            expecting.told = told;
        }
    }

    /// Puts what is asked before what a destination of a batch says otherwise.
    pub(super) fn envelope(&self, batch: usize, rest: Bytes) -> Bytes {
        match self.conditions.get(&batch) {
            Some(Condition::Once(once)) => once.encode(&rest),
            Some(Condition::Expecting(expecting)) => expecting.encode(&rest),
            None => rest,
        }
    }

    /// The commands that tell of ids.
    pub(super) fn take_commands(&mut self) -> impl Iterator<Item = Command> {
        std::mem::take(&mut self.lists).into_iter().map(|(batch, ids)| {
            let batch = u16::try_from(batch).expect("a draft is flushed long before");
            Command::Remember { batch, ids }
        })
    }
}
