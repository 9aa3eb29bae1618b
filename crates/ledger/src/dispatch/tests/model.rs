//! Random operations against a model that keeps every message by itself.

use crate::{ConsumerKey, ConsumerOptions, Dispatch, Ended, Held, Ledger, Span, Unsettled, Window};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use types::{ClientId, ConsumerId, Millis, Offset};

/// What the leader believes of one message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Ready,
    Held(ConsumerKey),
    /// It came back and waits for its time.
    Parked,
    /// Acknowledged, passed over, purged or trimmed.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    place: Place,
    /// Counted returns, as the leader knows them.
    returns: u16,
    redelivered: bool,
    is_durably_settled: bool,
    durable_returns: Option<u16>,
    /// Its delivery is written down, and not its end.
    is_leased: bool,
    /// It came back since the crash; `None`: it was parked before, and whether the dispatch noted that it
    /// is ready again depends on where it stood.
    came_back: Option<bool>,
    /// Until when it was parked last, as the leader knows and as is written down.
    due: Option<Millis>,
    durable_due: Option<Millis>,
    level: u8,
    key: Option<u64>,
}

#[derive(Clone, Debug)]
enum Change {
    Settle(Span),
    Return(Span, bool),
    Park(Span, bool, Millis),
    Trim(Offset),
    Lease(Span),
    Append(Span, u8),
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue(i64, u8, u64),
    Deliver { times: u8, run_max: u32 },
    Get(ConsumerKey, bool),
    Settle(ConsumerKey, i64, i64),
    SettleUpTo(ConsumerKey, i64),
    Return(ConsumerKey, i64, i64, bool),
    Park(ConsumerKey, i64, i64, bool),
    ParkAll(ClientId),
    Release(i64, i64),
    PurgeParked,
    Add(ConsumerKey, ConsumerOptions),
    Leave(ConsumerKey, bool),
    Cancel(ConsumerKey),
    DropClient(ClientId),
    Window(ConsumerKey, u32),
    Overdue(u16),
    Purge(u64, Option<usize>),
    Trim(i64),
    Sync,
    Checkpoint,
    Crash,
}

/// The thing under test, the model, and the log between them.
struct World {
    ledger: Ledger,
    dispatch: Dispatch,
    messages: Vec<Message>,
    consumers: BTreeMap<ConsumerKey, ConsumerOptions>,
    /// What each holds; whose message is settled gives back its average.
    unsettled: BTreeMap<ConsumerKey, Unsettled>,
    /// In the log, not yet applied.
    unsynced: Vec<Change>,
    /// Applied since the checkpoint.
    replay: Vec<Change>,
    checkpoint: Vec<u8>,
    /// Deliveries are written down before they are made.
    leases: bool,
    /// What was with a consumer at a crash waits.
    parks: bool,
    /// Rises with each that is parked.
    last_due: Millis,
    /// Only one consumer is served; whether it makes room for a higher priority.
    single: Option<bool>,
    active: Option<ConsumerKey>,
    /// Consumers, the first that came first.
    arrivals: Vec<ConsumerKey>,
    /// The highest level; 0: there are none.
    level_max: u8,
    /// Of each key so many messages at a time are handed out.
    keyed: Option<u32>,
    /// Of the handouts every so many is of the oldest message.
    every: Option<u32>,
    /// Handouts since the last of those.
    since: u32,
}

impl World {
    fn new(
        (leases, parks): (bool, bool),
        single: Option<bool>,
        level_max: u8,
        every: Option<u32>,
        keyed: Option<u32>,
    ) -> World {
        let ledger = Ledger::with_levels(Offset(0), level_max);
        let every = every.filter(|_| level_max > 0);
        World {
            dispatch: dispatch(&ledger, None, single, (every, keyed)),
            checkpoint: postcard::to_stdvec(&ledger).unwrap(),
            ledger,
            messages: Vec::new(),
            consumers: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            unsynced: Vec::new(),
            replay: Vec::new(),
            leases,
            parks,
            last_due: Millis(0),
            single,
            active: None,
            arrivals: Vec::new(),
            level_max,
            keyed,
            every,
            since: 0,
        }
    }

