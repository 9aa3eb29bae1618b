//! Policies, and those of the operator: lists, one of them, making and deleting one.

use super::asker::{Administrator, Asker, Policymaker};
use super::given::Given;
use super::listing::Listing;
use super::refused::Refused;
use super::users::done;
use super::{arguments, change};
use crate::Admin;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use bytes::Bytes;
use engine::Names;
use engine::catalog::{Action, Governed, Pattern, Policy, PolicySet};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A virtual host and a policy's name.
type Place = Path<(String, String)>;
type Answer = Result<Json<Value>, Refused>;
type Done = Result<StatusCode, Refused>;
type ByName = BTreeMap<Arc<str>, Arc<Policy>>;

/// Which of the two sorts of policies a path is for.
type Sort = fn(&PolicySet) -> &ByName;

fn users(set: &PolicySet) -> &ByName {
    &set.policies
}

fn operators(set: &PolicySet) -> &ByName {
    &set.operators
}

/// `GET /api/policies`
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    of_all(&admin, &listing, (&asker, users))
}

/// `GET /api/operator-policies`
pub(super) async fn operators_list(
    State(admin): State<Admin>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    of_all(&admin, &listing, (&asker, operators))
}

/// `GET /api/policies/VHOST`
pub(super) async fn of_vhost(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    of_one(&admin, &listing, (&asker, &vhost, users))
}

/// `GET /api/operator-policies/VHOST`
pub(super) async fn operators_of_vhost(
    State(admin): State<Admin>,
    Path(vhost): Path<String>,
    Query(listing): Query<Listing>,
    asker: Asker,
) -> Answer {
    of_one(&admin, &listing, (&asker, &vhost, operators))
}

/// `GET /api/policies/VHOST/NAME`
pub(super) async fn one(
    State(admin): State<Admin>,
    Path((vhost, name)): Place,
    asker: Asker,
) -> Answer {
    found(&admin, &asker, (&vhost, &name), users)
}

/// `GET /api/operator-policies/VHOST/NAME`
pub(super) async fn operators_one(
    State(admin): State<Admin>,
    Path((vhost, name)): Place,
    asker: Asker,
) -> Answer {
    found(&admin, &asker, (&vhost, &name), operators)
}

/// `PUT /api/policies/VHOST/NAME`
pub(super) async fn put(
    State(admin): State<Admin>,
    Path((vhost, name)): Place,
    Policymaker(asker): Policymaker,
    body: Bytes,
) -> Done {
    asker.enter(&admin.engine().names(), &vhost)?;
    set(&admin, &vhost, (&name, false), &Given::read(&body)?).await
}

/// `PUT /api/operator-policies/VHOST/NAME`
pub(super) async fn operators_put(
    State(admin): State<Admin>,
    Path((vhost, name)): Place,
    Administrator(asker): Administrator,
    body: Bytes,
) -> Done {
    asker.enter(&admin.engine().names(), &vhost)?;
    set(&admin, &vhost, (&name, true), &Given::read(&body)?).await
}

/// `DELETE /api/policies/VHOST/NAME`
pub(super) async fn delete(
    State(admin): State<Admin>,
    Path((vhost, name)): Place,
    Policymaker(asker): Policymaker,
) -> Done {
    asker.enter(&admin.engine().names(), &vhost)?;
    let action = Action::DeletePolicy { operator: false, name: name.into() };
    change(&admin, &vhost, action).await.map(|_| StatusCode::NO_CONTENT)
}

/// `DELETE /api/operator-policies/VHOST/NAME`
pub(super) async fn operators_delete(
    State(admin): State<Admin>,
    Path((vhost, name)): Place,
    Administrator(asker): Administrator,
) -> Done {
    asker.enter(&admin.engine().names(), &vhost)?;
    let action = Action::DeletePolicy { operator: true, name: name.into() };
    change(&admin, &vhost, action).await.map(|_| StatusCode::NO_CONTENT)
}

/// Makes a policy as a request gives it, or puts it in the place of another one.
pub(super) async fn set(
    admin: &Admin,
    vhost: &str,
    (name, operator): (&str, bool),
    given: &Given,
) -> Done {
    let failed = |why: &str| Refused::bad(format!("Validation failed\n\n{why}\n"));
    given.need(&["pattern", "definition"])?;
    let word = match given.has("apply-to") {
        true => given.text("apply-to")?,
        false => "all".to_owned(),
    };
    let known = admin.dialect.applies_to.iter().find(|(known, _)| *known == word);
    let (_, applies_to) = known.ok_or_else(|| {
        failed(&format!("apply-to '{word}' unrecognised; should be one of: 'exchanges', 'queues'"))
    })?;
    let definition = given.object("definition")?.arguments()?;
    if definition.is_empty() {
        return Err(failed("no policy provided"));
    }
    let settings = (admin.dialect.policy)(&definition, operator).map_err(|why| failed(&why))?;
    let pattern = Pattern::new(&given.text("pattern")?).map_err(|bad| failed(&bad.to_string()))?;
    let policy = Policy {
        name: name.into(),
        pattern,
        applies_to: *applies_to,
        priority: given.number("priority")?.unwrap_or(0),
        definition,
        settings,
    };
    let action = Action::PutPolicy { operator, policy: Box::new(policy) };
    Ok(done(&change(admin, vhost, action).await?))
}

