use super::{Account, MEMORY_LIMIT_MIN, Memory, MemoryPool, POOLS, SHARE_MIN};
use std::sync::Arc;
use types::ClientId;

#[test]
fn budgets_fit_the_limit() {
    for limit in [MEMORY_LIMIT_MIN, 1 << 30, 64 << 30] {
        let memory = Memory::new(limit);
        let sum: usize = POOLS.iter().map(|(pool, _)| memory.budget(*pool)).sum();
        assert!(sum <= limit / 16 * 15, "{sum} of {limit}");
    }
}

#[test]
fn pools_are_in_the_order_of_their_numbers() {
    for (at, (pool, _)) in POOLS.iter().enumerate() {
        assert_eq!(*pool as usize, at);
    }
}

#[test]
fn any_number_of_connections_fit_a_budget() {
    for count in [1, 100, 5_000] {
        let memory = Memory::new(1 << 30);
        let mut held = vec![0; count];
        for _ in 0..1_000 {
            for bytes in &mut held {
                if *bytes < memory.share(MemoryPool::Submitted) {
                    *bytes += 4 << 10;
                    memory.add(MemoryPool::Submitted, 4 << 10);
                }
            }
        }
        assert!(
            memory.used(MemoryPool::Submitted) <= memory.budget(MemoryPool::Submitted),
            "{count}"
        );
        assert!(held.iter().all(|bytes| *bytes >= SHARE_MIN), "{count}");
    }
}

#[test]
fn what_an_account_held_is_given_back_with_it() {
    let memory = Arc::new(Memory::new(1 << 30));
    let mut account: Account = Account::new(Arc::clone(&memory));
    account.set(MemoryPool::Output, 100);
    account.set(MemoryPool::Input, 7);
    account.set(MemoryPool::Output, 60);
    assert_eq!((memory.used(MemoryPool::Output), memory.used(MemoryPool::Input)), (60, 7));
    drop(account);
    assert_eq!((memory.used(MemoryPool::Output), memory.used(MemoryPool::Input)), (0, 0));
}

#[test]
fn publishing_is_blocked_from_the_budget_on_until_a_quarter_has_gone() {
    let memory = Memory::new(1 << 30);
    let budget = memory.budget(MemoryPool::Submitted);
    memory.add(MemoryPool::Submitted, budget);
    assert!(!memory.is_exhausted(false));
    memory.add(MemoryPool::Submitted, 1);
    assert!(memory.is_exhausted(false));
    memory.sub(MemoryPool::Submitted, budget / 5);
    assert!(memory.is_exhausted(true) && !memory.is_exhausted(false));
    memory.sub(MemoryPool::Submitted, budget / 10);
    assert!(!memory.is_exhausted(true));
}

#[test]
fn one_connection_at_a_time_reads_on_without_room() {
    let memory = Memory::new(1 << 30);
    assert!(memory.take_baton(ClientId(1)));
    assert!(!memory.take_baton(ClientId(2)));
    memory.give_baton(ClientId(2));
    assert!(!memory.take_baton(ClientId(2)), "only who has it can give it back");
    memory.give_baton(ClientId(1));
    assert!(memory.take_baton(ClientId(2)));
    memory.give_baton(ClientId(2));
    memory.add(MemoryPool::Submitted, memory.budget(MemoryPool::Submitted));
    assert!(!memory.take_baton(ClientId(1)), "it could not go on to the disk");
}
