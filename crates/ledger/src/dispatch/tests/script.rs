//! Scripts: lines that begin with `>` are commands, the others what they print.
//!
//! ```text
//! enqueue N                      N records of 10 bytes arrive
//! consumer C [window=N] [bytes=N] [priority=N] [shared=N] [exclusive] [noack]
//! shared CLIENT.GROUP N          size of a shared window
//! window C N | flow C on|off
//! deliver [N]                    N hand-outs, or as many as there are; `run=N` allows runs
//! get C [noack]
//! ack C A..B | nack C A..B | release C A..B       release: back without counting
//! leave C | cancel C | drop CLIENT                cancel: leave, but keep what is held
//! sync                           what was acknowledged and returned becomes durable
//! trim N | purge | gone A..B     gone: the records are not there when delivery gets to them
//! crash | restart                without, with everything synced; the memory is rebuilt
//! counts | peek
//! ```
//! A consumer `C` is written `client.number`.

use crate::{
    Assignment, ConsumerKey, ConsumerOptions, Dispatch, Held, Ledger, SharedWindow, Span, Window,
};
use std::collections::BTreeSet;
use std::fmt::Write;
use types::{ClientId, ConsumerId, Offset};

enum Change {
    Settle(Span),
    Return(Span, bool),
}

struct Queue {
    ledger: Ledger,
    dispatch: Dispatch,
    end: Offset,
    gone: BTreeSet<Offset>,
    unsynced: Vec<Change>,
}

fn check(script: &str) {
    let mut queue = Queue::new();
    let mut seen = String::new();
    let wanted: Vec<&str> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    for line in &wanted {
        if let Some(command) = line.strip_prefix("> ") {
            writeln!(seen, "{line}").unwrap();
            queue.run(command, &mut seen);
        }
    }
    assert_eq!(seen.trim_end(), wanted.join("\n"));
}

impl Queue {
    fn new() -> Queue {
        let ledger = Ledger::new(Offset(0));
        let dispatch = Dispatch::new(&ledger, None);
        Queue { ledger, dispatch, end: Offset(0), gone: BTreeSet::new(), unsynced: Vec::new() }
    }

    fn run(&mut self, command: &str, out: &mut String) {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[0] {
            "enqueue" => self.end.0 += number::<i64>(words[1]),
            "consumer" => self.consumer(&words, out),
            "shared" => {
                let ConsumerKey { client, consumer } = key(words[1]);
                let window = Window { messages: number(words[2]), bytes: 0 };
                let shared = SharedWindow { client, group: consumer.0 };
                self.dispatch.set_shared_window(shared, window);
            }
            "window" => {
                let window = Window { messages: number(words[2]), bytes: 0 };
                self.dispatch.set_window(key(words[1]), window);
            }
            "flow" => self.dispatch.set_flow(key(words[1]), words[2] == "on"),
            "deliver" => self.deliver(&words, out),
            "get" => {
                let taker = (key(words[1]), words.contains(&"noack"));
                let gone = &self.gone;
                let len_of = |offset| (!gone.contains(&offset)).then_some(10);
                let taken = self.dispatch.take_one(&self.ledger, self.end, taker, len_of);
                self.note(taken, out);
            }
            "ack" | "nack" | "release" => self.answer(&words, out),
            "leave" => {
                let back = self.dispatch.leave(key(words[1]), Held::Return { count: true });
                self.came_back(back, out);
            }
            "cancel" => {
                let back = self.dispatch.leave(key(words[1]), Held::Keep);
                self.came_back(back, out);
            }
            "drop" => {
                let back = self.dispatch.drop_client(ClientId(number(words[1])), true);
                self.came_back(back, out);
            }
            _ => self.run_store(&words, out),
        }
    }

