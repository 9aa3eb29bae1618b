use super::{INPUT_BYTES_MAX, OUTPUT_BYTES_MAX, READ_BYTES_MIN, SUBMITTED_BYTES_MAX};
use crate::lines::{LineSession, appended};
use crate::transcript::Stage;
use bytes::Bytes;
use engine::api::{Delivery, Event, Op};
use engine::{Memory, MemoryPool};
use std::sync::Arc;
use types::{ClientId, ConsumerId, LogId, Millis, Offset, ShardId, Token};

fn stage() -> Stage {
    Stage::new(Box::<LineSession>::default())
}

fn text(stage: &mut Stage) -> String {
    String::from_utf8(stage.output()).unwrap()
}

/// Answers every append on the desk.
fn answer(stage: &mut Stage) {
    for (shard, call) in stage.desk.calls() {
        stage.desk.put(Event::Reply { token: call.token, result: Ok(appended(shard)) });
    }
    stage.events();
}

fn item(bytes: usize) -> Delivery {
    Delivery {
        log: LogId(1),
        offset: Offset(0),
        attempts: 0,
        redelivered: false,
        timestamp: Millis(0),
        tail: Bytes::from(vec![b'.'; bytes]),
    }
}

fn delivery(bytes: usize) -> Event {
    Event::Deliver { consumer: ConsumerId(1), items: vec![item(bytes)] }
}

#[test]
fn frames_may_come_in_any_pieces() {
    let mut stage = stage();
    for byte in b"echo a\necho bc\n" {
        stage.send(&[*byte]);
    }
    assert_eq!(text(&mut stage), "a\nbc\n");
}

#[test]
fn frames_wait_while_a_catalog_operation_is_in_flight() {
    let mut stage = stage();
    stage.send(b"declare\necho a\n");
    stage.send(b"declare\necho b\n");
    assert_eq!(text(&mut stage), "");
    assert!(!stage.connection.wants_input());
    let calls = stage.desk.calls();
    assert_eq!(calls.len(), 1, "the second declare waits for the first");
    stage.desk.put(Event::Reply { token: calls[0].1.token, result: Ok(appended(ShardId(0))) });
    stage.events();
    assert_eq!(text(&mut stage), "declared 0 Appended\na\n");
    assert!(!stage.connection.wants_input());
    answer(&mut stage);
    assert_eq!(text(&mut stage), "declared 0 Appended\nb\n");
    assert!(stage.connection.wants_input());
}

#[test]
fn a_publisher_that_outruns_the_disk_is_read_no_further() {
    let mut stage = stage();
    stage.send(format!("silent 0 {}\n", SUBMITTED_BYTES_MAX - 1000).as_bytes());
    assert!(stage.connection.wants_input());
    stage.send(b"append 0 1000\n");
    assert!(!stage.connection.wants_input());
    answer(&mut stage);
    assert!(stage.connection.wants_input());
}

#[test]
fn a_client_that_does_not_read_is_neither_read_nor_given_events() {
    let mut stage = stage();
    stage.send(format!("big {}\n", OUTPUT_BYTES_MAX - 1).as_bytes());
    assert!(stage.connection.wants_input() && stage.connection.wants_events());
    stage.send(b"echo x\n");
    assert!(!stage.connection.wants_input() && !stage.connection.wants_events());
    stage.output();
    assert!(stage.connection.wants_input() && stage.connection.wants_events());
}

#[test]
fn delivered_bytes_are_given_back_when_their_encoding_is_out() {
    let mut stage = stage();
    stage.desk.put(delivery(10_000));
    stage.events();
    stage.desk.put(delivery(500));
    stage.events();
    stage.connection.written(10_000, &stage.desk);
    assert_eq!(stage.desk.delivered_bytes(), 0, "the first message is not out whole");
    stage.connection.written("message 10000\n".len(), &stage.desk);
    let overhead = engine::delivery_bytes(&item(0));
    assert_eq!(stage.desk.delivered_bytes(), 10_000 + overhead);
    stage.output();
    assert_eq!(stage.desk.delivered_bytes(), 10_500 + 2 * overhead);
}

#[test]
fn a_timer_fires_once_and_only_when_due() {
    let mut stage = stage();
    stage.send(b"wake 100\n");
    stage.pass(Millis(99));
    assert_eq!(text(&mut stage), "");
    stage.pass(Millis(1));
    assert_eq!(text(&mut stage), "tick\n");
    stage.pass(Millis(1_000));
    assert_eq!(text(&mut stage), "");
}

#[test]
fn closing_flushes_first_and_reads_nothing_more() {
    let mut stage = stage();
    stage.send(b"close\necho late\n");
    assert!(!stage.connection.finished() && !stage.connection.wants_input());
    assert_eq!(text(&mut stage), "bye\n");
    assert!(stage.connection.finished());
}

#[test]
fn draining_answers_what_was_asked() {
    let mut stage = stage();
    stage.send(b"append 0 10\n");
    stage.connection.drain(&stage.desk, Millis(0));
    assert!(!stage.connection.finished() && !stage.connection.wants_input());
    answer(&mut stage);
    assert!(!stage.connection.finished());
    assert_eq!(text(&mut stage), "appended 0 Appended\n");
    assert!(stage.connection.finished());
}

