//! The whole broker: as a program ([`cli`]) and inside a Rust program ([`Broker`]).
//!
//! [`Options`] has every option once: what can be given as a flag, as a variable
//! `CROSSDOCK_*`, in the configuration file, and by a Rust program.

mod broker;
pub mod cli;
mod dialect;
mod listening;
mod memory_limit;
mod options;
mod wires;

pub use broker::{Broker, Listening, StartError};
pub use frontend::{Consumer, Headers, Message, Place, Received};
pub use memory_limit::TooLittle;
pub use options::{Address, Advertise, InMemory, Listen, Opening, Options};
pub use types::{Error, Kind};
