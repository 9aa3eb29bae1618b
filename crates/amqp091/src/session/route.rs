//! Where a publication goes, remembered for the next one with the same address.

use crate::codec::table::RawValue;
use crate::codec::{Content, Publication};
use crate::errors::{Exception, Resource};
use crate::message::{DELAY, ID, KAFKA_KEY, delay_of_raw, id_of_text, once_of};
use engine::Names;
use engine::api::Once;
use engine::catalog::{
    Dedup, Headers, Property, Publish, RouterId, Routes, Topic, Unroutable, Value,
};
use std::borrow::Cow;
use std::sync::Arc;
use types::{LogRef, Millis};

/// The last route of a channel.
#[derive(Debug)]
pub(super) struct Route {
    /// The version of names that it holds for.
    version: Option<u64>,
    /// Holds for what waits, or for what does not.
    waits: Option<bool>,
    exchange: String,
    key: String,
    /// Logs of queues.
    logs: Arc<[LogRef]>,
    /// Topics, of each of which one log is chosen.
    topics: Vec<Arc<Topic>>,
    /// `logs` and the chosen ones.
    to: Arc<[LogRef]>,
    /// A queue among them may refuse a publication.
    is_refusable: bool,
    /// Where it goes when it has waited.
    later: Arc<[LogRef]>,
    /// The exchange, which remembers ids of messages.
    within: Option<(RouterId, Dedup)>,
    /// It does, or one of the queues.
    is_remembered: bool,
}

/// What else decides where a publication goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) vhost: &'a str,
    pub(super) user: &'a str,
    /// Further routing keys.
    pub(super) copies: &'a [String],
    /// Chooses the partition of what has no key.
    pub(super) turn: u32,
}

impl Default for Route {
    fn default() -> Route {
        let none: Arc<[LogRef]> = Arc::from([]);
        Route {
            version: None,
            waits: None,
            exchange: String::new(),
            key: String::new(),
            logs: Arc::clone(&none),
            topics: Vec::new(),
            to: Arc::clone(&none),
            is_refusable: false,
            later: none,
            within: None,
            is_remembered: false,
        }
    }
}

impl Route {
    /// Where the publication of the last [`Route::find`] goes: sorted, without duplicates.
    #[inline]
    pub(super) fn destinations(&self) -> &Arc<[LogRef]> {
        &self.to
    }

    /// Where the publication goes when it has waited; nowhere unless it asks to.
    #[inline]
    pub(super) fn later(&self) -> &Arc<[LogRef]> {
        &self.later
    }

    /// Whether the publication is taken once, if it has an id.
    #[inline]
    pub(super) fn is_remembered(&self) -> bool {
        self.is_remembered
    }

    /// How the publication is known again where ids are remembered, if it has one.
    pub(super) fn once(&self, content: &Content<'_>) -> Option<Once> {
        let said = Said(content);
        if self.within.is_none()
            && let Some(text) = said.raw(ID).filter(|raw| matches!(raw.kind, b'S' | b'x'))
        {
            return Some(Once { id: id_of_text(text.bytes), within: None });
        }
        once_of(|name| said.header(name).map(Cow::into_owned), self.within)
    }

    /// Whether the publication may be refused, and so is answered by itself.
    #[inline]
    pub(super) fn is_refusable(&self) -> bool {
        self.is_refusable
    }

    /// Finds where a publication goes. Fails when its exchange is not there or is internal.
    #[inline]
    pub(super) fn find(
        &mut self,
        names: &Names,
        publication: &Publication<'_>,
        content: &Content<'_>,
        asked: &Asked<'_>,
        routes: &mut Routes,
    ) -> Result<(), Exception> {
        let known = self.version == Some(names.version())
            && self.key == publication.routing_key
            && self.exchange == publication.exchange
            && asked.copies.is_empty()
            && self.waits.is_none_or(|waits| waits == Said(content).waits());
        if !known {
            self.route(names, publication, content, asked, routes)?;
        }
        if !self.topics.is_empty() {
            self.choose(content, asked.turn);
        }
        Ok(())
    }

