//! The HTTP side of the broker: health, metrics, and the JSON API that the command line uses.
//!
//! `docs/admin.md` lists every path. There is no authentication yet, so requests that a browser
//! sends for some other page (they carry `Origin`) are refused.

mod base64;
mod failure;
mod groups;
mod guard;
mod messages;
mod metrics;
mod names;
mod server;
mod state;
mod survey;
mod text;

pub use server::AdminServer;
pub use state::{About, Admin, WireStatus};
pub use text::Text;
