//! One file of the tree, split into code and tests.

use std::path::Path;

/// A text file.
#[derive(Debug)]
pub(super) struct Source {
    /// From the root, with forward slashes.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    /// Reads a file; `None` when it is gone or is not text.
    pub(super) fn read(root: &Path, path: String) -> Option<Source> {
        let bytes = std::fs::read(root.join(&path)).ok()?;
        Some(Source { text: String::from_utf8(bytes).ok()?, path })
    }

    /// A planted file.
    pub(super) fn planted(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Files the rules about words do not read: they name the words.
    pub(super) fn states_the_rules(&self) -> bool {
        self.path.starts_with("xtask/src/tidy") || self.path == "clippy.toml"
    }

    /// Whether the whole file is tests.
    pub(super) fn is_tests(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.path.starts_with("xtask/src/tidy")
    }

    /// The lines outside tests; an inline `mod tests {` ends the code.
    pub(super) fn code(&self) -> Vec<&str> {
        if self.is_tests() { Vec::new() } else { self.text.lines().take(self.code_end()).collect() }
    }

    /// The lines of tests.
    pub(super) fn tests(&self) -> Vec<&str> {
        let start = if self.is_tests() { 0 } else { self.code_end() };
        self.text.lines().skip(start).collect()
    }

    fn code_end(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        lines
            .windows(2)
            .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].trim_end().ends_with('{'))
            .unwrap_or(lines.len())
    }

    /// Lines of code that are neither blank nor only a comment.
    pub(super) fn code_lines(&self) -> usize {
        let is_code = |line: &&&str| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with("//")
        };
        self.code().iter().filter(is_code).count()
    }
}
