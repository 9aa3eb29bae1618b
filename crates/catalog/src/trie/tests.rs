use super::Trie;
use crate::change::Target;
use crate::entry::{Binding, Destination, RouterId, RouterKind};
use crate::table::Targets;
use crate::world::name;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Whether `pattern` matches `key`, word by word, as the definition says it.
fn model(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern, key) {
        ([], []) => true,
        ([], _) => false,
        (["#", rest @ ..], _) => (0..=key.len()).any(|skipped| model(rest, &key[skipped..])),
        (["*", rest @ ..], [_, key @ ..]) => model(rest, key),
        ([word, rest @ ..], [first, key @ ..]) => word == first && model(rest, key),
        (_, []) => false,
    }
}

fn target(pattern: &str) -> Targets {
    let binding = Binding {
        source: name("r"),
        destination: Destination::Router(name("d")),
        key: name(pattern),
        arguments: Vec::new(),
        source_id: RouterId(0),
        source_kind: RouterKind::Topic,
        target: Target::Router(RouterId(1)),
        foreign: false,
    };
    Targets::One((binding.destination.clone(), Arc::from([])), Arc::new(binding))
}

fn matched(trie: &Trie, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    trie.visit(key, |targets| found.extend(targets.iter().map(|it| it.key.to_string())));
    found.sort();
    found
}

fn words(of: &'static str, count: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let word = prop::sample::select(of.split(' ').collect::<Vec<_>>());
    prop::collection::vec(word, count).prop_map(|words| words.join("."))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn patterns_match_as_their_definition_says(
        patterns in prop::collection::btree_set(words("a b * # # c*", 1..6), 0..12),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        keys in prop::collection::vec(words("a b c* * x", 1..7), 1..6),
    ) {
        let mut left: BTreeSet<String> = patterns;
        let mut trie = Trie::default();
        for pattern in &left {
            trie.set(pattern, Some(target(pattern)));
        }
        let all = trie.clone();
        let inserted = left.clone();
        for index in removed {
            if left.is_empty() {
                break;
            }
            let pattern = index.get(&left.iter().cloned().collect::<Vec<_>>()).clone();
            trie.set(&pattern, None);
            left.remove(&pattern);
        }
        for key in &keys {
            for (trie, patterns) in [(&trie, &left), (&all, &inserted)] {
                let split: Vec<&str> = key.split('.').collect();
                let expected: Vec<String> = patterns
                    .iter()
                    .filter(|it| model(&it.split('.').collect::<Vec<_>>(), &split))
                    .cloned()
                    .collect();
                prop_assert_eq!(matched(trie, key), expected, "{}", key);
            }
        }
        for pattern in &left {
            trie.set(pattern, None);
        }
        prop_assert!(trie.root.is_empty(), "an empty trie has no nodes left");
    }
}

#[test]
fn patterns_made_to_be_slow_are_not() {
    let mut trie = Trie::default();
    let pattern = vec!["#.a"; 100].join(".");
    trie.set(&pattern, Some(target(&pattern)));
    let long = vec!["a"; 250].join(".");
    assert_eq!(matched(&trie, &long), [pattern]);
    assert_eq!(matched(&trie, &format!("{long}.b")), [""; 0]);
}

#[test]
fn empty_words_are_words_but_an_empty_key_has_none() {
    let mut trie = Trie::default();
    for pattern in ["*", "#", "*.*", "a.*", "*.a"] {
        trie.set(pattern, Some(target(pattern)));
    }
    let cases = [
        ("", vec!["#"]),
        (".", vec!["#", "*.*"]),
        ("a.", vec!["#", "*.*", "a.*"]),
        (".a", vec!["#", "*.*", "*.a"]),
        ("..", vec!["#"]),
    ];
    for (key, patterns) in cases {
        assert_eq!(matched(&trie, key), patterns, "{key:?}");
    }
}
