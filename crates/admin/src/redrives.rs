//! Dead letters on their way back, one task for each that was asked for.
//!
//! A task moves messages; each is in the one queue or in the other, whatever ends the process. Nothing
//! else of it is kept: when the process has ended, it is asked for again, and goes on with what is left.

use crate::Admin;
use crate::browsing::{MOVABLE, Wanted};
use crate::failure::{Failure, parse};
use crate::names::Scope;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use bytes::Bytes;
use engine::api::{Find, FindTarget, Op, Reply};
use frontend::{Carried, Filter, Home, Local, Stretch};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use types::{Error, Kind, Offset};

/// Tasks that run at once, at most.
const RUNNING_MAX: usize = 16;

/// Tasks that have ended and are still told of.
const ENDED_MAX: usize = 100;

/// Messages of one step, at most.
const STEP_MAX: u64 = 512;

/// Steps in a second where there is a rate.
const STEPS_A_SECOND: u64 = 10;

/// Largest rate, in messages a second.
const RATE_MAX: u64 = 1_000_000;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    filter: Wanted,
    /// This one alone.
    offset: Option<i64>,
    /// Where to; else back to where they died.
    to: Option<String>,
    #[serde(default)]
    source: Source,
    /// Messages a second.
    rate: Option<u64>,
}

/// Which of the queues that a message died in.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    #[default]
    First,
    Last,
}

/// All tasks.
#[derive(Debug, Default)]
pub(crate) struct Redrives {
    tasks: Mutex<BTreeMap<u64, Arc<Task>>>,
}

#[derive(Debug)]
struct Task {
    namespace: String,
    queue: String,
    progress: Mutex<Progress>,
    stop: Notify,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    carried: Carried,
    at: Offset,
    ended: Option<Ended>,
}

/// How a task ended.
#[derive(Clone, Debug)]
enum Ended {
    Done,
    Stopped,
    Failed(String),
}

/// What a task does.
struct Plan {
    home: Home,
    filter: Filter,
    stretch: Stretch,
    rate: Option<u64>,
}

impl Redrives {
    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Task>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails with `Throttled` while many run.
    fn add(&self, task: Arc<Task>) -> Result<u64, Failure> {
        let mut tasks = self.all();
        let ended: Vec<u64> = tasks
            .iter()
            .filter(|(_, task)| task.progress().ended.is_some())
            .map(|(id, _)| *id)
            .collect();
        if tasks.len() - ended.len() >= RUNNING_MAX {
            return Err(Failure::new(Kind::Throttled, "too many redrives run already"));
        }
        let old = ended.len().saturating_sub(ENDED_MAX - 1);
        ended.iter().take(old).for_each(|id| {
            tasks.remove(id);
        });
        let id = tasks.last_key_value().map_or(1, |(last, _)| last + 1);
        tasks.insert(id, task);
        Ok(id)
    }

    fn find(&self, id: u64) -> Result<Arc<Task>, Failure> {
        let missing = || Failure::new(Kind::NotFound, format!("there is no redrive {id}"));
        self.all().get(&id).cloned().ok_or_else(missing)
    }
}

