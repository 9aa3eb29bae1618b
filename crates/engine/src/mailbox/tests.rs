use super::Mailbox;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn every_item_wakes_another_receiver() {
    const RECEIVERS: usize = 4;
    let mailbox: Arc<Mailbox<usize>> = Arc::default();
    let (got, all) = (channel(), Arc::new(Barrier::new(RECEIVERS)));
    for _ in 0..RECEIVERS {
        let (mailbox, got, all) = (Arc::clone(&mailbox), got.0.clone(), Arc::clone(&all));
        std::thread::spawn(move || {
            let mut items = Vec::new();
            mailbox.wait_one(&mut items, LONG);
            got.send(items).expect("somebody listens");
            // It is at work, and takes no second item.
            all.wait();
        });
    }
    while mailbox.lock().asleep < RECEIVERS {
        std::thread::yield_now();
    }
    (0..RECEIVERS).for_each(|item| mailbox.push(item));
    let mut items = Vec::new();
    for _ in 0..RECEIVERS {
        items.extend(got.1.recv_timeout(PATIENCE).expect("a receiver sleeps on"));
    }
    items.sort_unstable();
    assert_eq!(items, [0, 1, 2, 3]);
}

#[test]
fn who_gave_up_waiting_is_not_counted() {
    let mailbox: Mailbox<u8> = Mailbox::default();
    let mut items = Vec::new();
    for _ in 0..3 {
        mailbox.wait(&mut items, Duration::ZERO);
        mailbox.wait_one(&mut items, Duration::ZERO);
    }
    assert_eq!((items.len(), mailbox.lock().asleep), (0, 0));
    mailbox.push(1);
    mailbox.wait_one(&mut items, LONG);
    mailbox.push(2);
    mailbox.push(3);
    mailbox.wait(&mut items, LONG);
    assert_eq!(items, [1, 2, 3]);
}
