//! The methods of AMQP 0-9-1 and of RabbitMQ's extensions.
//!
//! Source: AMQP 0-9-1 section 1 and amqp-rabbitmq-0.9.1.json; names and fields as there.

#[cfg(test)]
mod tests;

use super::Table;
use super::wire::{Field, Reader, Writer};
use crate::errors::{Code, Exception, MethodId};
use record::cursor::Cursor;

/// Class of all methods that carry a content.
pub const BASIC_CLASS: u16 = 60;

/// basic.publish.
pub const BASIC_PUBLISH: MethodId = (60, 40);

macro_rules! methods {
    ($($variant:ident ($class:literal, $method:literal, $name:literal) {
        $($field:ident: $kind:ty),*
    })*) => {
        /// A decoded method; strings and tables are borrowed. Fields as in the specification:
        /// short strings are text, long strings bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Method<'a> {
            $(#[doc = $name] $variant { $(#[doc = stringify!($field)] $field: $kind),* },)*
        }

        impl<'a> Method<'a> {
            /// Class and method, as in the frame.
            pub fn id(&self) -> MethodId {
                match self {
                    $(Method::$variant { .. } => ($class, $method),)*
                }
            }

            /// Its name in the specification, as in `basic.publish`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Method::$variant { .. } => $name,)*
                }
            }

            /// Decodes the payload of a method frame.
            ///
            /// Fails with 503 for a method that does not exist and with 501 for fields that do not
            /// fit their types or do not fill the payload. Tables are checked when they are read.
            pub fn decode(payload: &'a [u8]) -> Result<Method<'a>, Exception> {
                let mut ids = Cursor::new(payload);
                let (Ok(class), Ok(method)) = (ids.u16(), ids.u16()) else {
                    return Err(Exception::new(Code::FrameError, "method frame without a method"));
                };
                let mut reader = Reader::new(ids.rest());
                let decoded = match (class, method) {
                    $(($class, $method) => fields!(reader, $variant { $($field: $kind),* }),)*
                    unknown => return Err(unknown_method(unknown)),
                };
                decoded
                    .and_then(|method| reader.finish().map(|()| method))
                    .map_err(|_| undecodable((class, method)))
            }

            /// Appends the payload of a method frame.
            pub fn encode(&self, out: &mut Vec<u8>) {
                let (class, method) = self.id();
                out.extend_from_slice(&class.to_be_bytes());
                out.extend_from_slice(&method.to_be_bytes());
                match self {
                    $(Method::$variant { $($field),* } => {
                        let mut _writer = Writer::new(out);
                        $($field.write(&mut _writer);)*
                    })*
                }
            }
        }

        /// Name of a method by its ids.
        fn name_of(id: MethodId) -> Option<&'static str> {
            match id {
                $(($class, $method) => Some($name),)*
                _ => None,
            }
        }
    };
}

macro_rules! fields {
    ($reader:ident, $variant:ident { }) => {
        Ok(Method::$variant {})
    };
    ($reader:ident, $variant:ident { $($field:ident: $kind:ty),+ }) => {
        (|| Ok(Method::$variant { $($field: <$kind>::read(&mut $reader)?),+ }))()
    };
}

