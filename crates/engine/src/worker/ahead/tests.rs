use super::{Ahead, Piece};
use types::{LogId, Offset};

const CACHE_BYTES: usize = 64 << 20;
const PIECE_BYTES: usize = 1 << 20;

fn log(number: u32) -> LogId {
    LogId(number)
}

/// A piece of a hundred records.
fn piece(first: i64) -> Piece {
    Piece {
        first: Offset(first),
        half: Offset(first + 50),
        end: Offset(first + 100),
        locations: Vec::new(),
        spans: Vec::new(),
        bytes: PIECE_BYTES,
        has_gaps: false,
    }
}

#[test]
fn the_next_piece_is_due_when_half_of_one_was_read() {
    let mut ahead = Ahead::new(CACHE_BYTES);
    assert_eq!(ahead.reached(log(1), Offset(0)), None);
    ahead.begun(log(1), 7, &piece(0), true);
    let due = |ahead: &mut Ahead, offset| ahead.reached(log(1), Offset(offset));
    assert_eq!((due(&mut ahead, 0), due(&mut ahead, 49)), (None, None));
    assert_eq!((due(&mut ahead, 50), due(&mut ahead, 100)), (Some(Offset(100)), Some(Offset(100))));
    assert_eq!(due(&mut ahead, 101), None, "somebody reads elsewhere");
    ahead.begun(log(1), 8, &piece(100), false);
    assert_eq!((due(&mut ahead, 100), due(&mut ahead, 150)), (None, Some(Offset(200))));
}

#[test]
fn a_load_is_on_its_way_until_it_has_come() {
    let mut ahead = Ahead::new(CACHE_BYTES);
    ahead.begun(log(1), 7, &piece(100), false);
    let of = |ahead: &Ahead, offset| ahead.load_of(log(1), Offset(offset));
    assert_eq!((of(&ahead, 99), of(&ahead, 100), of(&ahead, 199)), (None, Some(7), Some(7)));
    assert_eq!((of(&ahead, 200), ahead.load_of(log(2), Offset(100))), (None, None));
    ahead.arrived(log(1), 6);
    assert_eq!(of(&ahead, 100), Some(7));
    ahead.arrived(log(1), 7);
    assert_eq!(of(&ahead, 100), None);
}

#[test]
fn what_nobody_has_come_to_has_a_part_of_the_cache_and_no_more() {
    let mut ahead = Ahead::new(CACHE_BYTES);
    let mut begun = 0;
    while ahead.room() >= PIECE_BYTES {
        begun += 1;
        ahead.begun(log(begun), u64::from(begun), &piece(100), false);
    }
    assert_eq!(begun, 16);
    // Who waits needs no room.
    ahead.begun(log(100), 100, &piece(0), true);
    assert_eq!(ahead.room(), 0);
    assert_eq!(ahead.reached(log(3), Offset(150)), Some(Offset(200)));
    assert_eq!(ahead.room(), PIECE_BYTES);
    // Its reader has come to it once only.
    assert_eq!(ahead.reached(log(3), Offset(160)), Some(Offset(200)));
    assert_eq!(ahead.room(), PIECE_BYTES);
    ahead.begun(log(4), 101, &piece(500), true);
    assert_eq!(ahead.room(), 2 * PIECE_BYTES, "its reader went elsewhere");
}

#[test]
fn what_is_never_read_gives_its_room_back() {
    let mut ahead = Ahead::new(CACHE_BYTES);
    let room = ahead.room();
    ahead.begun(log(1), 1, &piece(100), false);
    for load in 2..=64 {
        ahead.begun(log(2), load, &piece(0), true);
    }
    assert_eq!(ahead.room(), room - PIECE_BYTES);
    ahead.begun(log(2), 65, &piece(0), true);
    assert_eq!(ahead.room(), room - PIECE_BYTES, "the cache may have it");
    ahead.begun(log(2), 66, &piece(0), true);
    assert_eq!((ahead.room(), ahead.order.len()), (room, 65));
}
