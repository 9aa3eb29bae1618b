//! From the protocol header to connection.open-ok, and the connection's other methods.

use super::link::Capabilities;
use super::{AmqpSession, Phase, Step};
use crate::codec::frame::{PROTOCOL_HEADER, PROTOCOL_HEADER_0_9};
use crate::codec::{Method, Table, table};
use crate::errors::{self, Code, Exception};
use frontend::{Cx, NotEntered};
use record::properties::Value;
use types::Millis;

/// How long a client may take from the protocol header to connection.open.
pub(super) const HANDSHAKE: Millis = Millis(10_000);

/// How long a client may take to answer connection.close.
const FAREWELL: Millis = Millis(5_000);

/// Capabilities that clients look for.
const CAPABILITIES: [&str; 9] = [
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
];

impl AmqpSession {
    /// Takes the protocol header; gives how many bytes it took.
    pub(super) fn protocol_header(&mut self, bytes: &[u8], cx: &mut Cx<'_>) -> usize {
        let Some(header) = bytes.first_chunk::<8>() else { return 0 };
        if *header != PROTOCOL_HEADER && *header != PROTOCOL_HEADER_0_9 {
            self.link.out.extend_from_slice(&PROTOCOL_HEADER);
            cx.close_after_flush();
            return header.len();
        }
        let text = |text: &str| Value::String(text.to_owned());
        let capabilities =
            CAPABILITIES.iter().map(|name| ((*name).to_owned(), Value::Bool(true))).collect();
        let properties = [
            ("capabilities".to_owned(), Value::Table(capabilities)),
            ("cluster_name".to_owned(), text("crossdock")),
            ("copyright".to_owned(), text("The Crossdock authors")),
            ("information".to_owned(), text("Licensed under Apache-2.0")),
            ("platform".to_owned(), text("Rust")),
            ("product".to_owned(), text("Crossdock")),
            ("version".to_owned(), text(env!("CARGO_PKG_VERSION"))),
        ];
        let mut encoded = Vec::new();
        table::push(&mut encoded, &properties);
        let start = Method::ConnectionStart {
            version_major: 0,
            version_minor: 9,
            server_properties: Table::of(&encoded[4..]),
            mechanisms: b"PLAIN AMQPLAIN",
            locales: b"en_US",
        };
        self.link.send(0, &start);
        self.phase = Phase::Start;
        cx.wake_at(cx.now().plus(HANDSHAKE));
        header.len()
    }

    /// A method on channel 0.
    pub(super) fn connection_method(
        &mut self,
        method: &Method<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        match (self.phase, *method) {
            (Phase::Closing, Method::ConnectionClose { .. }) => {
                self.link.send(0, &Method::ConnectionCloseOk {});
                cx.close_after_flush();
            }
            (Phase::Closing, Method::ConnectionCloseOk {}) => cx.close_after_flush(),
            (Phase::Closing, _) => {}
            (_, Method::ConnectionClose { .. }) => self.begin_close(cx),
            (
                Phase::Start,
                Method::ConnectionStartOk { client_properties, mechanism, response, .. },
            ) => {
                self.link.client = capabilities(client_properties);
                self.link.properties = client_properties.bytes().into();
                self.log_in(mechanism, response, cx)?;
            }
            (Phase::Tune, Method::ConnectionTuneOk { channel_max, frame_max, heartbeat }) => {
                self.tune(channel_max, frame_max, heartbeat)?;
            }
            (Phase::Open, Method::ConnectionOpen { virtual_host, .. }) => {
                self.open(virtual_host, cx)?;
            }
            (Phase::Running, Method::ConnectionUpdateSecret { .. }) => {
                self.link.send(0, &Method::ConnectionUpdateSecretOk {});
            }
            (phase, _) => {
                let text = format!("unexpected method in connection state {}", phase.name());
                return Err(Exception::new(Code::ChannelError, text).in_method(method.id()));
            }
        }
        Ok(())
    }

