//! What a destination says of its reference to a batch, beside the batch: the bytes of
//! [`journal::Dest::envelope`].

use crate::api::{Expecting, Once};
use crate::shard::Outbound;
use bytes::Bytes;
use types::{LogId, Millis, Offset};

/// A destination whose batch holds records with a time to live of their own.
const EXPIRING: u8 = 1;
/// A destination in a schedule: then whether it is expiring, and when it is due.
const SCHEDULED: u8 = 2;
/// A destination in an outbox: expiring, target, source, whether it is kept.
const OUT: u8 = 3;
/// A destination of what was in an outbox: expiring, outbox, its offset there, the outbox's floor.
const IN: u8 = 4;
/// A destination that is a page of the index of a log's keys: expiring, which it is not.
const KEY_PAGE: u8 = 7;

/// State of one reference that is not the producer's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// Some record has a time to live of its own.
    pub(crate) expiring: bool,
    /// When a scheduled record is to be appended to its log.
    pub(crate) due: Option<Millis>,
    /// It is on its way from one shard to another.
    pub(crate) way: Option<Way>,
}

/// Where a message is between two shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// In the outbox of the one.
    Out(Outbound),
    /// A page of the index of a log's keys, on no way at all.
    KeyPage,
    /// Coming to the other.
    In { outbox: LogId, offset: Offset, floor: Offset },
}

impl Envelope {
    pub(crate) fn encode(self) -> Bytes {
        let expiring = u8::from(self.expiring);
        let mut out = Vec::new();
        match self {
            Envelope { due: Some(due), .. } => {
                out.extend_from_slice(&[SCHEDULED, expiring]);
                out.extend_from_slice(&due.0.to_le_bytes());
            }
            Envelope { way: Some(Way::Out(Outbound { to, source, keep })), .. } => {
                out.extend_from_slice(&[OUT, expiring]);
                out.extend_from_slice(&to.0.to_le_bytes());
                out.extend_from_slice(&source.0.to_le_bytes());
                out.push(u8::from(keep));
            }
            Envelope { way: Some(Way::In { outbox, offset, floor }), .. } => {
                out.extend_from_slice(&[IN, expiring]);
                out.extend_from_slice(&outbox.0.to_le_bytes());
                out.extend_from_slice(&offset.0.to_le_bytes());
                out.extend_from_slice(&floor.0.to_le_bytes());
            }
            Envelope { way: Some(Way::KeyPage), .. } => {
                out.extend_from_slice(&[KEY_PAGE, expiring])
            }
            Envelope { expiring: true, .. } => return Bytes::from_static(&[EXPIRING]),
            Envelope { expiring: false, .. } => return Bytes::new(),
        }
        Bytes::from(out)
    }

    /// Reads what [`Envelope::encode`] wrote; what no release wrote says nothing.
    pub(crate) fn decode(bytes: &[u8]) -> Envelope {
        let (_, bytes) = Once::decode(bytes);
        let (_, bytes) = Expecting::decode(bytes);
        match bytes {
            [EXPIRING] => Envelope { expiring: true, ..Envelope::default() },
            [kind, expiring, rest @ ..] => {
                let read = match *kind {
                    SCHEDULED => scheduled(rest),
                    OUT => out(rest),
                    IN => coming(rest),
                    KEY_PAGE if rest.is_empty() => {
                        Some(Envelope { way: Some(Way::KeyPage), ..Envelope::default() })
                    }
                    _ => None,
                };
                read.map_or(Envelope::default(), |read| Envelope {
                    expiring: *expiring == 1,
                    ..read
                })
            }
            _ => Envelope::default(),
        }
    }
}

fn scheduled(bytes: &[u8]) -> Option<Envelope> {
    let due = Millis(i64::from_le_bytes(bytes.try_into().ok()?));
    Some(Envelope { due: Some(due), ..Envelope::default() })
}

fn out(bytes: &[u8]) -> Option<Envelope> {
    let (to, rest) = bytes.split_first_chunk()?;
    let (source, rest) = rest.split_first_chunk()?;
    let [keep] = rest else { return None };
    let (to, source) = (LogId(u32::from_le_bytes(*to)), LogId(u32::from_le_bytes(*source)));
    let way = Way::Out(Outbound { to, source, keep: *keep == 1 });
    Some(Envelope { way: Some(way), ..Envelope::default() })
}

fn coming(bytes: &[u8]) -> Option<Envelope> {
    let (outbox, rest) = bytes.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let floor = rest.try_into().ok()?;
    let outbox = LogId(u32::from_le_bytes(*outbox));
    let (offset, floor) = (Offset(i64::from_le_bytes(*offset)), Offset(i64::from_le_bytes(floor)));
    Some(Envelope { way: Some(Way::In { outbox, offset, floor }), ..Envelope::default() })
}

#[cfg(test)]
mod tests {
    use super::{Envelope, Way};
    use crate::api::{MessageId, Once};
    use crate::shard::Outbound;
    use types::{LogId, Millis, Offset};

    #[test]
    fn what_is_written_is_read_back_and_a_part_of_it_says_nothing() {
        let dues = [Millis(0), Millis(i64::MAX), Millis(-5)].map(|due| (Some(due), None));
        let out = [true, false].map(|keep| {
            let way = Way::Out(Outbound { to: LogId(7), source: LogId(u32::MAX), keep });
            (None, Some(way))
        });
        let coming = Way::In { outbox: LogId(9), offset: Offset(3), floor: Offset(i64::MAX) };
        let all = dues.into_iter().chain(out).chain([(None, None), (None, Some(coming))]);
        for (due, way) in all {
            for expiring in [false, true] {
                let envelope = Envelope { expiring, due, way };
                let bytes = envelope.encode();
                assert_eq!(Envelope::decode(&bytes), envelope);
                for cut in 1..bytes.len() {
                    let read = Envelope::decode(&bytes[..cut]);
                    assert_eq!((read.due, read.way), (None, None), "{cut} bytes");
                }
            }
        }
        assert_eq!(Envelope::decode(&[7, 1, 2]), Envelope::default());
        let once = Once { id: MessageId::of(b"id"), within: None };
        let envelope = Envelope { expiring: true, due: Some(Millis(4)), way: None };
        assert_eq!(Envelope::decode(&once.encode(&envelope.encode())), envelope);
    }
}
