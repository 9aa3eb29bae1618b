//! A worker: the thread that owns shards and orders their writes.
//!
//! [`Worker::turn`] is the order of things, and that order is the durability argument: take what
//! came in, apply what the journal says is on the disk, answer and hand out what follows from it,
//! seal the next frame. Nothing is answered from a frame before it is placed.

mod agenda;
mod ahead;
mod appending;
mod apply;
mod backlog;
mod checkpointing;
mod clients;
mod coming;
mod counting;
mod dead;
mod following;
mod grouping;
mod held;
mod keyed;
mod keying;
mod leading;
mod leasing;
mod lost;
mod moving;
mod names_between;
mod naming;
mod nearest;
mod once;
mod overflow;
mod pacing;
mod queue;
mod ranking;
mod reading;
mod recurring;
mod relocate;
mod replaying;
mod replica;
mod retrying;
mod room;
mod seat;
mod sessions;
mod store;
mod tailing;
mod unzip;
mod upkeep;
mod window;

pub(crate) use checkpointing::{CheckpointPart, Wanted as CheckpointWanted};
pub(crate) use naming::NODE;
pub(crate) use relocate::Notice;
pub(crate) use replica::{Note, Replica, Step};
pub(crate) use seat::Seat;
pub(crate) use store::{Fetched, Load, Loaded, Piece, Wanted};

pub use clients::delivery_bytes;
pub use queue::Tally;

use crate::api::{Call, Event, Move, Op, Reply, Verdict};
use crate::command::{Activation, Command};
use crate::draft::Awaits;
use crate::index::{Index, Sealing};
use crate::metrics::Metrics;
use crate::pressure::Pressure;
use crate::{Mailbox, Memory, Outbox};
use agenda::Listings;
use apply::Arrivals;
use arc_swap::ArcSwap;
use backlog::Backlog;
use catalog::{Change, LogChange, Names};
use checkpointing::Cutting;
use clients::Clients;
use held::Held;
use journal::{Directory, FrameDraft, Placed, Position};
use keyed::Looks;
use ledger::{ConsumerKey, Wheel};
use lost::Losses;
use moving::Arrival;
use names_between::{Between, NamesBetween};
use naming::ChangeWait;
use reading::Reads;
use relocate::Copies;
use room::Room;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use store::Store;
use types::{ClientId, Error, Kind, LogId, Millis, Offset, ShardId, SubscriptionRef, Token};
use upkeep::Due;

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Input {
    /// A client appeared.
    Connect(ClientId, Arc<Outbox>),
    /// A client is gone.
    Disconnect(ClientId),
    /// A client's calls, for shards of this worker.
    Calls(ClientId, Vec<Call>),
    /// A client's deliveries had stalled and can go on.
    Resume(ClientId),
    /// Frames of this worker's shards are where they were to be, in order.
    Placed(Vec<Placed>),
    /// What a replicator says of a shard.
    Step(ShardId, Step),
    /// What a replicator has written beside a shard's entries.
    Note(ShardId, Note),
    /// No frame will be added to a segment, and all of its frames were placed.
    Sealed(u32),
    /// Batches came from the disk.
    Loaded(Loaded),
    /// A message from the outbox of another shard.
    Arrive(Box<Arrival>),
    /// What a shard said to an entry of an outbox of this worker.
    Arrived { outbox: LogId, offset: Offset, verdict: Verdict },
    /// Another worker wants a change of names.
    Propose(Box<Change>),
    /// A change of names concerns a shard of this worker.
    Follow { from: usize, ticket: u64, change: LogChange },
    /// A shard of another worker has followed.
    Followed { ticket: u64 },
    /// What names and outboxes of shards with several replicas need of each other.
    Between(Between),
    /// The index file of this segment is stored, as are those of all segments before.
    Indexed(Arc<Directory>),
    /// Give your part of a checkpoint.
    Checkpoint(CheckpointWanted),
    /// Say which segments you need.
    Report,
    /// Copy what is live in a segment to the end of the journal.
    Relocate(u32),
    /// Write what is live in these segments again, log by log, as you are let.
    Unzip(Arc<[u32]>),
    /// So much of it may be written now.
    UnzipOn { bytes: u64 },
    /// Publishing is blocked, or not any more.
    Blocked(Option<&'static str>),
    /// Write down what waits; the broker stops.
    Flush,
}

/// What a turn hands to other threads.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) frames: Vec<FrameDraft>,
    /// Frames that are to be ordered first.
    pub(crate) proposals: Vec<FrameDraft>,
    pub(crate) loads: Vec<Load>,
    pub(crate) notices: Vec<Notice>,
}

