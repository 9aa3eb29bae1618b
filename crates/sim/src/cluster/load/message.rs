//! Messages that say nothing but their number, and what a group commits.

use crate::Violation;
use crate::cluster::SHARDS;
use crate::cluster::book::Id;
use engine::GroupName;
use engine::api::{Delivery, Event, Op};
use engine::groups::{self, Commit, Generation, OffsetKey, OffsetToCommit};
use record::tail;
use types::ShardId;

pub(super) fn delivered_bytes(event: &Event) -> usize {
    match event {
        Event::Deliver { items, .. } => items.iter().map(engine::delivery_bytes).sum(),
        _ => 0,
    }
}

/// A record without key and headers whose value begins with a message's number.
pub(super) fn tail_of(id: Id, more: usize) -> Vec<u8> {
    let mut value = id.to_le_bytes().to_vec();
    value.resize(8 + more, b'.');
    let mut out = Vec::new();
    tail::encode(&mut out, None, Some(&value), std::iter::empty());
    out
}

/// The number of a message.
pub(crate) fn id_of_tail(bytes: &[u8]) -> Result<Id, Violation> {
    let view = tail::decode(bytes).ok();
    let id = view.and_then(|view| Some(Id::from_le_bytes(*view.value?.first_chunk()?)));
    id.ok_or_else(|| Violation("a record that nobody sent".to_owned()))
}

pub(super) fn id_of(item: &Delivery) -> Result<Id, Violation> {
    id_of_tail(&item.tail)
}

pub(crate) fn group_name(group: usize) -> String {
    format!("g{group}")
}

pub(crate) fn group_shard(group: usize) -> ShardId {
    ShardId(u16::try_from(group).unwrap_or(0) % SHARDS)
}

pub(crate) fn named(name: &str) -> GroupName {
    GroupName { namespace: "/".into(), group: name.into() }
}

pub(super) fn commit(shard: ShardId, name: &str, position: i64) -> Op {
    let command = groups::Command::Commit(Commit {
        member: String::new(),
        instance: None,
        generation: Generation::NONE,
        metadata_bytes_max: 100,
        offsets: vec![OffsetToCommit {
            key: OffsetKey { topic: "t0".to_owned(), partition: 0 },
            offset: position,
            leader_epoch: -1,
            metadata: String::new(),
        }],
    });
    Op::Group { shard, name: named(name), command: Box::new(command) }
}
