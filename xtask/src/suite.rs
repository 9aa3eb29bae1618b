//! What `test`, `ci`, `fix` and `bench` run.

use crate::run::{self, Tally, say};
use crate::sim;
use anyhow::{Result, bail};
use std::process::Command;
use std::time::Instant;

/// Random simulations of one `ci` run.
const CI_SIM_SEEDS: u64 = 200;

/// Parts of a run and their counts so far.
#[derive(Debug, Default)]
struct Suite {
    parts: Vec<(&'static str, Tally)>,
}

impl Suite {
    /// Runs a part whose end is its only result.
    fn check(&mut self, name: &'static str, command: &mut Command) -> Result<bool> {
        let passed = self.timed(name, || run::succeeds(command))?;
        self.parts.push((name, Tally::one(passed)));
        Ok(passed)
    }

    /// Runs a part that counts for itself.
    fn counted(&mut self, name: &'static str, command: &mut Command) -> Result<()> {
        let tally = self.timed(name, || run::counted(command))?;
        self.parts.push((name, tally));
        Ok(())
    }

    /// Notes a part that cannot run.
    fn skip(&mut self, name: &'static str, why: &str) {
        say(&format!("== {name}: not run, {why}"));
        self.parts.push((name, Tally::skip()));
    }

    #[expect(clippy::disallowed_methods, reason = "how long a command took is for a person")]
    fn timed<T>(&self, name: &str, part: impl FnOnce() -> Result<T>) -> Result<T> {
        say(&format!("== {name}"));
        let start = Instant::now();
        let result = part();
        say(&format!("== {name}: {:.1} s", start.elapsed().as_secs_f64()));
        result
    }

    /// Prints the table and the closing line; whether nothing failed.
    fn close(self) -> bool {
        let mut sum = Tally::default();
        say("");
        for (name, tally) in self.parts {
            say(&format!(
                "{name:<24} {:>6} passed {:>4} failed {:>4} skipped",
                tally.passed, tally.failed, tally.skipped
            ));
            sum.add(tally);
        }
        say(&format!("{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped));
        sum.failed == 0
    }
}

fn cargo(args: &[&str]) -> Command {
    let mut command = run::cargo();
    command.args(args);
    command
}

/// The README's test command.
pub(crate) fn test() -> Result<bool> {
    let mut suite = Suite::default();
    everyday(&mut suite)?;
    Ok(suite.close())
}

/// What the gate runs before a release: `test` and the slower checks.
pub(crate) fn ci() -> Result<bool> {
    let mut suite = Suite::default();
    everyday(&mut suite)?;
    suite.check(
        "documentation",
        cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    if run::installed("cargo-deny") {
        suite.check("dependencies", &mut cargo(&["deny", "check"]))?;
    } else {
        suite.skip("dependencies", "cargo-deny is not installed");
    }
    suite.check("simulation", &mut sim::command(&sim::Runs::first(CI_SIM_SEEDS)))?;
    let found = suite.timed("planted faults", || sim::plant(&sim::Runs::first(None), "all"))?;
    suite.parts.push(("planted faults", Tally::one(found)));
    Ok(suite.close())
}

fn everyday(suite: &mut Suite) -> Result<()> {
    suite.check("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    let lints = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    suite.check("lints", &mut cargo(&lints))?;
    suite.counted("tests", &mut cargo(&["test", "--workspace", "--no-fail-fast"]))?;
    clients(suite)
}

/// Real clients against the release binary.
fn clients(suite: &mut Suite) -> Result<()> {
    const NAME: &str = "real clients";
    if !run::exists("crates/crossdock") {
        suite.skip(NAME, "there is no broker binary yet");
        return Ok(());
    }
    if !suite.check("release build", &mut build_release())? {
        suite.skip(NAME, "the release build failed");
        return Ok(());
    }
    if !run::exists("clients/run.py") {
        suite.skip(NAME, "there are no client cases yet");
        return Ok(());
    }
    let mut command = run::python("clients/run.py");
    command.args(["--target", "crossdock", "--binary"]).arg(release_binary());
    suite.counted(NAME, &mut command)
}

/// Builds the broker as a newcomer would.
pub(crate) fn build_release() -> Command {
    cargo(&["build", "--release", "--package", "crossdock", "--bin", "crossdock"])
}

/// The broker as a newcomer would build it.
pub(crate) fn release_binary() -> std::path::PathBuf {
    run::target_dir().join("release/crossdock")
}

/// Formats and applies suggestions of the lints.
pub(crate) fn fix() -> Result<bool> {
    let lints = run::succeeds(&mut cargo(&[
        "clippy",
        "--fix",
        "--workspace",
        "--all-targets",
        "--allow-dirty",
        "--allow-staged",
    ]))?;
    Ok(run::succeeds(&mut cargo(&["fmt", "--all"]))? && lints)
}

/// Builds the broker and the drivers, then runs the comparison.
pub(crate) fn bench(rest: &[String]) -> Result<bool> {
    if !run::exists("bench/run.py") {
        bail!("there is no bench yet (bench/run.py)");
    }
    if run::exists("crates/crossdock") && !run::succeeds(&mut build_release())? {
        bail!("the release build failed");
    }
    let drivers = ["build", "--release", "--manifest-path", "bench/Cargo.toml"];
    if !run::succeeds(&mut cargo(&drivers))? {
        bail!("the bench drivers do not build");
    }
    let mut command = run::python("bench/run.py");
    command.arg("--binary").arg(release_binary()).args(rest);
    run::succeeds(&mut command)
}
