//! What a destination says of its reference to a batch, beside the batch: the bytes of
//! [`journal::Dest::envelope`].

use bytes::Bytes;
use types::Millis;

/// A destination whose batch holds records with a time to live of their own.
const EXPIRING: u8 = 1;
/// A destination in a schedule: then whether it is expiring, and when it is due.
const SCHEDULED: u8 = 2;

/// State of one reference that is not the producer's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// Some record has a time to live of its own.
    pub(crate) expiring: bool,
    /// When a scheduled record is to be appended to its log.
    pub(crate) due: Option<Millis>,
}

impl Envelope {
    pub(crate) fn encode(self) -> Bytes {
        match self {
            Envelope { expiring: false, due: None } => Bytes::new(),
            Envelope { expiring: true, due: None } => Bytes::from_static(&[EXPIRING]),
            Envelope { expiring, due: Some(due) } => {
                let mut out = vec![SCHEDULED, u8::from(expiring)];
                out.extend_from_slice(&due.0.to_le_bytes());
                Bytes::from(out)
            }
        }
    }

    /// Reads what [`Envelope::encode`] wrote; what no release wrote says nothing.
    pub(crate) fn decode(bytes: &[u8]) -> Envelope {
        match bytes {
            [EXPIRING] => Envelope { expiring: true, due: None },
            [SCHEDULED, expiring, due @ ..] => match <[u8; 8]>::try_from(due) {
                Ok(due) => Envelope {
                    expiring: *expiring == 1,
                    due: Some(Millis(i64::from_le_bytes(due))),
                },
                Err(_) => Envelope::default(),
            },
            _ => Envelope::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Envelope;
    use types::Millis;

    #[test]
    fn what_is_written_is_read_back_and_other_bytes_say_nothing() {
        for expiring in [false, true] {
            for due in [None, Some(Millis(0)), Some(Millis(i64::MAX)), Some(Millis(-5))] {
                let envelope = Envelope { expiring, due };
                let bytes = envelope.encode();
                assert_eq!(Envelope::decode(&bytes), envelope);
                for cut in 1..bytes.len() {
                    assert_eq!(Envelope::decode(&bytes[..cut]).due, None, "{cut} bytes");
                }
            }
        }
        assert_eq!(Envelope::decode(&[7, 1, 2]), Envelope::default());
    }
}
