//! Reply codes, and RabbitMQ's words for each way to fail.
//!
//! Source: AMQP 0-9-1 section 1.2 (reply codes, soft and hard errors); texts as rabbitmq-server 4
//! words them, because client libraries and their users match on them.

#[cfg(test)]
mod tests;

use engine::catalog::{Denied, DeniedThing};
use std::fmt;
use types::{Error, Kind};

/// Longest reply text: a short string.
const TEXT_BYTES_MAX: usize = 255;

/// Class and method of a method, as in its frame; (0, 0) when no method is at fault.
pub type MethodId = (u16, u16);

/// Why a channel or connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    /// Closed on purpose.
    ReplySuccess = 200,
    /// 311, soft.
    ContentTooLarge = 311,
    /// 312, soft; also in basic.return.
    NoRoute = 312,
    /// 313, soft; also in basic.return.
    NoConsumers = 313,
    /// 320: an operator or the broker's stop.
    ConnectionForced = 320,
    /// 402.
    InvalidPath = 402,
    /// 403, soft.
    AccessRefused = 403,
    /// 404, soft.
    NotFound = 404,
    /// 405, soft.
    ResourceLocked = 405,
    /// 406, soft.
    PreconditionFailed = 406,
    /// 501.
    FrameError = 501,
    /// 502.
    SyntaxError = 502,
    /// 503.
    CommandInvalid = 503,
    /// 504.
    ChannelError = 504,
    /// 505.
    UnexpectedFrame = 505,
    /// 506.
    ResourceError = 506,
    /// 530.
    NotAllowed = 530,
    /// 540.
    NotImplemented = 540,
    /// 541.
    InternalError = 541,
}

impl Code {
    /// The number in the close method.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// What a reply text begins with.
    pub fn name(self) -> &'static str {
        match self {
            Code::ReplySuccess => "REPLY_SUCCESS",
            Code::ContentTooLarge => "CONTENT_TOO_LARGE",
            Code::NoRoute => "NO_ROUTE",
            Code::NoConsumers => "NO_CONSUMERS",
            Code::ConnectionForced => "CONNECTION_FORCED",
            Code::InvalidPath => "INVALID_PATH",
            Code::AccessRefused => "ACCESS_REFUSED",
            Code::NotFound => "NOT_FOUND",
            Code::ResourceLocked => "RESOURCE_LOCKED",
            Code::PreconditionFailed => "PRECONDITION_FAILED",
            Code::FrameError => "FRAME_ERROR",
            Code::SyntaxError => "SYNTAX_ERROR",
            Code::CommandInvalid => "COMMAND_INVALID",
            Code::ChannelError => "CHANNEL_ERROR",
            Code::UnexpectedFrame => "UNEXPECTED_FRAME",
            Code::ResourceError => "RESOURCE_ERROR",
            Code::NotAllowed => "NOT_ALLOWED",
            Code::NotImplemented => "NOT_IMPLEMENTED",
            Code::InternalError => "INTERNAL_ERROR",
        }
    }

    /// Whether it closes the connection; a soft error closes its channel only.
    pub fn hard(self) -> bool {
        match self {
            Code::ReplySuccess
            | Code::ContentTooLarge
            | Code::NoRoute
            | Code::NoConsumers
            | Code::AccessRefused
            | Code::NotFound
            | Code::ResourceLocked
            | Code::PreconditionFailed => false,
            Code::ConnectionForced
            | Code::InvalidPath
            | Code::FrameError
            | Code::SyntaxError
            | Code::CommandInvalid
            | Code::ChannelError
            | Code::UnexpectedFrame
            | Code::ResourceError
            | Code::NotAllowed
            | Code::NotImplemented
            | Code::InternalError => true,
        }
    }
}

/// What closes a channel or a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The reply code.
    pub code: Code,
    /// The explanation, without the code's name.
    pub text: String,
    /// The method at fault.
    pub method: MethodId,
}

impl Exception {
    /// An exception that no method is blamed for.
    pub fn new(code: Code, text: impl Into<String>) -> Exception {
        Exception { code, text: text.into(), method: (0, 0) }
    }

    /// The same, blamed on a method.
    #[must_use]
    pub fn in_method(self, method: MethodId) -> Exception {
        Exception { method, ..self }
    }

    /// `NOT_FOUND - no queue 'q' in vhost '/'`, cut to what a short string holds.
    pub fn reply_text(&self) -> String {
        let mut text = format!("{} - {}", self.code.name(), self.text);
        if text.len() > TEXT_BYTES_MAX {
            const CUT: &str = "...";
            let keep = text.floor_char_boundary(TEXT_BYTES_MAX - CUT.len());
            text.truncate(keep);
            text.push_str(CUT);
        }
        text
    }

