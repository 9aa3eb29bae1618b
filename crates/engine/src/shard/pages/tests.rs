use super::{MACHINE_VERSION, Shard};
use crate::shard::Cut;
use catalog::{Catalog, Layer};
use journal::Page;
use types::ShardId;

/// The pages of a checkpoint of a shard that was written by machine `version`.
fn pages(version: u16) -> Vec<Page> {
    let id = ShardId(0);
    let mut shard = Shard::new(id, Some(Catalog::new(Layer::Shared, &[id])), 8);
    shard.machine_version = version;
    let (head, names) = shard.begin_cut(Cut { number: 1, since: None });
    let mut pages = vec![head];
    pages.extend(names.map(|names| names.page()));
    pages
}

#[test]
fn the_state_of_another_release_is_not_read_and_an_older_one_is_told() {
    assert!(Shard::read_all(&pages(MACHINE_VERSION), 8).is_some());
    assert!(!Shard::outdated(&pages(MACHINE_VERSION)));
    for (version, outdated) in [(MACHINE_VERSION - 1, true), (MACHINE_VERSION + 1, false)] {
        assert!(Shard::read_all(&pages(version), 8).is_none());
        assert_eq!(Shard::outdated(&pages(version)), outdated);
    }
}
