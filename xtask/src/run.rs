//! Running programs: where the tree is, what they print, how many of their checks passed.

use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Checks that passed, failed and did not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// One check and how it ended.
    pub(crate) fn one(passed: bool) -> Tally {
        Tally { passed: u64::from(passed), failed: u64::from(!passed), skipped: 0 }
    }

    /// One check that did not run.
    pub(crate) fn skip() -> Tally {
        Tally { skipped: 1, ..Tally::default() }
    }

    /// Adds another part's counts.
    pub(crate) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// The counts in a line of output: `test result: ok. 3 passed; 0 failed; 1 ignored; …` of
    /// cargo, or `3 passed, 0 failed, 1 skipped` of ours. `None` when the line is neither.
    pub(crate) fn read(line: &str) -> Option<Tally> {
        let mut tally = Tally::default();
        let mut seen = 0;
        let words: Vec<&str> =
            line.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(count) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => (tally.passed, seen) = (count, seen | 1),
                "failed" => (tally.failed, seen) = (count, seen | 2),
                "skipped" | "ignored" => (tally.skipped, seen) = (count, seen | 4),
                _ => {}
            }
        }
        (seen == 7).then_some(tally)
    }
}

/// Prints one line, at once.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that left (`| head`) is no reason to stop.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The root of the tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_path_buf()
}

/// Where cargo builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A Python script of the tree.
pub(crate) fn python(script: &str) -> Command {
    let mut command =
        Command::new(std::env::var_os("PYTHON").unwrap_or_else(|| OsString::from("python3")));
    command.current_dir(root()).arg(script);
    command
}

/// Whether `path`, relative to the root, exists.
pub(crate) fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// Whether a program of this name can be started.
pub(crate) fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs a program with its output on ours; whether it ended well.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    Ok(command.status().with_context(|| format!("cannot start {command:?}"))?.success())
}

/// Runs a program, passes its standard output on line by line, and sums the counts it prints.
///
/// The last summary of `3 passed, 0 failed, 1 skipped` kind replaces what came before it from the
/// same program; cargo's `test result:` lines add up. A program that ends badly without counting
/// a failure counts as one.
pub(crate) fn counted(command: &mut Command) -> Result<Tally> {
    counted_to(command, &mut say)
}

fn counted_to(command: &mut Command, print: &mut dyn FnMut(&str)) -> Result<Tally> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut sum = Tally::default();
    let mut own_summary = None;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read a program's output")?;
        let line = String::from_utf8_lossy(&line);
        print(&line);
        match Tally::read(&line) {
            Some(tally) if line.trim_start().starts_with("test result:") => sum.add(tally),
            Some(tally) => own_summary = Some(tally),
            None => {}
        }
    }
    let ended_well = child.wait().context("cannot wait for a program")?.success();
    sum.add(own_summary.unwrap_or_default());
    if !ended_well && sum.failed == 0 {
        sum.failed = 1;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests;
