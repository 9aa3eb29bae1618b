//! The HTTP side of the broker: health, metrics, the JSON API that the command line uses (`/v1`), and
//! RabbitMQ's management API (`/api`), for which one logs in.
//!
//! `docs/admin.md` and `docs/management.md` list every path. Requests that a browser sends for some
//! other page (they carry `Origin`) are refused, for `/v1` asks for no login.

pub mod base64;
mod browsing;
mod dialect;
mod events;
mod failure;
mod groups;
mod guard;
mod management;
mod messages;
mod metrics;
mod names;
mod recurring;
mod redrives;
mod replay;
mod schedules;
mod server;
mod sessions;
mod state;
mod survey;
mod text;

pub use dialect::{Dialect, OnceOf, Told};
pub use server::AdminServer;
pub use state::{About, Admin, WireStatus};
pub use text::Text;
