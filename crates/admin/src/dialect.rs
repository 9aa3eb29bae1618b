//! How the wire whose shapes the management API has understands declarations and words refusals.
//! The program gives it: the admin side knows no wire.

use engine::Names;
use engine::api::Once;
use engine::catalog::{
    AppliesTo, Arguments, DeclareQueue, DeclareRouter, Dedup, Denied, PolicySettings, Refusal,
    RouterId,
};
use types::Millis;

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

/// How a message is known again: by its headers, and by the router that remembers it.
pub type OnceOf = fn(&Arguments, Option<(RouterId, Dedup)>) -> Option<Once>;

/// What the wire makes of declarations.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// A queue of a namespace, with what its arguments make of it.
    pub queue: fn(&Names, &str, DeclareQueue) -> Result<DeclareQueue, Told>,
    /// What of a policy's definition takes effect, or what is wrong with it; whether it is one of the
    /// operator's.
    pub policy: fn(&Arguments, bool) -> Result<PolicySettings, String>,
    /// What a policy can be for, by its name.
    pub applies_to: &'static [(&'static str, AppliesTo)],
    /// A router of a namespace, with what its kind, of that name, and its arguments make of it.
    pub router: fn(&str, &str, DeclareRouter) -> Result<DeclareRouter, Told>,
    /// How long a message with these headers asks to wait.
    pub delay: fn(&Arguments) -> Option<Millis>,
    /// How a message with these headers is known again where ids are remembered, by a router that does
    /// too.
    pub once: OnceOf,
    /// Tells in the headers of a message that it has waited so long.
    pub tell_delayed: fn(&mut Arguments, Millis),
    /// A refused change of a namespace, and whether it was to delete something.
    pub refusal: fn(&str, &Refusal, bool) -> Told,
    /// A right that a user does not have.
    pub denied: fn(Denied) -> Told,
}