    fn end(&self) -> Offset {
        Offset(self.messages.len() as i64)
    }

    /// Who is active stays so while it is there, but for a higher priority that is to be made room for.
    fn elect(&mut self) {
        let Some(yields) = self.single else { return };
        self.arrivals.retain(|key| self.consumers.contains_key(key));
        let priority = |key: &ConsumerKey| self.consumers[key].priority;
        let highest = self.arrivals.iter().map(priority).max();
        let best = self.arrivals.iter().find(|key| Some(priority(key)) == highest).copied();
        let stays = self.active.filter(|key| {
            self.consumers.contains_key(key)
                && (!yields
                    || Some(priority(key)) == highest
                    || self.held(|holder| holder == *key).messages > 0)
        });
        self.active = stays.or(best);
        assert_eq!(self.dispatch.active(), self.active);
    }

    /// Whether a consumer may be served at all.
    fn is_served(&self, key: ConsumerKey) -> bool {
        let Some(yields) = self.single else { return true };
        let highest = self.consumers.values().map(|options| options.priority).max();
        self.active == Some(key) && (!yields || Some(self.consumers[&key].priority) == highest)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Enqueue(count, level, key) => self.enqueue(count, level, key),
            Step::Deliver { times, run_max } => {
                (0..times).for_each(|_| self.deliver(run_max));
            }
            Step::Get(key, settle_now) => self.get(key, settle_now),
            Step::Settle(key, first, end) => self.settle(key, first, end),
            Step::SettleUpTo(key, end) => self.settle(key, 0, end),
            Step::Return(key, first, end, count) => self.give_back(key, first, end, count),
            Step::Park(key, first, end, count) => self.park(key, (first, end), count),
            Step::ParkAll(client) => self.park_all(client),
            Step::Release(first, end) => self.release(first, end),
            Step::PurgeParked => self.purge_parked(),
            Step::Add(key, options) => {
                let fits = !self.consumers.contains_key(&key);
                assert_eq!(self.dispatch.add(key, options).is_ok(), fits);
                if fits {
                    self.consumers.insert(key, options);
                    self.arrivals.push(key);
                }
            }
            Step::Leave(key, count) => {
                let spans = self.dispatch.leave(key, Held::Return { count });
                self.consumers.remove(&key);
                self.came_back(&spans, count, |holder| holder == key);
            }
            Step::Cancel(key) => {
                assert!(self.dispatch.leave(key, Held::Keep).is_empty());
                self.consumers.remove(&key);
            }
            Step::DropClient(client) => {
                let spans = self.dispatch.drop_client(client, true);
                self.consumers.retain(|key, _| key.client != client);
                self.came_back(&spans, true, |holder| holder.client == client);
            }
            Step::Window(key, messages) => {
                let window = Window { messages, bytes: 0 };
                self.dispatch.set_window(key, window);
                if let Some(options) = self.consumers.get_mut(&key) {
                    options.window = window;
                }
            }
            Step::Overdue(most) => self.overdue(most),
            Step::Purge(count, level) => self.purge(count, level),
            Step::Trim(to) => self.trim(to),
            Step::Sync => self.sync(),
            Step::Checkpoint => {
                self.checkpoint = postcard::to_stdvec(&self.ledger).unwrap();
                self.replay.clear();
            }
            Step::Crash => self.crash(),
        }
    }

    fn enqueue(&mut self, count: i64, level: u8, key: u64) {
        let first = self.end();
        let message = Message {
            place: Place::Ready,
            returns: 0,
            redelivered: false,
            is_durably_settled: false,
            durable_returns: None,
            is_leased: false,
            came_back: Some(false),
            level: level.min(self.level_max),
            key: (key > 0).then_some(key),
            due: None,
            durable_due: None,
        };
        self.messages.extend((0..count).map(|_| message));
        self.apply(Change::Append(Span::new(first, self.end()), level));
    }

    fn has_room(&self, key: ConsumerKey) -> bool {
        let options = self.consumers[&key];
        let held = self.held(|holder| holder == key);
        let Window { messages, bytes } = options.window;
        let has_messages = messages == 0 || held.messages < u64::from(messages);
        let has_bytes = bytes == 0 || held.bytes < bytes;
        self.is_served(key) && (options.settle_now || (has_messages && has_bytes))
    }

    fn held(&self, whose: impl Fn(ConsumerKey) -> bool) -> Unsettled {
        let mut held = Unsettled::default();
        for (_, unsettled) in self.unsettled.iter().filter(|(key, _)| whose(**key)) {
            held.messages += unsettled.messages;
            held.bytes += unsettled.bytes;
        }
        let is_held =
            |message: &&Message| matches!(message.place, Place::Held(holder) if whose(holder));
        assert_eq!(held.messages, self.messages.iter().filter(is_held).count() as u64);
        held
    }

    /// So many messages are not held any more.
    fn refund(&mut self, key: ConsumerKey, messages: u64) {
        let held = self.unsettled.entry(key).or_default();
        if 0 < messages {
            held.bytes -= held.bytes * messages / held.messages;
            held.messages -= messages;
        }
    }

    /// The ready message that is next: of the highest level, unless it is the oldest one's turn.
    fn next_ready(&self, is_oldest_due: bool, may: impl Fn(&Message) -> bool) -> Option<usize> {
        let messages = self.messages.iter().enumerate();
        let ready = messages.filter(|(_, it)| it.place == Place::Ready && may(it));
        let rank = |level| if is_oldest_due { 0 } else { level };
        ready.min_by_key(|(at, message)| (Reverse(rank(message.level)), *at)).map(|(at, _)| at)
    }

    /// The one that is handed out next: it waits for no other of its key.
    fn next_to_go(&self) -> Option<usize> {
        let held = |key, at_once: u32| {
            let holds = |place| matches!(place, Place::Held(_) | Place::Parked);
            let of_key = |it: &&Message| holds(it.place) && it.key == Some(key);
            self.messages.iter().filter(of_key).count() >= at_once as usize
        };
        let is_oldest_due = self.every.is_some_and(|every| self.since + 1 >= every);
        self.next_ready(is_oldest_due, |it| {
            !it.key.zip(self.keyed).is_some_and(|(key, at_once)| held(key, at_once))
        })
    }

    /// Finds the ready message that is there and next; the ones that are not there become done.
    fn take_next(&mut self) -> Option<usize> {
        loop {
            let at = self.next_to_go()?;
            if len_of(Offset(at as i64)).is_some() {
                return Some(at);
            }
            self.messages[at].place = Place::Done;
        }
    }

    fn deliver(&mut self, run_max: u32) {
        let able: Vec<ConsumerKey> =
            self.consumers.keys().copied().filter(|&key| self.has_room(key)).collect();
        assert_eq!(self.dispatch.has_credit(), !able.is_empty());
        let given = loop {
            let given = self.dispatch.next(&self.ledger, self.end(), run_max, len_of);
            if given.is_some() || !self.tell() {
                break given;
            }
        };
        self.note_skipped();
        let Some(given) = given else {
            assert!(able.is_empty() || self.take_next().is_none(), "nothing given to {able:?}");
            return;
        };
        let best = able.iter().map(|key| self.consumers[key].priority).max().unwrap();
        assert!(self.is_served(given.key), "{:?} is not active", given.key);
        assert_eq!(self.consumers[&given.key].priority, best);
        assert!(given.span.len() <= u64::from(run_max));
        let mut bytes = 0;
        for offset in given.span.offsets() {
            assert!(self.has_room(given.key), "{offset} is beyond the window");
            bytes += u64::from(len_of(offset).unwrap());
            self.hand_out(offset, given.key, (given.attempt, given.redelivered, given.settle_now));
        }
        assert_eq!(given.bytes, bytes);
        assert_eq!(given.settle_now, self.consumers[&given.key].settle_now);
        if given.settle_now {
            self.unsynced.push(Change::Settle(given.span));
        }
    }

    /// Tells some keys, if one is wanted.
    fn tell(&mut self) -> bool {
        let Some(first) = self.dispatch.take_wanted() else { return false };
        assert!(self.keyed.is_some());
        let some = self.messages[first.0 as usize..].iter().take(5);
        self.dispatch.tell_keys(first, some.map(|message| message.key));
        true
    }

    fn get(&mut self, key: ConsumerKey, settle_now: bool) {
        let by = (key, settle_now);
        let taken = loop {
            let taken = self.dispatch.take_one(&self.ledger, self.end(), by, len_of);
            if taken.is_some() || !self.tell() {
                break taken;
            }
        };
        self.note_skipped();
        let Some(given) = taken else {
            assert_eq!(self.take_next(), None);
            return;
        };
        self.hand_out(given.span.first, key, (given.attempt, given.redelivered, settle_now));
        if settle_now {
            self.unsynced.push(Change::Settle(given.span));
        }
    }

    fn hand_out(&mut self, offset: Offset, key: ConsumerKey, told: (u16, bool, bool)) {
        let next = self.take_next();
        self.since = match self.every {
            Some(every) if self.since + 1 >= every => 0,
            _ => self.since + 1,
        };
        assert_eq!(next, Some(offset.0 as usize), "delivered out of order, or twice");
        let message = &mut self.messages[offset.0 as usize];
        let (attempt, redelivered, settle_now) = told;
        assert!(!message.is_durably_settled, "{offset} is settled");
        assert_eq!((attempt, redelivered), (message.returns + 1, message.redelivered));
        message.place = if settle_now { Place::Done } else { Place::Held(key) };
        if !settle_now && self.leases {
            self.sync();
            self.apply(Change::Lease(Span::one(offset)));
        }
        if !settle_now {
            let held = self.unsettled.entry(key).or_default();
            held.messages += 1;
            held.bytes += u64::from(len_of(offset).unwrap());
        }
    }

    fn note_skipped(&mut self) {
        for span in self.dispatch.take_skipped() {
            assert!(span.offsets().all(|offset| len_of(offset).is_none()));
            self.unsynced.push(Change::Settle(span));
        }
    }

    fn settle(&mut self, key: ConsumerKey, first: i64, end: i64) {
        let mut spans = Vec::new();
        let span = Span::new(Offset(first), Offset(end));
        self.dispatch.settled(key, span, &mut spans);
        let wanted = self.each_held(span, key, |message| message.place = Place::Done);
        assert_eq!(spread(&spans), wanted);
        self.unsynced.extend(spans.into_iter().map(Change::Settle));
    }

    fn give_back(&mut self, key: ConsumerKey, first: i64, end: i64, count: bool) {
        let mut spans = Vec::new();
        let span = Span::new(Offset(first), Offset(end));
        self.dispatch.returned(key, span, count, &mut spans);
        let wanted = self.each_held(span, key, |message| message.come_back(count));
        assert_eq!(spread(&spans), wanted);
        self.unsynced.extend(spans.into_iter().map(|span| Change::Return(span, count)));
    }

    fn park(&mut self, key: ConsumerKey, (first, end): (i64, i64), count: bool) {
        let span = Span::new(Offset(first), Offset(end));
        let mut ended = Vec::new();
        self.dispatch.end(key, span, &mut ended);
        self.parked(&ended, count);
        self.refund(key, ended.iter().map(|ended| ended.span.len()).sum());
        let is_left = |message: &Message| message.place == Place::Held(key);
        let within = self.messages.iter().take(end as usize).skip(first as usize);
        assert!(!within.clone().any(is_left), "all that it held there ended");
    }

    fn park_all(&mut self, client: ClientId) {
        let mut ended = Vec::new();
        self.dispatch.end_client(client, &mut ended);
        self.parked(&ended, true);
        self.unsettled.retain(|holder, _| holder.client != client);
        self.held(|holder| holder.client == client);
    }

    /// Leases ended: their messages wait, each run until another time.
    fn parked(&mut self, ended: &[Ended], count: bool) {
        for Ended { span, attempt, level } in ended {
            self.last_due = Millis(self.last_due.0 + 1);
            self.dispatch.park(*span);
            for offset in span.offsets() {
                let message = &mut self.messages[offset.0 as usize];
                assert!(matches!(message.place, Place::Held(_)));
                assert_eq!((*attempt, *level), (message.returns + 1, message.level));
                message.come_back(count);
                (message.place, message.due) = (Place::Parked, Some(self.last_due));
            }
            self.unsynced.push(Change::Park(*span, count, self.last_due));
        }
    }

    /// The time of some has come; those of which the ledger does not know so stay.
    fn release(&mut self, first: i64, end: i64) {
        for offset in Span::new(Offset(first), Offset(end.min(self.end().0))).offsets() {
            let message = &mut self.messages[offset.0 as usize];
            let due = self.ledger.due(offset);
            assert_eq!(due, message.durable_due);
            if due.is_none() || due != message.due {
                continue;
            }
            let returns = self.ledger.returns(offset).expect("what was parked came back");
            let is_parked = message.place == Place::Parked;
            assert_eq!(self.dispatch.is_parked(offset), is_parked);
            assert_eq!(self.dispatch.release(&self.ledger, offset, returns), is_parked);
            if is_parked {
                assert_eq!(returns, message.returns);
                message.place = Place::Ready;
            }
        }
    }

    fn purge_parked(&mut self) {
        let mut spans = Vec::new();
        let taken = self.dispatch.take_parked(&mut spans);
        let mut wanted = Vec::new();
        for (offset, message) in self.messages.iter_mut().enumerate() {
            if message.place == Place::Parked {
                message.place = Place::Done;
                wanted.push(Offset(offset as i64));
            }
        }
        assert_eq!(spread(&spans), wanted);
        assert_eq!(taken, wanted.len() as u64);
        self.unsynced.extend(spans.into_iter().map(Change::Settle));
    }

    fn each_held(
        &mut self,
        span: Span,
        key: ConsumerKey,
        change: impl Fn(&mut Message),
    ) -> Vec<Offset> {
        let mut offsets = Vec::new();
        for offset in span.offsets() {
            if let Some(message) = self.messages.get_mut(offset.0 as usize)
                && message.place == Place::Held(key)
            {
                change(message);
                offsets.push(offset);
            }
        }
        self.refund(key, offsets.len() as u64);
        offsets
    }

    fn came_back(&mut self, spans: &[Span], count: bool, whose: impl Fn(ConsumerKey) -> bool) {
        let mut wanted = Vec::new();
        for (offset, message) in self.messages.iter_mut().enumerate() {
            if matches!(message.place, Place::Held(holder) if whose(holder)) {
                message.come_back(count);
                wanted.push(Offset(offset as i64));
            }
        }
        self.unsettled.retain(|holder, _| !whose(*holder));
        assert_eq!(spread(spans), wanted);
        self.unsynced.extend(spans.iter().map(|&span| Change::Return(span, count)));
    }

    /// The ready message that is next, or the oldest of one level.
    fn next_of(&self, level: Option<usize>) -> Option<usize> {
        let Some(level) = level else { return self.next_ready(false, |_| true) };
        let mut messages = self.messages.iter();
        messages.position(|it| it.place == Place::Ready && usize::from(it.level) == level)
    }

    fn purge(&mut self, count: u64, level: Option<usize>) {
        let level = level.filter(|&level| level < self.dispatch.level_count());
        let mut spans = Vec::new();
        let taken = self.dispatch.take_ready(&self.ledger, self.end(), (count, level), &mut spans);
        let mut wanted = Vec::new();
        while (wanted.len() as u64) < count
            && let Some(at) = self.next_of(level)
        {
            self.messages[at].place = Place::Done;
            wanted.push(Offset(at as i64));
        }
        wanted.sort_unstable();
        assert_eq!(spread(&spans), wanted);
        assert_eq!(taken, wanted.len() as u64);
        self.unsynced.extend(spans.into_iter().map(Change::Settle));
    }

    /// What came back too often is taken out.
    fn overdue(&mut self, most: u16) {
        let all = Span::new(Offset(0), self.end());
        // What came back before a crash is the ledger's, and looked at when its turn comes.
        let taken = spread(&self.dispatch.take_overdue(&[all], most));
        for (offset, message) in self.messages.iter_mut().enumerate() {
            let is_taken = taken.contains(&Offset(offset as i64));
            assert!(!is_taken || message.place == Place::Ready && message.returns > most);
            if let Some(came_back) = message.came_back {
                let is_known = came_back && message.place == Place::Ready;
                assert_eq!(is_taken, is_known && message.returns > most, "{offset}");
            }
            if is_taken {
                message.place = Place::Done;
            }
        }
        let spans = taken.into_iter().map(Span::one);
        self.unsynced.extend(spans.map(Change::Settle));
    }

    /// The log loses its beginning: a command like the others, applied at once with all before it.
    fn trim(&mut self, to: i64) {
        self.sync();
        let to = Offset(to.min(self.end().0));
        let before = Span::new(self.ledger.floor(), to);
        self.apply(Change::Trim(to));
        self.dispatch.forget(&self.ledger, before);
        let mut ended = BTreeMap::<ConsumerKey, u64>::new();
        for message in &mut self.messages[..to.0 as usize] {
            if let Place::Held(holder) = std::mem::replace(&mut message.place, Place::Done) {
                *ended.entry(holder).or_default() += 1;
            }
        }
        ended.into_iter().for_each(|(holder, messages)| self.refund(holder, messages));
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            self.apply(change);
        }
    }

    fn apply(&mut self, change: Change) {
        let newly = apply(&mut self.ledger, &change);
        let mut model_newly = 0;
        match change {
            Change::Settle(span) => {
                for offset in span.offsets() {
                    model_newly += u64::from(self.messages[offset.0 as usize].settle());
                }
            }
            Change::Trim(to) => {
                for message in &mut self.messages[..to.0 as usize] {
                    model_newly += u64::from(message.settle());
                }
            }
            Change::Return(span, count) => {
                for offset in span.offsets() {
                    self.messages[offset.0 as usize].return_durably(count, None);
                }
            }
            Change::Park(span, count, due) => {
                for offset in span.offsets() {
                    self.messages[offset.0 as usize].return_durably(count, Some(due));
                }
            }
            Change::Append(..) => {}
            Change::Lease(span) => {
                for offset in span.offsets() {
                    let message = &mut self.messages[offset.0 as usize];
                    message.is_leased = !message.is_durably_settled;
                    message.durable_due = None;
                }
            }
        }
        assert_eq!(newly, model_newly);
        self.replay.push(change);
    }

    /// Memory is lost: the ledger is rebuilt from the checkpoint and the log, byte for byte.
    fn crash(&mut self) {
        let mut again: Ledger = postcard::from_bytes(&self.checkpoint).unwrap();
        for change in &self.replay {
            apply(&mut again, change);
        }
        let bytes = |ledger: &Ledger| postcard::to_stdvec(ledger).unwrap();
        assert_eq!(bytes(&again), bytes(&self.ledger));
        self.ledger = again;
        let leased = (0..).zip(&self.messages).filter(|(_, message)| message.is_leased);
        let leased: Vec<Offset> = leased.map(|(offset, _)| Offset(offset)).collect();
        assert_eq!(spread(&self.ledger.leases()), leased);
        self.unsynced.clear();
        let leases = self.ledger.leases();
        if !self.parks {
            leases.iter().for_each(|span| self.apply(Change::Return(*span, true)));
        }
        self.dispatch =
            dispatch(&self.ledger, Some(self.end()), self.single, (self.every, self.keyed));
        self.since = 0;
        if self.parks {
            self.last_due = Millis(self.last_due.0 + 1);
            let due = self.last_due;
            leases.iter().for_each(|span| self.apply(Change::Park(*span, true, due)));
            self.dispatch.find_parked(&self.ledger);
        }
        self.active = None;
        self.consumers.clear();
        self.unsettled.clear();
        for message in &mut self.messages {
            message.place = match message.durable_due {
                _ if message.is_durably_settled => Place::Done,
                Some(_) => Place::Parked,
                None => Place::Ready,
            };
            message.due = message.durable_due;
            message.returns = message.durable_returns.unwrap_or(0);
            message.redelivered = true;
            message.came_back = message.due.is_none().then_some(false);
        }
    }

    fn compare(&self) {
        let count = |place: fn(&Message) -> bool| {
            self.messages.iter().filter(|message| place(message)).count() as u64
        };
        let ready = count(|message| message.place == Place::Ready);
        assert_eq!(self.dispatch.ready_count(self.end()), ready);
        let held = count(|message| matches!(message.place, Place::Held(_)));
        assert_eq!(self.dispatch.unacked_count(), held);
        let parked = count(|message| message.place == Place::Parked);
        assert_eq!(self.dispatch.parked_count(), parked);
        assert_eq!(self.dispatch.consumer_count(), self.consumers.len());
        let settled = count(|message| message.is_durably_settled);
        assert_eq!(self.ledger.settled_total(), settled);
        assert_eq!(self.ledger.unsettled(self.end()), self.messages.len() as u64 - settled);
        for level in (0..self.dispatch.level_count()).map(Some).chain([None]) {
            let next = self.next_of(level).map(|at| Offset(at as i64));
            assert_eq!(self.dispatch.peek(&self.ledger, self.end(), level), next, "{level:?}");
        }
        for (offset, message) in self.messages.iter().enumerate() {
            if !message.is_durably_settled {
                assert_eq!(self.ledger.level_of(Offset(offset as i64)), message.level);
            }
        }
        for key in keys() {
            assert_eq!(self.dispatch.unsettled_of(key), self.held(|holder| holder == key));
        }
        let of_client = self.dispatch.unsettled_of_client(ClientId(1));
        assert_eq!(of_client, self.held(|holder| holder.client == ClientId(1)));
    }

    /// Nothing may be lost: one consumer takes all that is left, and then nothing is left.
    fn drain(&mut self) {
        for client in [1, 2] {
            self.step(Step::DropClient(ClientId(client)));
        }
        self.sync();
        self.release(0, self.end().0);
        let key = keys()[0];
        // Of a key that is held nothing more would come.
        let options =
            ConsumerOptions { settle_now: self.keyed.is_some(), ..ConsumerOptions::default() };
        self.step(Step::Add(key, options));
        self.elect();
        let ready = self.dispatch.ready_count(self.end());
        for _ in 0..=ready {
            self.deliver(7);
        }
        self.settle(key, 0, self.end().0);
        self.sync();
        self.compare();
        assert_eq!(self.ledger.floor(), self.end());
        assert_eq!(self.dispatch.ready_count(self.end()), 0);
        let empty = Ledger::with_levels(self.end(), self.level_max);
        assert_eq!(self.ledger.heap_bytes(), empty.heap_bytes());
    }
}

