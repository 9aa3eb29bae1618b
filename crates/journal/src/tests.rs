//! The journal on a simulated disk.

mod codec;
mod crash;
mod damage;
mod files;
mod loss;
mod numbers;
mod replicas;
mod rounds;
mod store;
