//! `cargo xtask accept`: the acceptance lines that a command can check, each passed, failed or
//! not run, with its figure.

mod binary;

use crate::run::{Tally, say};
use anyhow::Result;

/// How a check ended; the text is its figure, or why there is none.
#[derive(Debug)]
pub(crate) enum Outcome {
    Passed(String),
    Failed(String),
    NotRun(String),
}

/// One check of an acceptance line.
struct Check {
    line: u8,
    states: &'static str,
    run: fn() -> Result<Outcome>,
}

/// The lines of "one engine, two wires".
const TWO_WIRES: &[Check] = &[
    Check { line: 1, states: "the release build starts and both wires accept", run: later },
    Check { line: 2, states: "every client's cases pass", run: later },
    Check { line: 3, states: "interchange in both directions, also after a restart", run: later },
    Check { line: 4, states: "no acknowledged message is lost to SIGKILL", run: later },
    Check { line: 4, states: "no acknowledged message is lost to a power cut", run: later },
    Check { line: 4, states: "every planted fault is found by the simulator", run: later },
    Check { line: 5, states: "a corrupted frame is reported with its place", run: later },
    Check { line: 6, states: "each acknowledgement follows the sync of its record", run: later },
    Check { line: 7, states: "a parked message does not pin the disk", run: later },
    Check { line: 8, states: "server CPU and latency beside the peers", run: later },
    Check { line: 9, states: "start to first connection within 50 ms", run: later },
    Check { line: 9, states: "idle memory at most 20 MB", run: later },
    Check { line: 9, states: "stripped binary at most 25 MB", run: binary::size },
    Check { line: 9, states: "10 million backlogged messages below 200 MB", run: later },
    Check { line: 10, states: "1,000 connections share fairly on each wire", run: later },
];

fn later() -> Result<Outcome> {
    Ok(Outcome::NotRun("no check is written yet".into()))
}

/// Runs the checks of "one engine, two wires", all or those of some lines; whether none failed.
pub(crate) fn two_wires(only: &[u8]) -> Result<bool> {
    let mut sum = Tally::default();
    for check in TWO_WIRES.iter().filter(|check| only.is_empty() || only.contains(&check.line)) {
        let (word, figure) = match (check.run)() {
            Ok(Outcome::Passed(figure)) => {
                sum.add(Tally::one(true));
                ("passed", figure)
            }
            Ok(Outcome::Failed(figure)) => {
                sum.add(Tally::one(false));
                ("FAILED", figure)
            }
            Ok(Outcome::NotRun(why)) => {
                sum.add(Tally::skip());
                ("not run", why)
            }
            Err(error) => {
                sum.add(Tally::one(false));
                ("FAILED", format!("{error:#}"))
            }
        };
        say(&format!("{:>2} {word:<7} {}: {figure}", check.line, check.states));
    }
    say(&format!("{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped));
    Ok(sum.failed == 0)
}
