//! What a connection tells of itself.

use super::AmqpSession;
use super::channel::Channel;
use super::confirm::Confirms;
use super::holdings::Holder;
use crate::codec::Table;
use frontend::{ChannelReport, ConsumerReport, SessionReport};
use std::sync::Arc;

impl AmqpSession {
    pub(super) fn told(&self) -> SessionReport {
        let properties = Table::of(&self.link.properties).decode();
        SessionReport {
            protocol: "AMQP 0-9-1",
            state: match self.link.blocked {
                Some(_) => "blocked",
                None => self.phase.name(),
            },
            mechanism: self.link.mechanism,
            properties: properties.map(|fields| fields.list).unwrap_or_default(),
            frame_bytes_max: self.link.frame_bytes_max,
            channel_max: self.link.channel_max,
            heartbeat: self.link.heartbeat,
            channels: self
                .channels
                .iter()
                .filter(|(_, channel)| !channel.closing)
                .map(|(number, channel)| channel.told(*number))
                .collect(),
        }
    }
}

impl Channel {
    fn told(&self, number: u16) -> ChannelReport {
        let holders = || self.holdings.holders();
        ChannelReport {
            number,
            prefetch: self.qos.prefetch,
            window: self.qos.window.unwrap_or_default(),
            confirming: self.lane.confirms.is_some(),
            transactional: self.lane.transaction.is_some(),
            unsettled: holders().map(|holder| u64::from(holder.unsettled)).sum(),
            unconfirmed: self.lane.confirms.as_ref().map_or(0, Confirms::unanswered),
            consumers: holders().filter_map(Holder::told).collect(),
        }
    }
}

impl Holder {
    /// None where it is not a consumer's.
    fn told(&self) -> Option<ConsumerReport> {
        Some(ConsumerReport {
            consumer: self.consumer,
            tag: self.tag.as_deref()?.to_owned(),
            queue: self.name.clone(),
            settles: !self.no_ack,
            terms: self.terms.as_ref().map(Arc::clone).unwrap_or_default(),
        })
    }
}
