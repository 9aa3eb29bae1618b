//! Connections, channels and consumers, each asked when somebody asks for them; and ending connections.

mod shapes;

use super::asker::Asker;
use super::listing::Listing;
use super::refused::Refused;
use crate::Admin;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use frontend::{ChannelReport, Report, Whom};
use serde_json::{Value, json};
use shapes::consumer;
use types::ClientId;

pub(super) use shapes::name_of;

/// What a client is told when nobody gives a reason.
const CLOSED: &str = "Closed via management plugin";

/// The header with the reason why a connection is ended.
const REASON: &str = "x-reason";

type Answer = Result<Json<Value>, Refused>;

impl Admin {
    /// The connections of every wire.
    pub(crate) async fn reports(&self) -> Vec<Report> {
        let mut reports = Vec::new();
        for wire in self.wires.iter() {
            reports.extend(wire.registry.reports().await);
        }
        reports
    }

    /// The name of the connection of a client, while it is open.
    pub(crate) fn connection_name(&self, client: ClientId) -> Option<String> {
        let peer = self.wires.iter().find_map(|wire| wire.registry.peer(client))?;
        Some(peer.to_string())
    }

    /// Ends connections, as their protocols can.
    pub(super) fn dismiss(&self, whom: &Whom, why: &str) {
        for wire in self.wires.iter() {
            wire.registry.dismiss(whom, why);
        }
    }

    /// The consumers of a queue.
    pub(super) async fn consumers_of(&self, vhost: &str, queue: &str) -> Vec<Value> {
        let reports = self.reports().await;
        let within = reports.iter().filter(|it| it.namespace.as_deref() == Some(vhost));
        within.flat_map(|report| of_queue(report, queue)).collect()
    }
}

/// `GET /api/connections`
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    listing.of(seen(&admin, &asker, None).await.iter().map(shapes::connection).collect())
}

/// `GET /api/vhosts/VHOST/connections`
pub(super) async fn of_vhost(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    asker.see(&admin.engine().names(), &vhost)?;
    listing.of(seen(&admin, &asker, Some(&vhost)).await.iter().map(shapes::connection).collect())
}

/// `GET /api/connections/username/USER`
pub(super) async fn of_user(
    State(admin): State<Admin>,
    Path(user): Path<String>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let reports = seen(&admin, &asker, None).await;
    let own = reports.iter().filter(|report| report.user.as_deref() == Some(&user));
    listing.of(own.map(shapes::brief).collect())
}

/// `GET /api/connections/NAME`
pub(super) async fn one(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    Ok(listing.one(shapes::connection(&find(&admin, &asker, &name).await?)))
}

/// `GET /api/connections/NAME/channels`
pub(super) async fn channels_of(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    listing.of(within(&find(&admin, &asker, &name).await?).collect())
}

/// `DELETE /api/connections/NAME`
pub(super) async fn end(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    headers: HeaderMap,
    asker: Asker,
) -> Result<StatusCode, Refused> {
    let report = find(&admin, &asker, &name).await?;
    admin.dismiss(&Whom::Client(report.peer.client), reason(&headers));
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/connections/username/USER`
pub(super) async fn end_of_user(
    State(admin): State<Admin>,
    Path(user): Path<String>,
    headers: HeaderMap,
    asker: Asker,
) -> Result<StatusCode, Refused> {
    if !asker.monitors() && *asker.user().name != *user {
        return Err(Refused::access());
    }
    admin.dismiss(&Whom::User(user.into()), reason(&headers));
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/channels`
pub(super) async fn channels(
    State(admin): State<Admin>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    listing.of(seen(&admin, &asker, None).await.iter().flat_map(within).collect())
}

/// `GET /api/vhosts/VHOST/channels`
pub(super) async fn channels_of_vhost(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    asker.see(&admin.engine().names(), &vhost)?;
    listing.of(seen(&admin, &asker, Some(&vhost)).await.iter().flat_map(within).collect())
}

/// `GET /api/channels/NAME`
pub(super) async fn channel(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let reports = seen(&admin, &asker, None).await;
    let mut all = reports.iter().flat_map(|it| it.session.channels.iter().map(move |ch| (it, ch)));
    let found = all.find(|(report, channel)| shapes::channel_name(report, channel) == name);
    let (report, channel) = found.ok_or_else(Refused::not_found)?;
    let mut shown = shapes::channel(report, channel);
    shown["consumer_details"] = consumers_within(report, channel).collect();
    shown["publishes"] = json!([]);
    shown["deliveries"] = json!([]);
    Ok(listing.one(shown))
}

/// `GET /api/consumers`
pub(super) async fn consumers(
    State(admin): State<Admin>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    let reports = admin.reports().await;
    let lists = |report: &&Report| report.namespace.as_ref().is_some_and(|it| asker.lists(it));
    listing.of(reports.iter().filter(lists).flat_map(of_connection).collect())
}

/// `GET /api/consumers/VHOST`
pub(super) async fn consumers_of_vhost(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    asker.see(&admin.engine().names(), &vhost)?;
    let reports = admin.reports().await;
    let within = reports.iter().filter(|it| it.namespace.as_deref() == Some(&vhost));
    listing.of(within.flat_map(of_connection).collect())
}

/// The connections that the asker sees: all, or those of the user.
async fn seen(admin: &Admin, asker: &Asker, vhost: Option<&str>) -> Vec<Report> {
    let mut reports = admin.reports().await;
    reports.retain(|report| {
        let own = report.user.as_ref() == Some(&asker.user().name);
        let here = vhost.is_none() || report.namespace.as_deref() == vhost;
        here && (own || asker.monitors())
    });
    reports
}

async fn find(admin: &Admin, asker: &Asker, name: &str) -> Result<Report, Refused> {
    let all = admin.reports().await;
    let found = all.into_iter().find(|report| name_of(report) == name);
    let report = found.ok_or_else(Refused::not_found)?;
    match asker.monitors() || report.user.as_ref() == Some(&asker.user().name) {
        true => Ok(report),
        false => Err(Refused::access()),
    }
}

fn reason(headers: &HeaderMap) -> &str {
    let given = headers.get(REASON).and_then(|reason| reason.to_str().ok());
    given.filter(|reason| !reason.is_empty()).unwrap_or(CLOSED)
}

/// The channels of a connection.
fn within(report: &Report) -> impl Iterator<Item = Value> {
    report.session.channels.iter().map(move |channel| shapes::channel(report, channel))
}

fn consumers_within(report: &Report, channel: &ChannelReport) -> impl Iterator<Item = Value> {
    channel.consumers.iter().map(move |it| consumer(report, channel, it))
}

/// The consumers of a connection.
fn of_connection(report: &Report) -> impl Iterator<Item = Value> {
    report.session.channels.iter().flat_map(move |channel| consumers_within(report, channel))
}

/// The consumers of a connection that take from a queue.
fn of_queue(report: &Report, queue: &str) -> impl Iterator<Item = Value> {
    let all = report.session.channels.iter();
    let all = all.flat_map(|channel| channel.consumers.iter().map(move |it| (channel, it)));
    let own = all.filter(move |(_, consumer)| *consumer.queue == *queue);
    own.map(move |(channel, it)| consumer(report, channel, it))
}