    fn run_store(&mut self, words: &[&str], out: &mut String) {
        match words[0] {
            "sync" => self.sync(),
            "trim" => {
                let span = Span::new(self.ledger.floor(), Offset(number(words[1])));
                self.ledger.advance_floor_to(span.end);
                self.dispatch.forget(&self.ledger, span);
            }
            "purge" => {
                let mut spans = Vec::new();
                let count =
                    self.dispatch.take_ready(&self.ledger, self.end, (u64::MAX, None), &mut spans);
                writeln!(out, "{count} purged").unwrap();
                self.unsynced.extend(spans.into_iter().map(Change::Settle));
            }
            "gone" => self.gone.extend(span(words[1]).offsets()),
            "crash" => {
                self.unsynced.clear();
                self.dispatch = Dispatch::new(&self.ledger, Some(self.end));
            }
            "restart" => {
                self.sync();
                self.dispatch = Dispatch::new(&self.ledger, None);
            }
            "counts" => {
                let ready = self.dispatch.ready_count(self.end);
                let unacked = self.dispatch.unacked_count();
                let consumers = self.dispatch.consumer_count();
                let unsettled = self.ledger.unsettled(self.end);
                writeln!(
                    out,
                    "ready {ready}, unacked {unacked}, consumers {consumers}, unsettled {unsettled}"
                )
                .unwrap();
            }
            "peek" => match self.dispatch.peek(&self.ledger, self.end, None) {
                Some(offset) => writeln!(out, "{offset}").unwrap(),
                None => writeln!(out, "nothing").unwrap(),
            },
            other => panic!("no command {other}"),
        }
    }

    fn consumer(&mut self, words: &[&str], out: &mut String) {
        let key = key(words[1]);
        let mut options = ConsumerOptions::default();
        for word in &words[2..] {
            match word.split_once('=') {
                Some(("window", value)) => options.window.messages = number(value),
                Some(("bytes", value)) => options.window.bytes = number(value),
                Some(("priority", value)) => options.priority = number(value),
                Some(("shared", value)) => {
                    let group = number(value);
                    options.shared = Some(SharedWindow { client: key.client, group });
                }
                None if *word == "exclusive" => options.exclusive = true,
                None if *word == "noack" => options.settle_now = true,
                _ => panic!("no option {word}"),
            }
        }
        if let Err(error) = self.dispatch.add(key, options) {
            writeln!(out, "{error:?}").unwrap();
        }
    }

    fn deliver(&mut self, words: &[&str], out: &mut String) {
        let mut count = usize::MAX;
        let mut run_max = 1;
        for word in &words[1..] {
            match word.strip_prefix("run=") {
                Some(value) => run_max = number(value),
                None => count = number(word),
            }
        }
        for _ in 0..count {
            let gone = &self.gone;
            let len_of = |offset| (!gone.contains(&offset)).then_some(10);
            let next = self.dispatch.next(&self.ledger, self.end, run_max, len_of);
            let is_last = next.is_none();
            if !is_last || count != usize::MAX {
                self.note(next, out);
            }
            if is_last {
                break;
            }
        }
        let skipped = self.dispatch.take_skipped();
        for span in skipped {
            writeln!(out, "skipped {}", show(span)).unwrap();
            self.unsynced.push(Change::Settle(span));
        }
    }

    fn note(&mut self, assignment: Option<Assignment>, out: &mut String) {
        let Some(given) = assignment else {
            writeln!(out, "nothing").unwrap();
            return;
        };
        write!(out, "{}.{} {}", given.key.client, given.key.consumer, show(given.span)).unwrap();
        assert_eq!(given.bytes, 10 * given.span.len());
        if given.redelivered {
            write!(out, " redelivered").unwrap();
        }
        if given.attempt != 1 {
            write!(out, " attempt {}", given.attempt).unwrap();
        }
        if given.settle_now {
            write!(out, " settled").unwrap();
            self.unsynced.push(Change::Settle(given.span));
        }
        writeln!(out).unwrap();
    }

