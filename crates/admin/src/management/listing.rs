//! Lists as a request wants them: what has a name, in an order, a page of it, some columns.

use super::refused::Refused;
use axum::Json;
use engine::catalog::Pattern;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;

const PAGE_SIZE: usize = 100;
const PAGE_SIZE_MAX: usize = 500;

/// What a request says of the list it wants; without a page, names are not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listing {
    page: Option<String>,
    page_size: Option<String>,
    name: Option<String>,
    use_regex: Option<String>,
    sort: Option<String>,
    sort_reverse: Option<String>,
    columns: Option<String>,
}

impl Listing {
    /// The part of `items` that is wanted.
    pub(super) fn of(&self, mut items: Vec<Value>) -> Result<Json<Value>, Refused> {
        let total_count = items.len();
        let page = self.page()?;
        if page.is_some() {
            self.filter(&mut items)?;
        }
        if let Some(by) = &self.sort {
            items.sort_by(|one, other| compare(at(one, by), at(other, by)));
        }
        if is_set(self.sort_reverse.as_deref()) {
            items.reverse();
        }
        let Some((page, page_size)) = page else {
            return Ok(Json(items.into_iter().map(|item| self.select(item)).collect()));
        };
        let filtered_count = items.len();
        let first = (page - 1).saturating_mul(page_size);
        if page > 1 && first >= filtered_count {
            let reason = format!(
                "Page out of range, page: {page} page size: {page_size}, len: {filtered_count}"
            );
            return Err(Refused::page("page_out_of_range", reason));
        }
        let items: Vec<Value> =
            items.into_iter().skip(first).take(page_size).map(|it| self.select(it)).collect();
        Ok(Json(json!({
            "total_count": total_count,
            "filtered_count": filtered_count,
            "item_count": items.len(),
            "page": page,
            "page_size": page_size,
            "page_count": filtered_count.div_ceil(page_size),
            "items": items,
        })))
    }

    /// One thing with the columns that are wanted.
    pub(super) fn one(&self, item: Value) -> Json<Value> {
        Json(self.select(item))
    }

    /// Which page, from 1, and how many there are on each.
    fn page(&self) -> Result<Option<(usize, usize)>, Refused> {
        let Some(page) = &self.page else { return Ok(None) };
        let unreadable = |_| Refused::bad("Pagination parameters are invalid");
        let number = |text: &String| text.parse::<usize>().map_err(unreadable);
        let page = number(page)?;
        let size = self.page_size.as_ref().map(number).transpose()?;
        if page == 0 || size.is_some_and(|size| !(1..=PAGE_SIZE_MAX).contains(&size)) {
            let size = size.map_or_else(|| "undefined".to_owned(), |size| size.to_string());
            let reason =
                format!("Invalid pagination parameters: page number {page}, page size {size}");
            return Err(Refused::page("invalid_pagination_parameters", reason));
        }
        Ok(Some((page, size.unwrap_or(PAGE_SIZE))))
    }

    fn filter(&self, items: &mut Vec<Value>) -> Result<(), Refused> {
        let Some(wanted) = self.name.as_deref().filter(|name| !name.is_empty()) else {
            return Ok(());
        };
        let name_of = |item: &Value| item["name"].as_str().unwrap_or_default().to_owned();
        if is_set(self.use_regex.as_deref()) {
            let pattern = Pattern::new(&format!("(?i){wanted}"))
                .map_err(|_| Refused::bad("Pagination parameters are invalid"))?;
            items.retain(|item| pattern.matches(&name_of(item)));
        } else {
            let wanted = wanted.to_lowercase();
            items.retain(|item| name_of(item).to_lowercase().contains(&wanted));
        }
        Ok(())
    }

    fn select(&self, item: Value) -> Value {
        let Some(columns) = &self.columns else { return item };
        let mut selected = Map::new();
        for column in columns.split(',') {
            copy(&item, column, &mut selected);
        }
        Value::Object(selected)
    }
}

fn is_set(flag: Option<&str>) -> bool {
    flag == Some("true")
}

/// The field that a path with points leads to.
fn at<'a>(item: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(item, |value, field| &value[field])
}

/// Copies the field that a path with points leads to; names may have points too.
fn copy(from: &Value, path: &str, to: &mut Map<String, Value>) {
    if let Some(value) = from.get(path) {
        to.insert(path.to_owned(), value.clone());
    } else if let Some((field, rest)) = path.split_once('.')
        && let Some(inner) = from.get(field)
    {
        let below = to.entry(field.to_owned()).or_insert_with(|| json!({}));
        if let Value::Object(below) = below {
            copy(inner, rest, below);
        }
    }
}

/// What is not there comes first, then numbers, then texts.
fn compare(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64(), other.as_f64());
            one.partial_cmp(&other).unwrap_or(Ordering::Equal)
        }
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        _ => rank(one).cmp(&rank(other)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) | Value::Object(_) => 4,
    }
}

#[cfg(test)]
mod tests;