    fn route(
        &mut self,
        names: &Names,
        publication: &Publication<'_>,
        content: &Content<'_>,
        asked: &Asked<'_>,
        routes: &mut Routes,
    ) -> Result<(), Exception> {
        self.version = None;
        let headers = Said(content);
        let (vhost, exchange) = (asked.vhost, publication.exchange);
        names.permit_publish(asked.user, vhost, (exchange, publication.routing_key))?;
        let one = [publication.routing_key];
        let many: Vec<&str>;
        let keys = match asked.copies {
            [] => &one[..],
            copies => {
                many = one.into_iter().chain(copies.iter().map(String::as_str)).collect();
                &many
            }
        };
        let publish = Publish { namespace: vhost, router: exchange, keys, headers: &headers };
        names.route(&publish, routes).map_err(|why| {
            let exchange = Resource::exchange(exchange, vhost);
            match why {
                Unroutable::NoRouter => exchange.not_found(),
                Unroutable::Internal => exchange.internal(),
            }
        })?;
        self.logs = routes.logs.as_slice().into();
        self.to = Arc::clone(&self.logs);
        self.is_refusable = names.any_refuses(&self.logs);
        self.waits = routes.by_waiting.then(|| headers.waits());
        let mut is_chosen = false;
        if routes.later.is_some() || !self.later.is_empty() {
            let later = routes.later.take().unwrap_or_default();
            is_chosen = !later.topics.is_empty();
            self.later = chosen(&later.logs, &later.topics, content, asked.turn).into();
        }
        self.within = routes.within;
        self.is_remembered = self.within.is_some()
            || names.any_remembers(&self.logs)
            || names.any_remembers(&self.later);
        self.topics.clear();
        self.topics.append(&mut routes.topics);
        if !routes.by_headers && !is_chosen && asked.copies.is_empty() {
            self.version = Some(names.version());
            self.exchange.clear();
            self.exchange.push_str(exchange);
            self.key.clear();
            self.key.push_str(publication.routing_key);
        }
        Ok(())
    }

    /// Chooses one log of each topic.
    fn choose(&mut self, content: &Content<'_>, turn: u32) {
        let to = chosen(&self.logs, &self.topics, content, turn);
        if *self.to != *to {
            self.to = to.into();
        }
    }
}

/// Logs of queues, and one of each topic: sorted, without duplicates.
fn chosen(logs: &[LogRef], topics: &[Arc<Topic>], content: &Content<'_>, turn: u32) -> Vec<LogRef> {
    let key = kafka_key(content);
    let of_topics = topics.iter().filter_map(|topic| topic.log_for(key, turn));
    let mut to: Vec<LogRef> = logs.iter().copied().chain(of_topics).collect();
    to.sort_unstable();
    to.dedup();
    to
}

/// The key that the record will have.
fn kafka_key<'a>(content: &Content<'a>) -> Option<&'a [u8]> {
    let mut fields = content.headers?.raw().filter_map(Result::ok);
    let named = |name: &[u8], kind| name == KAFKA_KEY.as_bytes() && matches!(kind, b'S' | b'x');
    fields.find(|(name, raw)| named(name, raw.kind)).map(|(_, raw)| raw.bytes)
}

/// Headers that are decoded when they are asked for.
struct Said<'a>(&'a Content<'a>);

impl<'a> Said<'a> {
    fn raw(&self, name: &str) -> Option<RawValue<'a>> {
        let mut fields = self.0.headers?.raw().filter_map(Result::ok);
        fields.find(|(found, _)| *found == name.as_bytes()).map(|(_, raw)| raw)
    }

    fn delay(&self) -> Option<Millis> {
        delay_of_raw(&self.raw(DELAY)?)
    }
}

/// How long a publication waits, if it asks to.
pub(super) fn delay_asked(content: &Content<'_>) -> Option<Millis> {
    Said(content).delay()
}

impl Headers for Said<'_> {
    fn header(&self, name: &str) -> Option<Cow<'_, Value>> {
        self.raw(name)?.decode().ok().map(Cow::Owned)
    }

    fn property(&self, property: Property) -> Option<Cow<'_, [u8]>> {
        property.of(&self.0.properties)
    }

    fn waits(&self) -> bool {
        self.delay().is_some()
    }
}
