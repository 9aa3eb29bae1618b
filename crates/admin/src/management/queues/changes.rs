//! Making, emptying and deleting a queue.

use super::find;
use crate::Admin;
use crate::management::asker::Asker;
use crate::management::changing::refused;
use crate::management::given::Given;
use crate::management::refused::Refused;
use crate::management::users::done;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use bytes::Bytes;
use engine::Names;
use engine::api::{Op, Reply};
use engine::catalog::{
    Action, DeclareQueue, DeleteQueue, Demand, Guarded, Queue, QueueKind, QueueOptions,
    Value as Typed,
};
use serde::Deserialize;
use serde_json::json;
use types::{Error, Kind};

/// A queue, and the virtual host it is in.
type Place = Path<(String, String)>;
type Done = Result<StatusCode, Refused>;

/// A queue as a request gives it.
#[derive(Debug)]
pub(in crate::management) struct QueueGiven {
    pub(in crate::management) name: String,
    pub(in crate::management) given: Given,
}

/// When a queue is to be deleted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::management) struct Only {
    #[serde(rename = "if-empty")]
    if_empty: Option<String>,
    #[serde(rename = "if-unused")]
    if_unused: Option<String>,
}

/// `PUT /api/queues/VHOST/NAME`
pub(in crate::management) async fn put(
    State(admin): State<Admin>,
    Path((vhost, name)): Place,
    asker: Asker,
    body: Bytes,
) -> Done {
    asker.enter(&admin.engine().names(), &vhost)?;
    let given = Given::read(&body)?;
    let declare = QueueGiven { name, given }.declaration(&admin, &vhost)?;
    permit_dead_lettering(&admin.engine().names(), &asker, &vhost, &declare)?;
    Ok(done(&admin.change_as(&asker, &vhost, Action::DeclareQueue(declare)).await?))
}

/// `DELETE /api/queues/VHOST/NAME`
pub(in crate::management) async fn delete(
    State(admin): State<Admin>,
    Path((vhost, name)): Place,
    Query(only): Query<Only>,
    asker: Asker,
) -> Done {
    let names = admin.engine().names();
    asker.enter(&names, &vhost)?;
    let queue = find(&names, &vhost, &name)?;
    let is_set = |flag: &Option<String>| flag.as_deref() == Some("true");
    if is_set(&only.if_empty) || is_set(&only.if_unused) {
        let counts = match admin.local.call(Op::Count(queue.subscription)).await? {
            Reply::Counts(counts) => counts,
            other => return Err(unexpected(&other)),
        };
        let what = format!("queue '{name}' in vhost '{vhost}'");
        if is_set(&only.if_unused) && counts.consumers > 0 {
            return Err(Refused::bad(format!("{what} in use")));
        }
        if is_set(&only.if_empty) && counts.ready > 0 {
            return Err(Refused::bad(format!("{what} not empty")));
        }
    }
    let delete = DeleteQueue { name: name.into(), by: None, only: None };
    admin.change_as(&asker, &vhost, Action::DeleteQueue(delete)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/queues/VHOST/NAME/contents`
pub(in crate::management) async fn purge(
    State(admin): State<Admin>,
    Path((vhost, name)): Place,
    asker: Asker,
) -> Done {
    let names = admin.engine().names();
    asker.enter(&names, &vhost)?;
    let queue = find(&names, &vhost, &name)?;
    let demand = Demand::read(Guarded::Queue(&name));
    names.permit(&asker.user().name, &vhost, demand).map_err(|_| Refused::access())?;
    not_locked(queue, &format!("queue '{name}' in vhost '{vhost}'"))?;
    if queue.options.kind == QueueKind::Stream {
        return Err(Refused::bad(format!("queue.purge not supported by stream queue '{name}'")));
    }
    match admin.local.call(Op::Purge(queue.subscription)).await? {
        Reply::Purged(_) => Ok(StatusCode::NO_CONTENT),
        other => Err(unexpected(&other)),
    }
}

/// `POST /api/queues/VHOST/NAME/actions`: what mirrors do happens by itself, as there are none.
pub(in crate::management) async fn act(
    State(admin): State<Admin>,
    Path((vhost, name)): Place,
    asker: Asker,
    body: Bytes,
) -> Done {
    let names = admin.engine().names();
    asker.enter(&names, &vhost)?;
    find(&names, &vhost, &name)?;
    match Given::read(&body)?.text("action")?.as_str() {
        "sync" | "cancel_sync" => Ok(StatusCode::NO_CONTENT),
        other => Err(Refused::bad(json!(["unknown", other]))),
    }
}

/// An exclusive queue is its connection's alone.
pub(in crate::management) fn not_locked(queue: &Queue, what: &str) -> Result<(), Refused> {
    match queue.exclusive {
        None => Ok(()),
        Some(_) => Err(Refused::bad(format!(
            "cannot obtain exclusive access to locked {what}. It could be originally declared on \
             another connection or the exclusive property value does not match that of the \
             original declaration."
        ))),
    }
}

impl QueueGiven {
    /// What is to be declared.
    pub(in crate::management) fn declaration(
        self,
        admin: &Admin,
        vhost: &str,
    ) -> Result<DeclareQueue, Refused> {
        let declare = DeclareQueue {
            name: self.name.into(),
            id: admin.engine().new_topic_id(),
            durable: self.given.flag("durable")?.unwrap_or(false),
            exclusive: None,
            auto_delete: self.given.flag("auto_delete")?.unwrap_or(false),
            server_named: false,
            arguments: self.given.object("arguments")?.arguments()?,
            options: QueueOptions::default(),
        };
        (admin.dialect.queue)(&admin.engine().names(), vhost, declare).map_err(refused)
    }
}

/// A new queue that dead-letters passes on what is in it, to where its declarer may publish.
fn permit_dead_lettering(
    names: &Names,
    asker: &Asker,
    vhost: &str,
    declare: &DeclareQueue,
) -> Result<(), Refused> {
    let target = declare.arguments.iter().find(|(name, _)| name == "x-dead-letter-exchange");
    let Some((_, Typed::String(exchange))) = target else { return Ok(()) };
    if names.find(vhost, &declare.name).is_none() {
        let demands =
            [Demand::read(Guarded::Queue(&declare.name)), Demand::write(Guarded::Router(exchange))];
        for demand in demands {
            names.permit(&asker.user().name, vhost, demand).map_err(|_| Refused::access())?;
        }
    }
    Ok(())
}

fn unexpected(reply: &Reply) -> Refused {
    Error::new(Kind::Invalid, format!("the engine said {reply:?}")).into()
}
