//! Drivers that cost a small part of a core, so that the server is measured and not the client.
//!
//! Each prints one JSON line: throughput, CPU seconds per million messages of server and driver,
//! peak memory of the server, and latency percentiles where there are any. A driver panics when
//! anything is not as it should be: a figure of a broken run is worth nothing.

pub mod amqp;
pub mod args;
pub mod crowd;
pub mod marks;
pub mod probe;
pub mod raw;

pub use args::Args;
