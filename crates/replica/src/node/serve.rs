//! What other nodes ask.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use types::ShardId;

use super::{Group, Node};
use crate::frame::id;
use crate::links::Stream;
use crate::log::Log;
use crate::standing::Health;
use crate::types::Types;
use crate::wire::{Packet, Said, Source};

/// Most answers that wait to be sent.
const ANSWERS_MAX: usize = 1024;
/// What is read at a time.
const READ_BYTES: usize = 64 << 10;

impl Node {
    /// Answers what comes by a connection of another node, until it ends.
    ///
    /// Fails when the connection does, or what comes is no packet.
    pub async fn serve(self: Arc<Node>, stream: impl Stream + 'static) -> io::Result<()> {
        let (mut reading, mut writing) = tokio::io::split(stream);
        let (answers, mut answered) = mpsc::channel::<Packet>(ANSWERS_MAX);
        let write = async move {
            let mut out = BytesMut::new();
            while let Some(packet) = answered.recv().await {
                let mut next = Some(packet);
                while let Some(packet) = next.take().or_else(|| answered.try_recv().ok()) {
                    packet.push(&mut out).map_err(io::Error::other)?;
                }
                writing.write_all(&out).await?;
                out.clear();
            }
            Ok::<_, io::Error>(())
        };
        let read = async move {
            let mut read = BytesMut::new();
            loop {
                while let Some(packet) = Packet::take(&mut read).map_err(io::Error::other)? {
                    let room = answers.clone().reserve_owned().await.map_err(io::Error::other)?;
                    let node = Arc::clone(&self);
                    self.runtime.spawn(async move {
                        let Packet { number, shard, said } = packet;
                        let said = node.answer(shard, said).await;
                        room.send(Packet { number, shard, said });
                    });
                }
                read.reserve(READ_BYTES);
                if reading.read_buf(&mut read).await? == 0 {
                    return Ok(());
                }
            }
        };
        tokio::select! {
            biased;
            ended = read => ended,
            ended = write => ended,
        }
    }

    async fn answer(&self, shard: ShardId, said: Said) -> Said {
        if matches!(said, Said::Look) {
            let (last, has_voted) =
                self.journal.look(shard, |log| (log.last(), log.vote.is_some()));
            return Said::Seen(last.map(|(term, index)| id(term, index)), has_voted);
        }
        let Some(group) = self.group(shard) else {
            return Said::Refused("the replica has not begun".to_owned());
        };
        match said {
            Said::Append(request, source) => self.append(&group, request, source).await,
            Said::Vote(request) => match group.standing.health() {
                Health::Sound => match group.raft.vote(request).await {
                    Ok(response) => Said::Voted(response),
                    Err(error) => Said::Refused(error.to_string()),
                },
                _ => {
                    Said::Refused("the replica may have forgotten what it acknowledged".to_owned())
                }
            },
            _ => Said::Refused("that is no question".to_owned()),
        }
    }

    async fn append(
        &self,
        group: &Arc<Group>,
        request: AppendEntriesRequest<Types>,
        source: Source,
    ) -> Said {
        if group.standing.health() == Health::Unknown {
            return Said::Refused("the replica has not found out what it was".to_owned());
        }
        match group.raft.append_entries(request).await {
            Ok(response) => {
                if group.standing.health() == Health::Faulty
                    && response == AppendEntriesResponse::Success
                    && source.is_backed
                {
                    self.repair(group, source).await;
                }
                Said::Appended(response)
            }
            Err(error) => Said::Refused(error.to_string()),
        }
    }

    /// Ends a replica's fault if it has all that its leader has.
    async fn repair(&self, group: &Arc<Group>, source: Source) {
        let own = self.journal.look(group.shard, Log::last);
        if own.map(|(term, index)| id(term, index)) < source.last {
            return;
        }
        match self.journal.log(group.shard).mark_faulty(false).await {
            Ok(()) => {
                tracing::info!(shard = %group.shard, "the replica is repaired");
                group.standing.set_health(Health::Sound);
                group.raft.runtime_config().elect(true);
            }
            Err(error) => {
                tracing::error!(shard = %group.shard, %error, "the replica is not repaired")
            }
        }
    }
}
