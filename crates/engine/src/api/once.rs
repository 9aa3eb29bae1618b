//! Messages that are appended once, however often they come.

use bytes::{BufMut, Bytes, BytesMut};
use catalog::{Dedup, MessageId, Remembered, RouterId};
use serde::{Deserialize, Serialize};
use types::Millis;

/// The router that messages came by, if that remembers too, in each log it leads to, and how.
pub type Within = (RouterId, Dedup);

/// Where a message is looked for by its id before it is appended.
///
/// A queue that remembers ids looks in its own memory; every log that the message goes to decides for
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once {
    /// The message's.
    pub id: MessageId,
    /// The router it came by.
    pub within: Option<Within>,
}

/// Begins what a destination says of a message that is appended once; the rest follows.
const ONCE: u8 = 5;
const WHILE_HELD: u8 = 1;
const FOR: u8 = 2;
const ALWAYS: u8 = 3;
/// Bytes of it: which, the id, how the router remembers, which it is, how long, how many.
const ONCE_BYTES: usize = 1 + 16 + 1 + 4 + 8 + 4;

impl Once {
    /// Puts it before what a destination says otherwise.
    pub(crate) fn encode(&self, rest: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(ONCE_BYTES + rest.len());
        out.put_u8(ONCE);
        out.put_slice(&self.id.0);
        let none = Dedup { remembered: Remembered::Always, count_max: 0 };
        let (router, dedup) = self.within.unwrap_or((RouterId(0), none));
        let (kind, span) = match dedup.remembered {
            Remembered::WhileHeld => (WHILE_HELD, Millis(0)),
            Remembered::For(span) => (FOR, span),
            Remembered::Always => (ALWAYS, Millis(0)),
        };
        out.put_u8(self.within.map_or(0, |_| kind));
        out.put_u32_le(router.0);
        out.put_i64_le(span.0);
        out.put_u32_le(dedup.count_max);
        out.put_slice(rest);
        out.freeze()
    }

    /// Reads what [`Once::encode`] wrote, and gives the rest.
    pub(crate) fn decode(bytes: &[u8]) -> (Option<Once>, &[u8]) {
        match bytes.split_first_chunk() {
            Some((head, rest)) if head[0] == ONCE => (Once::read(head), rest),
            _ => (None, bytes),
        }
    }

    fn read(head: &[u8; ONCE_BYTES]) -> Option<Once> {
        let (id, rest) = head[1..].split_first_chunk()?;
        let (kind, rest) = rest.split_first()?;
        let (router, rest) = rest.split_first_chunk()?;
        let (span, count_max) = rest.split_first_chunk()?;
        let remembered = match *kind {
            WHILE_HELD => Some(Remembered::WhileHeld),
            FOR => Some(Remembered::For(Millis(i64::from_le_bytes(*span)))),
            ALWAYS => Some(Remembered::Always),
            _ => None,
        };
        let count_max = u32::from_le_bytes(count_max.try_into().ok()?);
        let router = RouterId(u32::from_le_bytes(*router));
        let within = remembered.map(|remembered| (router, Dedup { remembered, count_max }));
        Some(Once { id: MessageId(*id), within })
    }
}

#[cfg(test)]
mod tests {
    use super::Once;
    use catalog::{Dedup, MessageId, Remembered, RouterId};
    use types::Millis;

    #[test]
    fn what_is_written_is_read_back_and_what_is_cut_off_says_nothing() {
        let id = MessageId::of(b"id");
        let ways = [Remembered::WhileHeld, Remembered::For(Millis(7)), Remembered::Always];
        let ways =
            ways.map(|remembered| Some((RouterId(u32::MAX), Dedup { remembered, count_max: 9 })));
        for within in ways.into_iter().chain([None]) {
            let once = Once { id, within };
            let bytes = once.encode(&[1]);
            assert_eq!(Once::decode(&bytes), (Some(once), &[1][..]));
            for cut in 0..bytes.len() - 1 {
                assert_eq!(Once::decode(&bytes[..cut]), (None, &bytes[..cut]));
            }
        }
        assert_eq!(Once::decode(&[1]), (None, &[1][..]));
    }
}
