//! Paths and sockets.

use crate::{
    About, Admin, Dialect, WireStatus, browsing, events, groups, guard, management, messages,
    metrics, names, recurring, redrives, replay, schedules, sessions,
};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::{delete, get, post};
use engine::Handle;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Largest body of a request: a message of the largest size, in base64.
const BODY_BYTES_MAX: usize = 96 << 20;

/// The HTTP side on its listening sockets.
#[derive(Debug)]
pub struct AdminServer {
    addresses: Vec<SocketAddr>,
    switch: watch::Sender<bool>,
    serving: JoinSet<()>,
}

impl AdminServer {
    /// Serves on `listeners`, on the current tokio runtime.
    ///
    /// Fails when a listener has no address.
    pub fn start(
        engine: &Handle,
        about: About,
        wires: Vec<WireStatus>,
        dialect: Dialect,
        listeners: Vec<TcpListener>,
    ) -> io::Result<AdminServer> {
        let addresses: Vec<SocketAddr> =
            listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let (admin, switch) = Admin::new(engine, about, wires, dialect, &addresses);
        let mut serving = JoinSet::new();
        for listener in listeners {
            let router = router(admin.clone());
            let router = router.into_make_service_with_connect_info::<SocketAddr>();
            let stopping = admin.clone();
            serving.spawn(async move {
                let stop = async move { stopping.stopped().await };
                // It never fails: errors of accept are waited out inside.
                let _ = axum::serve(listener, router).with_graceful_shutdown(stop).await;
            });
        }
        Ok(AdminServer { addresses, switch, serving })
    }

    /// The addresses it listens on, in the order given.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops accepting, ends waits, and gives what is under way `grace` to end.
    pub async fn drain(mut self, grace: Duration) {
        self.switch.send_replace(true);
        let ended = async { while self.serving.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, ended).await.is_err() {
            self.serving.shutdown().await;
        }
    }
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/health", get(names::health))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/overview", get(names::overview))
        .route("/v1/queues", get(names::queues))
        .route("/v1/topics", get(names::topics))
        .route(
            "/v1/queues/{name}",
            get(names::queue).put(names::create_queue).delete(names::delete_queue),
        )
        .route(
            "/v1/topics/{name}",
            get(names::topic).put(names::create_topic).delete(names::delete_topic),
        )
        .route("/v1/queues/{name}/publish", post(messages::publish))
        .route("/v1/topics/{name}/publish", post(messages::publish))
        .route("/v1/queues/{name}/consume", post(messages::consume))
        .route("/v1/topics/{name}/consume", post(messages::consume))
        .route("/v1/queues/{name}/read", post(messages::read))
        .route("/v1/topics/{name}/read", post(messages::read))
        .route("/v1/queues/{name}/messages", get(browsing::list))
        .route("/v1/topics/{name}/messages", get(browsing::list))
        .route("/v1/queues/{name}/messages/delete", post(browsing::delete))
        .route("/v1/queues/{name}/messages/move", post(browsing::move_on))
        .route("/v1/queues/{name}/messages/copy", post(browsing::copy))
        .route("/v1/topics/{name}/messages/copy", post(browsing::copy))
        .route("/v1/queues/{name}/redrive", post(redrives::begin))
        .route("/v1/redrives", get(redrives::list))
        .route("/v1/redrives/{id}", get(redrives::one).delete(redrives::stop))
        .route("/v1/queues/{name}/rewind", post(replay::rewind))
        .route("/v1/topics/{name}/rewind", post(replay::rewind))
        .route("/v1/queues/{name}/sessions", get(sessions::list))
        .route(
            "/v1/queues/{name}/sessions/{key}",
            get(sessions::one).put(sessions::put).delete(sessions::delete),
        )
        .route("/v1/queues/{name}/events", get(events::events))
        .route("/v1/topics/{name}/events", get(events::events))
        .route("/v1/queues/{name}/scheduled", get(schedules::list))
        .route("/v1/topics/{name}/scheduled", get(schedules::list))
        .route("/v1/queues/{name}/scheduled/cancel", post(schedules::cancel_many))
        .route("/v1/topics/{name}/scheduled/cancel", post(schedules::cancel_many))
        .route("/v1/queues/{name}/scheduled/{id}", delete(schedules::cancel))
        .route("/v1/topics/{name}/scheduled/{id}", delete(schedules::cancel))
        .route("/v1/queues/{name}/recurring", get(recurring::list))
        .route("/v1/topics/{name}/recurring", get(recurring::list))
        .merge(recurring_of("/v1/queues/{name}/recurring/{id}"))
        .merge(recurring_of("/v1/topics/{name}/recurring/{id}"))
        .route("/v1/groups", get(groups::groups))
        .route("/v1/groups/{name}", get(groups::group))
        .merge(management::router())
        .fallback(guard::unknown)
        .method_not_allowed_fallback(guard::wrong_method)
        .layer(from_fn(guard::no_foreign_page))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(admin)
}

/// What there is for one message that recurs.
fn recurring_of(path: &str) -> Router<Admin> {
    let one = get(recurring::one).put(recurring::put).delete(recurring::cancel);
    Router::new()
        .route(path, one)
        .route(&format!("{path}/pause"), post(recurring::pause))
        .route(&format!("{path}/resume"), post(recurring::resume))
}
