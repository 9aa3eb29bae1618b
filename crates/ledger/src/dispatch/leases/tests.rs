use super::*;
use types::Offset;

const COUNT: i64 = 10_000_000;

fn all() -> Span {
    Span::new(Offset(0), Offset(COUNT))
}

#[test]
fn ten_million_leases_of_one_holder_cost_kilobytes() {
    let mut leases = Leases::default();
    for first in (0..COUNT).step_by(64) {
        leases.insert(0, (1, 0), Span::new(Offset(first), Offset(COUNT.min(first + 64))));
    }
    assert_eq!(leases.len(), COUNT as u64);
    assert!(leases.heap_bytes() < 4 << 10, "{}", leases.heap_bytes());
    let mut ended = Vec::new();
    let hole = Span::new(Offset(4_999_000), Offset(5_001_000));
    assert_eq!(leases.take(0, hole, |_, run| Span::push(&mut ended, run)), hole.len());
    assert_eq!(ended, [hole]);
    assert!(leases.heap_bytes() < 4 << 10, "{}", leases.heap_bytes());
}

#[test]
fn leases_of_holders_in_turn_cost_a_bit_for_each_holder() {
    let mut leases = Leases::default();
    for offset in 0..COUNT / 10 {
        leases.insert(offset as u32 % 3, (1, 0), Span::one(Offset(offset)));
    }
    assert!(
        leases.heap_bytes() < COUNT as usize / 10 / 8 * 3 + (64 << 10),
        "{}",
        leases.heap_bytes()
    );
    assert_eq!(
        leases.take_all(all()).into_values().collect::<Vec<_>>(),
        [333_334, 333_333, 333_333]
    );
    assert_eq!((leases.len(), leases.heap_bytes()), (0, 0));
}