methods! {
    ConnectionStart (10, 10, "connection.start") {
        version_major: u8, version_minor: u8, server_properties: Table<'a>,
        mechanisms: &'a [u8], locales: &'a [u8]
    }
    ConnectionStartOk (10, 11, "connection.start-ok") {
        client_properties: Table<'a>, mechanism: &'a str, response: &'a [u8], locale: &'a str
    }
    ConnectionSecure (10, 20, "connection.secure") { challenge: &'a [u8] }
    ConnectionSecureOk (10, 21, "connection.secure-ok") { response: &'a [u8] }
    ConnectionTune (10, 30, "connection.tune") { channel_max: u16, frame_max: u32, heartbeat: u16 }
    ConnectionTuneOk (10, 31, "connection.tune-ok") {
        channel_max: u16, frame_max: u32, heartbeat: u16
    }
    ConnectionOpen (10, 40, "connection.open") {
        virtual_host: &'a str, capabilities: &'a str, insist: bool
    }
    ConnectionOpenOk (10, 41, "connection.open-ok") { known_hosts: &'a str }
    ConnectionClose (10, 50, "connection.close") {
        reply_code: u16, reply_text: &'a str, class_id: u16, method_id: u16
    }
    ConnectionCloseOk (10, 51, "connection.close-ok") { }
    ConnectionBlocked (10, 60, "connection.blocked") { reason: &'a str }
    ConnectionUnblocked (10, 61, "connection.unblocked") { }
    ConnectionUpdateSecret (10, 70, "connection.update-secret") {
        new_secret: &'a [u8], reason: &'a str
    }
    ConnectionUpdateSecretOk (10, 71, "connection.update-secret-ok") { }
    ChannelOpen (20, 10, "channel.open") { out_of_band: &'a str }
    ChannelOpenOk (20, 11, "channel.open-ok") { channel_id: &'a [u8] }
    ChannelFlow (20, 20, "channel.flow") { active: bool }
    ChannelFlowOk (20, 21, "channel.flow-ok") { active: bool }
    ChannelClose (20, 40, "channel.close") {
        reply_code: u16, reply_text: &'a str, class_id: u16, method_id: u16
    }
    ChannelCloseOk (20, 41, "channel.close-ok") { }
    AccessRequest (30, 10, "access.request") {
        realm: &'a str, exclusive: bool, passive: bool, active: bool, write: bool, read: bool
    }
    AccessRequestOk (30, 11, "access.request-ok") { ticket: u16 }
    ExchangeDeclare (40, 10, "exchange.declare") {
        ticket: u16, exchange: &'a str, kind: &'a str, passive: bool, durable: bool,
        auto_delete: bool, internal: bool, nowait: bool, arguments: Table<'a>
    }
    ExchangeDeclareOk (40, 11, "exchange.declare-ok") { }
    ExchangeDelete (40, 20, "exchange.delete") {
        ticket: u16, exchange: &'a str, if_unused: bool, nowait: bool
    }
    ExchangeDeleteOk (40, 21, "exchange.delete-ok") { }
    ExchangeBind (40, 30, "exchange.bind") {
        ticket: u16, destination: &'a str, source: &'a str, routing_key: &'a str, nowait: bool,
        arguments: Table<'a>
    }
    ExchangeBindOk (40, 31, "exchange.bind-ok") { }
    ExchangeUnbind (40, 40, "exchange.unbind") {
        ticket: u16, destination: &'a str, source: &'a str, routing_key: &'a str, nowait: bool,
        arguments: Table<'a>
    }
    ExchangeUnbindOk (40, 51, "exchange.unbind-ok") { }
    QueueDeclare (50, 10, "queue.declare") {
        ticket: u16, queue: &'a str, passive: bool, durable: bool, exclusive: bool,
        auto_delete: bool, nowait: bool, arguments: Table<'a>
    }
    QueueDeclareOk (50, 11, "queue.declare-ok") {
        queue: &'a str, message_count: u32, consumer_count: u32
    }
    QueueBind (50, 20, "queue.bind") {
        ticket: u16, queue: &'a str, exchange: &'a str, routing_key: &'a str, nowait: bool,
        arguments: Table<'a>
    }
    QueueBindOk (50, 21, "queue.bind-ok") { }
    QueuePurge (50, 30, "queue.purge") { ticket: u16, queue: &'a str, nowait: bool }
    QueuePurgeOk (50, 31, "queue.purge-ok") { message_count: u32 }
    QueueDelete (50, 40, "queue.delete") {
        ticket: u16, queue: &'a str, if_unused: bool, if_empty: bool, nowait: bool
    }
    QueueDeleteOk (50, 41, "queue.delete-ok") { message_count: u32 }
    QueueUnbind (50, 50, "queue.unbind") {
        ticket: u16, queue: &'a str, exchange: &'a str, routing_key: &'a str, arguments: Table<'a>
    }
    QueueUnbindOk (50, 51, "queue.unbind-ok") { }
    BasicQos (60, 10, "basic.qos") { prefetch_size: u32, prefetch_count: u16, global: bool }
    BasicQosOk (60, 11, "basic.qos-ok") { }
    BasicConsume (60, 20, "basic.consume") {
        ticket: u16, queue: &'a str, consumer_tag: &'a str, no_local: bool, no_ack: bool,
        exclusive: bool, nowait: bool, arguments: Table<'a>
    }
    BasicConsumeOk (60, 21, "basic.consume-ok") { consumer_tag: &'a str }
    BasicCancel (60, 30, "basic.cancel") { consumer_tag: &'a str, nowait: bool }
    BasicCancelOk (60, 31, "basic.cancel-ok") { consumer_tag: &'a str }
    BasicPublish (60, 40, "basic.publish") {
        ticket: u16, exchange: &'a str, routing_key: &'a str, mandatory: bool, immediate: bool
    }
    BasicReturn (60, 50, "basic.return") {
        reply_code: u16, reply_text: &'a str, exchange: &'a str, routing_key: &'a str
    }
    BasicDeliver (60, 60, "basic.deliver") {
        consumer_tag: &'a str, delivery_tag: u64, redelivered: bool, exchange: &'a str,
        routing_key: &'a str
    }
    BasicGet (60, 70, "basic.get") { ticket: u16, queue: &'a str, no_ack: bool }
    BasicGetOk (60, 71, "basic.get-ok") {
        delivery_tag: u64, redelivered: bool, exchange: &'a str, routing_key: &'a str,
        message_count: u32
    }
    BasicGetEmpty (60, 72, "basic.get-empty") { cluster_id: &'a str }
    BasicAck (60, 80, "basic.ack") { delivery_tag: u64, multiple: bool }
    BasicReject (60, 90, "basic.reject") { delivery_tag: u64, requeue: bool }
    BasicRecoverAsync (60, 100, "basic.recover-async") { requeue: bool }
    BasicRecover (60, 110, "basic.recover") { requeue: bool }
    BasicRecoverOk (60, 111, "basic.recover-ok") { }
    BasicNack (60, 120, "basic.nack") { delivery_tag: u64, multiple: bool, requeue: bool }
    ConfirmSelect (85, 10, "confirm.select") { nowait: bool }
    ConfirmSelectOk (85, 11, "confirm.select-ok") { }
    TxSelect (90, 10, "tx.select") { }
    TxSelectOk (90, 11, "tx.select-ok") { }
    TxCommit (90, 20, "tx.commit") { }
    TxCommitOk (90, 21, "tx.commit-ok") { }
    TxRollback (90, 30, "tx.rollback") { }
    TxRollbackOk (90, 31, "tx.rollback-ok") { }
}

#[cold]
fn unknown_method(id: MethodId) -> Exception {
    let (class, method) = id;
    Exception::new(Code::CommandInvalid, format!("unknown method ({class},{method})")).in_method(id)
}

#[cold]
fn undecodable(id: MethodId) -> Exception {
    let name = name_of(id).unwrap_or("method");
    Exception::new(Code::FrameError, format!("cannot decode {name}")).in_method(id)
}
