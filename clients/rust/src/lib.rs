//! What the cases of every Rust client share.

pub mod casebook;
