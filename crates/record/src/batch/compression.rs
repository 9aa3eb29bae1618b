//! The four compressions of Kafka, unpacked only up to a hard limit.
//!
//! Source: KIP-110 (zstd), KIP-57 (lz4 frames); snappy framing of xerial/snappy-java.

use super::{ATTRIBUTES_AT, COMPRESSION_BITS, HEADER_BYTES, Header, crc32c};
use crate::cursor::Cursor;
use crate::{Fault, Malformed};
use bytes::Bytes;
use std::io::{Read, Write};

/// Start of snappy-java's framing; a body without it is one raw snappy block.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";

/// Version and lowest compatible version of that framing, which Java writes and ignores.
const XERIAL_VERSIONS: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 1];

/// Uncompressed bytes per block of that framing.
const XERIAL_BLOCK_BYTES: usize = 32 << 10;

/// Windows every zstd decoder must take (RFC 8878, section 3.1.1.1.2), and the largest we do.
const ZSTD_WINDOW_LOG: std::ops::RangeInclusive<u32> = 23..=27;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, one or more members.
    Gzip,
    /// Snappy, in snappy-java's framing or raw.
    Snappy,
    /// LZ4 frame format.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// By the low three bits of the attributes.
    pub fn from_code(code: u16) -> Option<Compression> {
        match code {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The low three bits of the attributes.
    pub fn code(self) -> u16 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }
}

/// The uncompressed records of a batch: a slice of it where it is not compressed.
///
/// Fails with [`Fault::TooLarge`] as soon as more than `body_bytes_max` come out, whatever the input
/// claims, and with [`Fault::Compression`] when it does not unpack.
pub fn decompress(
    header: &Header,
    batch: &Bytes,
    body_bytes_max: usize,
) -> Result<Bytes, Malformed> {
    if batch.len() < HEADER_BYTES {
        return Err(Malformed::new(batch.len(), Fault::Truncated));
    }
    let packed = &batch[HEADER_BYTES..];
    let unpacked = match header.compression()? {
        Compression::None => return Ok(batch.slice(HEADER_BYTES..)),
        Compression::Gzip => read_capped(flate2::read::MultiGzDecoder::new(packed), body_bytes_max),
        Compression::Snappy => unsnap(packed, body_bytes_max),
        Compression::Lz4 => read_capped(lz4_flex::frame::FrameDecoder::new(packed), body_bytes_max),
        Compression::Zstd => unzstd(packed, body_bytes_max),
    };
    match unpacked {
        Ok(body) => Ok(Bytes::from(body)),
        Err(fault) => Err(Malformed::new(HEADER_BYTES, fault)),
    }
}

/// Compressed records, as a producer would send them.
pub fn compress(compression: Compression, body: &[u8]) -> Vec<u8> {
    const IN_MEMORY: &str = "writing to memory does not fail";
    match compression {
        Compression::None => body.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(body).expect(IN_MEMORY);
            encoder.finish().expect(IN_MEMORY)
        }
        Compression::Snappy => {
            let mut out = [XERIAL_MAGIC, XERIAL_VERSIONS].concat();
            let mut encoder = snap::raw::Encoder::new();
            for block in body.chunks(XERIAL_BLOCK_BYTES) {
                let packed = encoder.compress_vec(block).expect("32 KiB is within snappy's limit");
                out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
                out.extend_from_slice(&packed);
            }
            out
        }
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(body).expect(IN_MEMORY);
            encoder.finish().expect(IN_MEMORY)
        }
        Compression::Zstd => zstd::stream::encode_all(body, 0).expect(IN_MEMORY),
    }
}

/// The batch with its records compressed another way: header, offsets, times and producer as before.
///
/// `header`: the batch's own. Only before the batch is stored: a stored batch never changes. Fails as
/// [`decompress`] does.
pub fn recompress(
    header: &Header,
    batch: &Bytes,
    to: Compression,
    body_bytes_max: usize,
) -> Result<Bytes, Malformed> {
    if header.compression()? == to {
        return Ok(batch.clone());
    }
    let body = compress(to, &decompress(header, batch, body_bytes_max)?);
    let mut out = vec![0; HEADER_BYTES];
    out.extend_from_slice(&body);
    let mut header = Header {
        batch_bytes: u32::try_from(out.len())
            .map_err(|_| Malformed::new(HEADER_BYTES, Fault::TooLarge))?,
        attributes: header.attributes & !COMPRESSION_BITS | to.code(),
        ..*header
    };
    out[..HEADER_BYTES].copy_from_slice(&header.encode());
    header.crc = crc32c(&out[ATTRIBUTES_AT..]);
    out[..HEADER_BYTES].copy_from_slice(&header.encode());
    Ok(Bytes::from(out))
}

pub(super) fn read_capped(reader: impl Read, bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    let mut limited = reader.take(bytes_max as u64 + 1);
    limited.read_to_end(&mut out).map_err(|_| Fault::Compression)?;
    if out.len() > bytes_max { Err(Fault::TooLarge) } else { Ok(out) }
}

fn unzstd(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(packed).map_err(|_| Fault::Compression)?;
    let (least, most) = ZSTD_WINDOW_LOG.into_inner();
    let window_log = (usize::BITS - bytes_max.leading_zeros()).clamp(least, most);
    decoder.window_log_max(window_log).map_err(|_| Fault::Compression)?;
    read_capped(decoder, bytes_max)
}

fn unsnap(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    let Some(framed) = packed.strip_prefix(XERIAL_MAGIC) else {
        unsnap_block(packed, bytes_max, &mut out)?;
        return Ok(out);
    };
    let mut cursor = Cursor::new(framed);
    cursor.take(XERIAL_VERSIONS.len()).map_err(|_| Fault::Compression)?;
    while cursor.left() > 0 {
        let block_bytes = cursor.u32().map_err(|_| Fault::Compression)? as usize;
        let block = cursor.take(block_bytes).map_err(|_| Fault::Compression)?;
        unsnap_block(block, bytes_max, &mut out)?;
    }
    Ok(out)
}

fn unsnap_block(block: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let block_bytes = snap::raw::decompress_len(block).map_err(|_| Fault::Compression)?;
    let start = out.len();
    if block_bytes > bytes_max - start {
        return Err(Fault::TooLarge);
    }
    // A copy of 3 bytes makes at most 64: a shorter block lies about its length.
    if block_bytes > block.len().saturating_mul(64) {
        return Err(Fault::Compression);
    }
    out.resize(start + block_bytes, 0);
    let written = snap::raw::Decoder::new()
        .decompress(block, &mut out[start..])
        .map_err(|_| Fault::Compression)?;
    out.truncate(start + written);
    Ok(())
}
