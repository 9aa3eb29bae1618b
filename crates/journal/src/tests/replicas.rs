//! Frames that only shards with several replicas have, and frames read by their place.

use types::ShardId;

use super::store::{Store, frame};
use crate::fields::Put;
use crate::frame::{EntryFrame, entry_bytes, parse, put_entry};
use crate::{FrameDraft, FrameKind, ScannedFrame, Vote};

const SHARD: ShardId = ShardId(2);

fn votes() -> [Vote; 3] {
    [
        Vote::default(),
        Vote { term: 7, node: Some(u64::MAX), is_committed: false, is_faulty: true },
        Vote { term: u32::MAX, node: Some(0), is_committed: true, is_faulty: false },
    ]
}

fn of_replicas() -> Vec<FrameDraft> {
    let bare = |kind, at| FrameDraft::bare(kind, SHARD, at);
    let mut drafts = vec![
        bare(FrameKind::Blank, (1, 1)),
        FrameDraft { commands: "who".into(), ..bare(FrameKind::Membership, (1, 2)) },
        bare(FrameKind::Truncate, (1, 2)),
        FrameDraft { synced: false, ..bare(FrameKind::Purge, (1, 1)) },
    ];
    drafts.extend(votes().map(|vote| vote.frame(SHARD)));
    drafts
}

fn write(store: &mut Store, drafts: &[FrameDraft]) -> Vec<crate::Placed> {
    let open = store.parts();
    let mut placed = Vec::new();
    for draft in drafts {
        open.queue.push(draft.clone()).unwrap();
    }
    while !open.queue.is_empty() {
        placed.extend(open.writer.round(&mut open.queue).unwrap().placed);
    }
    open.writer.sync().unwrap();
    placed
}

fn found(store: &mut Store) -> Vec<ScannedFrame> {
    store.disk.kill();
    let (.., mut recovery) = store.recover().unwrap();
    std::iter::from_fn(|| recovery.next_frame().unwrap()).collect()
}

#[test]
fn frames_of_replicas_come_back_in_order() {
    let mut store = Store::new(21);
    store.open().unwrap();
    let drafts = of_replicas();
    let placed = write(&mut store, &drafts);
    let found = found(&mut store);
    assert_eq!(found.len(), drafts.len());
    for ((found, draft), placed) in found.iter().zip(&drafts).zip(&placed) {
        assert_eq!((found.kind, found.shard), (draft.kind, SHARD));
        assert_eq!((found.term, found.index), (draft.term, draft.index));
        assert_eq!(found.commands, draft.commands);
        assert_eq!((found.place, found.position), (placed.place, placed.position));
    }
    let voted: Vec<Vote> = found.iter().filter_map(Vote::of).collect();
    assert_eq!(voted, votes());
}

#[test]
fn a_frame_is_read_by_its_place() {
    let mut store = Store::new(22);
    store.open().unwrap();
    let mut drafts = vec![
        frame(&store.random, 0, 1, &[100, 3000]),
        // In parts, which lie in other rounds.
        frame(&store.random, 0, 2, &[61, 70_000, 400]),
        FrameDraft { synced: false, ..frame(&store.random, 1, 1, &[]) },
    ];
    drafts.extend(of_replicas());
    let placed = write(&mut store, &drafts);
    let reader = &store.parts().reader;
    for placed in &placed {
        let same = |draft: &&FrameDraft| {
            (draft.shard, draft.index, draft.kind) == (placed.shard, placed.index, placed.kind)
        };
        let read = reader.frame(placed.place).unwrap();
        assert!(drafts.iter().filter(same).any(|draft| *draft == read), "{placed:?}");
    }
    let mut place = placed[0].place;
    let name = format!("j-{}.seg", place.segment);
    assert!(store.disk.flip_bit(&name, place.position as usize + 80, 3));
    let reader = &store.parts().reader;
    assert!(matches!(reader.frame(place), Err(crate::ReadError::Corrupt { .. })));
    place.len = u32::MAX;
    assert!(reader.frame(place).is_err(), "a length beyond the file costs no memory");
}

#[test]
fn a_kind_with_more_than_it_has_is_no_frame() {
    for draft in of_replicas() {
        let mut more = draft.clone();
        more.commands = [&draft.commands[..], b"!"].concat().into();
        for (draft, is_sound) in [(&draft, true), (&more, draft.kind == FrameKind::Membership)] {
            let frame_bytes = entry_bytes(draft, |_| None);
            let mut buffer = vec![0; frame_bytes];
            let mut put = Put { bytes: &mut buffer, at: 0 };
            put_entry(&mut put, EntryFrame { draft, frame_bytes, pieces: |_| None }, (1, 4096));
            assert_eq!(parse(&buffer.into(), 1, 4096).is_ok(), is_sound, "{draft:?}");
        }
    }
}