impl Message {
    fn come_back(&mut self, count: bool) {
        self.place = Place::Ready;
        self.redelivered = true;
        self.came_back = Some(true);
        self.returns += u16::from(count);
    }

    fn return_durably(&mut self, count: bool, due: Option<Millis>) {
        self.is_leased = false;
        if !self.is_durably_settled {
            self.durable_returns = Some(self.durable_returns.unwrap_or(0) + u16::from(count));
            self.durable_due = due;
        }
    }

    /// Whether it was not settled before.
    fn settle(&mut self) -> bool {
        (self.durable_returns, self.durable_due) = (None, None);
        self.is_leased = false;
        !std::mem::replace(&mut self.is_durably_settled, true)
    }
}

fn apply(ledger: &mut Ledger, change: &Change) -> u64 {
    match *change {
        Change::Settle(span) => ledger.settle(span),
        Change::Trim(to) => ledger.advance_floor_to(to),
        Change::Return(span, count) => {
            ledger.return_span(span, count);
            0
        }
        Change::Park(span, count, due) => {
            ledger.park(span, count, due);
            0
        }
        Change::Lease(span) => {
            ledger.lease(span);
            0
        }
        Change::Append(span, level) => {
            ledger.rank(span, level);
            0
        }
    }
}

fn dispatch(
    ledger: &Ledger,
    before: Option<Offset>,
    single: Option<bool>,
    (every, keyed): (Option<u32>, Option<u32>),
) -> Dispatch {
    let mut dispatch = Dispatch::new(ledger, before);
    if let Some(at_once) = keyed {
        dispatch.order_by_key(ledger, at_once);
    }
    if let Some(every) = every {
        dispatch.take_oldest_every(every);
    }
    if let Some(yields) = single {
        dispatch.serve_one(yields);
    }
    dispatch
}

