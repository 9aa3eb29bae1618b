//! What nodes say to each other: packets, whole and in order, on one connection for each pair and
//! direction.
//!
//! ```text
//! [bytes of the rest u32][number u64][shard u16][kind u8][what it says]
//! ```
//!
//! All numbers are little-endian. An answer has the number of its request. An entry is the frame that the
//! journal has for it, written out.

mod frames;

#[cfg(test)]
mod tests;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::{LeaderId, Vote};
use types::ShardId;

use crate::frame::{Entry, EntryId, id};
use crate::types::Types;

/// Largest packet, in bytes without its length: entries of one request are limited, see
/// [`Options::read_bytes_max`](crate::Options::read_bytes_max), but one entry may be as large as a frame.
pub const PACKET_BYTES_MAX: usize = 64 << 20;

/// Bytes before what a packet says, without its length.
const HEAD_BYTES: usize = 8 + 2 + 1;

/// A packet.
#[derive(Debug)]
pub(crate) struct Packet {
    /// Tells requests of a connection apart; an answer repeats its request's.
    pub(crate) number: u64,
    pub(crate) shard: ShardId,
    pub(crate) said: Said,
}

/// What a packet says.
#[derive(Debug)]
pub(crate) enum Said {
    Append(AppendEntriesRequest<Types>, Source),
    /// What do you have of the shard?
    Look,
    Vote(VoteRequest<u64>),
    Appended(AppendEntriesResponse<u64>),
    Voted(VoteResponse<u64>),
    /// The last entry, and whether there ever was a vote.
    Seen(Option<EntryId>, bool),
    /// The request is not answered otherwise, and why.
    Refused(String),
}

/// What a leader says of itself to a replica that has to learn everything it may have had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// Its last entry.
    pub(crate) last: Option<EntryId>,
    /// So many others have an entry of its term that any majority which the replica was once part of
    /// had the leader or one of them in it, too.
    pub(crate) is_backed: bool,
}

/// Bytes that are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes that are no packet of a node")]
pub struct NoPacket;

const APPEND: u8 = 1;
const VOTE: u8 = 2;
const LOOK: u8 = 3;
const APPENDED: u8 = 129;
const VOTED: u8 = 130;
const SEEN: u8 = 131;
const REFUSED: u8 = 255;

const SUCCESS: u8 = 0;
const PARTIAL: u8 = 1;
const CONFLICT: u8 = 2;
const HIGHER: u8 = 3;

impl Packet {
    /// Appends it, with its length.
    pub(crate) fn push(&self, out: &mut BytesMut) -> Result<(), crate::Unstorable> {
        let start = out.len();
        out.put_u32_le(0);
        out.put_u64_le(self.number);
        out.put_u16_le(self.shard.0);
        match &self.said {
            Said::Append(request, source) => {
                out.put_u8(APPEND);
                put_id(out, source.last);
                out.put_u8(u8::from(source.is_backed));
                put_vote(out, &request.vote);
                put_id(out, request.prev_log_id);
                put_id(out, request.leader_commit);
                for entry in &request.entries {
                    frames::put(out, &crate::frame::draft_of(self.shard, entry)?);
                }
            }
            Said::Look => out.put_u8(LOOK),
            Said::Seen(last, has_voted) => {
                out.put_u8(SEEN);
                put_id(out, *last);
                out.put_u8(u8::from(*has_voted));
            }
            Said::Vote(request) => {
                out.put_u8(VOTE);
                put_vote(out, &request.vote);
                put_id(out, request.last_log_id);
            }
            Said::Appended(response) => {
                out.put_u8(APPENDED);
                match response {
                    AppendEntriesResponse::Success => out.put_u8(SUCCESS),
                    AppendEntriesResponse::PartialSuccess(upto) => {
                        out.put_u8(PARTIAL);
                        put_id(out, *upto);
                    }
                    AppendEntriesResponse::Conflict => out.put_u8(CONFLICT),
                    AppendEntriesResponse::HigherVote(vote) => {
                        out.put_u8(HIGHER);
                        put_vote(out, vote);
                    }
                }
            }
            Said::Voted(response) => {
                out.put_u8(VOTED);
                put_vote(out, &response.vote);
                out.put_u8(u8::from(response.vote_granted));
                put_id(out, response.last_log_id);
            }
            Said::Refused(why) => {
                out.put_u8(REFUSED);
                out.put_slice(why.as_bytes());
            }
        }
        let bytes = out.len() - start - 4;
        let bytes = u32::try_from(bytes).ok().filter(|len| *len as usize <= PACKET_BYTES_MAX);
        let bytes = bytes.ok_or(crate::Unstorable::TooLarge)?;
        out[start..start + 4].copy_from_slice(&bytes.to_le_bytes());
        Ok(())
    }

