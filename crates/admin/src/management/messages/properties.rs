//! Properties of messages in RabbitMQ's JSON, and in the broker's records.

use crate::management::arguments;
use crate::management::given::Given;
use crate::management::refused::Refused;
use engine::catalog::Arguments;
use record::properties::{Address, Block, Decoded, Origin, Properties, push};
use record::{tail, tails};
use serde_json::{Map, Value, json};
use types::Millis;

/// Properties that are texts: their names, and where they are in a record.
const TEXTS: [(&str, Read); 9] = [
    ("app_id", |it| it.app_id),
    ("user_id", |it| it.user_id),
    ("type", |it| it.kind),
    ("message_id", |it| it.message_id),
    ("expiration", |it| it.expiration),
    ("reply_to", |it| it.reply_to),
    ("correlation_id", |it| it.correlation_id),
    ("content_encoding", |it| it.content_encoding),
    ("content_type", |it| it.content_type),
];

type Read = for<'a> fn(&Properties<'a>) -> Option<&'a [u8]>;

/// Longest time to live: ten years, in milliseconds.
const EXPIRY_MS_MAX: u64 = 315_360_000_000;

/// The properties of a message that is posted.
#[derive(Debug)]
pub(super) struct Posted {
    /// In the order of [`TEXTS`].
    texts: [Option<String>; TEXTS.len()],
    priority: Option<u8>,
    delivery_mode: Option<u8>,
    timestamp: Option<Millis>,
    pub(super) headers: Arguments,
    /// Headers were given, if only none.
    has_headers: bool,
}

impl Posted {
    pub(super) fn read(given: &Given) -> Result<Posted, Refused> {
        let mut texts = [const { None }; TEXTS.len()];
        for (text, (name, _)) in texts.iter_mut().zip(TEXTS) {
            *text = given.has(name).then(|| given.text(name)).transpose()?;
        }
        let small = |name| {
            let number = given.number(name)?;
            let small = number.map(u8::try_from).transpose();
            small.map_err(|_| Refused::bad(json!(["not_int", name])))
        };
        let posted = Posted {
            texts,
            priority: small("priority")?,
            delivery_mode: small("delivery_mode")?,
            timestamp: given
                .number("timestamp")?
                .map(|seconds| Millis(seconds.clamp(0, i64::MAX / 1000) * 1000)),
            headers: given.object("headers")?.arguments()?,
            has_headers: given.has("headers"),
        };
        if let Some(expiration) = posted.text("expiration")
            && expiration.parse::<u64>().map_or(true, |span| span > EXPIRY_MS_MAX)
        {
            let reason = format!("406 PRECONDITION_FAILED - invalid expiration '{expiration}'");
            return Err(Refused::bad(reason));
        }
        Ok(posted)
    }

    fn text(&self, name: &str) -> Option<&str> {
        let place = TEXTS.iter().position(|(known, _)| *known == name)?;
        self.texts[place].as_deref()
    }

    pub(super) fn user_id(&self) -> Option<&str> {
        self.text("user_id")
    }

    pub(super) fn expires(&self) -> bool {
        self.text("expiration").is_some()
    }

    /// Its properties but the headers.
    pub(super) fn properties(&self) -> Properties<'_> {
        let bytes = |name| self.text(name).map(str::as_bytes);
        Properties {
            message_id: bytes("message_id"),
            correlation_id: bytes("correlation_id"),
            reply_to: bytes("reply_to"),
            content_type: bytes("content_type"),
            content_encoding: bytes("content_encoding"),
            kind: bytes("type"),
            app_id: bytes("app_id"),
            user_id: bytes("user_id"),
            priority: self.priority,
            expiration: bytes("expiration"),
            delivery_mode: self.delivery_mode,
            timestamp: self.timestamp,
        }
    }

    /// The message as an append carries it.
    pub(super) fn packed(
        &self,
        (exchange, key): (&str, &str),
        payload: &[u8],
    ) -> Result<Vec<u8>, Refused> {
        let properties = self.properties();
        let address =
            Address { exchange: Some(exchange.as_bytes()), routing_key: Some(key.as_bytes()) };
        // Headers that are none and not absent are said by a raw section of no bytes.
        let raw = (self.has_headers && self.headers.is_empty()).then_some(&[][..]);
        let (user, origin) = (&self.headers[..], Origin::Amqp091);
        let block = Block { properties, address, copies: &[], user, origin, raw };
        let mut out = Vec::new();
        let mark = tails::begin(&mut out, self.timestamp);
        tail::push_bytes(&mut out, None);
        tail::push_bytes(&mut out, Some(payload));
        push(&mut out, &block).map_err(|malformed| Refused::bad(malformed.to_string()))?;
        tails::end(&mut out, mark);
        Ok(out)
    }
}

/// The properties of a message; none at all are an empty list, as in RabbitMQ.
pub(super) fn shown(decoded: &Decoded<'_>) -> Value {
    let properties = &decoded.properties;
    let mut fields = Map::new();
    for (name, read) in TEXTS {
        if let Some(text) = read(properties) {
            fields.insert(name.to_owned(), String::from_utf8_lossy(text).into());
        }
    }
    let seconds = properties.timestamp.map(|time| time.0 / 1000);
    for (name, number) in [
        ("priority", properties.priority.map(i64::from)),
        ("delivery_mode", properties.delivery_mode.map(i64::from)),
        ("timestamp", seconds),
    ] {
        if let Some(number) = number {
            fields.insert(name.to_owned(), number.into());
        }
    }
    let headers: Arguments = decoded
        .user()
        .map(|header| (String::from_utf8_lossy(header.name).into_owned(), header.value()))
        .collect();
    if !headers.is_empty() || decoded.raw.is_some_and(<[u8]>::is_empty) {
        fields.insert("headers".to_owned(), arguments::shown(&headers));
    }
    match fields.is_empty() {
        true => json!([]),
        false => Value::Object(fields),
    }
}
