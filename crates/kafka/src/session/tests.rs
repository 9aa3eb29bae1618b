//! The session on a real engine over a simulated disk: bytes in, bytes out, through the codec as a
//! client.

mod admin;
mod client;
mod fetching;
mod groups;
mod hostile;
mod idle;
mod producing;
mod restart;
