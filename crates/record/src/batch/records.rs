//! The records of an uncompressed body, borrowed.

use super::{Compression, HEADER_BYTES, Header, decompress};
use crate::cursor::Cursor;
use crate::tail::{self, TailView};
use crate::{Fault, Malformed};
use bytes::Bytes;

pub use crate::tail::Headers;

/// One record of a batch; everything is borrowed from the body.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Unused by Kafka so far, always 0.
    pub attributes: i8,
    /// Timestamp less the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Offset less the batch's base offset.
    pub offset_delta: u32,
    /// Key, if any; an empty one is not none.
    pub key: Option<&'a [u8]>,
    /// Value, if any; an empty one is not none.
    pub value: Option<&'a [u8]>,
    /// Headers in order, duplicates kept.
    pub headers: Headers<'a>,
    /// Key, value and headers as encoded: what [`super::Builder::push`] takes.
    pub tail: &'a [u8],
}

/// What stands before the tail of a record, and where that is.
#[derive(Clone, Copy, Debug)]
pub struct RecordHead<'a> {
    /// Unused by Kafka so far, always 0.
    pub attributes: i8,
    /// Timestamp less the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Offset less the batch's base offset.
    pub offset_delta: u32,
    /// Key, value and headers as encoded, not decoded here.
    pub tail: &'a [u8],
}

/// Walks the records of an uncompressed body (a batch without its header).
///
/// Gives at most the header's count, then a fault if bytes are left over or missing.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    cursor: Cursor<'a>,
    left: u32,
    failed: bool,
}

impl<'a> Records<'a> {
    /// The records in `body`, as many as `header` says.
    pub fn new(header: &Header, body: &'a [u8]) -> Records<'a> {
        Records { cursor: Cursor::new(body), left: header.count, failed: false }
    }

    /// Position in the body, in bytes: of the next record.
    pub fn at(&self) -> usize {
        self.cursor.at()
    }

    /// The next record without a look into its tail, which a check at the door has decoded before.
    #[inline]
    pub fn next_head(&mut self) -> Option<Result<RecordHead<'a>, Malformed>> {
        self.step(decode_head)
    }

    #[inline]
    fn step<T>(
        &mut self,
        decode: impl FnOnce(&'a [u8]) -> Result<T, Malformed>,
    ) -> Option<Result<T, Malformed>> {
        if self.failed {
            return None;
        }
        if self.left == 0 {
            if self.cursor.left() == 0 {
                return None;
            }
            self.failed = true;
            return Some(Err(self.cursor.fault(Fault::Count)));
        }
        self.left -= 1;
        let record = self.framed(decode);
        self.failed = record.is_err();
        Some(record)
    }

    #[inline]
    fn framed<T>(
        &mut self,
        decode: impl FnOnce(&'a [u8]) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        let length = self.cursor.varint()?;
        let start = self.cursor.at();
        let length = usize::try_from(length).map_err(|_| self.cursor.fault(Fault::Invalid))?;
        decode(self.cursor.take(length)?)
            .map_err(|malformed| Malformed::new(start + malformed.at_byte, malformed.fault))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.step(decode_record)
    }
}

/// Walks every record of a batch as a producer must send it: decodable to the last header, offsets
/// 0, 1, 2, …, as many as the header says and nothing after them.
///
/// A compressed body is unpacked up to `body_bytes_max`; beyond that it is [`Fault::TooLarge`].
pub fn check_records(
    header: &Header,
    batch: &Bytes,
    body_bytes_max: usize,
) -> Result<(), Malformed> {
    let unpacked;
    let body: &[u8] = match header.compression()? {
        Compression::None => &batch[HEADER_BYTES..],
        _ => {
            unpacked = decompress(header, batch, body_bytes_max)?;
            &unpacked
        }
    };
    let mut records = Records::new(header, body);
    let mut expected = 0;
    while let Some(record) = records.next() {
        if record?.offset_delta != expected {
            return Err(Malformed::new(records.at(), Fault::Count));
        }
        expected += 1;
    }
    Ok(())
}

#[inline]
fn decode_head(bytes: &[u8]) -> Result<RecordHead<'_>, Malformed> {
    let mut cursor = Cursor::new(bytes);
    let attributes = cursor.i8()?;
    let timestamp_delta = cursor.varlong()?;
    let offset_delta = cursor.varint()?;
    let offset_delta = u32::try_from(offset_delta).map_err(|_| cursor.fault(Fault::Invalid))?;
    Ok(RecordHead { attributes, timestamp_delta, offset_delta, tail: cursor.rest() })
}

#[inline]
fn decode_record(bytes: &[u8]) -> Result<RecordView<'_>, Malformed> {
    let RecordHead { attributes, timestamp_delta, offset_delta, tail } = decode_head(bytes)?;
    let tail_at = bytes.len() - tail.len();
    let TailView { key, value, headers } = tail::decode(tail)
        .map_err(|malformed| Malformed::new(tail_at + malformed.at_byte, malformed.fault))?;
    Ok(RecordView { attributes, timestamp_delta, offset_delta, key, value, headers, tail })
}
