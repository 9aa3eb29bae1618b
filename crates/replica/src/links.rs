//! Connections to the other nodes: one for each, which all shards share.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, Raft, Snapshot, Vote};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use types::ShardId;

use crate::frame::id;
use crate::journal::Journal;
use crate::log::Log;
use crate::types::Types;
use crate::wire::{Packet, Said, Source};

/// Most requests to a node that wait to be sent.
const WAITING_MAX: usize = 4096;
/// A node that has not answered for so long is connected to anew.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// After a connection failed.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// What is read at a time.
const READ_BYTES: usize = 64 << 10;

/// A connection, whatever it runs over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that is being made.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// Connects to other nodes.
pub trait Connect: Send + Sync + 'static {
    /// Connects to a node's address, as the options have it.
    fn connect(&self, address: &str) -> Connecting;
}

/// A question to a node.
pub(crate) struct Asked {
    shard: ShardId,
    said: Said,
    answer: oneshot::Sender<Said>,
}

/// The way to one node.
#[derive(Clone, Debug)]
pub(crate) struct Peer(mpsc::Sender<Asked>);

impl Peer {
    /// Begins one; it connects when something is to be said.
    pub(crate) fn begin(
        runtime: &tokio::runtime::Handle,
        connect: Arc<dyn Connect>,
        address: String,
    ) -> Peer {
        let (sender, asked) = mpsc::channel(WAITING_MAX);
        runtime.spawn(keep_connected(connect, address, asked));
        Peer(sender)
    }

    /// Asks, and waits for the answer; none when the node is not reached.
    pub(crate) async fn ask(&self, shard: ShardId, said: Said) -> Option<Said> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Asked { shard, said, answer }).ok()?;
        answered.await.ok()
    }
}

async fn keep_connected(
    connect: Arc<dyn Connect>,
    address: String,
    mut asked: mpsc::Receiver<Asked>,
) {
    let mut pause = PAUSE;
    while let Some(first) = asked.recv().await {
        if first.answer.is_closed() {
            continue;
        }
        match timeout(SILENCE_MAX, connect.connect(&address)).await {
            Ok(Ok(stream)) => {
                pause = PAUSE;
                // Why it ended is of no interest: who waits is not answered, and asks again.
                let _ended = converse(stream, first, &mut asked).await;
            }
            _ => {
                drop(first);
                // Who asks meanwhile is told at once.
                let until = Instant::now() + pause;
                while let Ok(Some(_)) = tokio::time::timeout_at(until, asked.recv()).await {}
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Speaks with a node until the connection ends.
async fn converse(
    stream: Box<dyn Stream>,
    first: Asked,
    asked: &mut mpsc::Receiver<Asked>,
) -> io::Result<()> {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut pending: BTreeMap<u64, oneshot::Sender<Said>> = BTreeMap::new();
    let (mut read, mut out, mut number) = (BytesMut::new(), BytesMut::new(), 0);
    let mut heard = Instant::now();
    let mut next = Some(first);
    loop {
        while let Some(Asked { shard, said, answer }) =
            next.take().or_else(|| asked.try_recv().ok())
        {
            number += 1;
            let packet = Packet { number, shard, said };
            let before = out.len();
            match packet.push(&mut out) {
                Ok(()) => drop(pending.insert(number, answer)),
                // Unanswered: openraft reads the entries again, as many as are read at a time.
                Err(_) => out.truncate(before),
            }
            if out.len() >= READ_BYTES {
                break;
            }
        }
        if !out.is_empty() {
            timeout(SILENCE_MAX, writing.write_all(&out)).await??;
            out.clear();
        }
        pending.retain(|_, answer| !answer.is_closed());
        if pending.is_empty() {
            heard = Instant::now();
        }
        read.reserve(READ_BYTES);
        tokio::select! {
            biased;
            count = reading.read_buf(&mut read) => {
                if count? == 0 {
                    return Ok(());
                }
                heard = Instant::now();
                while let Some(packet) = Packet::take(&mut read).map_err(io::Error::other)? {
                    if let Some(answer) = pending.remove(&packet.number) {
                        // Whoever asked may have given up.
                        let _ = answer.send(packet.said);
                    }
                }
            }
            more = asked.recv() => match more {
                Some(more) => next = Some(more),
                None => return Ok(()),
            },
            () = tokio::time::sleep_until(heard + SILENCE_MAX) => {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

/// A shard's way to one of its replicas.
pub(crate) struct Link {
    pub(crate) shard: ShardId,
    pub(crate) target: u64,
    pub(crate) peer: Peer,
    pub(crate) journal: Journal,
    /// This node's part of the shard's consensus, once it runs.
    pub(crate) raft: Arc<OnceLock<Raft<Types>>>,
}

type Failed<E = RaftError<u64>> = RPCError<u64, openraft::BasicNode, E>;

impl Link {
    async fn ask(&self, said: Said, option: RPCOption) -> Result<Said, Failed> {
        let unreachable =
            |why: &str| RPCError::Unreachable(Unreachable::new(&io::Error::other(why.to_owned())));
        let answered = timeout(option.hard_ttl(), self.peer.ask(self.shard, said)).await;
        match answered {
            Ok(Some(said)) => Ok(said),
            Ok(None) => Err(unreachable("the node does not answer")),
            Err(_) => {
                Err(RPCError::Network(NetworkError::new(&io::Error::from(io::ErrorKind::TimedOut))))
            }
        }
    }

    /// What this node says of itself as a leader.
    fn source(&self) -> Source {
        let last = self.journal.look(self.shard, Log::last);
        let last = last.map(|(term, index)| id(term, index));
        let Some(raft) = self.raft.get() else { return Source { last, is_backed: false } };
        let metrics = raft.metrics();
        let metrics = metrics.borrow();
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let is_behind = |node: &u64| {
            let matched = metrics.replication.as_ref().and_then(|all| all.get(node).copied());
            let term = matched.flatten().map(|matched| matched.leader_id.term);
            term == Some(metrics.current_term) && ![self.target, metrics.id].contains(node)
        };
        let majority = voters.len() / 2 + 1;
        let behind = voters.iter().filter(|node| is_behind(node)).count();
        Source { last, is_backed: behind >= voters.len() - majority }
    }

    fn other(&self, said: Said) -> Failed {
        let why = match said {
            Said::Refused(why) => why,
            _ => "the answer is one to something else".to_owned(),
        };
        let why = format!("node {}: {why}", self.target);
        RPCError::Network(NetworkError::new(&io::Error::other(why)))
    }
}

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failed> {
        let source = self.source();
        match self.ask(Said::Append(request, source), option).await? {
            Said::Appended(response) => Ok(response),
            other => Err(self.other(other)),
        }
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote<u64>,
        _snapshot: Snapshot<Types>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        let why = io::Error::other("the state of a shard is not sent to other nodes");
        Err(StreamingError::Network(NetworkError::new(&why)))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, Failed> {
        match self.ask(Said::Vote(request), option).await? {
            Said::Voted(response) => Ok(response),
            other => Err(self.other(other)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(PAUSE))
    }
}
