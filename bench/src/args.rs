//! `--key value` pairs; every driver takes --host --port --messages --size --mode.

use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct Args(BTreeMap<String, String>);

impl Args {
    pub fn parse() -> Args {
        let mut pairs = BTreeMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let key =
                word.strip_prefix("--").unwrap_or_else(|| panic!("expected --key, got {word}"));
            let value = words.next().unwrap_or_else(|| panic!("--{key} wants a value"));
            pairs.insert(key.to_owned(), value);
        }
        Args(pairs)
    }

    pub fn text(&self, key: &str, default: &str) -> String {
        self.0.get(key).map_or(default, String::as_str).to_owned()
    }

    pub fn number(&self, key: &str, default: u64) -> u64 {
        let parse = |value: &String| value.parse().unwrap_or_else(|_| panic!("--{key} {value}"));
        self.0.get(key).map_or(default, parse)
    }

    pub fn flag(&self, key: &str, default: bool) -> bool {
        self.number(key, u64::from(default)) != 0
    }

    pub fn address(&self, port: u64) -> String {
        format!("{}:{}", self.text("host", "127.0.0.1"), self.number("port", port))
    }

    pub fn messages(&self) -> u64 {
        self.number("messages", 100_000)
    }

    pub fn size(&self) -> usize {
        self.number("size", 100).max(16) as usize
    }

    pub fn mode(&self) -> String {
        self.text("mode", "pub")
    }
}