    fn answer(&mut self, words: &[&str], out: &mut String) {
        let (key, span) = (key(words[1]), span(words[2]));
        let mut held = Vec::new();
        let count = words[0] == "nack";
        if words[0] == "ack" {
            self.dispatch.settled(key, span, &mut held);
        } else {
            self.dispatch.returned(key, span, count, &mut held);
        }
        if held != [span] {
            let held: Vec<String> = held.iter().copied().map(show).collect();
            writeln!(out, "held only [{}]", held.join(", ")).unwrap();
        }
        self.unsynced.extend(held.into_iter().map(|span| match words[0] {
            "ack" => Change::Settle(span),
            _ => Change::Return(span, count),
        }));
    }

    fn came_back(&mut self, back: Vec<Span>, out: &mut String) {
        for span in back {
            writeln!(out, "back {}", show(span)).unwrap();
            self.unsynced.push(Change::Return(span, true));
        }
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Settle(span) => {
                    self.ledger.settle(span);
                }
                Change::Return(span, count) => self.ledger.return_span(span, count),
            }
        }
    }
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("no number: {word}"))
}

fn key(word: &str) -> ConsumerKey {
    let (client, consumer) = word.split_once('.').unwrap();
    ConsumerKey { client: ClientId(number(client)), consumer: ConsumerId(number(consumer)) }
}

/// `A..B` (B included, unlike in Rust, as a reader expects of offsets) or `A`.
fn span(word: &str) -> Span {
    let (first, last) = word.split_once("..").unwrap_or((word, word));
    Span::new(Offset(number(first)), Offset(number::<i64>(last) + 1))
}

fn show(span: Span) -> String {
    let last = Offset(span.end.0 - 1);
    if last == span.first { span.first.to_string() } else { format!("{}..{last}", span.first) }
}

#[test]
fn equal_consumers_take_turns_within_their_windows() {
    check(
        "> consumer 1.1 window=3
         > consumer 2.1 window=1
         > enqueue 6
         > deliver run=10
         1.1 0
         2.1 1
         1.1 2
         1.1 3
         > ack 2.1 1
         > deliver run=10
         2.1 4
         > ack 1.1 0..2
         held only [0, 2]
         > deliver
         1.1 5
         > counts
         ready 0, unacked 3, consumers 2, unsettled 6
         > sync
         > counts
         ready 0, unacked 3, consumers 2, unsettled 3",
    );
}

#[test]
fn one_consumer_gets_runs_up_to_its_window() {
    check(
        "> enqueue 100
         > consumer 1.1 window=50
         > deliver run=20
         1.1 0..19
         1.1 20..39
         1.1 40..49
         > ack 1.1 0..49
         > window 1.1 60
         > deliver run=100
         1.1 50..99
         > counts
         ready 0, unacked 50, consumers 1, unsettled 100",
    );
}

#[test]
fn a_byte_window_lets_the_message_that_crosses_it_through() {
    check(
        "> enqueue 9
         > consumer 1.1 bytes=25
         > deliver run=100
         1.1 0..2
         > ack 1.1 1
         > deliver
         1.1 3
         > deliver 1
         nothing",
    );
}

#[test]
fn what_came_back_is_served_first_and_in_order() {
    check(
        "> enqueue 6
         > consumer 1.1 window=4
         > deliver run=9
         1.1 0..3
         > nack 1.1 2
         > release 1.1 0..1
         > peek
         0
         > deliver
         1.1 0 redelivered
         1.1 1 redelivered
         1.1 2 redelivered attempt 2
         > nack 1.1 2
         > deliver
         1.1 2 redelivered attempt 3
         > ack 1.1 0..3
         > deliver run=9
         1.1 4..5",
    );
}

#[test]
fn higher_priority_is_served_while_it_has_credit() {
    check(
        "> enqueue 5
         > consumer 1.1 priority=-1
         > consumer 2.1 priority=5 window=2
         > deliver
         2.1 0
         2.1 1
         1.1 2
         1.1 3
         1.1 4
         > ack 2.1 0
         > enqueue 2
         > deliver
         2.1 5
         1.1 6",
    );
}

