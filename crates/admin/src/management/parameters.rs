//! Limits of virtual hosts, and values that are kept for tools.

use super::asker::{Administrator, Policymaker};
use super::given::Given;
use super::refused::Refused;
use super::users::done;
use super::{arguments, change, policies};
use crate::Admin;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use engine::Names;
use engine::catalog::{Action, Limit, NAMESPACE_DEFAULT, Parameter};
use serde_json::{Map, Value, json};

type Answer = Result<Json<Value>, Refused>;
type Done = Result<StatusCode, Refused>;

/// What RabbitMQ keeps the limits of virtual hosts as.
const LIMITS: &str = "vhost-limits";
/// What RabbitMQ keeps the operator's policies as.
const OPERATORS: &str = "operator_policy";

/// `GET /api/vhost-limits`
pub(super) async fn limits(State(admin): State<Admin>, _asker: Administrator) -> Json<Value> {
    let names = admin.engine().names();
    Json(names.namespaces().filter_map(|vhost| limited(&names, vhost)).collect())
}

/// `GET /api/vhost-limits/VHOST`
pub(super) async fn limits_of(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    _asker: Administrator,
) -> Answer {
    let names = admin.engine().names();
    known(&names, &vhost)?;
    Ok(Json(limited(&names, &vhost).into_iter().collect()))
}

