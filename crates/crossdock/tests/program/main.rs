//! The real program: what it prints, how it fails, how it stops, what it keeps.

mod admin;
mod durable;
mod embedded;
mod running;
mod start;