/// Every 13th record is gone when delivery gets to it; the others have various lengths.
fn len_of(offset: Offset) -> Option<u32> {
    (offset.0 % 13 != 7).then_some(1 + offset.0 as u32 % 5)
}

fn spread(spans: &[Span]) -> Vec<Offset> {
    spans.iter().flat_map(|span| span.offsets()).collect()
}

fn keys() -> Vec<ConsumerKey> {
    let key =
        |client, consumer| ConsumerKey { client: ClientId(client), consumer: ConsumerId(consumer) };
    vec![key(1, 1), key(1, 2), key(2, 1), key(2, 2)]
}

fn options() -> impl Strategy<Value = ConsumerOptions> {
    let window = prop_oneof![Just(0u32), 1..12u32];
    let bytes = prop_oneof![3 => Just(0u64), 1 => 1..30u64];
    (window, bytes, 0..3i32, proptest::bool::weighted(0.2)).prop_map(
        |(messages, bytes, priority, settle_now)| ConsumerOptions {
            window: Window { messages, bytes },
            priority,
            settle_now,
            ..ConsumerOptions::default()
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let key = || proptest::sample::select(keys());
    let span = || (0..150i64, 1..40i64).prop_map(|(first, len)| (first, first + len));
    prop_oneof![
        6 => (1..30i64, 0..6u8, 0..5u64)
            .prop_map(|(count, level, key)| Step::Enqueue(count, level, key)),
        10 => (1..10u8, 1..8u32).prop_map(|(times, run_max)| Step::Deliver { times, run_max }),
        3 => (key(), any::<bool>()).prop_map(|(key, settle_now)| Step::Get(key, settle_now)),
        6 => (key(), span()).prop_map(|(key, (first, end))| Step::Settle(key, first, end)),
        4 => (key(), 0..200i64).prop_map(|(key, end)| Step::SettleUpTo(key, end)),
        5 => (key(), span(), any::<bool>())
            .prop_map(|(key, (first, end), count)| Step::Return(key, first, end, count)),
        5 => (key(), span(), any::<bool>())
            .prop_map(|(key, (first, end), count)| Step::Park(key, first, end, count)),
        1 => (1..3u64).prop_map(|client| Step::ParkAll(ClientId(client))),
        5 => span().prop_map(|(first, end)| Step::Release(first, end)),
        1 => Just(Step::PurgeParked),
        6 => (key(), options()).prop_map(|(key, options)| Step::Add(key, options)),
        2 => (key(), any::<bool>()).prop_map(|(key, count)| Step::Leave(key, count)),
        2 => key().prop_map(Step::Cancel),
        1 => (1..3u64).prop_map(|client| Step::DropClient(ClientId(client))),
        1 => (key(), 0..12u32).prop_map(|(key, messages)| Step::Window(key, messages)),
        1 => (0..3u16).prop_map(Step::Overdue),
        1 => (1..60u64, proptest::option::of(0..5usize))
            .prop_map(|(count, level)| Step::Purge(count, level)),
        1 => (0..150i64).prop_map(Step::Trim),
        5 => Just(Step::Sync),
        2 => Just(Step::Checkpoint),
        2 => Just(Step::Crash),
    ]
}

proptest! {
    #[test]
    fn delivery_agrees_with_the_model(
        leases in any::<(bool, bool)>(),
        single in proptest::option::weighted(0.5, any::<bool>()),
        level_max in prop_oneof![Just(0u8), 1..5u8],
        every in proptest::option::weighted(0.3, 1..6u32),
        keyed in proptest::option::weighted(0.4, prop_oneof![Just(1), 2..4u32]),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(leases, single, level_max, every, keyed);
        for step in steps {
            world.step(step);
            world.elect();
            world.compare();
        }
        world.drain();
    }
}
