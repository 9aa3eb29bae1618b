//! Checks that are runs of other programs of the tree: the client cases and the bench.

use super::{Ground, Outcome};
use crate::run::{self, Tally};
use anyhow::Result;
use std::process::Command;

const CASES: &str = "clients/run.py";
const BENCH: &str = "bench/run.py";

/// Line 2, against us.
pub(super) fn against_us(ground: &Ground) -> Result<Outcome> {
    let mut command = run::python(CASES);
    command.args(["--target", "crossdock", "--binary"]).arg(&ground.binary);
    cases(&mut command)
}

/// Line 2, against the real RabbitMQ.
pub(super) fn against_rabbitmq(_: &Ground) -> Result<Outcome> {
    if !std::path::Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server").exists() {
        return Ok(Outcome::NotRun("RabbitMQ is not installed".into()));
    }
    cases(run::python(CASES).args(["--target", "rabbitmq"]))
}

/// Line 2, against the real Kafka.
pub(super) fn against_kafka(_: &Ground) -> Result<Outcome> {
    if !run::installed("java") || !run::installed("mvn") {
        return Ok(Outcome::NotRun("no Java or no Maven to get Kafka with".into()));
    }
    cases(run::python(CASES).args(["--target", "kafka"]))
}

/// Line 3.
pub(super) fn interchange(ground: &Ground) -> Result<Outcome> {
    let mut command = run::python(CASES);
    command.args(["--target", "crossdock", "--client", "interchange", "--binary"]);
    cases(command.arg(&ground.binary))
}

fn cases(command: &mut Command) -> Result<Outcome> {
    if !run::exists(CASES) {
        return Ok(Outcome::NotRun("there are no client cases yet".into()));
    }
    counted(command)
}

/// Line 8.
pub(super) fn bench(ground: &Ground) -> Result<Outcome> {
    if !ground.full {
        return Ok(Outcome::NotRun("medians of 5 take a quarter of an hour: --full".into()));
    }
    measure(run::python(BENCH).arg("--binary").arg(&ground.binary))
}

/// Line 8 of the queues: what features cost, beside a plain queue and beside RabbitMQ.
pub(super) fn features(ground: &Ground) -> Result<Outcome> {
    let mut command = run::python(BENCH);
    command.args(["--features", "--binary"]).arg(&ground.binary);
    if ground.full {
        return measure(&mut command);
    }
    let told = match measure(command.args(["--repeat", "1", "--scale", "0.1"]))? {
        Outcome::Passed(figure) | Outcome::Failed(figure) | Outcome::NotRun(figure) => figure,
    };
    Ok(Outcome::NotRun(format!("{told} with few messages; medians of 5 with --full")))
}

fn measure(command: &mut Command) -> Result<Outcome> {
    let drivers = ["build", "--release", "--manifest-path", "bench/Cargo.toml"];
    if !run::succeeds(run::cargo().args(drivers))? {
        return Ok(Outcome::Failed("the drivers do not build".into()));
    }
    counted(command)
}

fn counted(command: &mut Command) -> Result<Outcome> {
    let Tally { passed, failed, skipped } = run::counted(command)?;
    let figure = format!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(Outcome::of(failed == 0 && passed > 0, figure))
}