#[test]
fn a_stopped_consumer_is_passed_over_until_it_flows_again() {
    check(
        "> enqueue 4
         > consumer 1.1
         > consumer 2.1
         > flow 1.1 off
         > deliver 2
         2.1 0
         2.1 1
         > flow 1.1 on
         > deliver
         2.1 2
         1.1 3",
    );
}

#[test]
fn a_shared_window_bounds_its_consumers_together() {
    check(
        "> enqueue 9
         > shared 1.7 3
         > consumer 1.1 shared=7
         > consumer 1.2 shared=7 window=1
         > deliver
         1.1 0
         1.2 1
         1.1 2
         > ack 1.1 0
         > deliver
         1.1 3
         > ack 1.2 1
         > deliver
         1.2 4
         > cancel 1.1
         > deliver 1
         nothing
         > ack 1.1 2..3
         > ack 1.2 4
         > deliver
         1.2 5
         > shared 1.7 1
         > ack 1.2 5
         > deliver
         1.2 6",
    );
}

#[test]
fn what_one_frees_of_a_shared_window_another_may_take() {
    check(
        "> enqueue 9
         > shared 1.7 2
         > consumer 1.1 shared=7
         > consumer 1.2 shared=7
         > deliver
         1.1 0
         1.2 1
         > deliver 1
         nothing
         > flow 1.1 off
         > ack 1.1 0
         > deliver
         1.2 2
         > ack 1.2 1
         > flow 1.2 off
         > flow 1.1 on
         > deliver
         1.1 3",
    );
}

#[test]
fn exclusive_consumers_are_alone() {
    check(
        "> consumer 1.1 exclusive
         > consumer 1.2
         HeldExclusively
         > consumer 1.1
         Exists
         > leave 1.1
         > consumer 1.2
         > consumer 1.1 exclusive
         InUse
         > drop 1
         > consumer 2.1 exclusive
         > counts
         ready 0, unacked 0, consumers 1, unsettled 0",
    );
}

#[test]
fn no_ack_consumers_hold_nothing() {
    check(
        "> enqueue 4
         > consumer 1.1 noack window=1
         > deliver run=3
         1.1 0..2 settled
         1.1 3 settled
         > counts
         ready 0, unacked 0, consumers 1, unsettled 4
         > sync
         > counts
         ready 0, unacked 0, consumers 1, unsettled 0",
    );
}

#[test]
fn get_takes_one_without_being_a_consumer() {
    check(
        "> get 3.9
         nothing
         > enqueue 3
         > get 3.9
         3.9 0
         > get 3.9 noack
         3.9 1 settled
         > counts
         ready 1, unacked 1, consumers 0, unsettled 3
         > nack 3.9 0..1
         held only [0]
         > get 3.9
         3.9 0 redelivered attempt 2
         > ack 3.9 0
         > ack 3.9 0
         held only []
         > drop 3
         > get 4.1
         4.1 2",
    );
}

#[test]
fn only_the_holder_settles_or_returns() {
    check(
        "> enqueue 4
         > consumer 1.1
         > consumer 2.1
         > deliver
         1.1 0
         2.1 1
         1.1 2
         2.1 3
         > ack 1.1 0..3
         held only [0, 2]
         > nack 1.1 0..3
         held only []
         > nack 2.1 0..2
         held only [1]
         > drop 2
         back 3
         > deliver
         1.1 1 redelivered attempt 2
         1.1 3 redelivered attempt 2",
    );
}

#[test]
fn a_cancelled_consumer_can_still_answer() {
    check(
        "> enqueue 3
         > consumer 1.1
         > deliver run=9
         1.1 0..2
         > cancel 1.1
         > counts
         ready 0, unacked 3, consumers 0, unsettled 3
         > ack 1.1 0
         > consumer 1.1 window=1
         > nack 1.1 1
         > deliver 1
         nothing
         > ack 1.1 2
         > deliver
         1.1 1 redelivered attempt 2
         > leave 1.1
         back 1",
    );
}

