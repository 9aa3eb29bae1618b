//! A whole broker without sockets and threads: connections of one wire, the real engine, a simulated
//! disk and clock.

use super::{Syntax, TIME, peer, take_output};
use crate::{Connection, Door, Doors, Peer, Wire};
use bytes::BytesMut;
use engine::{Handle, Options, Sizes, Stepped};
use io::Clock as _;
use io::sim::{SimClock, SimDisk, SimRandom};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use types::Millis;

/// Rounds of the engine without a byte for any client, after which nothing more is expected.
const QUIET_ROUNDS: usize = 12;

/// Rounds in which a script's line must come to rest.
const ROUNDS_MAX: usize = 10_000;

/// One wire's broker and its clients, by name.
pub struct World {
    wire: Arc<dyn Wire>,
    disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
    engine: Stepped,
    shards: u16,
    clients: BTreeMap<String, Client>,
}

struct Client {
    connection: Connection,
    door: Box<dyn Door>,
    received: BytesMut,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("clients", &self.clients.keys()).finish_non_exhaustive()
    }
}

impl World {
    /// An empty broker with so many shards; `seed` decides what the disk does in a power cut.
    #[must_use]
    pub fn new(wire: Arc<dyn Wire>, shards: u16, seed: u64) -> World {
        let disk = Arc::new(SimDisk::new(seed));
        let clock = Arc::new(SimClock::new(TIME));
        let engine = open(&disk, &clock, shards);
        World { wire, disk, clock, engine, shards, clients: BTreeMap::new() }
    }

