//! Records: the bytes of one message as they are stored and sent.
//!
//! A log holds Kafka record batches of magic 2, kept byte for byte ([`batch`]). A wire that takes
//! single messages encodes each as a [`tail`], the part of a record that does not depend on its
//! neighbours; many tails travel in one buffer ([`tails`]), and the engine packs them into batches
//! ([`batch::Builder`]). What a message says besides key, value and timestamp is in its headers,
//! typed and lossless across wires ([`properties`]).
//!
//! Nothing here trusts its input: every length and count is held against the bytes that are left
//! before anything is allocated, and nesting is capped.

pub mod batch;
pub mod cursor;
mod malformed;
pub mod properties;
pub mod tail;
pub mod tails;
pub mod varint;

pub use malformed::{Fault, Malformed};