    fn log_in(
        &mut self,
        mechanism: &str,
        response: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<(), Exception> {
        let (known, credentials) = match mechanism {
            "PLAIN" => ("PLAIN", plain(response)),
            "AMQPLAIN" => ("AMQPLAIN", amqplain(response)),
            other => return Err(errors::unknown_mechanism(other)),
        };
        self.link.mechanism = known;
        let options = &self.options;
        let (name, password) = credentials.unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        match cx.log_in(&name, password) {
            Ok(user) => self.link.user = user,
            Err(why) => {
                tracing::info!(peer = %cx.peer(), mechanism, user = %name, %why, "login refused");
                if self.link.client.authentication_failure_close {
                    self.close_connection(&errors::login_refused(mechanism), cx);
                }
                cx.close_after_flush();
                return Ok(());
            }
        }
        let tune = Method::ConnectionTune {
            channel_max: options.channel_max,
            frame_max: options.frame_bytes_max,
            heartbeat: options.heartbeat_s,
        };
        self.link.send(0, &tune);
        self.phase = Phase::Tune;
        Ok(())
    }

    fn tune(
        &mut self,
        channel_max: u16,
        frame_max: u32,
        heartbeat_s: u16,
    ) -> Result<(), Exception> {
        let options = &self.options;
        let least = crate::codec::frame::FRAME_BYTES_MIN;
        negotiate("frame_max", frame_max, least, options.frame_bytes_max)?;
        negotiate("channel_max", channel_max.into(), 1, options.channel_max.into())?;
        self.link.frame_bytes_max = frame_max;
        self.link.channel_max = channel_max;
        self.link.heartbeat = Millis(i64::from(heartbeat_s) * 1000);
        self.phase = Phase::Open;
        Ok(())
    }

    fn open(&mut self, virtual_host: &str, cx: &mut Cx<'_>) -> Result<(), Exception> {
        let refused = match cx.enter(virtual_host) {
            Ok(()) => None,
            Err(NotEntered::NotFound) => Some(errors::vhost_not_found(virtual_host)),
            Err(NotEntered::Refused) => Some(errors::vhost_refused(virtual_host, &self.link.user)),
            Err(NotEntered::Full(most)) => {
                Some(errors::vhost_full(virtual_host, &self.link.user, most))
            }
        };
        if let Some(exception) = refused {
            return Err(exception.in_method((10, 40)));
        }
        self.vhost = virtual_host.into();
        self.link.send(0, &Method::ConnectionOpenOk { known_hosts: "" });
        self.phase = Phase::Running;
        self.link.begin_heartbeats(cx);
        self.tell_blocked(self.link.blocked);
        Ok(())
    }

    /// Publishing is blocked from now on, or not any more.
    pub(super) fn blocked(&mut self, why: Option<&'static str>) {
        let before = std::mem::replace(&mut self.link.blocked, why);
        if self.phase == Phase::Running && before.is_some() != why.is_some() {
            match why {
                Some(_) => self.tell_blocked(why),
                None if self.link.client.blocked => {
                    self.link.send(0, &Method::ConnectionUnblocked {});
                }
                None => {}
            }
        }
    }

    fn tell_blocked(&mut self, why: Option<&'static str>) {
        if let Some(reason) = why.filter(|_| self.link.client.blocked) {
            self.link.send(0, &Method::ConnectionBlocked { reason });
        }
    }

    /// Closes the connection from this side.
    pub(super) fn close_connection(&mut self, exception: &Exception, cx: &mut Cx<'_>) {
        let (class_id, method_id) = exception.method;
        let close = Method::ConnectionClose {
            reply_code: exception.code.number(),
            reply_text: &exception.reply_text(),
            class_id,
            method_id,
        };
        self.link.send(0, &close);
        let early = !matches!(self.phase, Phase::Running | Phase::Closing);
        self.phase = Phase::Closing;
        self.request = None;
        cx.resume_input();
        if early {
            cx.close_after_flush();
        }
        cx.wake_at(cx.now().plus(FAREWELL));
    }

    /// The client closes: close-ok when what it settled is durable and what was its own is gone.
    fn begin_close(&mut self, cx: &mut Cx<'_>) {
        let numbers: Vec<u16> = self.channels.keys().copied().collect();
        let mut tokens = Vec::new();
        for number in numbers {
            if let Some(channel) = self.channels.remove(&number) {
                self.release(channel, &mut tokens, cx);
            }
        }
        self.await_settled(&mut tokens, cx);
        if self.owns_names {
            tokens.push(cx.submit(super::declare::remove_client(cx.owner())));
        }
        match tokens.is_empty() {
            true => self.closed(cx),
            false => self.ask_all(tokens, 0, (10, 50), Step::CloseConnection, cx),
        }
    }

    /// Everything that close-ok promises is so.
    pub(super) fn closed(&mut self, cx: &mut Cx<'_>) {
        self.link.send(0, &Method::ConnectionCloseOk {});
        self.phase = Phase::Closing;
        cx.close_after_flush();
    }
}

fn negotiate(field: &str, value: u32, least: u32, most: u32) -> Result<(), Exception> {
    if value != 0 && value < least {
        return Err(errors::negotiation(field, value, least));
    }
    if value == 0 || value > most {
        return Err(errors::negotiation(field, value, most));
    }
    Ok(())
}

/// `\0user\0password`, the first part (who to act as) ignored.
fn plain(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = response.splitn(3, |byte| *byte == 0);
    parts.next()?;
    Some((parts.next()?, parts.next()?))
}

/// A table without its length, of `LOGIN` and `PASSWORD`.
fn amqplain(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let field = |wanted: &[u8]| {
        let mut fields = Table::of(response).raw().filter_map(Result::ok);
        let found = fields.find(|(name, raw)| *name == wanted && raw.kind == b'S');
        found.map(|(_, raw)| raw.bytes)
    };
    Some((field(b"LOGIN")?, field(b"PASSWORD")?))
}

fn capabilities(client_properties: Table<'_>) -> Capabilities {
    let mut found = Capabilities::default();
    let Some(Ok((_, raw))) = client_properties
        .raw()
        .find(|field| matches!(field, Ok((b"capabilities", raw)) if raw.kind == b'F'))
    else {
        return found;
    };
    for (name, raw) in Table::of(raw.bytes).raw().filter_map(Result::ok) {
        let set = raw.kind == b't' && raw.bytes != [0];
        match name {
            b"authentication_failure_close" => found.authentication_failure_close = set,
            b"consumer_cancel_notify" => found.consumer_cancel_notify = set,
            b"connection.blocked" => found.blocked = set,
            _ => {}
        }
    }
    found
}