/// `PUT /api/vhost-limits/VHOST/NAME`
pub(super) async fn put_limit(
    State(admin): State<Admin>,
    Path((vhost, name)): Path<(String, String)>,
    _asker: Administrator,
    body: Bytes,
) -> Done {
    known(&admin.engine().names(), &vhost)?;
    let given = Given::read(&body)?;
    let most = given.number("value")?.ok_or_else(|| Refused::bad("[{key_missing,value}]"))?;
    change(&admin, &vhost, Action::PutLimit { limit: limit_of(&name)?, most }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/vhost-limits/VHOST/NAME`
pub(super) async fn delete_limit(
    State(admin): State<Admin>,
    Path((vhost, name)): Path<(String, String)>,
    _asker: Administrator,
) -> Done {
    known(&admin.engine().names(), &vhost)?;
    change(&admin, &vhost, Action::DeleteLimit(limit_of(&name)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/parameters`
pub(super) async fn list(State(admin): State<Admin>, Policymaker(asker): Policymaker) -> Answer {
    let names = admin.engine().names();
    let vhosts = names.namespaces().filter(|vhost| asker.lists(vhost));
    Ok(Json(vhosts.flat_map(|vhost| within(&admin, &names, vhost, true)).collect()))
}

/// `GET /api/parameters/COMPONENT`
pub(super) async fn of_component(
    State(admin): State<Admin>,
    Path(component): Path<String>,
    Policymaker(asker): Policymaker,
) -> Answer {
    let names = admin.engine().names();
    let vhosts = names.namespaces().filter(|vhost| asker.lists(vhost));
    let all = vhosts.flat_map(|vhost| within(&admin, &names, vhost, true));
    Ok(Json(all.filter(|it| it["component"] == *component).collect()))
}

/// `GET /api/parameters/COMPONENT/VHOST`
pub(super) async fn of_vhost(
    State(admin): State<Admin>,
    Path((component, vhost)): Path<(String, String)>,
    Policymaker(asker): Policymaker,
) -> Answer {
    let names = admin.engine().names();
    asker.see(&names, &vhost)?;
    let all = within(&admin, &names, &vhost, true).into_iter();
    Ok(Json(all.filter(|it| it["component"] == *component).collect()))
}

/// `GET /api/parameters/COMPONENT/VHOST/NAME`
pub(super) async fn one(
    State(admin): State<Admin>,
    Path((component, vhost, name)): Path<(String, String, String)>,
    Policymaker(asker): Policymaker,
) -> Answer {
    let names = admin.engine().names();
    asker.see(&names, &vhost)?;
    let mut all = within(&admin, &names, &vhost, true).into_iter();
    let found = all.find(|it| it["component"] == *component && it["name"] == *name);
    found.map(Json).ok_or_else(Refused::not_found)
}

/// `PUT /api/parameters/COMPONENT/VHOST/NAME`
pub(super) async fn put(
    State(admin): State<Admin>,
    Path((component, vhost, name)): Path<(String, String, String)>,
    Policymaker(asker): Policymaker,
    body: Bytes,
) -> Done {
    asker.enter(&admin.engine().names(), &vhost)?;
    let given = Given::read(&body)?;
    set(&admin, (&vhost, Some(component), name), &given).await
}

/// `DELETE /api/parameters/COMPONENT/VHOST/NAME`
pub(super) async fn delete(
    State(admin): State<Admin>,
    Path((component, vhost, name)): Path<(String, String, String)>,
    Policymaker(asker): Policymaker,
) -> Done {
    asker.enter(&admin.engine().names(), &vhost)?;
    let parameter = Parameter { component: Some(component.into()), name: name.into() };
    change(&admin, &vhost, Action::DeleteParameter(parameter)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/global-parameters`
pub(super) async fn global(State(admin): State<Admin>, _asker: Policymaker) -> Json<Value> {
    Json(globals(&admin.engine().names()).into())
}

/// `GET /api/global-parameters/NAME`
pub(super) async fn global_one(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    _asker: Policymaker,
) -> Answer {
    let found = globals(&admin.engine().names()).into_iter().find(|it| it["name"] == *name);
    found.map(Json).ok_or_else(Refused::not_found)
}

/// `PUT /api/global-parameters/NAME`
pub(super) async fn global_put(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    _asker: Administrator,
    body: Bytes,
) -> Done {
    let given = Given::read(&body)?;
    set(&admin, (NAMESPACE_DEFAULT, None, name), &given).await
}

/// `DELETE /api/global-parameters/NAME`
pub(super) async fn global_delete(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    _asker: Administrator,
) -> Done {
    let parameter = Parameter { component: None, name: name.into() };
    change(&admin, NAMESPACE_DEFAULT, Action::DeleteParameter(parameter)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Keeps the field `value` of a request. What RabbitMQ keeps as parameters and is something else here
/// becomes that.
pub(super) async fn set(
    admin: &Admin,
    (vhost, component, name): (&str, Option<String>, String),
    given: &Given,
) -> Done {
    given.need(&["value"])?;
    match component.as_deref() {
        Some(LIMITS) => {
            for (name, most) in given.object("value")?.arguments()? {
                let most = most.as_i64().ok_or_else(|| Refused::bad(json!(["not_int", name])))?;
                let action = Action::PutLimit { limit: limit_of(&name)?, most };
                change(admin, vhost, action).await?;
            }
            return Ok(StatusCode::NO_CONTENT);
        }
        Some(OPERATORS) => {
            return policies::set(admin, vhost, (&name, true), &given.object("value")?).await;
        }
        _ => {}
    }
    let parameter = Parameter { component: component.map(Into::into), name: name.into() };
    let action = Action::PutParameter { parameter, value: given.value("value")? };
    Ok(done(&change(admin, vhost, action).await?))
}

/// The parameters of a virtual host, as RabbitMQ keeps them; `told`: each says which one.
pub(super) fn within(admin: &Admin, names: &Names, vhost: &str, told: bool) -> Vec<Value> {
    let part = |component: &str, name: &str, value: Value| {
        let mut fields = json!({"component": component, "name": name, "value": value});
        if told {
            fields["vhost"] = vhost.into();
        }
        fields
    };
    let kept = names
        .parameters(vhost)
        .map(|(component, name, value)| part(component, name, arguments::shown_value(value)));
    let limits = limits_in(names, vhost);
    let limits = (!limits.is_empty()).then(|| part(LIMITS, "limits", Value::Object(limits)));
    let operators = policies::as_parameters(admin, names, vhost);
    let operators = operators.into_iter().map(|(name, value)| part(OPERATORS, &name, value));
    kept.chain(limits).chain(operators).collect()
}

/// The parameters that belong to no virtual host.
pub(super) fn globals(names: &Names) -> Vec<Value> {
    let all = names.global_parameters();
    all.map(|(name, value)| json!({"name": &**name, "value": arguments::shown_value(value)}))
        .collect()
}

fn limited(names: &Names, vhost: &str) -> Option<Value> {
    let limits = limits_in(names, vhost);
    (!limits.is_empty()).then(|| json!({"vhost": vhost, "value": limits}))
}

fn limits_in(names: &Names, vhost: &str) -> Map<String, Value> {
    names.limits(vhost).map(|(limit, most)| (limit.name().to_owned(), most.into())).collect()
}

fn limit_of(name: &str) -> Result<Limit, Refused> {
    let known = [Limit::Queues, Limit::Connections].into_iter().find(|it| it.name() == name);
    known.ok_or_else(|| {
        Refused::bad(format!("Validation failed\n\nUnrecognised terms [{{{name},0}}] in limits\n"))
    })
}

fn known(names: &Names, vhost: &str) -> Result<(), Refused> {
    match names.has_namespace(vhost) {
        true => Ok(()),
        false => Err(Refused::not_found()),
    }
}
