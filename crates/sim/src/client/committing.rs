//! Positions that a group commits.

use super::{Asked, SimClient, group_name};
use crate::world::World;
use engine::api::Op;
use engine::groups::{self, Commit, Generation, OffsetKey, OffsetToCommit};

impl SimClient {
    pub(super) fn commit(&mut self, world: &mut World) {
        let group = format!("g{}", self.number);
        let value = i64::try_from(world.random.below(1 << 40)).unwrap_or(0);
        let number = world.model.commit_asked(&group, value);
        let command = groups::Command::Commit(Commit {
            member: String::new(),
            instance: None,
            generation: Generation::NONE,
            metadata_bytes_max: 100,
            offsets: vec![OffsetToCommit {
                key: OffsetKey { topic: "t0".to_owned(), partition: 0 },
                offset: value,
                leader_epoch: -1,
                metadata: String::new(),
            }],
        });
        let shard = world.engine().handle().names().group_shard("/", &group);
        let op = Op::Group { shard, name: group_name(&group), command: Box::new(command) };
        self.send(world, op, Asked::Commit { group, number });
    }
}
