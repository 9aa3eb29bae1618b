//! Connections, channels and consumers as RabbitMQ shows them.

use crate::management::arguments;
use crate::management::nodes::NODE;
use frontend::{ChannelReport, ConsumerReport, Report};
use serde_json::{Value, json};

/// The property that a client gives its connection a name by.
const CONNECTION_NAME: &str = "connection_name";

/// `127.0.0.1:1000 -> 127.0.0.1:5672`
pub(in crate::management) fn name_of(report: &Report) -> String {
    report.peer.to_string()
}

/// The connection's name, and the channel's number.
pub(super) fn channel_name(report: &Report, channel: &ChannelReport) -> String {
    format!("{} ({})", report.peer, channel.number)
}

/// A connection in a few words.
pub(super) fn brief(report: &Report) -> Value {
    json!({
        "name": name_of(report),
        "vhost": report.namespace,
        "user": report.user,
        "node": NODE,
    })
}

/// A connection.
pub(super) fn connection(report: &Report) -> Value {
    let session = &report.session;
    let mut shown = json!({
        "name": name_of(report),
        "node": NODE,
        "type": "network",
        "protocol": session.protocol,
        "state": session.state,
        "user": report.user.as_deref().unwrap_or_default(),
        "user_who_performed_action": report.user.as_deref().unwrap_or_default(),
        "vhost": report.namespace.as_deref().unwrap_or_default(),
        "auth_mechanism": session.mechanism,
        "host": report.peer.local.ip().to_string(),
        "port": report.peer.local.port(),
        "peer_host": report.peer.address.ip().to_string(),
        "peer_port": report.peer.address.port(),
        "connected_at": report.connected,
        "channels": session.channels.len(),
        "channel_max": session.channel_max,
        "frame_max": session.frame_bytes_max,
        "timeout": session.heartbeat.0 / 1000,
        "client_properties": arguments::shown(&session.properties),
        "recv_oct": report.received_bytes,
        "send_oct": report.sent_bytes,
        "ssl": false,
    });
    for absent in [
        "peer_cert_issuer",
        "peer_cert_subject",
        "peer_cert_validity",
        "ssl_cipher",
        "ssl_hash",
        "ssl_key_exchange",
        "ssl_protocol",
    ] {
        shown[absent] = Value::Null;
    }
    let mut properties = session.properties.iter();
    if let Some((_, name)) = properties.find(|(name, _)| name == CONNECTION_NAME) {
        shown["user_provided_name"] = arguments::shown_value(name);
    }
    shown
}

/// A channel.
pub(super) fn channel(report: &Report, channel: &ChannelReport) -> Value {
    json!({
        "name": channel_name(report, channel),
        "number": channel.number,
        "node": NODE,
        "state": "running",
        "user": report.user,
        "user_who_performed_action": report.user,
        "vhost": report.namespace,
        "connection_details": {
            "name": name_of(report),
            "peer_host": report.peer.address.ip().to_string(),
            "peer_port": report.peer.address.port(),
        },
        "prefetch_count": channel.prefetch,
        "global_prefetch_count": channel.window,
        "confirm": channel.confirming,
        "transactional": channel.transactional,
        "consumer_count": channel.consumers.len(),
        "messages_unacknowledged": channel.unsettled,
        "messages_unconfirmed": channel.unconfirmed,
    })
}

/// A consumer.
pub(super) fn consumer(
    report: &Report,
    channel: &ChannelReport,
    consumer: &ConsumerReport,
) -> Value {
    json!({
        "consumer_tag": consumer.tag,
        "queue": {"name": &*consumer.queue, "vhost": report.namespace},
        "ack_required": consumer.settles,
        "active": true,
        "activity_status": "up",
        "exclusive": consumer.terms.exclusive,
        "prefetch_count": consumer.terms.prefetch,
        "arguments": arguments::shown(&consumer.terms.arguments),
        "channel_details": {
            "name": channel_name(report, channel),
            "number": channel.number,
            "connection_name": name_of(report),
            "node": NODE,
            "peer_host": report.peer.address.ip().to_string(),
            "peer_port": report.peer.address.port(),
            "user": report.user,
        },
    })
}
