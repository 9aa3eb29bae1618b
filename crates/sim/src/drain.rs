//! After the work: everything that was acknowledged is there, and nothing else.

mod recurring;

use crate::client::events::read_of;
use crate::client::{SimClient, group_name, group_shard, id_of};
use crate::model::{Id, KEYS, Violation, broken, key_of};
use crate::world::{LEN_MAX, World};
use engine::api::{Op, Read, ReadFrom, Reply, Scheduled};
use io::Clock as _;
use record::batch::{HEADER_BYTES, Header, Records};
use std::collections::BTreeSet;
use types::{LogId, LogRef, Millis, Offset};

/// Steps between two looks at how far it is.
const LOOK_EVERY: usize = 40;

/// Looks after which what is due, however much it is, counts as never activated.
const ACTIVATE_LOOKS: usize = 100;

/// Looks, all in vain, after which what is not delivered never will be.
const VAIN_LOOKS: usize = 20;

/// Looks that nothing more comes after everything has.
const CALM_LOOKS: usize = 3;

/// A log is read after a start with a chance of so many percent: what one life lost is missing in
/// the later ones, too.
const CHECKED_PERCENT: u64 = 50;

/// Reads some logs and every group's position, and holds them against the model.
pub(crate) fn check_some(world: &mut World) -> Result<(), Violation> {
    check(world, CHECKED_PERCENT)
}

/// Reads each log with a chance, and every group's position.
fn check(world: &mut World, percent: u64) -> Result<(), Violation> {
    for log in world.topics.clone() {
        if world.random.chance(percent) {
            check_log(world, log, false)?;
        }
    }
    for queue in world.queues.clone() {
        if world.random.chance(percent) {
            check_log(world, queue.log, true)?;
        }
    }
    if let Some(bounded) = world.ends.bounded {
        check_log(world, bounded.log, true)?;
        match world.ask(Op::Count(bounded.subscription))? {
            Ok(Reply::Counts(counts)) if counts.ready <= LEN_MAX => {}
            other => return broken(format!("the queue that refuses was counted: {other:?}")),
        }
    }
    if world.random.chance(percent) {
        recurring::check(world, None)?;
    }
    for group in world.model.groups() {
        let shard = group_shard(world, &group);
        let value = match world.ask(Op::Offsets { shard, name: group_name(&group) })? {
            Ok(Reply::Offsets(Some(offsets))) => offsets.first().map(|(_, at)| at.offset),
            Ok(Reply::Offsets(None)) => None,
            other => return broken(format!("positions were answered: {other:?}")),
        };
        world.model.committed(&group, value)?;
    }
    Ok(())
}

fn check_log(world: &mut World, log: LogRef, queue: bool) -> Result<(), Violation> {
    let mut found: Vec<(Offset, Id)> = Vec::new();
    let mut offset = if queue { Offset(0) } else { start_of(world, log)? };
    loop {
        let read = Read {
            logs: vec![ReadFrom { log, offset, bytes_max: 64 << 10 }],
            bytes_max: 64 << 10,
            bytes_min: 0,
            wait: Millis(0),
        };
        let Ok(Reply::Read(mut logs)) = world.ask(Op::Read(read))? else {
            return broken("a read was not answered with batches");
        };
        let batches = logs.remove(0).batches.map_err(|error| Violation(error.to_string()))?;
        if batches.is_empty() {
            break;
        }
        let before = offset;
        for batch in batches.iter() {
            let header = Header::decode(&batch.bytes).map_err(|why| Violation(why.to_string()))?;
            let body = batch.bytes.slice(HEADER_BYTES..);
            for record in Records::new(&header, &body) {
                let record = record.map_err(|why| Violation(why.to_string()))?;
                let at = batch.base_offset.plus(record.offset_delta);
                let now = world.clock.now();
                // A batch comes whole; what lies before the offset asked for is skipped.
                offset = offset.max(at.next());
                let timetable = &world.model.log(log.log).timetable;
                if queue && timetable.may_be_withdrawn(id_of(record.tail)?) {
                    continue;
                }
                let id = world.model.look(log.log, (at, record.tail), now)?;
                if at >= before {
                    found.push((at, id));
                }
            }
        }
        if offset <= before {
            return broken(format!("log {}: stuck, reading at {before} goes nowhere", log.log));
        }
    }
    let ids: BTreeSet<Id> = found.iter().map(|(_, id)| *id).collect();
    if ids.len() != found.len() {
        return broken(format!("log {} holds a record twice", log.log));
    }
    let model = world.model.log(log.log);
    model.in_order(&found)?;
    model.all_there(&ids, queue).map_err(|why| Violation(format!("log {}: {why}", log.log)))?;
    if Some(log) == world.events() { check_keys(world, log, &found) } else { Ok(()) }
}

