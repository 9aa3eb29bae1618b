//! Line 6: in a trace of the system calls, each acknowledgement follows the sync of its record.

use super::broker::Broker;
use super::{Ground, Outcome, amqp::Amqp, kafka::Kafka};
use crate::run;
use anyhow::{Context as _, Result};
use std::path::Path;

/// Single publishes that are traced.
const PUBLISHES: usize = 25;

const TRACED: &str =
    "trace=pwrite64,pwritev,pwritev2,write,writev,sendto,sendmsg,fsync,fdatasync,io_uring_enter";

/// What matters of a trace, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A file write with the bytes of publish `0` returned.
    Written(usize),
    SyncBegan,
    SyncReturned,
    /// A write to a client's socket began.
    Answered,
}

/// On the AMQP wire.
pub(super) fn amqp(ground: &Ground) -> Result<Outcome> {
    traced(ground, "trace-amqp", |broker| {
        let mut amqp = Amqp::connect(broker.amqp)?;
        amqp.declare("traced")?;
        amqp.confirm()?;
        Ok(Box::new(move |number, body: &[u8]| {
            amqp.publish("traced", body)?;
            amqp.await_confirms(number as u64 + 1)
        }))
    })
}

/// On the Kafka wire.
pub(super) fn kafka(ground: &Ground) -> Result<Outcome> {
    traced(ground, "trace-kafka", |broker| {
        let mut kafka = Kafka::connect(broker.kafka)?;
        kafka.create_by_asking("traced")?;
        Ok(Box::new(move |_, body: &[u8]| kafka.produce("traced", body).map(drop)))
    })
}

/// Publishes one message and waits for its acknowledgement.
type Publish = Box<dyn FnMut(usize, &[u8]) -> Result<()>>;

fn traced(
    ground: &Ground,
    name: &str,
    connect: impl FnOnce(&Broker) -> Result<Publish>,
) -> Result<Outcome> {
    if !run::installed("strace") {
        return Ok(Outcome::NotRun("strace is not installed".into()));
    }
    let directory = ground.directory(name)?;
    let trace = directory.join("trace");
    let file = trace.to_string_lossy().into_owned();
    let wrapper = ["strace", "-f", "-yy", "-s", "8192", "-e", TRACED, "-o", &file];
    let broker = Broker::start_under(ground, &directory.join("data"), &wrapper)?;
    let mut publish = connect(&broker)?;
    for number in 0..PUBLISHES {
        publish(number, marker(number).as_bytes())?;
    }
    broker.stop_traced()?;
    judge(&steps(&read(&trace)?, &directory.to_string_lossy()))
}

fn marker(number: usize) -> String {
    format!("traced-message-{number:04}-end")
}

fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).context("no trace")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The steps in the lines of `strace -f -yy`; a call that another thread interrupts is written as
/// two lines, `… <unfinished ...>` and `<... NAME resumed> …`.
fn steps(trace: &str, directory: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    // Markers of an unfinished file write, by thread.
    let mut unfinished: Vec<(&str, Vec<usize>)> = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let begins = !call.starts_with("<...");
        let ends = !call.ends_with("<unfinished ...>");
        let name = call.trim_start_matches("<... ").split(['(', ' ']).next().unwrap_or_default();
        match name {
            "fsync" | "fdatasync" => {
                steps.extend(begins.then_some(Step::SyncBegan));
                steps.extend((ends && call.contains("= 0")).then_some(Step::SyncReturned));
            }
            _ if begins && (call.contains("<TCP:[") || call.contains("<TCPv6:[")) => {
                steps.push(Step::Answered);
            }
            _ if begins && call.contains(directory) => {
                let written: Vec<usize> =
                    (0..PUBLISHES).filter(|number| call.contains(&marker(*number))).collect();
                if ends {
                    steps.extend(written.into_iter().map(Step::Written));
                } else {
                    unfinished.push((thread, written));
                }
            }
            _ if !begins => {
                if let Some(place) = unfinished.iter().position(|(other, _)| *other == thread) {
                    let (_, written) = unfinished.remove(place);
                    steps.extend(written.into_iter().map(Step::Written));
                }
            }
            _ => {}
        }
    }
    steps
}

/// Every publish was written, then synced, then answered, and answered only once.
fn judge(steps: &[Step]) -> Result<Outcome> {
    for number in 0..PUBLISHES {
        let Some(written) = steps.iter().position(|step| *step == Step::Written(number)) else {
            return Ok(Outcome::Failed(format!("publish {number} was never written to a file")));
        };
        let next = (number + 1 < PUBLISHES)
            .then(|| steps.iter().position(|step| *step == Step::Written(number + 1)))
            .flatten()
            .unwrap_or(steps.len());
        let between = steps.get(written..next).unwrap_or_default();
        let began = between.iter().position(|step| *step == Step::SyncBegan);
        let synced = began.and_then(|began| {
            let returned = between[began..].iter().position(|step| *step == Step::SyncReturned)?;
            Some(began + returned)
        });
        let answered = between.iter().position(|step| *step == Step::Answered);
        match (synced, answered) {
            (Some(synced), Some(answered)) if synced < answered => {}
            _ => {
                return Ok(Outcome::Failed(format!(
                    "publish {number} was answered at step {answered:?} after its write, its sync \
                     returned at {synced:?}"
                )));
            }
        }
    }
    Ok(Outcome::Passed(format!("{PUBLISHES} single publishes: write, sync, then the answer")))
}

#[cfg(test)]
mod tests;
