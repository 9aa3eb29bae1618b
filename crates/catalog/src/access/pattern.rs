//! Regular expressions over names, compiled when they are first asked.

use crate::Name;
use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Longest text of a pattern, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// Most memory of a compiled pattern, and of the cache it searches with, in bytes.
const COMPILED_BYTES_MAX: usize = 256 << 10;

/// Most groups within groups: what is parsed by recursion.
const NESTING_MAX: u32 = 64;

/// A regular expression that names are held against: it matches anywhere in a name unless it says
/// otherwise, and an empty one matches the empty name only.
///
/// Names are bytes to it, and its classes those of ASCII, as in RabbitMQ. Look-around and
/// back-references, which take unbounded time, are not there.
#[derive(Clone)]
pub struct Pattern(Arc<Inner>);

struct Inner {
    text: Name,
    /// The text with the user's name and the namespace put in, if that makes a difference.
    expanded: Option<Name>,
    regex: OnceLock<Option<Regex>>,
}

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPattern {
    /// The text.
    pub text: String,
    /// One sentence; lower case, no full stop.
    pub why: String,
}

/// A pattern as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    text: Name,
    expanded: Option<Name>,
}

impl Pattern {
    /// The pattern of a text.
    ///
    /// # Errors
    /// Fails when the text is no regular expression, or one that is too large.
    pub fn new(text: &str) -> Result<Pattern, BadPattern> {
        check(text, text)?;
        Ok(Pattern::unchecked(text.into(), None))
    }

    /// The pattern of a text in which `{username}` and `{vhost}` stand for these names.
    ///
    /// # Errors
    /// Fails as [`Pattern::new`] does.
    pub fn for_user(text: &str, user: &str, namespace: &str) -> Result<Pattern, BadPattern> {
        // The names are no expressions themselves: a user called `.*` gains nothing.
        let expanded = text
            .replace("{username}", &regex::escape(user))
            .replace("{vhost}", &regex::escape(namespace));
        check(text, &expanded)?;
        let expanded = (expanded != text).then(|| Name::from(expanded));
        Ok(Pattern::unchecked(text.into(), expanded))
    }

    /// The pattern that every name matches.
    #[must_use]
    pub fn all() -> Pattern {
        Pattern::unchecked(".*".into(), None)
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &Name {
        &self.0.text
    }

    /// Whether it matches `name`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let inner = &*self.0;
        match &**inner.expanded.as_ref().unwrap_or(&inner.text) {
            ".*" => true,
            "" | "^$" => name.is_empty(),
            // What a later release stored and this one cannot compile matches nothing.
            text => inner
                .regex
                .get_or_init(|| compile(text).ok())
                .as_ref()
                .is_some_and(|regex| regex.is_match(name.as_bytes())),
        }
    }

    fn unchecked(text: Name, expanded: Option<Name>) -> Pattern {
        Pattern(Arc::new(Inner { text, expanded, regex: OnceLock::new() }))
    }
}

fn check(text: &str, expanded: &str) -> Result<(), BadPattern> {
    let bad = |why: String| BadPattern { text: text.to_owned(), why };
    if expanded.len() > TEXT_BYTES_MAX {
        return Err(bad(format!("it is longer than {TEXT_BYTES_MAX} bytes")));
    }
    match compile(expanded) {
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => Err(bad("it takes too much memory".to_owned())),
        Err(error) => {
            let told = error.to_string();
            let last = told.lines().last().unwrap_or_default();
            Err(bad(last.trim_start_matches("error: ").to_owned()))
        }
    }
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text)
        .unicode(false)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .nest_limit(NESTING_MAX)
        .build()
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.text == other.0.text && self.0.expanded == other.0.expanded
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.text, f)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Inner { text, expanded, .. } = &*self.0;
        Stored { text: text.clone(), expanded: expanded.clone() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
        let Stored { text, expanded } = Stored::deserialize(deserializer)?;
        Ok(Pattern::unchecked(text, expanded))
    }
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is no pattern: {}", self.text, self.why)
    }
}

impl std::error::Error for BadPattern {}
