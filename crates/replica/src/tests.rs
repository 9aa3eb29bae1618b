//! The logs of shards on a simulated disk.

mod crash;
mod machine;
mod node;
mod plants;
mod store;
mod suite;
mod world;
