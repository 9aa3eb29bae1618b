//! Sessions beyond what the model has of them: how far delivery looks, and what that costs.

use crate::{Assignment, ConsumerKey, ConsumerOptions, Dispatch, Ledger, Span, Window};
use std::cell::Cell;
use types::{ClientId, ConsumerId, Offset};

/// As many messages may be passed over.
const BLOCKED: i64 = 100_000;

fn consumer(number: u32) -> ConsumerKey {
    ConsumerKey { client: ClientId(1), consumer: ConsumerId(number) }
}

fn options(prefetch: u32, sessions_max: u32) -> ConsumerOptions {
    let window = Window { messages: prefetch, bytes: 0 };
    ConsumerOptions { window, sessions_max, ..ConsumerOptions::default() }
}

struct Queue {
    ledger: Ledger,
    dispatch: Dispatch,
    key_of: fn(i64) -> u64,
    /// Keys that were told.
    told: Cell<u64>,
    end: Offset,
}

impl Queue {
    fn new(end: i64, key_of: fn(i64) -> u64) -> Queue {
        let ledger = Ledger::new(Offset(0));
        let mut dispatch = Dispatch::new(&ledger, None);
        dispatch.order_by_key(&ledger, u32::MAX);
        dispatch.keep_sessions();
        Queue { ledger, dispatch, key_of, told: Cell::new(0), end: Offset(end) }
    }

    fn next(&mut self) -> Option<Assignment> {
        loop {
            let given = self.dispatch.next(&self.ledger, self.end, 64, |_| Some(1));
            if given.is_some() {
                return given;
            }
            let wanted = self.dispatch.take_wanted()?;
            let keys = (wanted.0..self.end.0).take(64).map(self.key_of);
            let told = keys.inspect(|_| self.told.set(self.told.get() + 1));
            self.dispatch.tell_keys(wanted, told.map(Some));
        }
    }

    /// What is handed out next, and to whom.
    fn given(&mut self) -> Option<(i64, ConsumerKey)> {
        self.next().map(|given| (given.span.first.0, given.key))
    }

    fn settle(&mut self, by: ConsumerKey, offset: i64) {
        let mut freed = Vec::new();
        self.dispatch.settled(by, Span::one(Offset(offset)), &mut freed);
        freed.iter().for_each(|span| {
            self.ledger.settle(*span);
        });
    }
}

#[test]
fn delivery_looks_no_further_than_so_many_messages_of_others_and_goes_on_when_a_session_ends() {
    let mut queue = Queue::new(BLOCKED + 10, |at| if at == BLOCKED + 5 { 0 } else { at as u64 });
    queue.dispatch.add(consumer(1), options(2, 1)).unwrap();
    assert_eq!(queue.given(), Some((0, consumer(1))));
    assert_eq!(queue.given(), None, "the other message of the session lies too far away");
    queue.settle(consumer(1), 0);
    assert_eq!(queue.given(), Some((1, consumer(1))));
    assert_eq!(queue.dispatch.ready_count(queue.end), BLOCKED as u64 + 8);
}

#[test]
fn message_of_a_session_is_looked_at_once_however_many_consumers_and_sessions_there_are() {
    let mut queue = Queue::new(20_000, |at| at as u64 % 1_000);
    for number in 0..1_000 {
        queue.dispatch.add(consumer(number), options(1, 0)).unwrap();
    }
    let mut last = vec![-1; 1_000];
    let mut out: Vec<(i64, ConsumerKey)> = std::iter::from_fn(|| queue.given()).collect();
    let mut count = 0;
    while let Some((offset, by)) = out.pop() {
        let session = (offset % 1_000) as usize;
        assert!(last[session] < offset, "a session is out of order");
        last[session] = offset;
        count += 1;
        queue.settle(by, offset);
        out.extend(std::iter::from_fn(|| queue.given()));
    }
    assert_eq!(count, 20_000);
    // What was told and not needed at once is told again at most once in a while.
    assert!(queue.told.get() <= 25_000, "{} keys were told", queue.told.get());
    assert_eq!(queue.dispatch.sessions().count(), 0);
}

#[test]
fn idle_sessions_are_remembered_up_to_a_bound_while_there_is_always_more() {
    let mut queue = Queue::new(30_000, |at| at as u64);
    queue.dispatch.add(consumer(1), options(0, 0)).unwrap();
    let mut most = 0;
    for offset in 0..30_000 {
        assert_eq!(queue.given(), Some((offset, consumer(1))));
        queue.settle(consumer(1), offset);
        if offset % 1_000 == 0 {
            most = most.max(queue.dispatch.sessions().count());
        }
    }
    assert!((9_000..=10_001).contains(&most), "{most} sessions");
}

#[test]
fn session_is_told_with_whose_it_is_and_how_many_messages_are_out() {
    let mut queue = Queue::new(5, |at| at as u64 % 2);
    queue.dispatch.add(consumer(1), options(3, 1)).unwrap();
    while queue.given().is_some() {}
    let of = |queue: &Queue| -> Vec<(u64, Option<ConsumerKey>, u32)> {
        queue.dispatch.sessions().map(|it| (it.key, it.owner, it.in_flight)).collect()
    };
    assert_eq!(of(&queue), [(0, Some(consumer(1)), 3)]);
    queue.settle(consumer(1), 0);
    assert_eq!(of(&queue), [(0, Some(consumer(1)), 2)]);
    queue.dispatch.drop_client(ClientId(1), true);
    assert_eq!(of(&queue), []);
}
