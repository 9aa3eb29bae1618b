//! Faults planted on purpose, so that the simulator can be seen to find them.
//!
//! Only a build with `--cfg plant` has them; in every other build [`planted`] is `false` at compile
//! time and the code behind it is gone; but every build compiles all of it, so that it cannot rot.

static PLANTED: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Faults of what only a shard with several replicas has: its crash tests find them, as there is none
/// in the simulator.
pub const REPLICA_FAULTS: &[(&str, &str)] = &[
    ("vote-not-synced", "a vote is acknowledged when it is queued, not when it is synced"),
    ("append-acknowledged-early", "an append of a replica is acknowledged when it is queued"),
    ("truncation-not-durable", "a truncation is acknowledged when it is queued"),
];

/// Faults by which replicas of shards come apart, or do not come together: the tests with three replicas
/// find them.
pub const SHARD_FAULTS: &[(&str, &str)] = &[
    ("state-changed-outside-apply", "a leader changes a shard's state when it seals a frame"),
    ("hash-order", "what goes into one frame is applied in an order that every node hashes anew"),
    ("sent-by-leader-only", "what is for another shard is sent only where both are led"),
];

/// Every fault that can be planted in a broker, and what it does.
pub const FAULTS: &[(&str, &str)] = &[
    ("ack-before-sync", "clients are answered when a round is written, not when it is synced"),
    ("no-sync", "rounds are never synced"),
    ("index-not-synced", "an index file is renamed into place before it is synced"),
    ("checkpoint-not-synced", "a checkpoint is renamed into place before it is synced"),
    ("directory-not-synced", "a renamed file's directory is not synced"),
    ("offset-twice", "an append sometimes does not move the end of its log"),
    ("lost-return", "a return is not written down"),
    ("lost-settle", "a settle is sometimes not applied"),
    ("early-recycle", "a segment is given back while something in it is live"),
    ("early-checkpoint", "a checkpoint claims one frame more than it has"),
    ("duplicate-accepted", "a producer's repeated batch is appended again"),
    ("duplicate-message-accepted", "a message whose id is remembered is appended again"),
    ("duplicate-under-way-accepted", "a message comes again before the first one is applied"),
    ("producers-forgotten-early", "producers are forgotten before they are silent for long"),
    ("unordered-packing", "an open batch is reused though a later one went to the same log"),
    ("half-a-change", "a change of names that was cut off between two shards is not finished"),
    ("timer-early", "what is scheduled is activated half a second before it is due"),
    ("activation-forgotten", "a checkpoint leaves out where activated records lie"),
    ("activated-twice", "an activated entry sometimes stays in its schedule"),
    ("cancel-lost", "a cancel is sometimes told but not written down"),
    ("cancelled-delivered", "what was cancelled comes with what it was scheduled together with"),
    ("schedule-forgotten", "a start does not look at what was scheduled"),
    ("fired-twice", "what recurs is sometimes due again at the time that it just was"),
    ("firing-forgotten", "what recurs sometimes goes on to its next time without a message"),
    ("due-page-forgotten", "some pages of an index file that say what is due are passed over"),
    ("settled-entry-dropped", "entries of a schedule are dropped while a replay may look for them"),
    ("outbox-sent-twice", "what an outbox sends again is appended again"),
    ("outbox-settled-early", "an outbox forgets an entry when it is sent, not when it has arrived"),
    ("dead-letter-forgotten", "a dead letter is sometimes settled and not sent on"),
    ("overflow-forgotten", "a queue that refuses what is too much takes it"),
    ("priority-forgotten", "of a queue with priorities some messages get the lowest"),
    ("key-cap-passed", "of a key more messages are handed out at a time than the queue says"),
    ("session-shared", "messages of a session are with several consumers"),
    ("session-state-lost", "a state of a session is replaced though it has another version"),
    ("session-state-uncut", "what is kept for sessions is not in checkpoints"),
    ("key-forgotten", "of a queue in the order of keys some messages have none"),
    ("active-consumer-shared", "a queue with one active consumer serves them all"),
    ("lease-forgotten", "a message is delivered and that it is about to be is not written down"),
    ("retry-early", "what came back is handed out a little before its time"),
    ("retry-forgotten", "a start hands out at once what came back and was to wait"),
    ("cap-passed", "a queue has one message more in flight than it may"),
    ("rewind-lost", "a rewind is sometimes told but not carried out"),
    ("kept-let-go", "what a queue keeps is trimmed as if it did not keep it"),
    ("moved-in-flight", "a move of what nobody holds takes what a consumer has, too"),
    ("withdrawn-kept", "what a queue that keeps what is settled took out comes again"),
    ("relocate-unsynced", "copies are believed before they are synced"),
    ("page-of-another-log", "a page in memory is taken for any page of its segment"),
    ("trimmed-runs-back", "a page of the index has again what was trimmed of it"),
    ("trimmed-page-live", "a page of the index that was trimmed still counts as live"),
    ("hole-forgotten", "a page that is read again has the runs that were settled"),
    ("old-copy-read", "of two copies of a batch a start takes the older one"),
    ("unzip-unsynced", "what was unzipped is believed before it is synced"),
    ("unzip-neighbour-read", "one of the copies of a frame is read where the next one lies"),
    ("unzip-drops-last-run", "the last batch of a pass is not unzipped and forgotten"),
    ("unzip-recycled-early", "segments are given back when they were unzipped, needed or not"),
    ("chunk-mark-forgotten", "a chunk of a shard that changed sometimes counts as unchanged"),
    ("chunk-cut-late", "a chunk that changes while a cut is taken is stored as it is afterwards"),
    ("chunk-of-older-generation-kept", "a checkpoint goes on with the older of two chunks"),
    ("chunk-file-removed-early", "chunk files go before the checkpoint without them is there"),
    ("joined-load-forgotten", "of those who wait for the same load only the first goes on"),
    ("row-over-hole", "batches read together are counted on where some of them were settled"),
    ("slab-neighbour-read", "of batches that were loaded together the next one is delivered"),
    ("expectation-ignored", "an append is taken though what it expects is not so"),
    ("key-run-forgotten", "some runs of an index of keys are given up when they are put into it"),
    ("key-told-late", "an append is told of a key what was in memory before its run was"),
    ("unindexed-forgotten", "a checkpoint leaves out the batches of a segment without an index"),
];

/// Plants a fault for this process. False when there is no such fault, or this build has none.
#[must_use]
pub fn plant(name: &str) -> bool {
    cfg!(plant)
        && FAULTS.iter().chain(REPLICA_FAULTS).chain(SHARD_FAULTS).any(|(known, _)| *known == name)
        && PLANTED.set(name.to_owned()).is_ok()
}

/// Whether the fault `name` was planted.
#[inline(always)]
#[must_use]
pub fn planted(name: &str) -> bool {
    cfg!(plant) && PLANTED.get().is_some_and(|planted| planted == name)
}
