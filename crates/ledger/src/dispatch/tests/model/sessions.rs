//! Where keys are sessions: whose each is the dispatch tells, and what follows from that is checked.

use super::{Place, World};
use crate::ConsumerKey;
use crate::dispatch::sessions::own_session;
use std::collections::{BTreeMap, BTreeSet};
use types::Offset;

/// Whose sessions were before something was asked for, and by whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    owners: BTreeMap<u64, ConsumerKey>,
    getter: Option<ConsumerKey>,
}

/// Where the messages of a session are.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    ready: u32,
    held: u32,
    parked: u32,
}

impl World {
    fn session(&self, at: usize) -> u64 {
        self.messages[at].key.unwrap_or_else(|| own_session(Offset(at as i64)))
    }

    fn sums(&self) -> BTreeMap<u64, Sum> {
        let mut sums = BTreeMap::<u64, Sum>::new();
        for (at, message) in self.messages.iter().enumerate() {
            let sum = sums.entry(self.session(at)).or_default();
            match message.place {
                Place::Ready => sum.ready += 1,
                Place::Held(_) => sum.held += 1,
                Place::Parked => sum.parked += 1,
                Place::Done => {}
            }
        }
        sums
    }

    /// Something is about to be asked for: by somebody, or for the consumers.
    pub(super) fn note_owners(&mut self, getter: Option<ConsumerKey>) {
        if !self.sessions {
            return;
        }
        let is_served = |key| self.consumers.contains_key(&key) && self.is_served(key);
        let all = self.dispatch.sessions();
        // Who is not served any more has only what it holds.
        let stays = all.filter(|it| it.in_flight > 0 || it.owner.is_some_and(is_served));
        let owners = stays.filter_map(|it| Some((it.key, it.owner?))).collect();
        self.asked = Asked { owners, getter };
    }

    pub(super) fn is_getting(&self) -> bool {
        self.asked.getter.is_some()
    }

    /// The one that is handed out next: of a session that nothing holds back, whose consumer can take it,
    /// or that is nobody's while somebody can take one.
    pub(super) fn next_in_sessions(&self) -> Option<usize> {
        let sums = self.sums();
        let next = self.next_for(&sums, &self.asked.owners);
        if next.is_some() || self.asked.getter.is_some() {
            return next;
        }
        // Nothing can go: sessions of which nothing is ready are free.
        let is_idle =
            |key: &u64| sums.get(key).is_none_or(|it| it.ready + it.held + it.parked == 0);
        let mut owners = self.asked.owners.clone();
        owners.retain(|key, _| !is_idle(key));
        self.next_for(&sums, &owners)
    }

    fn next_for(
        &self,
        sums: &BTreeMap<u64, Sum>,
        owners: &BTreeMap<u64, ConsumerKey>,
    ) -> Option<usize> {
        let getter = self.asked.getter;
        let takers = self.takers(owners);
        let able = |key: ConsumerKey| self.consumers.contains_key(&key) && self.has_room(key);
        let able: BTreeMap<ConsumerKey, bool> = owners
            .values()
            .map(|key| (*key, getter.map_or_else(|| able(*key), |it| it == *key)))
            .collect();
        let is_oldest_due = self.every.is_some_and(|every| self.since + 1 >= every);
        self.next_ready(is_oldest_due, |at| {
            let session = self.session(at);
            let sum = sums[&session];
            let at_once = self.keyed.unwrap_or(u32::MAX);
            let goes = match owners.get(&session) {
                Some(owner) => able[owner],
                None => getter.is_some() || !takers.is_empty(),
            };
            goes && sum.parked == 0 && sum.held < at_once
        })
    }

    /// Consumers that can take a session that is nobody's.
    fn takers(&self, owners: &BTreeMap<u64, ConsumerKey>) -> BTreeSet<ConsumerKey> {
        let able = self.consumers.iter().filter(|(key, options)| {
            let has = owners.values().filter(|owner| *owner == *key).count();
            self.has_room(**key)
                && (options.sessions_max == 0 || has < options.sessions_max as usize)
        });
        able.map(|(key, _)| *key).collect()
    }

    /// Who gets a message: its session's owner, or one of the highest priority of those that can take one.
    pub(super) fn check_taker(&self, at: usize, key: ConsumerKey) {
        let session = self.session(at);
        match self.asked.owners.get(&session) {
            Some(owner) => assert_eq!(*owner, key, "of a session that is another's"),
            None => {
                let sums = self.sums();
                let is_idle =
                    |key: &u64| sums.get(key).is_none_or(|it| it.ready + it.held + it.parked == 0);
                let mut owners = self.asked.owners.clone();
                if self.takers(&owners).is_empty() {
                    owners.retain(|key, _| !is_idle(key));
                }
                let takers = self.takers(&owners);
                let best = takers.iter().map(|key| self.consumers[key].priority).max();
                assert!(takers.contains(&key), "{key:?} can take no session");
                assert_eq!(Some(self.consumers[&key].priority), best);
            }
        }
        let now = self.dispatch.sessions().find(|it| it.key == session);
        assert_eq!(now.and_then(|it| it.owner), Some(key));
    }

    /// What is with consumers is with whom its session is.
    pub(super) fn compare_sessions(&self) {
        let known: BTreeMap<u64, _> = self.dispatch.sessions().map(|it| (it.key, it)).collect();
        for (at, message) in self.messages.iter().enumerate() {
            if let Place::Held(holder) = message.place {
                let owner = known.get(&self.session(at)).and_then(|it| it.owner);
                assert_eq!(owner, Some(holder), "{at}");
            }
        }
        let sums = self.sums();
        for (key, session) in known {
            let sum = sums.get(&key).copied().unwrap_or_default();
            assert_eq!(session.in_flight, sum.held);
            // What waited when the dispatch began is known when its key is.
            assert!(session.waiting <= sum.parked);
        }
    }
}
