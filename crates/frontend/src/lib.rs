//! What every wire shares: sockets, limits, backpressure, draining, ordered replies, and the
//! transcript harness.
//!
//! A wire is a synchronous [`Session`]: bytes and events in, operations and bytes out through
//! [`Cx`]. [`Connection`] drives one session without a socket; a [`Server`] drives connections on
//! real ones. Code of this process, and wires over HTTP, use [`Local`] instead.
//!
//! Bounds that hold for every connection, all smaller when memory is short ([`engine::Memory`]):
//! - bytes read and not yet taken by the session: [`INPUT_BYTES_MAX`]; a session refuses larger
//!   frames when it has read their length;
//! - bytes submitted and not yet answered: reading stops at [`SUBMITTED_BYTES_MAX`];
//! - bytes to be written: reading, and taking events, stops at [`OUTPUT_BYTES_MAX`]; the engine
//!   stops delivering to a client whose outbox is not emptied.

pub mod transcript;

mod caller;
mod connection;
mod cx;
mod door;
mod flights;
mod gather;
mod identity;
#[cfg(test)]
mod lines;
mod listen;
mod local;
mod message;
mod output;
mod pipeline;
mod registry;
mod report;
mod server;
mod session;
mod socket;

pub use caller::{Caller, Pending};
pub use connection::{Connection, INPUT_BYTES_MAX, OUTPUT_BYTES_MAX, SUBMITTED_BYTES_MAX};
pub use cx::Cx;
pub use door::{Door, Doors};
pub use gather::Gather;
pub use identity::NotEntered;
pub use listen::{bind, loopback};
pub use local::{
    Again, Browsed, Carried, Consumer, Expectation, Filter, History, Home, KeyRange, Listing,
    Local, Page, Recurring, RecurringEntry, RecurringPage, RewindTo, State, Stretch,
};
pub use message::{Headers, Message, Place, Received};
pub use pipeline::{Pipeline, Slot};
pub use registry::{Registry, Whom};
pub use report::{ChannelReport, ConsumerReport, ConsumerTerms, Report, SessionReport};
pub use server::{Counters, Limits, Server};
pub use session::{Peer, Session, Wire};
