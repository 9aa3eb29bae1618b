//! Maps of a log that nearly always have nothing in them: of a hundred thousand logs few have any.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

/// A map that takes a pointer while nothing was ever put into it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
#[expect(clippy::box_collection, reason = "a map takes three words, and a pointer one")]
pub(crate) struct Seldom<K: Ord, V>(Option<Box<BTreeMap<K, V>>>);

impl<K: Ord + 'static, V: 'static> Seldom<K, V> {
    const EMPTY: &'static BTreeMap<K, V> = &BTreeMap::new();
}

impl<K: Ord, V> Default for Seldom<K, V> {
    fn default() -> Seldom<K, V> {
        Seldom(None)
    }
}

impl<K: Ord + 'static, V: 'static> Deref for Seldom<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        self.0.as_deref().unwrap_or(Self::EMPTY)
    }
}

impl<K: Ord + 'static, V: 'static> DerefMut for Seldom<K, V> {
    fn deref_mut(&mut self) -> &mut BTreeMap<K, V> {
        self.0.get_or_insert_default()
    }
}
