//! Records by their key, and appends that want to know what was appended last.

use bytes::{BufMut, Bytes, BytesMut};
use catalog::MessageId;
use serde::{Deserialize, Serialize};
use types::{LogRef, Millis, Offset};

/// What tells a key from others: the first half of its SHA-256. Two keys that share it are not found by
/// chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(pub [u8; 16]);

impl KeyHash {
    /// Of a key of any length.
    #[must_use]
    pub fn of(key: &[u8]) -> KeyHash {
        KeyHash(MessageId::of(key).0)
    }
}

/// What has to be so when an append is ordered; if it is not, nothing is appended
/// ([`Verdict::Unexpected`](super::Verdict::Unexpected)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Whose last record: that of a key, in a log that indexes its keys; `None`: that of the log.
    pub key: Option<KeyHash>,
    /// Its offset; `None`: there is none. What retention took is not there.
    pub last: Option<Offset>,
}

/// Reads the records of a key. Reply: [`Reply::Keyed`](super::Reply::Keyed).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadKey {
    /// In which log; one that does not index its keys is `Invalid`.
    pub log: LogRef,
    /// Which key.
    pub key: Bytes,
    /// From this offset on; `None`: from the first, or the last where it goes backward.
    pub from: Option<Offset>,
    /// The newest come first.
    pub backward: bool,
    /// Stop after so many records.
    pub count_max: u32,
    /// Stop after so many bytes; the first record is given however large it is.
    pub bytes_max: u32,
}

/// Records of a key.
#[derive(Clone, Debug, Default)]
pub struct Keyed {
    /// In the order asked for.
    pub records: Vec<KeyedRecord>,
    /// From where to go on; `None`: there are no more.
    pub next: Option<Offset>,
}

/// One record of a key.
#[derive(Clone, Debug)]
pub struct KeyedRecord {
    /// Where it is.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Millis,
    /// Its key, value and headers, as [`record::tail::decode`] reads them.
    pub tail: Bytes,
}

/// What a leader found of a key where apply does not look: in what of the index is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Its last record …
    pub(crate) last: Option<Offset>,
    /// … of those before this offset.
    pub(crate) before: Offset,
}

/// What a destination says of an append that expects something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expecting {
    pub(crate) expected: Expected,
    pub(crate) told: Told,
}

/// Begins what a destination says of an append that expects something; the rest follows.
const EXPECTING: u8 = 6;
/// Bytes of it: which, whether there is a key, the key, and three offsets.
const EXPECTING_BYTES: usize = 1 + 1 + 16 + 3 * 8;
/// No offset.
const NONE: i64 = -1;

impl Expecting {
    /// Puts it before what a destination says otherwise.
    pub(crate) fn encode(&self, rest: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(EXPECTING_BYTES + rest.len());
        let Expecting { expected, told } = self;
        let number = |offset: Option<Offset>| offset.map_or(NONE, |offset| offset.0);
        out.put_u8(EXPECTING);
        out.put_u8(u8::from(expected.key.is_some()));
        out.put_slice(&expected.key.unwrap_or_default().0);
        out.put_i64_le(number(expected.last));
        out.put_i64_le(number(told.last));
        out.put_i64_le(told.before.0);
        out.put_slice(rest);
        out.freeze()
    }

    /// Reads what [`Expecting::encode`] wrote, and gives the rest.
    pub(crate) fn decode(bytes: &[u8]) -> (Option<Expecting>, &[u8]) {
        match bytes.split_first_chunk() {
            Some((head, rest)) if head[0] == EXPECTING => (Expecting::read(head), rest),
            _ => (None, bytes),
        }
    }

    fn read(head: &[u8; EXPECTING_BYTES]) -> Option<Expecting> {
        let (has_key, rest) = head[1..].split_first()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (last, rest) = rest.split_first_chunk()?;
        let (told, rest) = rest.split_first_chunk()?;
        let before = Offset(i64::from_le_bytes(rest.try_into().ok()?));
        let offset = |bytes: &[u8; 8]| {
            let number = i64::from_le_bytes(*bytes);
            (number != NONE).then_some(Offset(number))
        };
        let expected =
            Expected { key: (*has_key == 1).then_some(KeyHash(*key)), last: offset(last) };
        Some(Expecting { expected, told: Told { last: offset(told), before } })
    }
}

#[cfg(test)]
mod tests {
    use super::{Expected, Expecting, KeyHash, Told};
    use types::Offset;

    #[test]
    fn what_is_written_is_read_back_and_what_is_cut_off_says_nothing() {
        for key in [None, Some(KeyHash::of(b"key"))] {
            for last in [None, Some(Offset(0)), Some(Offset(i64::MAX))] {
                let told = Told { last, before: Offset(7) };
                let expecting = Expecting { expected: Expected { key, last }, told };
                let bytes = expecting.encode(&[1]);
                assert_eq!(Expecting::decode(&bytes), (Some(expecting), &[1][..]));
                for cut in 0..bytes.len() - 1 {
                    assert_eq!(Expecting::decode(&bytes[..cut]), (None, &bytes[..cut]));
                }
            }
        }
        assert_eq!(Expecting::decode(&[1]), (None, &[1][..]));
    }
}