/// The other workers, and where names are published.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    pub(crate) mailboxes: Vec<Arc<Mailbox<Input>>>,
    pub(crate) names: Arc<ArcSwap<Names>>,
    /// Where the journal is durable up to.
    pub(crate) durable: Arc<ArcSwap<Position>>,
    /// Why publishing is blocked.
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) memory: Arc<Memory>,
}

impl Ports {
    /// The worker that runs a shard.
    pub(crate) fn worker_of(&self, shard: ShardId) -> &Mailbox<Input> {
        &self.mailboxes[crate::worker_number(shard, self.mailboxes.len())]
    }
}

/// One worker's shards, and everything their leader keeps in memory.
#[derive(Debug)]
pub(crate) struct Worker {
    number: usize,
    /// Of the shards that are led here.
    seats: BTreeMap<ShardId, Seat>,
    /// Of those that another node leads, or nobody for now: their leader's part is empty.
    followed: BTreeMap<ShardId, Seat>,
    /// Its shards have several replicas, but the local one.
    is_replica: bool,
    /// No shard begins to be led here any more.
    is_stopping: bool,
    clients: Clients,
    store: Store,
    reads: Reads,
    /// What was appended this turn: it has not waited yet, so it has not expired either.
    arrived: Arrivals,
    reads_touched: BTreeSet<u64>,
    tails_ready: BTreeSet<(ShardId, ConsumerKey)>,
    changes: BTreeMap<u64, ChangeWait>,
    names_between: NamesBetween,
    /// Shards that this node leads, by whatever worker: what others have for them is sent from here.
    served: BTreeSet<ShardId>,
    timers: Wheel<Due>,
    /// Moves that wait for the disk.
    moves: BTreeMap<u64, (ClientId, Token, Move)>,
    next_move: u64,
    /// Schedules to be looked through for what is due next.
    agendas_low: BTreeSet<(ShardId, LogId)>,
    /// Schedules of which something settled is still in memory.
    agendas_swept: BTreeSet<(ShardId, LogId)>,
    /// Logs to be looked through for what came back and is due next.
    retries_low: BTreeSet<(SubscriptionRef, LogId)>,
    /// Entries of a schedule, due times of a log, or entries of an index of keys, that are kept in memory.
    schedule_near_max: usize,
    /// Indexes of keys that have something to do.
    keys_busy: BTreeSet<(ShardId, LogId)>,
    /// Looks into indexes of keys that wait for the disk.
    looks: Looks,
    /// What schedules take in memory, in bytes.
    schedule_bytes: usize,
    /// Listings of schedules that wait for the disk.
    listings: Listings,
    /// What was activated in frames that are replayed, and to where.
    unreferred: Vec<(LogId, Activation, (Offset, Millis))>,
    /// Sealed segments that have entries which are not applied.
    unapplied_segments: VecDeque<u32>,
    /// Sealed segments whose indexes are being made.
    sealing: VecDeque<Sealing>,
    copies: Copies,
    next_change: u64,
    ports: Ports,
    output: Output,
    now: Millis,
    retained: Millis,
    swept: Millis,
    blocked: Option<&'static str>,
    held: Held,
    backlog: Backlog,
    room: Room,
    cutting: Option<Cutting>,
    /// About so many bytes of a checkpoint are made in one turn.
    slice_bytes: usize,
}