impl Task {
    fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, note: impl FnOnce(&mut Progress)) {
        note(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn shown(&self, id: u64) -> Value {
        let Progress { carried, at, ended } = self.progress();
        let (state, error) = match ended {
            None => ("running", None),
            Some(Ended::Done) => ("done", None),
            Some(Ended::Stopped) => ("stopped", None),
            Some(Ended::Failed(why)) => ("failed", Some(why)),
        };
        json!({
            "id": id,
            "namespace": self.namespace,
            "queue": self.queue,
            "state": state,
            "error": error,
            "moved": carried.done,
            "skipped": carried.skipped,
            "homeless": carried.homeless,
            "at": at,
        })
    }

    /// Works until all is done, or something fails.
    async fn work(&self, local: &Local, plan: &Plan) -> Result<(), Error> {
        let began = Instant::now();
        let mut stretch = plan.stretch;
        loop {
            let moved = self.progress().carried.done;
            let room = match plan.rate {
                None => STEP_MAX,
                Some(rate) => {
                    // The next one may go when its time has come, and all that are due by then with it.
                    let next = Duration::from_micros(moved.saturating_mul(1_000_000) / rate);
                    tokio::time::sleep_until(began + next).await;
                    let passed = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                    let due = passed.saturating_mul(rate) / 1_000_000 + 1;
                    let most = (rate / STEPS_A_SECOND).clamp(1, STEP_MAX);
                    due.saturating_sub(moved).clamp(1, most)
                }
            };
            stretch.count_max = usize::try_from(room).unwrap_or(1);
            let step = local.redrive((&self.queue, &plan.home), stretch, &plan.filter).await;
            let step = match step {
                // What is on its way to other shards has to arrive first.
                Err(error) if error.kind == Kind::Throttled => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
                step => step?,
            };
            self.note(|progress| {
                progress.carried.done += step.done;
                progress.carried.skipped += step.skipped;
                progress.carried.homeless += step.homeless;
                progress.at = step.next.unwrap_or(stretch.end);
            });
            match step.next {
                None => return Ok(()),
                Some(next) => stretch.from = next,
            }
        }
    }
}

/// `POST /v1/queues/NAME/redrive`
pub(crate) async fn begin(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let Asked { filter, offset, to, source, rate } = parse(&body)?;
    if rate.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
        let why = format!("a rate is from 1 to {RATE_MAX} messages a second");
        return Err(Failure::new(Kind::Invalid, why));
    }
    let local = admin.local.within(&scope.namespace);
    let home = match (to, source) {
        (Some(to), _) => {
            local.find(&to)?;
            Home::At(to)
        }
        (None, Source::First) => Home::First,
        (None, Source::Last) => Home::Last,
    };
    let mut filter = filter.filter()?;
    if filter.states.is_empty() {
        filter.states = MOVABLE.to_vec();
    }
    let (from, end) = match offset {
        Some(offset) => (Offset(offset), Offset(offset.saturating_add(1))),
        None => (Offset(0), end_of(&local, &name).await?),
    };
    let stretch = Stretch { partition: 0, from, end, count_max: 0 };
    let plan = Plan { home, filter, stretch, rate };
    let task = Arc::new(Task {
        namespace: scope.namespace,
        queue: name,
        progress: Mutex::default(),
        stop: Notify::new(),
    });
    let id = admin.redrives.add(Arc::clone(&task))?;
    let stopping = admin.clone();
    tokio::spawn(async move {
        let ended = tokio::select! {
            worked = task.work(&local, &plan) => match worked {
                Ok(()) => Ended::Done,
                Err(error) => Ended::Failed(error.message),
            },
            () = task.stop.notified() => Ended::Stopped,
            () = stopping.stopped() => Ended::Stopped,
        };
        task.note(|progress| progress.ended = Some(ended));
    });
    Ok((StatusCode::ACCEPTED, Json(json!({"id": id}))))
}

/// `GET /v1/redrives`
pub(crate) async fn list(State(admin): State<Admin>) -> Json<Value> {
    let tasks = admin.redrives.all().clone();
    let shown = tasks.iter().map(|(id, task)| task.shown(*id));
    Json(json!(shown.collect::<Vec<Value>>()))
}

/// `GET /v1/redrives/ID`
pub(crate) async fn one(
    State(admin): State<Admin>,
    Path(id): Path<u64>,
) -> Result<Json<Value>, Failure> {
    Ok(Json(admin.redrives.find(id)?.shown(id)))
}

/// `DELETE /v1/redrives/ID`
pub(crate) async fn stop(
    State(admin): State<Admin>,
    Path(id): Path<u64>,
) -> Result<StatusCode, Failure> {
    admin.redrives.find(id)?.stop.notify_one();
    Ok(StatusCode::NO_CONTENT)
}

/// The end of a queue now: what comes back into it later is not sent on again.
async fn end_of(local: &Local, name: &str) -> Result<Offset, Failure> {
    let found = local.find(name)?;
    let [log] = found.logs() else {
        return Err(Failure::new(Kind::Invalid, format!("'{name}' has several partitions")));
    };
    match local.call(Op::Find(Find { log: *log, target: FindTarget::Latest })).await? {
        Reply::Found(found) => Ok(found.map_or(Offset(0), |found| found.offset)),
        _ => Err(Failure::new(Kind::Unavailable, "the end of the queue is not known")),
    }
}
