//! The fixed names of the headers that are not the user's.

use super::{Address, Properties, text};
use types::Millis;

/// Name of the header with the exchange that a message was published to.
pub const EXCHANGE: &[u8] = b"exchange";

/// Name of the header with the routing key that a message was published with.
pub const ROUTING_KEY: &[u8] = b"routing-key";

pub(super) const MESSAGE_ID: &[u8] = b"message-id";
pub(super) const CORRELATION_ID: &[u8] = b"correlation-id";
pub(super) const REPLY_TO: &[u8] = b"reply-to";
pub(super) const CONTENT_TYPE: &[u8] = b"content-type";
pub(super) const CONTENT_ENCODING: &[u8] = b"content-encoding";
pub(super) const KIND: &[u8] = b"type";
pub(super) const APP_ID: &[u8] = b"app-id";
pub(super) const USER_ID: &[u8] = b"user-id";
pub(super) const PRIORITY: &[u8] = b"priority";
pub(super) const EXPIRATION: &[u8] = b"expiration";
pub(super) const DELIVERY_MODE: &[u8] = b"delivery-mode";
pub(super) const TIMESTAMP: &[u8] = b"timestamp";

/// A header that is not the user's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    MessageId,
    CorrelationId,
    ReplyTo,
    ContentType,
    ContentEncoding,
    Kind,
    AppId,
    UserId,
    Priority,
    Expiration,
    DeliveryMode,
    Timestamp,
    Exchange,
    RoutingKey,
}

impl Slot {
    /// Length and first letter leave one candidate.
    #[inline]
    pub(super) fn of(name: &[u8]) -> Option<Slot> {
        let (candidate, slot) = match (name.len(), *name.first()?) {
            (10, b'm') => (MESSAGE_ID, Slot::MessageId),
            (14, b'c') => (CORRELATION_ID, Slot::CorrelationId),
            (8, b'r') => (REPLY_TO, Slot::ReplyTo),
            (12, b'c') => (CONTENT_TYPE, Slot::ContentType),
            (16, b'c') => (CONTENT_ENCODING, Slot::ContentEncoding),
            (4, b't') => (KIND, Slot::Kind),
            (6, b'a') => (APP_ID, Slot::AppId),
            (7, b'u') => (USER_ID, Slot::UserId),
            (8, b'p') => (PRIORITY, Slot::Priority),
            (10, b'e') => (EXPIRATION, Slot::Expiration),
            (13, b'd') => (DELIVERY_MODE, Slot::DeliveryMode),
            (9, b't') => (TIMESTAMP, Slot::Timestamp),
            (8, b'e') => (EXCHANGE, Slot::Exchange),
            (11, b'r') => (ROUTING_KEY, Slot::RoutingKey),
            _ => return None,
        };
        (name == candidate).then_some(slot)
    }

    pub(super) fn name(self) -> &'static [u8] {
        match self {
            Slot::MessageId => MESSAGE_ID,
            Slot::CorrelationId => CORRELATION_ID,
            Slot::ReplyTo => REPLY_TO,
            Slot::ContentType => CONTENT_TYPE,
            Slot::ContentEncoding => CONTENT_ENCODING,
            Slot::Kind => KIND,
            Slot::AppId => APP_ID,
            Slot::UserId => USER_ID,
            Slot::Priority => PRIORITY,
            Slot::Expiration => EXPIRATION,
            Slot::DeliveryMode => DELIVERY_MODE,
            Slot::Timestamp => TIMESTAMP,
            Slot::Exchange => EXCHANGE,
            Slot::RoutingKey => ROUTING_KEY,
        }
    }

    pub(super) fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Whether a value can be read as this property, and written again as the same bytes.
    #[inline]
    pub(super) fn admits(self, value: &[u8]) -> bool {
        match self {
            Slot::Priority | Slot::DeliveryMode => text::natural(value).is_some_and(|n| n <= 255),
            Slot::Timestamp => text::natural(value).is_some(),
            _ => true,
        }
    }

    /// Reads a value as this property; gives false for one that it does not admit.
    #[inline]
    pub(super) fn fill<'a>(
        self,
        properties: &mut Properties<'a>,
        address: &mut Address<'a>,
        value: &'a [u8],
    ) -> bool {
        let number = || text::natural(value);
        let octet = || number().and_then(|number| u8::try_from(number).ok());
        match self {
            Slot::MessageId => properties.message_id = Some(value),
            Slot::CorrelationId => properties.correlation_id = Some(value),
            Slot::ReplyTo => properties.reply_to = Some(value),
            Slot::ContentType => properties.content_type = Some(value),
            Slot::ContentEncoding => properties.content_encoding = Some(value),
            Slot::Kind => properties.kind = Some(value),
            Slot::AppId => properties.app_id = Some(value),
            Slot::UserId => properties.user_id = Some(value),
            Slot::Expiration => properties.expiration = Some(value),
            Slot::Exchange => address.exchange = Some(value),
            Slot::RoutingKey => address.routing_key = Some(value),
            Slot::Priority => {
                properties.priority = octet();
                return properties.priority.is_some();
            }
            Slot::DeliveryMode => {
                properties.delivery_mode = octet();
                return properties.delivery_mode.is_some();
            }
            Slot::Timestamp => {
                properties.timestamp = number().map(Millis);
                return properties.timestamp.is_some();
            }
        }
        true
    }
}