    /// Takes the next packet off what was read, if it is whole.
    ///
    /// Fails when it is too long, or says nothing that is known.
    pub(crate) fn take(read: &mut BytesMut) -> Result<Option<Packet>, NoPacket> {
        let Some(bytes) = read.first_chunk() else { return Ok(None) };
        let bytes = u32::from_le_bytes(*bytes) as usize;
        if !(HEAD_BYTES..=PACKET_BYTES_MAX).contains(&bytes) {
            return Err(NoPacket);
        }
        if read.len() < 4 + bytes {
            return Ok(None);
        }
        read.advance(4);
        let packet = Packet::decode(read.split_to(bytes).freeze())?;
        Ok(Some(packet))
    }

    fn decode(mut bytes: Bytes) -> Result<Packet, NoPacket> {
        let number = bytes.try_get_u64_le().map_err(|_| NoPacket)?;
        let shard = ShardId(bytes.try_get_u16_le().map_err(|_| NoPacket)?);
        let said = match get_u8(&mut bytes)? {
            APPEND => {
                let (last, is_backed) = (get_id(&mut bytes)?, get_flag(&mut bytes)?);
                Said::Append(get_append(shard, &mut bytes)?, Source { last, is_backed })
            }
            LOOK => Said::Look,
            SEEN => Said::Seen(get_id(&mut bytes)?, get_flag(&mut bytes)?),
            VOTE => Said::Vote(VoteRequest {
                vote: get_vote(&mut bytes)?,
                last_log_id: get_id(&mut bytes)?,
            }),
            APPENDED => Said::Appended(match get_u8(&mut bytes)? {
                SUCCESS => AppendEntriesResponse::Success,
                PARTIAL => AppendEntriesResponse::PartialSuccess(get_id(&mut bytes)?),
                CONFLICT => AppendEntriesResponse::Conflict,
                HIGHER => AppendEntriesResponse::HigherVote(get_vote(&mut bytes)?),
                _ => return Err(NoPacket),
            }),
            VOTED => Said::Voted(VoteResponse {
                vote: get_vote(&mut bytes)?,
                vote_granted: get_flag(&mut bytes)?,
                last_log_id: get_id(&mut bytes)?,
            }),
            REFUSED => {
                let why = String::from_utf8_lossy(&bytes).into_owned();
                bytes.clear();
                Said::Refused(why)
            }
            _ => return Err(NoPacket),
        };
        match bytes.is_empty() {
            true => Ok(Packet { number, shard, said }),
            false => Err(NoPacket),
        }
    }
}

fn get_append(shard: ShardId, bytes: &mut Bytes) -> Result<AppendEntriesRequest<Types>, NoPacket> {
    let (vote, prev_log_id) = (get_vote(bytes)?, get_id(bytes)?);
    let leader_commit = get_id(bytes)?;
    let mut entries: Vec<Entry> = Vec::new();
    while !bytes.is_empty() {
        let draft = frames::get(shard, bytes)?;
        let before = entries.last().map(|entry| entry.log_id).or(prev_log_id);
        let follows = before.is_none_or(|before| draft.index == before.index.wrapping_add(1));
        let entry = crate::frame::entry_of(draft).filter(|_| follows).ok_or(NoPacket)?;
        entries.push(entry);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

fn put_vote(out: &mut BytesMut, vote: &Vote<u64>) {
    out.put_u64_le(vote.leader_id.term);
    out.put_u8(u8::from(vote.committed) | u8::from(vote.leader_id.voted_for.is_some()) << 1);
    out.put_u64_le(vote.leader_id.voted_for.unwrap_or_default());
}

fn get_vote(bytes: &mut Bytes) -> Result<Vote<u64>, NoPacket> {
    let term = get_term(bytes)?;
    let flags = get_u8(bytes)?;
    let node = bytes.try_get_u64_le().map_err(|_| NoPacket)?;
    if flags > 3 {
        return Err(NoPacket);
    }
    let voted_for = (flags & 2 != 0).then_some(node);
    Ok(Vote { leader_id: LeaderId { term, voted_for }, committed: flags & 1 != 0 })
}

fn put_id(out: &mut BytesMut, id: Option<EntryId>) {
    out.put_u8(u8::from(id.is_some()));
    if let Some(id) = id {
        out.put_u64_le(id.leader_id.term);
        out.put_u64_le(id.index);
    }
}

fn get_id(bytes: &mut Bytes) -> Result<Option<EntryId>, NoPacket> {
    if !get_flag(bytes)? {
        return Ok(None);
    }
    let term = u32::try_from(get_term(bytes)?).map_err(|_| NoPacket)?;
    let index = bytes.try_get_u64_le().map_err(|_| NoPacket)?;
    Ok(Some(id(term, index)))
}

/// A term that a frame's header holds.
fn get_term(bytes: &mut Bytes) -> Result<u64, NoPacket> {
    let term = bytes.try_get_u64_le().map_err(|_| NoPacket)?;
    if u32::try_from(term).is_ok() { Ok(term) } else { Err(NoPacket) }
}

fn get_flag(bytes: &mut Bytes) -> Result<bool, NoPacket> {
    match get_u8(bytes)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(NoPacket),
    }
}

fn get_u8(bytes: &mut Bytes) -> Result<u8, NoPacket> {
    bytes.try_get_u8().map_err(|_| NoPacket)
}
