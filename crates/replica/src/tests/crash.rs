//! The power goes, or the process ends, at every call of a script, and at random ones.

use ::io::sim::Fault;
use openraft::Vote;

use super::world::{Ended, SHARDS, Step, World};
use crate::frame::{EntryId, id};

/// Asks when the shard is free.
fn next(world: &mut World, shard: u16, steps: Vec<Step>) -> Result<(), Ended> {
    while !world.is_free(shard) {
        world.turn()?;
    }
    world.ask(shard, steps)
}

/// Everything that openraft does to a log, of two shards that are not in step.
fn script(world: &mut World) -> Result<(), Ended> {
    let term =
        (0..SHARDS).filter_map(|shard| world.held(shard).vote).map(|vote| vote.leader_id.term);
    let term = term.max().unwrap_or(0) + 1;
    let last = |world: &World, shard| world.held(shard).last().unwrap();
    next(world, 0, vec![Step::Vote(Vote::new(term, 1))])?;
    let steps = world.entries(1, term, 3);
    next(world, 1, steps)?;
    world.turn()?;
    world.settle()?;
    let steps = world.entries(0, term, 5);
    next(world, 0, steps)?;
    next(world, 1, vec![Step::Vote(Vote::new_committed(term, 3))])?;
    world.settle()?;
    let kept = last(world, 1);
    let steps = world.entries(1, term, 4);
    next(world, 1, steps)?;
    world.settle()?;
    next(world, 1, vec![Step::Truncate(id_of(term, kept.index + 2))])?;
    next(world, 0, vec![Step::Vote(Vote::new(term + 1, 2))])?;
    world.settle()?;
    let steps = world.entries(1, term + 1, 2);
    next(world, 1, steps)?;
    let purged = world.held(0).entries.values().nth(2).unwrap().log_id;
    next(world, 0, vec![Step::Purge(purged)])?;
    let steps = world.entries(0, term + 1, 2);
    next(world, 0, steps)?;
    world.settle()?;
    world.check();
    // Behind everything, as after a snapshot.
    let behind = id_of(term + 1, last(world, 1).index + 10);
    next(world, 1, vec![Step::Purge(behind)])?;
    let steps = world.entries(1, term + 1, 2);
    next(world, 1, steps)?;
    let last = last(world, 0);
    next(world, 0, vec![Step::Truncate(last)])?;
    world.settle()?;
    let steps = world.entries(0, term + 2, 1);
    next(world, 0, steps)?;
    next(world, 1, vec![Step::Vote(Vote::new(term + 2, 1))])?;
    world.settle()?;
    world.check();
    Ok(())
}

fn id_of(term: u64, index: u64) -> EntryId {
    id(u32::try_from(term).unwrap(), index)
}

#[test]
fn a_crash_at_every_call_of_a_script_loses_nothing_acknowledged() {
    let calls = {
        let mut world = World::new(1);
        world.open().unwrap();
        script(&mut world).unwrap();
        world.disk.calls()
    };
    assert!(calls > 15, "{calls} calls");
    for call in 1..=calls {
        for seed in 0..8 {
            let mut world = World::new(seed);
            world.disk.crash_at(call);
            // With the sizes of another seed it can have fewer calls.
            let is_done = world.open().is_ok() && script(&mut world).is_ok();
            assert!(is_done || world.disk.is_crashed(), "only the power ends it");
            match seed {
                7 => world.disk.kill(),
                _ => world.disk.restart(),
            }
            world.open().unwrap();
            world.check();
            script(&mut world).unwrap();
            world.disk.restart();
            world.open().unwrap();
            world.check();
        }
    }
}

/// Something that openraft may ask of the shard as it is.
fn random_step(world: &World, shard: u16) -> Vec<Step> {
    let held = world.held(shard);
    let voted = held.vote.map_or(0, |vote| vote.leader_id.term);
    let last = held.last();
    let term = voted.max(last.map_or(0, |last| last.leader_id.term));
    let some = |count: usize| usize::try_from(world.random.below(count as u64)).unwrap();
    match world.random.below(12) {
        0 => vec![Step::Vote(Vote::new(term + 1, world.random.below(3)))],
        1 if held.vote.is_some_and(|vote| vote.leader_id.term == term && !vote.committed) => {
            let node = held.vote.and_then(|vote| vote.leader_id.voted_for).unwrap();
            vec![Step::Vote(Vote::new_committed(term, node))]
        }
        2..4 if !held.entries.is_empty() => {
            let from = held.entries.values().nth(some(held.entries.len())).unwrap();
            vec![Step::Truncate(from.log_id)]
        }
        4 if !held.entries.is_empty() => {
            let upto = held.entries.values().nth(some(held.entries.len())).unwrap();
            vec![Step::Purge(upto.log_id)]
        }
        5 if world.random.chance(20) => {
            let behind = last.map_or(3, |last| last.index + 7);
            vec![Step::Purge(id_of(term, behind))]
        }
        _ => {
            let term = term + u64::from(world.random.chance(10));
            world.entries(shard, term, 1 + world.random.below(5))
        }
    }
}

fn life(world: &mut World) -> Result<(), Ended> {
    for _ in 0..60 {
        let shard = u16::try_from(world.random.below(u64::from(SHARDS))).unwrap();
        if world.is_free(shard) {
            world.ask(shard, random_step(world, shard))?;
        }
        if world.random.chance(60) {
            world.turn()?;
        }
        if world.random.chance(10) {
            world.check();
        }
    }
    Ok(())
}

/// A node through several lives, each ended by a crash, a kill or a failing disk.
fn lives(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..5 {
        let after = world.disk.calls() + 1 + world.random.below(60);
        let fault = [Fault::Crash, Fault::Crash, Fault::Crash, Fault::Eio, Fault::Enospc]
            [usize::try_from(world.random.below(5)).unwrap()];
        world.disk.fail_at(after, fault);
        if world.open().is_ok() {
            let _ = life(&mut world);
        }
        match world.random.chance(70) {
            true => world.disk.restart(),
            false => world.disk.kill(),
        }
        world.open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        world.check();
    }
}

#[test]
fn random_lives_of_two_shards_are_as_the_model_says() {
    for seed in 0..300 {
        lives(seed);
    }
}
