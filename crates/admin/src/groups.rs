//! Consumer groups as JSON.

use crate::Admin;
use crate::failure::Failure;
use crate::names::Scope;
use crate::survey::GroupReport;
use axum::Json;
use axum::extract::{Path, Query, State};
use engine::groups::GroupState;
use serde_json::{Value, json};
use types::Kind;

/// `GET /v1/groups`
pub(crate) async fn groups(
    State(admin): State<Admin>,
    Query(scope): Query<Scope>,
) -> Result<Json<Value>, Failure> {
    let reports = admin.group_reports(&scope.namespace, None).await?;
    let lags = admin.lags(&scope.namespace, &reports).await?;
    let groups: Vec<Value> = reports
        .iter()
        .zip(lags)
        .map(|(report, lags)| {
            json!({
                "name": &*report.name,
                "state": state_word(report.view.state),
                "members": report.view.members.len(),
                "lag": lags.iter().flatten().sum::<i64>(),
            })
        })
        .collect();
    Ok(Json(json!(groups)))
}

/// `GET /v1/groups/NAME`
pub(crate) async fn group(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
) -> Result<Json<Value>, Failure> {
    let reports = admin.group_reports(&scope.namespace, Some(&name)).await?;
    let lags = admin.lags(&scope.namespace, &reports).await?;
    let Some((report, lags)) = reports.iter().zip(lags).next() else {
        return Err(Failure::new(Kind::NotFound, format!("there is no group '{name}'")));
    };
    Ok(Json(full(report, &lags)))
}

fn full(report: &GroupReport, lags: &[Option<i64>]) -> Value {
    let view = &report.view;
    let members: Vec<Value> = view
        .members
        .iter()
        .map(|member| {
            json!({
                "id": member.member,
                "instance": member.instance,
                "client": member.client_id,
                "host": member.client_host,
            })
        })
        .collect();
    let positions: Vec<Value> = report
        .positions
        .iter()
        .zip(lags)
        .map(|((key, committed), lag)| {
            json!({
                "topic": key.topic,
                "partition": key.partition,
                "offset": committed.offset,
                "lag": lag,
            })
        })
        .collect();
    json!({
        "name": &*report.name,
        "state": state_word(view.state),
        "generation": view.generation.0,
        "protocol_type": view.protocol_type,
        "protocol": view.protocol,
        "members": members,
        "positions": positions,
    })
}

fn state_word(state: GroupState) -> &'static str {
    match state {
        GroupState::Empty => "empty",
        GroupState::PreparingRebalance => "preparing_rebalance",
        GroupState::CompletingRebalance => "completing_rebalance",
        GroupState::Stable => "stable",
        GroupState::Dead => "dead",
    }
}
