//! `crossdock list` and `crossdock describe`.

use super::{Failed, Remote, out};
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(super) struct List {
    /// What to list
    what: Kinds,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args, Debug)]
pub(super) struct Describe {
    /// What it is
    what: Kinds,
    /// Its name
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kinds {
    #[value(alias = "queue")]
    Queues,
    #[value(alias = "topic")]
    Topics,
    #[value(alias = "group")]
    Groups,
}

impl Kinds {
    fn word(self) -> &'static str {
        match self {
            Kinds::Queues => "queues",
            Kinds::Topics => "topics",
            Kinds::Groups => "groups",
        }
    }

    /// The fields a list shows, in order.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Kinds::Queues => &["name", "messages", "ready", "unacked", "consumers", "durable"],
            Kinds::Topics => &["name", "partitions", "messages", "bytes"],
            Kinds::Groups => &["name", "state", "members", "lag"],
        }
    }
}

pub(super) fn list(list: &List) -> Result<ExitCode, Failed> {
    let path = list.remote.path(&[list.what.word()]);
    let answer = list.remote.ask_json("GET", &path, None)?;
    if list.json {
        out::print(&format!("{answer:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    let columns = list.what.columns();
    let mut rows = vec![columns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()];
    for line in answer.as_array().into_iter().flatten() {
        rows.push(columns.iter().map(|name| plain(&line[*name])).collect());
    }
    out::print(table(&rows).trim_end());
    Ok(ExitCode::SUCCESS)
}

pub(super) fn describe(describe: &Describe) -> Result<ExitCode, Failed> {
    let path = describe.remote.path(&[describe.what.word(), &describe.name]);
    let answer = describe.remote.ask_json("GET", &path, None)?;
    if describe.json {
        out::print(&format!("{answer:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    for (field, value) in answer.as_object().into_iter().flatten() {
        match value.as_array() {
            Some(list) => rows.extend(
                list.iter().enumerate().map(|(at, it)| vec![format!("{field}[{at}]"), flat(it)]),
            ),
            None => rows.push(vec![field.clone(), flat(value)]),
        }
    }
    out::print(table(&rows).trim_end());
    Ok(ExitCode::SUCCESS)
}

/// A value in a column.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value on a line of its own; fields as `name=value`.
fn flat(value: &Value) -> String {
    match value.as_object() {
        Some(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
            fields.join(" ")
        }
        None => plain(value),
    }
}

/// Columns as wide as their widest entry.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(at) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
