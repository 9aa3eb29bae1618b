//! How the wire whose shapes the management API has understands declarations and words refusals.
//! The program gives it: the admin side knows no wire.

use engine::catalog::{
    DeclareQueue, DeclareRouter, Denied, Name, QueueOptions, Refusal, RouterKind,
};

/// A refusal as the wire tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its number, as 406.
    pub code: u16,
    /// The number's name, as `PRECONDITION_FAILED`.
    pub name: &'static str,
    /// Why.
    pub text: String,
}

/// What the wire makes of declarations.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// What of a queue's arguments takes effect, in a namespace.
    pub queue: fn(&str, &DeclareQueue) -> Result<QueueOptions, Told>,
    /// The alternate that a router's arguments name, in a namespace.
    pub alternate: fn(&str, &DeclareRouter) -> Result<Option<Name>, Told>,
    /// The kind of router of that name.
    pub kind: fn(&str) -> Result<RouterKind, Told>,
    /// A refused change of a namespace, and whether it was to delete something.
    pub refusal: fn(&str, &Refusal, bool) -> Told,
    /// A right that a user does not have.
    pub denied: fn(Denied) -> Told,
}