    /// Whether it closes the connection.
    pub fn hard(&self) -> bool {
        self.code.hard()
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reply_text())
    }
}

impl std::error::Error for Exception {}

impl From<&Error> for Exception {
    /// An engine error for which no more specific text is known.
    fn from(error: &Error) -> Exception {
        let code = match error.kind {
            Kind::NotFound => Code::NotFound,
            Kind::Denied => Code::AccessRefused,
            Kind::InUse => Code::ResourceLocked,
            Kind::Exists | Kind::Invalid | Kind::TooLarge | Kind::Full => Code::PreconditionFailed,
            Kind::Throttled | Kind::NotLeader => Code::ResourceError,
            Kind::Unavailable => Code::ConnectionForced,
            Kind::Corrupt => Code::InternalError,
        };
        Exception::new(code, error.message.clone())
    }
}

impl From<Denied> for Exception {
    /// 403: a user does not have a right. In the words of rabbitmq-server 3; 4 names the right first.
    fn from(denied: Denied) -> Exception {
        let Denied { user, namespace, of, .. } = &denied;
        let what = match of {
            DeniedThing::Queue(name) => Resource::queue(name, namespace).to_string(),
            DeniedThing::Router(name) => Resource::exchange(name, namespace).to_string(),
            DeniedThing::Key { router, key } => {
                format!("topic '{key}' in {}", Resource::exchange(router, namespace))
            }
        };
        Exception::new(Code::AccessRefused, format!("access to {what} refused for user '{user}'"))
    }
}

/// A named thing as reply texts spell it.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    /// `queue` or `exchange`.
    pub kind: &'static str,
    /// Its name.
    pub name: &'a str,
    /// Its virtual host.
    pub vhost: &'a str,
}

impl<'a> Resource<'a> {
    /// A queue.
    pub fn queue(name: &'a str, vhost: &'a str) -> Resource<'a> {
        Resource { kind: "queue", name, vhost }
    }

    /// An exchange.
    pub fn exchange(name: &'a str, vhost: &'a str) -> Resource<'a> {
        Resource { kind: "exchange", name, vhost }
    }

    /// 404: it does not exist.
    pub fn not_found(self) -> Exception {
        Exception::new(Code::NotFound, format!("no {self}"))
    }

    /// 406: `if-unused` and it is used.
    pub fn in_use(self) -> Exception {
        Exception::new(Code::PreconditionFailed, format!("{self} in use"))
    }

    /// 406: `if-empty` and it is not.
    pub fn not_empty(self) -> Exception {
        Exception::new(Code::PreconditionFailed, format!("{self} not empty"))
    }

    /// 403: another consumer has it exclusively, or exclusive use is asked and there are consumers.
    pub fn in_exclusive_use(self) -> Exception {
        Exception::new(Code::AccessRefused, format!("{self} in exclusive use"))
    }

    /// 405: an exclusive queue of another connection.
    pub fn locked(self) -> Exception {
        let text = format!(
            "cannot obtain exclusive access to locked {self}. It could be originally declared on \
             another connection or the exclusive property value does not match that of the \
             original declaration."
        );
        Exception::new(Code::ResourceLocked, text)
    }

    /// 405: a basic.get of a quorum queue with a single active consumer.
    pub fn not_got_from(self) -> Exception {
        let text = format!(
            "cannot obtain access to locked {self}. basic.get operations are not supported by \
             quorum queues with single active consumer"
        );
        Exception::new(Code::ResourceLocked, text)
    }

    /// 403: a publish to an internal exchange.
    pub fn internal(self) -> Exception {
        Exception::new(Code::AccessRefused, format!("cannot publish to internal {self}"))
    }

    /// 403: deleting a predeclared exchange.
    pub fn system(self) -> Exception {
        Exception::new(Code::AccessRefused, format!("deletion of system {self} not allowed"))
    }

    /// 403: a name that only the broker may give.
    pub fn reserved_prefix(self) -> Exception {
        let text = format!("{} name '{}' contains reserved prefix 'amq.*'", self.kind, self.name);
        Exception::new(Code::AccessRefused, text)
    }

    /// 406: declared again with another property or argument.
    ///
    /// `received` and `current` are spelled by the caller, quotes included, or `none`.
    pub fn inequivalent(self, argument: &str, received: &str, current: &str) -> Exception {
        let text = format!(
            "inequivalent arg '{argument}' for {self}: received {received} but current is {current}"
        );
        Exception::new(Code::PreconditionFailed, text)
    }

    /// 406: an argument of the wrong type or value.
    pub fn invalid_argument(self, argument: &str, why: &str) -> Exception {
        let text = format!("invalid arg '{argument}' for {self}: {why}");
        Exception::new(Code::PreconditionFailed, text)
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}' in vhost '{}'", self.kind, self.name, self.vhost)
    }
}

