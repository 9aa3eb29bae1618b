//! Frames, methods, contents and field tables of AMQP 0-9-1.
//!
//! Source: AMQP 0-9-1 section 4.2; field types as RabbitMQ's errata have them.

pub mod content;
pub mod frame;
pub mod method;
pub mod table;

pub(crate) mod wire;

pub use content::{Assembly, Content, ContentHeader, Publication};
pub use frame::{Frame, FrameKind};
pub use method::Method;
pub use table::Table;