    /// The broker's handle, for what no frame can say.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.engine.handle()
    }

    /// The disk, to hurt it.
    #[must_use]
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// A client sends bytes, as one read; it connects if it has not.
    pub fn send(&mut self, name: &str, bytes: &[u8]) {
        let now = self.now();
        if !self.clients.contains_key(name) {
            let client = self.connect();
            self.clients.insert(name.to_owned(), client);
        }
        let client = self.clients.get_mut(name).expect("it was put in if it was missing");
        client.connection.input().extend_from_slice(bytes);
        client.connection.received(bytes.len(), &*client.door, now);
    }

    /// A client's socket is gone.
    pub fn leave(&mut self, name: &str) {
        let now = self.now();
        if let Some(mut client) = self.clients.remove(name) {
            client.connection.close(&*client.door, now);
        }
    }

    /// Lets the engine and the sessions go on until no client gets anything any more; gives what each
    /// client received, in the order of their names.
    pub fn settle(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut received: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let (mut quiet, now) = (0, self.now());
        for _ in 0..ROUNDS_MAX {
            self.engine.run(1).expect("the disk works");
            quiet += 1;
            for (name, client) in &mut self.clients {
                client.connection.events(&*client.door, now);
                let bytes = take_output(&mut client.connection, &*client.door);
                if !bytes.is_empty() {
                    quiet = 0;
                    received.entry(name.clone()).or_default().extend(bytes);
                }
            }
            if quiet == QUIET_ROUNDS {
                return received.into_iter().collect();
            }
        }
        panic!("a conversation that does not come to rest");
    }

    /// Lets time pass in steps of a millisecond, with the timers of sessions and engine.
    pub fn pass(&mut self, span: Millis) {
        for _ in 0..span.0 {
            self.clock.pass(1_000);
            let now = self.now();
            self.engine.run(1).expect("the disk works");
            for client in self.clients.values_mut() {
                client.connection.timer(&*client.door, now);
                client.connection.events(&*client.door, now);
            }
        }
    }

    /// Tells every session that the broker is stopping.
    pub fn drain(&mut self) {
        let now = self.now();
        for client in self.clients.values_mut() {
            client.connection.drain(&*client.door, now);
        }
    }

    /// Ends the process as SIGKILL does, and starts it again: what was written stays.
    pub fn kill(&mut self) {
        self.disk.kill();
        self.start_again();
    }

    /// Cuts the power, and starts the broker again: what was not synced may be lost.
    pub fn cut_power(&mut self) {
        self.disk.crash_at(self.disk.calls());
        self.disk.restart();
        self.start_again();
    }

    fn start_again(&mut self) {
        // Their doors lead to the engine that is gone.
        self.clients.clear();
        self.engine = open(&self.disk, &self.clock, self.shards);
    }

    fn connect(&self) -> Client {
        let door = Doors::connect(&self.engine.handle(), Arc::new(|| {}));
        let peer = Peer { client: door.client(), ..peer() };
        let connection = Connection::new(self.wire.session(&peer), peer);
        Client { connection, door, received: BytesMut::new() }
    }

    fn now(&self) -> Millis {
        Millis(i64::try_from(self.clock.micros() / 1_000).unwrap_or(i64::MAX))
    }

    /// Plays a script; gives what happened, to be compared with the script. Its lines:
    /// ```text
    /// NAME> frame     a client sends a frame; it connects if it has not
    /// NAME< frame     it gets one
    /// NAME closed     the session closed its connection
    /// NAME leaves     its socket is gone
    /// +500            half a second passes
    /// @ shut          the broker drains
    /// @ kill          SIGKILL and a new start
    /// @ power cut     a power cut and a new start
    /// # remark
    /// ```
    pub fn play(&mut self, syntax: &mut dyn Syntax, script: &str) -> String {
        let mut happened = String::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if !self.act(syntax, line) {
                continue;
            }
            writeln!(happened, "{line}").expect("a string takes all");
            for (name, bytes) in self.settle() {
                self.report(syntax, &name, &bytes, &mut happened);
            }
            let ended: Vec<String> = self
                .clients
                .iter()
                .filter(|(_, client)| client.connection.finished())
                .map(|(name, _)| name.clone())
                .collect();
            for name in ended {
                writeln!(happened, "{name} closed").expect("a string takes all");
                self.leave(&name);
            }
        }
        happened
    }

    /// Does what a line says; false when the line only says what is expected.
    fn act(&mut self, syntax: &mut dyn Syntax, line: &str) -> bool {
        match line {
            "@ shut" => self.drain(),
            "@ kill" => self.kill(),
            "@ power cut" => self.cut_power(),
            _ if line.starts_with('#') => {}
            _ if line.starts_with('+') => {
                let span = line[1..].parse().expect("a script says how many milliseconds");
                self.pass(Millis(span));
            }
            _ => {
                if let Some((name, frame)) = line.split_once("> ")
                    && !name.contains(' ')
                {
                    self.send(name, &syntax.encode(frame));
                } else if let Some(name) = line.strip_suffix(" leaves") {
                    self.leave(name);
                } else {
                    return false;
                }
            }
        }
        true
    }

    fn report(&mut self, syntax: &mut dyn Syntax, name: &str, bytes: &[u8], happened: &mut String) {
        let Some(client) = self.clients.get_mut(name) else { return };
        client.received.extend_from_slice(bytes);
        while let Some(frame) = syntax.decode(&mut client.received) {
            writeln!(happened, "{name}< {frame}").expect("a string takes all");
        }
    }
}

fn open(disk: &Arc<SimDisk>, clock: &Arc<SimClock>, shards: u16) -> Stepped {
    let options = Options {
        disk: Arc::clone(disk) as _,
        clock: Arc::clone(clock) as _,
        random: Arc::new(SimRandom::new(3)),
        workers: 1,
        shards,
        memory_limit: usize::MAX,
        producer_idle: engine::PRODUCER_IDLE,
        cache_bytes: 1 << 20,
        salvage: false,
        disk_free_min: None,
        scrub_bytes: 0,
        sizes: Sizes::default(),
    };
    Stepped::open(options).expect("a store of our own opens")
}

#[cfg(test)]
mod tests;
