//! The real program: what it prints, how it fails, how it stops, what it keeps.

#![expect(clippy::unwrap_used, reason = "in tests, a failure is a failed test")]

mod admin;
mod durable;
mod embedded;
mod events;
mod import;
mod management;
mod recurring;
mod running;
mod schedules;
mod sessions;
mod start;
