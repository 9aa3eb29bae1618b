//! Groups by script, and by random commands.

mod random;
mod script;