/// The policies of a virtual host; `told`: each says which one.
pub(super) fn within(admin: &Admin, names: &Names, vhost: &str, told: bool) -> Vec<Value> {
    let set = names.policies(vhost);
    let policies = set.into_iter().flat_map(|set| set.policies.values());
    policies.map(|policy| shown(admin, told.then_some(vhost), policy)).collect()
}

/// The operator's policies of a virtual host as RabbitMQ keeps them: name and value of a parameter.
pub(super) fn as_parameters(admin: &Admin, names: &Names, vhost: &str) -> Vec<(String, Value)> {
    let set = names.policies(vhost).into_iter();
    let each = set.flat_map(|set| set.operators.values()).map(|policy| {
        let mut value = shown(admin, None, policy);
        if let Value::Object(fields) = &mut value {
            fields.remove("name");
        }
        (policy.name.to_string(), value)
    });
    each.collect()
}

/// What something's policies are called, and what they say together.
pub(super) fn governing(
    names: &Names,
    vhost: &str,
    governed: Option<&Governed>,
) -> Map<String, Value> {
    let governed = governed.cloned().unwrap_or_default();
    let set = names.policies(vhost);
    let of = |name: &Option<Arc<str>>, sort: Sort| {
        let policy = sort(set?).get(name.as_ref()?)?;
        Some(Arc::clone(policy))
    };
    let said = |policy: Option<Arc<Policy>>| match policy.map(|it| arguments::shown(&it.definition))
    {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let mut together = said(of(&governed.policy, users));
    for (name, value) in said(of(&governed.operator, operators)) {
        // Of limits the lower one counts.
        let before = together.get(&name).and_then(Value::as_i64);
        let is_lower = before.zip(value.as_i64()).is_none_or(|(before, now)| now < before);
        if is_lower {
            together.insert(name, value);
        }
    }
    let mut fields = Map::new();
    fields.insert("policy".to_owned(), json!(governed.policy.as_deref()));
    fields.insert("operator_policy".to_owned(), json!(governed.operator.as_deref()));
    fields.insert("effective_policy_definition".to_owned(), Value::Object(together));
    fields
}

fn of_all(admin: &Admin, listing: &Listing, (asker, sort): (&Asker, Sort)) -> Answer {
    let names = admin.engine().names();
    let vhosts = names.namespaces().filter(|vhost| asker.lists(vhost));
    listing.of(vhosts.flat_map(|vhost| sorted(admin, &names, vhost, sort)).collect())
}

fn of_one(admin: &Admin, listing: &Listing, (asker, vhost, sort): (&Asker, &str, Sort)) -> Answer {
    let names = admin.engine().names();
    asker.see(&names, vhost)?;
    listing.of(sorted(admin, &names, vhost, sort))
}

fn sorted(admin: &Admin, names: &Names, vhost: &str, sort: Sort) -> Vec<Value> {
    let policies = names.policies(vhost).into_iter().flat_map(|set| sort(set).values());
    policies.map(|policy| shown(admin, Some(vhost), policy)).collect()
}

fn found(admin: &Admin, asker: &Asker, (vhost, name): (&str, &str), sort: Sort) -> Answer {
    let names = admin.engine().names();
    asker.see(&names, vhost)?;
    let policy = names.policies(vhost).and_then(|set| sort(set).get(name));
    Ok(Json(shown(admin, Some(vhost), policy.ok_or_else(Refused::not_found)?)))
}

fn shown(admin: &Admin, vhost: Option<&str>, policy: &Policy) -> Value {
    let applies_to = admin.dialect.applies_to.iter().find(|(_, it)| *it == policy.applies_to);
    let mut fields = json!({
        "name": &*policy.name,
        "pattern": &**policy.pattern.text(),
        "apply-to": applies_to.map(|(word, _)| *word),
        "definition": arguments::shown(&policy.definition),
        "priority": policy.priority,
    });
    if let Some(vhost) = vhost {
        fields["vhost"] = vhost.into();
    }
    fields
}
