//! Patterns of words with `*` and `#`, matched all at once.
//!
//! A tree of words whose nodes are shared between versions. A key is matched by following all nodes
//! that are still possible from word to word, so the work is at most words times nodes, however the
//! patterns are made.

#[cfg(test)]
mod tests;

use crate::Name;
use crate::table::Targets;
use imbl::OrdMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// Patterns and what is bound to each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trie {
    root: Arc<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    words: OrdMap<Name, Arc<Node>>,
    /// After `*`: exactly one word, whichever.
    star: Option<Arc<Node>>,
    /// After `#`: any number of words, none included.
    hash: Option<Arc<Node>>,
    targets: Option<Targets>,
}

/// A node that is still possible, and whether it was entered by `#` and so stays possible.
type Active<'a> = SmallVec<[(&'a Node, bool); 16]>;

/// Whether a pattern has a `*` or `#` among its words; one that has none matches itself only.
pub(crate) fn has_wildcard(pattern: &str) -> bool {
    pattern.split('.').any(|word| word == "*" || word == "#")
}

impl Trie {
    /// Puts `targets` at `pattern`; `None` takes it away.
    pub(crate) fn set(&mut self, pattern: &str, targets: Option<Targets>) {
        let mut node = Arc::make_mut(&mut self.root);
        let removing = targets.is_none();
        for word in pattern.split('.') {
            node = node.child_mut(word);
        }
        node.targets = targets;
        if removing {
            self.prune(pattern);
        }
    }

    /// Calls `visit` with what is bound to each pattern that matches `key`, each pattern once.
    pub(crate) fn visit<'a>(&'a self, key: &str, mut visit: impl FnMut(&'a Targets)) {
        let mut active = Active::new();
        let mut next = Active::new();
        enter(&self.root, false, &mut active);
        // RabbitMQ's empty key has no words, rather than an empty one.
        for word in key.split('.').filter(|_| !key.is_empty()) {
            let mut stays = false;
            for &(node, after_hash) in &active {
                if let Some(child) = node.words.get(word) {
                    enter(child, false, &mut next);
                }
                if let Some(child) = &node.star {
                    enter(child, false, &mut next);
                }
                if after_hash {
                    enter(node, true, &mut next);
                    stays = true;
                }
            }
            if stays {
                next.sort_unstable_by_key(|(node, _)| std::ptr::from_ref(*node).addr());
                next.dedup_by_key(|(node, _)| std::ptr::from_ref(*node).addr());
            }
            std::mem::swap(&mut active, &mut next);
            next.clear();
            if active.is_empty() {
                return;
            }
        }
        for (node, _) in active {
            if let Some(targets) = &node.targets {
                visit(targets);
            }
        }
    }

    /// Takes away the nodes of `pattern` that lead to nothing any more, deepest first.
    fn prune(&mut self, pattern: &str) {
        let words: SmallVec<[&str; 16]> = pattern.split('.').collect();
        for depth in (1..=words.len()).rev() {
            let mut parent = Arc::make_mut(&mut self.root);
            for word in &words[..depth - 1] {
                parent = parent.child_mut(word);
            }
            if !parent.drop_empty(words[depth - 1]) {
                return;
            }
        }
    }
}

impl Node {
    fn child_mut(&mut self, word: &str) -> &mut Node {
        let child = match word {
            "*" => self.star.get_or_insert_default(),
            "#" => self.hash.get_or_insert_default(),
            _ => self.words.entry(Name::from(word)).or_default(),
        };
        Arc::make_mut(child)
    }

    /// Takes the child `word` away if it leads to nothing.
    fn drop_empty(&mut self, word: &str) -> bool {
        let child = match word {
            "*" => self.star.as_ref(),
            "#" => self.hash.as_ref(),
            _ => self.words.get(word),
        };
        let empty = child.is_some_and(|child| child.is_empty());
        if empty {
            match word {
                "*" => self.star = None,
                "#" => self.hash = None,
                _ => drop(self.words.remove(word)),
            }
        }
        empty
    }

    fn is_empty(&self) -> bool {
        self.targets.is_none()
            && self.star.is_none()
            && self.hash.is_none()
            && self.words.is_empty()
    }
}

/// Makes `node` possible, and with it what follows by a `#` that matches no word.
fn enter<'a>(node: &'a Node, after_hash: bool, active: &mut Active<'a>) {
    active.push((node, after_hash));
    let mut node = node;
    while let Some(child) = &node.hash {
        active.push((child, true));
        node = child;
    }
}