impl Worker {
    pub(crate) fn new(
        number: usize,
        ports: Ports,
        cache_bytes_max: usize,
        schedule_near_max: usize,
        index: Index,
        unzip_pass_bytes: u64,
    ) -> Worker {
        let memory = Arc::clone(&ports.memory);
        Worker {
            number,
            seats: BTreeMap::new(),
            followed: BTreeMap::new(),
            is_replica: false,
            is_stopping: false,
            clients: Clients::default(),
            store: Store::new(cache_bytes_max, Losses::new(Arc::clone(&ports.metrics)), index),
            reads: Reads::default(),
            arrived: Arrivals::default(),
            reads_touched: BTreeSet::new(),
            tails_ready: BTreeSet::new(),
            changes: BTreeMap::new(),
            names_between: NamesBetween::default(),
            served: BTreeSet::new(),
            timers: Wheel::new(Millis(0)),
            moves: BTreeMap::new(),
            next_move: 0,
            agendas_low: BTreeSet::new(),
            agendas_swept: BTreeSet::new(),
            retries_low: BTreeSet::new(),
            schedule_near_max,
            keys_busy: BTreeSet::new(),
            looks: Looks::default(),
            schedule_bytes: 0,
            listings: Listings::default(),
            unreferred: Vec::new(),
            unapplied_segments: VecDeque::new(),
            sealing: VecDeque::new(),
            copies: Copies::new(unzip_pass_bytes),
            next_change: 0,
            ports,
            output: Output::default(),
            now: Millis(0),
            retained: Millis(0),
            swept: Millis(0),
            blocked: None,
            held: Held::default(),
            backlog: Backlog::default(),
            room: Room::new(memory),
            cutting: None,
            slice_bytes: usize::MAX,
        }
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = &crate::shard::Shard> {
        self.all_seats().map(|seat| &seat.shard)
    }

    /// Every seat, led here or not.
    fn all_seats(&self) -> impl Iterator<Item = &Seat> {
        self.seats.values().chain(self.followed.values())
    }

    pub(crate) fn seats_mut(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.seats.values_mut()
    }

    pub(crate) fn add_seat(&mut self, seat: Seat) {
        self.seats.insert(seat.shard.id, seat);
    }

    /// Builds what is kept in memory only. `clean`: nothing was in flight when the store was left.
    /// Everything before `end` is applied.
    pub(crate) fn start(&mut self, now: Millis, clean: bool, end: Position) {
        self.now = now;
        self.timers = Wheel::new(now);
        self.restore_done();
        let seats = self.seats.values_mut().chain(self.followed.values_mut());
        seats.into_iter().for_each(|seat| seat.caught_up(end));
        let shards: Vec<ShardId> = self.seats.keys().copied().collect();
        self.start_seats(&shards, clean);
    }

    /// Builds what the leader of shards keeps in memory.
    fn start_seats(&mut self, shards: &[ShardId], clean: bool) {
        let now = self.now;
        self.start_agendas(shards);
        let names = self.ports.names.load_full();
        let mut subscriptions = Vec::new();
        for (shard, seat) in self.seats.iter_mut().filter(|(shard, _)| shards.contains(shard)) {
            seat.groups.rebuild(&seat.shard.groups, now);
            for id in seat.shard.subscriptions.keys() {
                subscriptions.push(SubscriptionRef { shard: *shard, subscription: *id });
            }
            seat.starting = seat.recover_leases(&names, now);
            if clean && *shard != ShardId::LOCAL {
                // If this life ends before its first frame, the next one must not take the store
                // for one that was stopped cleanly: nothing is handed out before.
                seat.command_now(Command::Started);
                seat.starting = true;
            }
        }
        for subscription in subscriptions {
            let options = queue::options_of(&names, subscription);
            self.wake_unless_idle(subscription, &options, (!clean).then_some(()));
        }
        self.start_outboxes(shards);
        self.start_rotas(shards);
        self.start_keys(shards);
    }

    /// Nothing is on its way to the disk or waits to be.
    pub(crate) fn settled_down(&self) -> bool {
        self.backlog.is_empty()
            && !self.is_looking()
            && self.seats.values().all(|seat| seat.is_idle() && seat.dying.is_empty())
    }

    /// Takes in everything of `inputs`, and does what follows from it at `now`.
    pub(crate) fn turn(&mut self, inputs: &mut Vec<Input>, now: Millis) -> Output {
        self.now = self.now.max(now);
        for input in inputs.drain(..) {
            self.input(input);
        }
        self.take_turns();
        self.timers();
        self.walk_agendas();
        self.walk_retries();
        self.walk_keys();
        for id in std::mem::take(&mut self.reads_touched) {
            self.look_again(id, false);
        }
        self.dispatch();
        self.dispatch_tails();
        self.look_at_arrivals();
        self.send_dead();
        self.drop_idle();
        self.cut_on();
        self.index_on();
        self.sweep_schedules();
        self.store.settle_fresh(self.ports.memory.is_short());
        self.seal(false);
        self.clients.emit();
        self.store.begin_loads(&mut self.output.loads);
        self.count_memory();
        std::mem::take(&mut self.output)
    }

    /// Whether the next turn should come at once.
    pub(crate) fn busy(&self) -> bool {
        !self.tails_ready.is_empty()
            || self.is_cutting()
            || self.is_indexing()
            || !self.agendas_swept.is_empty()
            || !self.agendas_low.is_empty()
            || !self.retries_low.is_empty()
            || !self.keys_busy.is_empty()
            || self.seats.values().any(|seat| seat.is_busy())
    }

    /// When the next turn has something to do though nothing comes in.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        let seats = self.seats.values().flat_map(|seat| [seat.groups.next_due(), seat.due_at()]);
        let upkeep =
            (self.retained.plus(upkeep::RETENTION_EVERY)).min(self.swept.plus(upkeep::SWEEP_EVERY));
        let timers = self.timers.next_due();
        seats
            .flatten()
            .chain(self.reads.next_due())
            .chain(timers)
            .chain(self.memory_due())
            .chain([upkeep])
            .min()
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Connect(id, outbox) => {
                self.clients.add(id, outbox);
                if self.blocked.is_some() {
                    self.clients.event(id, Event::Blocked(self.blocked));
                }
            }
            Input::Disconnect(id) => self.gone(id),
            Input::Calls(client, calls) => self.calls(client, calls),
            Input::Resume(client) => self.resume(client),
            Input::Placed(placed) => placed.into_iter().for_each(|frame| self.placed(frame)),
            Input::Step(shard, step) => self.step(shard, step),
            Input::Note(shard, note) => self.note(shard, note),
            Input::Sealed(segment) => self.sealed(segment),
            Input::Loaded(loaded) => self.loaded(loaded),
            Input::Arrive(arrival) => self.arrive(*arrival),
            Input::Arrived { outbox, offset, verdict } => self.arrived(outbox, offset, verdict),
            Input::Propose(change) => self.propose(*change),
            Input::Follow { from, ticket, change } => self.follow(from, ticket, change),
            Input::Followed { ticket } => self.followed(ticket),
            Input::Between(between) => self.between(between),
            Input::Indexed(directory) => self.indexed(&directory),
            Input::Checkpoint(wanted) => self.checkpoint(wanted),
            Input::Report => self.report(),
            Input::Relocate(segment) => self.relocate(segment),
            Input::Unzip(segments) => self.unzip(segments),
            Input::UnzipOn { bytes } => self.unzip_granted(bytes),
            Input::Blocked(why) => {
                self.blocked = why;
                self.clients.broadcast(|| Event::Blocked(why));
                self.let_held_go();
            }
            Input::Flush => {
                self.want_bases();
                self.seal(true);
                self.end_leading_all();
            }
        }
    }

    fn call(&mut self, client: ClientId, call: Call) {
        let token = call.token;
        if self.is_replica && self.refuses(client, &call) {
            return;
        }
        let Some(call) = self.unless_held(client, call) else { return };
        match call.op {
            Op::Append(append) => self.append_unless_full(client, token, append),
            Op::Transaction(transaction) => self.transaction(client, token, &transaction),
            Op::Schedule(schedule) => self.schedule(client, token, &schedule),
            Op::Unschedule(unschedule) => self.unschedule(client, token, unschedule),
            Op::Move(op) => self.move_some(client, token, op),
            Op::Rewind(op) => self.rewind(client, token, &op),
            Op::SetSession(op) => self.set_session(client, token, op),
            Op::Sessions(op) => self.tell_sessions(client, token, &op),
            Op::Stand(op) => self.tell_standing(client, token, &op),
            Op::Remove(op) => self.remove(client, token, &op),
            Op::Scheduled(scheduled) => self.scheduled(client, token, scheduled),
            Op::Recur(op) => self.recur(client, token, op),
            Op::Recurrences(op) => self.list_recurrences(client, token, &op),
            Op::Read(read) => self.read(client, token, read),
            Op::ReadKey(read) => self.read_key(client, token, read),
            Op::Find(find) => self.find(client, token, find),
            Op::Trim(trim) => self.trim(client, token, trim),
            Op::Extent(logs) => {
                let extents = logs.iter().map(|log| self.extent(*log)).collect();
                self.clients.reply(client, token, Ok(Reply::Extents(extents)));
            }
            Op::Take(take) => self.take(client, token, &take),
            Op::Get(get) => self.get_unless_early(client, token, &get),
            Op::Leave(leave) => self.leave(client, token, &leave),
            Op::Window(window) => self.window(client, token, &window),
            Op::Settle(settle) => {
                self.settle(client, &settle);
                if let Some(seat) = self.seats.get_mut(&settle.source.shard()) {
                    seat.wait_settled(client, token);
                }
            }
            Op::Purge(subscription) => self.purge(client, token, subscription),
            Op::Count(subscription) => {
                let counts = self.counts(subscription).ok_or_else(queue::gone);
                self.clients.reply(client, token, counts.map(Reply::Counts));
            }
            Op::Touch(subscription) => self.touch(subscription),
            Op::Stats { shard } => {
                let stats = self.stats(shard);
                self.clients.reply(client, token, Ok(Reply::Stats(stats)));
            }
            op @ Op::Change { .. } => self.change(client, token, op),
            Op::Group { shard, name, command } => {
                self.group((client, token), shard, name, *command);
            }
            Op::Heartbeat(beat) => self.heartbeat(client, token, &beat),
            Op::Groups { shard, namespace, names } => {
                let groups = self.list_groups(shard, &namespace, names.as_deref());
                self.clients.reply(client, token, Ok(Reply::Groups(groups)));
            }
            Op::Offsets { shard, name } => {
                let offsets = self.offsets(shard, &name);
                self.clients.reply(client, token, Ok(Reply::Offsets(offsets)));
            }
            Op::AllocateProducer => {
                if let Some(seat) = self.seats.get_mut(&ShardId(0)) {
                    let at = seat.command_now(Command::AllocateProducer);
                    seat.draft.wait(client, token, Awaits::Command(at));
                }
            }
            Op::Cancel { token, .. } => self.cancel(client, token),
        }
    }

    fn resume(&mut self, client: ClientId) {
        let Some(state) = self.clients.get_mut(client) else { return };
        state.stalled = false;
        let subscriptions = state.subscriptions.clone();
        for (shard, seat) in &mut self.seats {
            for id in &subscriptions {
                let Some(queue) = seat.queues.get_mut(id) else { continue };
                for key in queue.consumers.keys().filter(|key| key.client == client) {
                    queue.logs.iter_mut().for_each(|log| log.dispatch.set_flow(*key, true));
                }
                seat.ready.insert(*id);
            }
            let tails = seat.tailers.keys().filter(|key| key.client == client);
            self.tails_ready.extend(tails.map(|key| (*shard, *key)));
        }
    }

    fn timers(&mut self) {
        self.end_reads();
        self.group_timers();
        self.look_at_due();
        if self.now.since(self.retained) >= upkeep::RETENTION_EVERY {
            self.retained = self.now;
            self.retain();
        }
        if self.now.since(self.swept) >= upkeep::SWEEP_EVERY {
            self.swept = self.now;
            self.sweep(upkeep::SWEEP_RUNS_MAX);
            self.sweep_key_pages(false);
            self.copy_referred();
            self.count_schedules();
        }
    }

    fn seal(&mut self, force: bool) {
        for seat in self.seats.values_mut() {
            while let Some(frame) = seat.seal(self.now, force) {
                match seat.replica.is_some() {
                    true => self.output.proposals.push(frame),
                    false => self.output.frames.push(frame),
                }
            }
        }
        for seat in self.seats.values_mut().chain(self.followed.values_mut()) {
            while let Some(frame) = seat.witness() {
                self.output.frames.push(frame);
            }
        }
    }
}

fn no_log() -> Error {
    Error::new(Kind::NotFound, "the log does not exist any more")
}
