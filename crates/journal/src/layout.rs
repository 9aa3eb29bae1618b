//! Superblocks, round headers and file names. `FORMAT.md` draws them.

use bytes::Bytes;

use crate::fields::{Malformed, Put, Take, crc32c};

/// Newest version of the format this program reads, and the one it writes.
pub(crate) const FORMAT_VERSION: u32 = 18;

/// Unit of rounds; the superblock has one.
pub(crate) const BLOCK: u32 = 4096;

pub(crate) const ROUND_HEADER_BYTES: usize = 64;
pub(crate) const SUPERBLOCK_BYTES: usize = 64;

const SUPERBLOCK_MAGIC: u64 = u64::from_le_bytes(*b"XDOCKSEG");
const ROUND_MAGIC: u32 = u32::from_le_bytes(*b"XDRN");
/// Where the checksum is, in both; it covers what is before it.
const CRC_AT: usize = 60;

/// The first block of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) version: u32,
    pub(crate) segment: u32,
    /// The segment before this one in the journal; 0 for the first.
    pub(crate) previous: u32,
    /// Openings of the store, when the segment was begun.
    pub(crate) epoch: u32,
    pub(crate) first_round: u64,
    /// In every round header of the segment: a record cannot imitate a round.
    pub(crate) salt: u64,
    pub(crate) segment_bytes: u32,
}

/// The beginning of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoundHeader {
    /// With `epoch`, the generation: a round of another use of the file, or one left over from
    /// before a crash, does not fit.
    pub(crate) segment: u32,
    pub(crate) epoch: u32,
    pub(crate) frame_count: u32,
    pub(crate) round: u64,
    pub(crate) durable_round: u64,
    pub(crate) salt: u64,
    /// Header and frames, without the padding.
    pub(crate) byte_len: u32,
}

impl Superblock {
    pub(crate) fn encode(&self, out: &mut [u8]) {
        let mut put = Put { bytes: out, at: 0 };
        put.u64(SUPERBLOCK_MAGIC);
        put.u32(self.version);
        put.u32(self.segment);
        put.u32(self.previous);
        put.u32(self.epoch);
        put.u64(self.first_round);
        put.u64(self.salt);
        put.u32(self.segment_bytes);
        finish(put);
    }

    /// The checksum is checked before the version, and is in the same place in every version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Superblock, Malformed> {
        let bytes = sealed(bytes)?;
        let mut take = Take::new(&bytes);
        if take.u64()? != SUPERBLOCK_MAGIC {
            return Err(Malformed { at_byte: 0, why: "not a superblock" });
        }
        Ok(Superblock {
            version: take.u32()?,
            segment: take.u32()?,
            previous: take.u32()?,
            epoch: take.u32()?,
            first_round: take.u64()?,
            salt: take.u64()?,
            segment_bytes: take.u32()?,
        })
    }
}

impl RoundHeader {
    pub(crate) fn encode(&self, out: &mut [u8]) {
        let mut put = Put { bytes: out, at: 0 };
        put.u32(ROUND_MAGIC);
        put.u32(self.segment);
        put.u32(self.epoch);
        put.u32(self.frame_count);
        put.u64(self.round);
        put.u64(self.durable_round);
        put.u64(self.salt);
        put.u32(self.byte_len);
        finish(put);
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<RoundHeader, Malformed> {
        if !bytes.starts_with(&ROUND_MAGIC.to_le_bytes()) {
            return Err(Malformed { at_byte: 0, why: "not a round" });
        }
        let bytes = sealed(bytes)?;
        let mut take = Take::new(&bytes);
        take.u32()?;
        let header = RoundHeader {
            segment: take.u32()?,
            epoch: take.u32()?,
            frame_count: take.u32()?,
            round: take.u64()?,
            durable_round: take.u64()?,
            salt: take.u64()?,
            byte_len: take.u32()?,
        };
        if (header.byte_len as usize) < ROUND_HEADER_BYTES {
            return Err(Malformed { at_byte: 40, why: "shorter than its header" });
        }
        Ok(header)
    }

    /// Bytes of the round with its padding.
    pub(crate) fn padded_bytes(&self) -> u64 {
        u64::from(self.byte_len).next_multiple_of(u64::from(BLOCK))
    }
}

fn finish(mut put: Put<'_>) {
    put.bytes[put.at..CRC_AT].fill(0);
    let crc = crc32c(&put.bytes[..CRC_AT]);
    put.at = CRC_AT;
    put.u32(crc);
}

fn sealed(bytes: &[u8]) -> Result<Bytes, Malformed> {
    let Some((covered, rest)) = bytes.split_at_checked(CRC_AT) else {
        return Err(Malformed { at_byte: bytes.len(), why: "ends too early" });
    };
    if rest.first_chunk::<4>().copied() != Some(crc32c(covered).to_le_bytes()) {
        return Err(Malformed { at_byte: CRC_AT, why: "wrong checksum" });
    }
    Ok(Bytes::copy_from_slice(covered))
}

pub(crate) fn segment_name(segment: u32) -> String {
    format!("j-{segment}.seg")
}

pub(crate) fn index_name(segment: u32) -> String {
    format!("j-{segment}.idx")
}

pub(crate) fn given_back_name(segment: u32) -> String {
    format!("j-{segment}.gone")
}

pub(crate) fn spare_name(segment: u32) -> String {
    format!("spare-{segment}.seg")
}

/// Name of the chunk file that the checkpoint of this sequence wrote.
pub(crate) fn chunks_name(sequence: u64) -> String {
    format!("chunks-{sequence}")
}

pub(crate) fn preparing_name(segment: u32) -> String {
    format!("prepare-{segment}.tmp")
}

/// What a file of the store is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileName {
    Segment(u32),
    Index(u32),
    /// Says that the segment is being given back, and is no loss.
    GivenBack(u32),
    Spare(u32),
    /// By the sequence of the checkpoint that wrote it.
    Chunks(u64),
    /// Left over from work that was cut short.
    Temporary,
    Other,
}

impl FileName {
    pub(crate) fn of(name: &str) -> FileName {
        let number = |prefix: &str, suffix: &str| {
            let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            digits.parse().ok().filter(|number: &u32| number.to_string() == digits)
        };
        if let Some(segment) = number("j-", ".seg") {
            FileName::Segment(segment)
        } else if let Some(segment) = number("j-", ".idx") {
            FileName::Index(segment)
        } else if let Some(segment) = number("j-", ".gone") {
            FileName::GivenBack(segment)
        } else if let Some(segment) = number("spare-", ".seg") {
            FileName::Spare(segment)
        } else if name.ends_with(".tmp") {
            FileName::Temporary
        } else if let Some(Ok(sequence)) = name.strip_prefix("chunks-").map(str::parse)
            && chunks_name(sequence) == name
        {
            FileName::Chunks(sequence)
        } else {
            FileName::Other
        }
    }
}
