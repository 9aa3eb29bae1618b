//! How many connections are in each namespace, whatever wires they came by.

use catalog::Name;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections by the namespace that they have entered.
#[derive(Debug, Default)]
pub struct Presence(Mutex<BTreeMap<Name, u64>>);

/// A connection's place in a namespace: dropping it leaves.
pub struct Place {
    presence: Arc<Presence>,
    namespace: Name,
}

impl Presence {
    /// One more connection in a namespace, unless there are `most` already.
    #[must_use]
    pub fn enter(self: &Arc<Presence>, namespace: &str, most: Option<u64>) -> Option<Place> {
        let namespace = Name::from(namespace);
        let mut there = self.lock();
        let count = there.entry(Name::clone(&namespace)).or_default();
        if most.is_some_and(|most| *count >= most) {
            if *count == 0 {
                there.remove(&namespace);
            }
            return None;
        }
        *count += 1;
        Some(Place { presence: Arc::clone(self), namespace })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut there = self.presence.lock();
        if let Some(count) = there.get_mut(&self.namespace) {
            *count -= 1;
            if *count == 0 {
                there.remove(&self.namespace);
            }
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.namespace).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Presence;
    use std::sync::Arc;

    #[test]
    fn a_place_is_free_again_when_it_is_left() {
        let presence = Arc::new(Presence::default());
        let first = presence.enter("a", Some(1));
        assert!(first.is_some());
        assert!(presence.enter("a", Some(1)).is_none());
        assert!(presence.enter("b", Some(1)).is_some());
        drop(first);
        assert!(presence.enter("a", Some(1)).is_some());
    }

    #[test]
    fn nothing_is_kept_of_a_namespace_that_nobody_is_in() {
        let presence = Arc::new(Presence::default());
        drop(presence.enter("a", None));
        assert!(presence.enter("b", Some(0)).is_none());
        assert!(presence.lock().is_empty());
    }
}