/// 406: an acknowledgement of something that is not outstanding on the channel.
pub fn unknown_delivery_tag(tag: u64) -> Exception {
    Exception::new(Code::PreconditionFailed, format!("unknown delivery tag {tag}"))
}

/// 503: an exchange type that does not exist.
pub fn unknown_exchange_type(name: &str) -> Exception {
    Exception::new(Code::CommandInvalid, format!("unknown exchange type '{name}'"))
}

/// 403: declaring, deleting or binding the default exchange.
pub fn default_exchange() -> Exception {
    Exception::new(Code::AccessRefused, "operation not permitted on the default exchange")
}

/// 404: an empty queue name, and no queue declared on this channel yet.
pub fn no_previous_queue() -> Exception {
    Exception::new(Code::NotFound, "no previously declared queue")
}

/// 530: a consumer tag that the channel has already.
pub fn consumer_tag_reused(tag: &str) -> Exception {
    Exception::new(Code::NotAllowed, format!("attempt to reuse consumer tag '{tag}'"))
}

/// 406: a body above the limit.
pub fn message_too_large(body_bytes: u64, body_bytes_max: u64) -> Exception {
    let text =
        format!("message size {body_bytes} is larger than configured max size {body_bytes_max}");
    Exception::new(Code::PreconditionFailed, text)
}

/// 406: the user-id property names somebody else.
pub fn user_id_mismatch(claimed: &str, user: &str) -> Exception {
    let text = format!("user_id property set to '{claimed}' but authenticated user was '{user}'");
    Exception::new(Code::PreconditionFailed, text)
}

/// 406: the expiration property is not a number of milliseconds in range.
pub fn invalid_expiration(expiration: &str, why: &str) -> Exception {
    let text = format!("invalid expiration '{expiration}': {why}");
    Exception::new(Code::PreconditionFailed, text)
}

/// 530: a virtual host that does not exist.
pub fn vhost_not_found(vhost: &str) -> Exception {
    Exception::new(Code::NotAllowed, format!("vhost {vhost} not found"))
}

/// 530: a virtual host that the user may not enter.
pub fn vhost_refused(vhost: &str, user: &str) -> Exception {
    let text = format!("access to vhost '{vhost}' refused for user '{user}'");
    Exception::new(Code::NotAllowed, text)
}

/// 530: a virtual host that so many connections have entered as may.
pub fn vhost_full(vhost: &str, user: &str, most: u64) -> Exception {
    let text = format!(
        "access to vhost '{vhost}' refused for user '{user}': connection limit ({most}) is reached"
    );
    Exception::new(Code::NotAllowed, text)
}

/// 403: wrong credentials; only sent to clients with the capability `authentication_failure_close`.
pub fn login_refused(mechanism: &str) -> Exception {
    let text = format!(
        "Login was refused using authentication mechanism {mechanism}. For details see the broker \
         logfile."
    );
    Exception::new(Code::AccessRefused, text)
}

/// 503: a SASL mechanism that was not offered.
pub fn unknown_mechanism(mechanism: &str) -> Exception {
    let text = format!("unknown authentication mechanism '{mechanism}'");
    Exception::new(Code::CommandInvalid, text)
}

/// 530: tune-ok outside of what tune offered. `least_or_most` is the bound that is broken.
pub fn negotiation(field: &str, value: u32, least_or_most: u32) -> Exception {
    let (side, bound) = if value != 0 && value < least_or_most {
        ("lower", "minimum")
    } else {
        ("higher", "maximum")
    };
    let unlimited = if value == 0 { " (no limit)" } else { "" };
    let text = format!(
        "negotiated {field} = {value}{unlimited} is {side} than the {bound} allowed value \
         ({least_or_most})"
    );
    Exception::new(Code::NotAllowed, text).in_method((10, 30))
}

/// 530: more channels than tune-ok settled on.
pub fn too_many_channels(open_count: usize, channel_max: u16) -> Exception {
    let text = format!(
        "number of channels opened ({open_count}) has reached the negotiated channel_max \
         ({channel_max})"
    );
    Exception::new(Code::NotAllowed, text)
}
