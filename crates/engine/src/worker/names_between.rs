//! Changes of names where the shards have several replicas: each node has them from its own copy of the
//! catalog's shard.
//!
//! Whoever leads a shard puts what concerns it into its frames, when this node's copy of the catalog's
//! shard has it, and says up to which entry that is. When it begins to lead, it holds all of what the catalog
//! names against what its shard has. Whoever leads the catalog's shard answers when its copies of the
//! other shards have followed.

use super::naming::ChangeWait;
use super::{Input, Worker};
use crate::catch_up::differences;
use crate::command::Command;
use catalog::{LogChange, Outcome, Refusal};
use std::collections::{BTreeMap, BTreeSet};
use types::{ClientId, ShardId, Token};

/// What workers of a node tell each other.
#[derive(Debug)]
pub(crate) enum Between {
    /// The worker of a shard that has followed up to an entry wants all names there are.
    Want(ShardId, u64),
    /// All that is named of a shard, as of an entry.
    All(ShardId, u64, Vec<LogChange>),
    /// An entry has a change for another shard.
    Change(u64, LogChange),
    /// A shard has followed up to an entry.
    Followed(ShardId, u64),
    /// This node leads the shard, or not any more.
    Serve(ShardId, bool),
}

/// What is kept for that.
#[derive(Debug, Default)]
pub(super) struct NamesBetween {
    /// Who wants all names, when they are as of this entry.
    wanted: BTreeMap<ShardId, u64>,
    /// Up to where the other shards have followed.
    followed: BTreeMap<ShardId, u64>,
    /// Who waits for which shards to follow up to an entry.
    waits: Vec<(u64, BTreeSet<ShardId>, ChangeWait)>,
    /// Shards led here that have followed all there was when they began to be led.
    current: BTreeSet<ShardId>,
}

impl Worker {
    /// A change was applied by whoever leads the catalog's shard: others follow.
    pub(super) fn changed_between(
        &mut self,
        shard: ShardId,
        asker: Option<(ClientId, Token)>,
        result: Box<Result<Outcome, Refusal>>,
        follow: Vec<LogChange>,
    ) {
        let index = self.seat_of(shard).map_or(0, |seat| seat.shard.applied);
        let has =
            |of: &ShardId| self.names_between.followed.get(of).is_some_and(|upto| *upto >= index);
        let left: BTreeSet<ShardId> =
            follow.iter().map(LogChange::shard).filter(|of| !has(of)).collect();
        let wait = ChangeWait { asker, result, left: left.len() };
        match left.is_empty() {
            true => self.answer_change(wait),
            false => self.names_between.waits.push((index, left, wait)),
        }
        follow.into_iter().for_each(|change| self.pass_on(index, change));
    }

    /// An entry of the catalog's shard has a change for another one.
    pub(super) fn pass_on(&mut self, index: u64, change: LogChange) {
        let to = change.shard();
        self.ports.worker_of(to).push(Input::Between(Between::Change(index, change)));
    }

    /// Gives all names to who waits for them, if they are as of late enough.
    pub(super) fn give_names(&mut self) {
        if self.names_between.wanted.is_empty() {
            return;
        }
        let Some(seat) = self.seat_of(ShardId(0)) else { return };
        let (index, catalog) = (seat.shard.applied, seat.shard.catalog.as_ref());
        let Some(catalog) = catalog else { return };
        let wanted = self.names_between.wanted.iter().filter(|(_, upto)| **upto <= index);
        let ready: Vec<ShardId> = wanted.map(|(shard, _)| *shard).collect();
        for shard in &ready {
            let shard = *shard;
            let all = catalog.everything().filter(|it| it.shard() == shard).collect();
            let names = Between::All(shard, index, all);
            self.ports.worker_of(shard).push(Input::Between(names));
        }
        self.names_between.wanted.retain(|shard, _| !ready.contains(shard));
    }

    /// Takes in what another worker tells.
    pub(super) fn between(&mut self, between: Between) {
        match between {
            Between::Want(shard, upto) => {
                self.names_between.wanted.insert(shard, upto);
                self.give_names();
            }
            Between::All(shard, index, all) => {
                let Some(seat) = self.seats.get_mut(&shard) else { return };
                for change in differences(&all, &seat.shard) {
                    seat.command_now(Command::Log(change));
                }
                seat.command_now(Command::NamesFollowed { upto: index });
                self.names_between.current.insert(shard);
            }
            Between::Change(index, change) => {
                let shard = change.shard();
                let Some(seat) = self.seats.get_mut(&shard) else { return };
                if self.names_between.current.contains(&shard) {
                    seat.command_now(Command::Log(change));
                    seat.command_now(Command::NamesFollowed { upto: index });
                }
            }
            Between::Followed(shard, upto) => self.shard_followed(shard, upto),
            Between::Serve(shard, leads) => self.serve(shard, leads),
        }
    }

    fn shard_followed(&mut self, shard: ShardId, upto: u64) {
        let names = &mut self.names_between;
        let known = names.followed.entry(shard).or_default();
        *known = upto.max(*known);
        for (index, left, _) in &mut names.waits {
            if *index <= upto {
                left.remove(&shard);
            }
        }
        let (done, waits) = std::mem::take(&mut names.waits)
            .into_iter()
            .partition(|(_, left, _): &(u64, BTreeSet<ShardId>, ChangeWait)| left.is_empty());
        names.waits = waits;
        for (_, _, wait) in Vec::into_iter(done) {
            self.answer_change(wait);
        }
    }

    /// A shard says up to where it has followed.
    pub(super) fn tell_names_followed(&self, shard: ShardId, upto: u64) {
        let followed = Between::Followed(shard, upto);
        self.ports.worker_of(ShardId(0)).push(Input::Between(followed));
    }

    /// This node leads a shard from now on, or not any more: every worker hears of it.
    pub(super) fn tell_served(&mut self, shard: ShardId, leads: bool) {
        self.names_between.current.remove(&shard);
        for mailbox in &self.ports.mailboxes {
            mailbox.push(Input::Between(Between::Serve(shard, leads)));
        }
        if shard == ShardId(0) {
            self.names_between.waits.clear();
        } else if leads {
            let upto = self.seat_of(shard).map_or(0, |seat| seat.shard.names_followed());
            let want = Between::Want(shard, upto);
            self.ports.worker_of(ShardId(0)).push(Input::Between(want));
        }
    }
}