/// Reads every key of the log that indexes them: exactly what the log has of it.
fn check_keys(world: &mut World, log: LogRef, found: &[(Offset, Id)]) -> Result<(), Violation> {
    for key in 0..KEYS {
        let backward = world.random.chance(50);
        let Ok(Reply::Keyed(keyed)) = world.ask(read_of(log, key, backward))? else {
            return broken("a read of a key was not answered with records");
        };
        let of_key = found.iter().filter(|(_, id)| id.is_event() && key_of(*id) == key);
        let known: Vec<Offset> = of_key.map(|(offset, _)| *offset).collect();
        let read = world.model.key_read((log.log, key), &known, &keyed)?;
        if !read.iter().eq(&known) {
            return broken(format!("key {key} is read at {read:?} and is at {known:?}"));
        }
    }
    Ok(())
}

fn start_of(world: &mut World, log: LogRef) -> Result<Offset, Violation> {
    match world.ask(Op::Extent(vec![log]))? {
        Ok(Reply::Extents(extents)) => match extents.first() {
            Some(Some(extent)) => Ok(extent.start),
            _ => broken(format!("log {} is not there", log.log)),
        },
        other => broken(format!("an extent was answered: {other:?}")),
    }
}

/// Lets the time of everything that was scheduled come: all of it is there then.
pub(crate) fn activate(world: &mut World) -> Result<(), Violation> {
    let left = world.model.last_due().since(world.clock.now());
    world.clock.pass(u64::try_from(left.0).unwrap_or(0) * 1_000 + 20_000);
    for _ in 0..ACTIVATE_LOOKS {
        go_on(world)?;
        if waiting(world)? == 0 {
            break;
        }
    }
    // What has gone may be on its way to another shard.
    go_on(world)?;
    check(world, 100)?;
    recurring::check_complete(world)?;
    let is_grave = |id: LogId| world.ends.graves.values().any(|grave| grave.log.log == id);
    let logs = world.model.logs.iter().filter(|(id, _)| !is_grave(**id));
    logs.map(|(_, log)| log).try_for_each(|log| log.timetable.all_came())
}

/// Consumes what every queue still holds: exactly what is owed.
pub(crate) fn consume(world: &mut World) -> Result<(), Violation> {
    let mut client = SimClient::new(999, world);
    client.take_all(world);
    let (mut vain, mut calm) = (0, 0);
    while vain < VAIN_LOOKS && calm < CALM_LOOKS {
        go_on(world)?;
        let before = client.taken();
        client.listen(world)?;
        let is_still = client.taken() == before && client.connected_clean();
        vain = if is_still { vain + 1 } else { 0 };
        calm = if is_still && has_all(world, &client).is_ok() { calm + 1 } else { 0 };
    }
    has_all(world, &client)?;
    let graves: Vec<LogRef> = world.ends.graves.values().map(|grave| grave.log).collect();
    for grave in graves {
        check_log(world, grave, true)?;
        world.model.log(grave.log).timetable.all_came()?;
    }
    Ok(())
}

/// Whether a client holds all that the queues owe.
fn has_all(world: &mut World, client: &SimClient) -> Result<(), Violation> {
    for (number, queue) in world.queues.clone().into_iter().enumerate() {
        let held = client.held_of(number);
        world.model.log(queue.log.log).all_there(&held, true)?;
    }
    Ok(())
}

fn go_on(world: &mut World) -> Result<(), Violation> {
    for _ in 0..LOOK_EVERY {
        if world.step_all().is_err() {
            return broken("the disk failed though it was not to");
        }
    }
    Ok(())
}

/// How many scheduled records are neither activated nor cancelled, and how many have not expired.
fn waiting(world: &mut World) -> Result<u64, Violation> {
    let mut sum = 0;
    for queue in world.queues.clone() {
        let scheduled = Scheduled { log: queue.log, from: Offset(0), count_max: 1 };
        sum += match world.ask(Op::Scheduled(scheduled))? {
            Ok(Reply::Scheduled { total, .. }) => total,
            other => return broken(format!("a listing was answered: {other:?}")),
        };
    }
    if let Some(fading) = world.ends.fading {
        sum += match world.ask(Op::Count(fading.subscription))? {
            Ok(Reply::Counts(counts)) => counts.ready,
            other => return broken(format!("a count was answered: {other:?}")),
        };
    }
    Ok(sum)
}