#[test]
fn unwanted_answers_do_not_reach_the_session() {
    let mut stage = stage();
    stage.send(b"silent 0,1 10\nappend 1 10\n");
    let shards: Vec<u16> = stage
        .desk
        .calls()
        .into_iter()
        .map(|(shard, call)| {
            assert!(matches!(call.op, Op::Append(_)) && call.token != Token::NONE);
            stage.desk.put(Event::Reply { token: call.token, result: Ok(appended(shard)) });
            shard.0
        })
        .collect();
    assert_eq!(shards, [0, 1, 1]);
    stage.events();
    assert_eq!(text(&mut stage), "appended 10 Appended\n");
}

#[test]
fn room_follows_what_was_sent() {
    let mut stage = stage();
    stage.connection.make_room();
    let first = stage.connection.input().capacity();
    assert!((READ_BYTES_MIN..2 * READ_BYTES_MIN).contains(&first));
    let long = vec![b'x'; 1 << 20];
    stage.send(&long);
    stage.connection.make_room();
    assert!(stage.connection.input().capacity() <= 4 * long.len());
    assert!(INPUT_BYTES_MAX > 4 * long.len());
}

#[test]
fn a_quiet_connection_holds_no_buffer() {
    let mut stage = stage();
    stage.connection.make_room();
    stage.send(b"echo x\n");
    assert_eq!(stage.connection.input().capacity(), 0);
}

/// A memory of which the pool has nothing left.
fn used_up(pool: MemoryPool) -> Arc<Memory> {
    let memory = Memory::new(1 << 30);
    memory.add(pool, memory.budget(pool));
    Arc::new(memory)
}

fn within(memory: &Arc<Memory>) -> Stage {
    Stage::within(Box::<LineSession>::default(), Arc::clone(memory))
}

#[test]
fn a_publisher_may_have_less_on_its_way_when_memory_is_short() {
    let mut stage = within(&used_up(MemoryPool::Submitted));
    stage.send(b"silent 0 10000\n");
    assert!(stage.connection.wants_input());
    stage.send(b"silent 0 10000\n");
    assert!(!stage.connection.wants_input());
    answer(&mut stage);
    assert!(stage.connection.wants_input());
}

#[test]
fn a_client_that_does_not_read_may_leave_less_when_memory_is_short() {
    let mut stage = within(&used_up(MemoryPool::Output));
    stage.send(b"big 20000\n");
    assert!(!stage.connection.wants_input() && !stage.connection.wants_events());
    stage.output();
    assert!(stage.connection.wants_input() && stage.connection.wants_events());
}

#[test]
fn what_a_connection_holds_is_counted_until_it_is_gone() {
    let memory = Arc::new(Memory::new(1 << 30));
    let mut stage = within(&memory);
    stage.send(b"silent 0 10000\nbig 5000\nhalf a li");
    stage.connection.count_memory(Millis(0));
    assert!(memory.used(MemoryPool::Submitted) > 10_000);
    assert_eq!(memory.used(MemoryPool::Output), 5_000);
    assert!(memory.used(MemoryPool::Input) >= 9);
    drop(stage);
    for pool in [MemoryPool::Submitted, MemoryPool::Output, MemoryPool::Input] {
        assert_eq!(memory.used(pool), 0, "{pool:?}");
    }
}

#[test]
fn delivered_bytes_are_not_counted_again_when_they_are_encoded() {
    let memory = Arc::new(Memory::new(1 << 30));
    let mut stage = within(&memory);
    stage.desk.put(delivery(10_000));
    stage.events();
    stage.connection.count_memory(Millis(0));
    assert_eq!(memory.used(MemoryPool::Output), 0, "the outbox counts them");
    stage.connection.written("message 10000\n".len() + 9_999, &stage.desk);
    stage.connection.count_memory(Millis(0));
    assert_eq!(memory.used(MemoryPool::Output), 0);
}

#[test]
fn large_messages_come_one_after_another_when_memory_is_short() {
    let memory = used_up(MemoryPool::Input);
    let (mut one, mut other) = (within(&memory), within(&memory));
    other.connection.peer.client = ClientId(2);
    let half = [b'x'; 40_000];
    for stage in [&mut one, &mut other] {
        stage.send(&half);
        stage.connection.count_memory(Millis(0));
    }
    assert!(one.connection.wants_input() && !other.connection.wants_input());
    assert!(other.connection.memory_wait().is_some(), "nobody tells it");
    one.send(b"\n");
    one.connection.count_memory(Millis(0));
    assert!(!other.connection.wants_input());
    other.connection.count_memory(Millis(0));
    assert!(other.connection.wants_input(), "it is its turn");
    drop(other);
    assert!(memory.take_baton(ClientId(3)), "who is gone reads no more");
}

#[test]
fn a_client_that_stalls_in_a_large_message_is_cut_when_memory_is_short() {
    let memory = used_up(MemoryPool::Input);
    let mut stage = within(&memory);
    stage.send(&[b'x'; 40_000]);
    stage.connection.count_memory(Millis(0));
    stage.send(&[b'x'; 300_000]);
    stage.connection.count_memory(Millis(5_000));
    assert!(!stage.connection.finished(), "it goes on");
    stage.connection.count_memory(Millis(9_999));
    assert!(!stage.connection.finished());
    stage.connection.count_memory(Millis(10_000));
    assert!(stage.connection.finished());
}
