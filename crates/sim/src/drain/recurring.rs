//! The messages of what recurs, as they lie in their queue.

use super::go_on;
use crate::client::id_of;
use crate::model::recurring::Fired;
use crate::model::{Violation, broken};
use crate::world::World;
use engine::api::{Op, RECURRENCE_DUE, Read, ReadFrom, Recurrences, Reply};
use io::Clock as _;
use record::batch::{HEADER_BYTES, Header, Records};
use types::{LogRef, Millis, Offset};

/// Looks after which what is due counts as never fired.
const FIRE_LOOKS: usize = 400;

/// Reads all messages of what recurs, and holds them against the model.
pub(super) fn check(world: &mut World, due_before: Option<Millis>) -> Result<(), Violation> {
    let Some(ticks) = world.ends.ticks else { return Ok(()) };
    let fired = read_all(world, ticks.log)?;
    world.model.recurred(&fired, due_before)
}

/// Lets everything be fired that is due, and checks that it was.
pub(super) fn check_complete(world: &mut World) -> Result<(), Violation> {
    let Some(ticks) = world.ends.ticks else { return Ok(()) };
    let before = world.clock.now();
    for _ in 0..FIRE_LOOKS {
        let list = Recurrences { home: ticks.log, from: None, count_max: 100 };
        let entries = match world.ask(Op::Recurrences(list))? {
            Ok(Reply::Recurrences { entries, .. }) => entries,
            other => return broken(format!("a listing was answered: {other:?}")),
        };
        if entries.iter().all(|entry| entry.due.is_none_or(|due| due >= before)) {
            return check(world, Some(before));
        }
        go_on(world)?;
    }
    broken("what recurs is due and is not fired")
}

fn read_all(world: &mut World, log: LogRef) -> Result<Vec<Fired>, Violation> {
    let (mut fired, mut next) = (Vec::new(), Offset(0));
    loop {
        let read = Read {
            logs: vec![ReadFrom { log, offset: next, bytes_max: 64 << 10 }],
            bytes_max: 64 << 10,
            bytes_min: 0,
            wait: Millis(0),
        };
        let Ok(Reply::Read(mut logs)) = world.ask(Op::Read(read))? else {
            return broken("a read was not answered with batches");
        };
        let batches = logs.remove(0).batches.map_err(|error| Violation(error.to_string()))?;
        if batches.is_empty() {
            return Ok(fired);
        }
        for batch in batches.iter() {
            let header = Header::decode(&batch.bytes).map_err(|why| Violation(why.to_string()))?;
            let body = batch.bytes.slice(HEADER_BYTES..);
            for record in Records::new(&header, &body) {
                let record = record.map_err(|why| Violation(why.to_string()))?;
                let mut due = record.headers.filter(|(name, _)| *name == RECURRENCE_DUE.as_bytes());
                let due = due.next().and_then(|(_, due)| std::str::from_utf8(due?).ok());
                let Some(due) = due.and_then(|due| due.parse().ok()).map(Millis) else {
                    return broken("what recurs does not say for when it was due");
                };
                let offset = batch.base_offset.plus(record.offset_delta);
                let stamp = Millis(header.base_timestamp.0 + record.timestamp_delta);
                fired.push(Fired { id: id_of(record.tail)?, due, stamp, offset });
                next = offset.next();
            }
        }
    }
}
