//! AMQP 0-9-1 with RabbitMQ's extensions.
//!
//! Sources: the AMQP 0-9-1 specification (2008-11-20) with RabbitMQ's errata and extensions
//! (exchange.bind, basic.nack, confirm, connection.blocked, update-secret); where the specification
//! and RabbitMQ differ, RabbitMQ's behaviour is followed, because clients are tested against it.
//!
//! [`codec`] turns bytes into frames, methods and contents and back; [`message`] turns a publication
//! into the tail of a record and a record into a delivery; [`arguments`] says which x-arguments work;
//! [`errors`] has the reply codes and RabbitMQ's texts, [`dialect`] those of declarations; [`Amqp`] is the
//! wire, whose sessions put it all to work.
//!
//! What differs from RabbitMQ: frames before tune-ok are at most 4096 bytes; field tables nest at
//! most 32 deep and their names are UTF-8; of headers beyond what one frame holds, which only another
//! protocol can have written, a consumer is told the number (`x-headers-omitted`).

pub mod arguments;
pub mod codec;
pub mod dialect;
pub mod errors;
pub mod message;
mod policy;
mod session;

pub use session::{Amqp, Options};
