//! Frames, headers and messages of the Kafka protocol.
//!
//! Every message is declared once as a table of fields and versions (`messages`); the decoder,
//! the encoder and the test generator all come from that table. Record bytes are never copied on
//! the way in, and on the way out only where a copy is cheaper than another segment.
//!
//! Deviations: unknown tagged fields are dropped; bytes after a complete body are ignored, as
//! Apache Kafka does; a null where the version forbids it is written as an empty value.

mod schema;

mod header;
mod reader;
mod records;
#[cfg(test)]
pub(crate) mod sample;
mod wire;
mod writer;

pub mod messages;

pub use header::{Incoming, RequestHeader, encode_request, encode_response, read_header};
pub use reader::{ELEMENTS_MAX, Malformed, Reader};
pub use records::{BATCH_PREFIX_BYTES, Records, Rows};
pub use wire::{Message, Nullable, Wire, decode};
pub use writer::{SHARED_BYTES_MIN, Writer};

#[cfg(test)]
mod tests;
