//! Bindings: lists, one of them, and making and deleting one.

mod changes;
mod key;

use super::arguments;
use super::asker::Asker;
use super::exchanges::named;
use super::listing::Listing;
use super::queues;
use super::refused::Refused;
use crate::Admin;
use axum::Json;
use axum::extract::{Path, Query, State};
use engine::Names;
use engine::catalog::{Arguments, Binding, Destination, Name};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use changes::{delete, post};
pub(super) use key::Key;

type Answer = Result<Json<Value>, Refused>;

/// The two ends of bindings, as a path has them.
#[derive(Debug, Deserialize)]
pub(super) struct Ends {
    pub(super) vhost: String,
    pub(super) source: String,
    /// `q` or `e`.
    pub(super) kind: String,
    pub(super) destination: String,
    #[serde(default)]
    pub(super) key: String,
}

/// `GET /api/bindings`
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let names = admin.engine().names();
    let vhosts = names.namespaces().filter(|vhost| asker.lists(vhost));
    listing.of(vhosts.flat_map(|vhost| within(&names, vhost)).collect())
}

/// `GET /api/bindings/VHOST`
pub(super) async fn of_vhost(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let names = admin.engine().names();
    asker.see(&names, &vhost)?;
    listing.of(within(&names, &vhost))
}

/// `GET /api/exchanges/VHOST/NAME/bindings/source`
pub(super) async fn of_source(
    State(admin): State<Admin>,
    Path((vhost, exchange)): Path<(String, String)>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let names = admin.engine().names();
    asker.see(&names, &vhost)?;
    listing.of(match named(&exchange) {
        "" => defaults(&names, &vhost).collect(),
        name => names.bindings_from(&vhost, name).map(|it| shown(&vhost, it)).collect(),
    })
}

/// `GET /api/exchanges/VHOST/NAME/bindings/destination`
pub(super) async fn of_exchange(
    State(admin): State<Admin>,
    Path((vhost, exchange)): Path<(String, String)>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let names = admin.engine().names();
    asker.see(&names, &vhost)?;
    let destination = Destination::Router(named(&exchange).into());
    listing.of(names.bindings_to(&vhost, &destination).map(|it| shown(&vhost, it)).collect())
}

/// `GET /api/queues/VHOST/NAME/bindings`
pub(super) async fn of_queue(
    State(admin): State<Admin>,
    Path((vhost, queue)): Path<(String, String)>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let names = admin.engine().names();
    asker.see(&names, &vhost)?;
    let own = default_of(&vhost, &queue);
    let destination = Destination::Queue(queue.into());
    let bound = names.bindings_to(&vhost, &destination).map(|it| shown(&vhost, it));
    listing.of([own].into_iter().chain(bound).collect())
}

/// `GET /api/bindings/VHOST/e/EXCHANGE/q/QUEUE`, `…/e/EXCHANGE`
pub(super) async fn between(
    State(admin): State<Admin>,
    Path(ends): Path<Ends>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let names = admin.engine().names();
    asker.see(&names, &ends.vhost)?;
    let destination = ends.destination()?;
    if ends.source().is_empty() {
        let known = queues::find(&names, &ends.vhost, &ends.destination).is_ok();
        let own = default_of(&ends.vhost, &ends.destination);
        return listing.of(known.then_some(own).into_iter().collect());
    }
    let bound = names.bindings_to(&ends.vhost, &destination);
    let bound = bound.filter(|binding| &*binding.source == ends.source());
    listing.of(bound.map(|binding| shown(&ends.vhost, binding)).collect())
}

/// `GET /api/bindings/VHOST/e/EXCHANGE/q/QUEUE/KEY`, `…/e/EXCHANGE/KEY`
pub(super) async fn one(
    State(admin): State<Admin>,
    Path(ends): Path<Ends>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let names = admin.engine().names();
    asker.see(&names, &ends.vhost)?;
    if ends.source().is_empty() && ends.key == ends.destination {
        let queue = queues::find(&names, &ends.vhost, &ends.destination)?;
        return Ok(listing.one(default_of(&ends.vhost, &queue.name)));
    }
    let (key, arguments) = ends.find(&names)?;
    Ok(listing.one(line(&ends.vhost, (ends.source(), &ends.destination()?), &key, &arguments)))
}

impl Ends {
    /// The exchange that is bound to.
    pub(super) fn source(&self) -> &str {
        named(&self.source)
    }

    /// What is bound.
    pub(super) fn destination(&self) -> Result<Destination, Refused> {
        match self.kind.as_str() {
            "q" => Ok(Destination::Queue(self.destination.as_str().into())),
            "e" => Ok(Destination::Router(named(&self.destination).into())),
            _ => Err(Refused::not_found()),
        }
    }

    /// Routing key and arguments of the binding that the key in the path means.
    pub(super) fn find(&self, names: &Names) -> Result<(Name, Arguments), Refused> {
        let destination = self.destination()?;
        let wanted = Key::parse(&self.key);
        let mut bound = names.bindings_to(&self.vhost, &destination);
        let found = bound.find(|binding| {
            &*binding.source == self.source() && Key::of(&binding.key, &binding.arguments) == wanted
        });
        let found = found.ok_or_else(Refused::not_found)?;
        Ok((Name::clone(&found.key), found.arguments.clone()))
    }
}

/// All bindings of a virtual host, those of the default exchange first.
fn within(names: &Names, vhost: &str) -> Vec<Value> {
    let bound = names.bindings(vhost, None).map(|binding| shown(vhost, binding));
    defaults(names, vhost).chain(bound).collect()
}

/// Every queue is bound to the default exchange with its name.
fn defaults(names: &Names, vhost: &str) -> impl Iterator<Item = Value> {
    queues::all(names, vhost).map(move |queue| default_of(vhost, &queue.name))
}

fn default_of(vhost: &str, queue: &str) -> Value {
    let name = Name::from(queue);
    line(vhost, ("", &Destination::Queue(Name::clone(&name))), &name, &Arguments::new())
}

fn shown(vhost: &str, binding: &Binding) -> Value {
    let ends = (&*binding.source, &binding.destination);
    line(vhost, ends, &binding.key, &binding.arguments)
}

/// A binding as lists have it.
fn line(
    vhost: &str,
    (source, destination): (&str, &Destination),
    key: &str,
    given: &Arguments,
) -> Value {
    json!({
        "source": source,
        "vhost": vhost,
        "destination": &**destination.name(),
        "destination_type": kind_of(destination),
        "routing_key": key,
        "arguments": arguments::shown(given),
        "properties_key": Key::of(key, given).to_string(),
    })
}

/// What a destination is called.
pub(super) fn kind_of(destination: &Destination) -> &'static str {
    match destination {
        Destination::Queue(_) => "queue",
        Destination::Router(_) => "exchange",
    }
}