#[test]
fn purge_leaves_what_is_held() {
    check(
        "> enqueue 10
         > consumer 1.1 window=4
         > deliver run=9
         1.1 0..3
         > consumer 1.2 window=1
         > nack 1.1 1
         > purge
         7 purged
         > counts
         ready 0, unacked 3, consumers 2, unsettled 10
         > sync
         > counts
         ready 0, unacked 3, consumers 2, unsettled 3
         > enqueue 1
         > deliver
         1.2 10
         > crash
         > consumer 1.1
         > deliver run=9
         1.1 0 redelivered
         1.1 2..3 redelivered
         1.1 10 redelivered",
    );
}

#[test]
fn a_trim_ends_leases_and_returns() {
    check(
        "> enqueue 8
         > consumer 1.1 window=4
         > deliver run=9
         1.1 0..3
         > nack 1.1 1
         > trim 3
         > counts
         ready 4, unacked 1, consumers 1, unsettled 5
         > deliver run=9
         1.1 4..6
         > ack 1.1 0..6
         held only [3..6]
         > trim 8
         > deliver 1
         nothing
         > counts
         ready 0, unacked 0, consumers 1, unsettled 0",
    );
}

#[test]
fn records_that_are_gone_are_passed_over_and_settled() {
    check(
        "> enqueue 8
         > gone 0..1
         > gone 4
         > consumer 1.1 window=9
         > deliver run=9
         1.1 2..3
         1.1 5..7
         skipped 0..1
         skipped 4
         > nack 1.1 6
         > gone 6
         > deliver
         skipped 6
         > sync
         > counts
         ready 0, unacked 4, consumers 1, unsettled 4",
    );
}

#[test]
fn a_crash_forgets_what_was_not_synced_and_flags_the_rest() {
    check(
        "> enqueue 6
         > consumer 1.1 window=4
         > deliver run=9
         1.1 0..3
         > ack 1.1 1
         > nack 1.1 2
         > sync
         > ack 1.1 0
         > crash
         > enqueue 2
         > counts
         ready 7, unacked 0, consumers 0, unsettled 7
         > consumer 1.1
         > deliver run=9
         1.1 0 redelivered
         1.1 2 redelivered attempt 2
         1.1 3..5 redelivered
         1.1 6..7",
    );
}

#[test]
fn a_clean_restart_flags_only_what_came_back() {
    check(
        "> enqueue 5
         > consumer 1.1 window=3
         > deliver run=9
         1.1 0..2
         > ack 1.1 1
         > release 1.1 2
         > drop 1
         back 0
         > restart
         > consumer 1.1
         > deliver run=9
         1.1 0 redelivered attempt 2
         1.1 2 redelivered
         1.1 3..4",
    );
}

/// Who takes one by one tells them apart in `out`, also where they touch.
#[test]
fn spans_of_earlier_calls_are_left_as_they_are() {
    let ledger = Ledger::new(Offset(0));
    let mut dispatch = Dispatch::new(&ledger, None);
    let (end, holder) = (Offset(8), key("1.1"));
    dispatch.add(holder, ConsumerOptions::default()).unwrap();
    for _ in 0..4 {
        dispatch.next(&ledger, end, 1, |_| Some(10));
    }
    let mut out = Vec::new();
    dispatch.settled(holder, span("0"), &mut out);
    dispatch.settled(holder, span("1"), &mut out);
    dispatch.returned(holder, span("2"), true, &mut out);
    dispatch.returned(holder, span("3"), true, &mut out);
    assert_eq!(out, [span("0"), span("1"), span("2"), span("3")]);
    out.clear();
    for count in [1, 1, 2, 1] {
        assert_eq!(dispatch.take_ready(&ledger, end, (count, None), &mut out), count);
    }
    assert_eq!(out, [span("2"), span("3"), span("4..5"), span("6")]);
}
