//! The session against the real engine on a simulated disk, and against scripts.

mod access;
mod basics;
mod client;
mod dead;
mod delayed;
mod errors;
mod expecting;
mod flows;
mod hostile;
mod once;
mod overflow;
mod single;
