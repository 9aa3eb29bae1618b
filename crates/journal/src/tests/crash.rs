//! The power goes at every call of a script, and at random ones.

use ::io::sim::Fault;
use ::io::sim::SimRandom;

use super::store::{SHARDS, Store};
use crate::Failed;

/// Everything the engine does to a store, once.
fn script(store: &mut Store) -> Result<(), Failed> {
    store.parts().pool.prepare()?;
    for turn in 0..8 {
        for shard in 0..SHARDS {
            store.push(shard, &[100, 4000]);
        }
        if turn % 3 == 1 {
            store.push(1, &[200, 30_000, 61]);
            store.push(1, &[70]);
        }
        store.write()?;
        if turn % 2 == 0 {
            store.sync()?;
        }
        if turn % 4 == 3 {
            store.store_checkpoint()?;
            store.recycle()?;
        }
        if turn == 5 {
            store.parts().writer.witness()?;
            store.parts().pool.prepare()?;
        }
    }
    store.sync()
}

#[test]
fn a_crash_at_every_call_of_a_script_loses_nothing_durable() {
    let calls = {
        let mut store = Store::new(1);
        store.open().unwrap();
        script(&mut store).unwrap();
        store.disk.calls()
    };
    assert!(calls > 60, "{calls} calls");
    for call in 1..=calls {
        for seed in 0..6 {
            let mut store = Store::new(seed);
            store.disk.crash_at(call);
            let done = store.open().is_ok() && script(&mut store).is_ok();
            assert!(!done && store.disk.is_crashed(), "the power goes at call {call}");
            store.disk.restart();
            store.open().unwrap();
            store.check_reads();
            script(&mut store).unwrap();
            store.disk.restart();
            store.open().unwrap();
            store.check_reads();
        }
    }
}

fn random_step(store: &mut Store) -> Result<(), Failed> {
    let small = |random: &SimRandom| 61 + usize::try_from(random.below(3000)).unwrap();
    match store.random.below(16) {
        0..6 => {
            let shard = u16::try_from(store.random.below(u64::from(SHARDS))).unwrap();
            let sizes: Vec<usize> =
                (0..store.random.below(4)).map(|_| small(&store.random)).collect();
            store.push(shard, &sizes);
        }
        6 => {
            let large = 12_000 + usize::try_from(store.random.below(80_000)).unwrap();
            store.push(0, &[large, 100]);
        }
        7..11 => store.write()?,
        11..13 => {
            store.write()?;
            store.sync()?;
        }
        13 => {
            store.write()?;
            store.parts().writer.witness()?;
            store.sync()?;
        }
        14 => {
            store.parts().pool.prepare()?;
        }
        _ => {
            store.write()?;
            store.store_checkpoint()?;
            store.recycle()?;
        }
    }
    Ok(())
}

/// One store through several lives, each ended by a crash, a kill or a failing disk.
fn lives(seed: u64) {
    let mut store = Store::new(seed);
    for _ in 0..5 {
        let now = store.disk.calls();
        let after = now + 1 + store.random.below(120);
        let fault = [Fault::Crash, Fault::Crash, Fault::Crash, Fault::Eio, Fault::Enospc]
            [usize::try_from(store.random.below(5)).unwrap()];
        store.disk.fail_at(after, fault);
        if store.open().is_ok() {
            for _ in 0..120 {
                if random_step(&mut store).is_err() {
                    break;
                }
            }
        }
        if store.random.chance(70) {
            store.disk.restart()
        } else {
            store.disk.kill()
        }
        store.open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        store.check_reads();
    }
}

#[test]
fn random_crashes_lose_nothing_durable() {
    for seed in 0..250 {
        lives(seed);
    }
}
