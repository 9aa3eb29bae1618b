//! The configuration file: TOML whose keys are the names of the flags.
//!
//! Each entry becomes the flag of its name, in front of those that were typed, so that a file says
//! exactly what flags say.

use super::Options;
use clap::{Args as _, Command};
use std::path::Path;
use toml::{Table, Value};

/// The flags that `path` stands for, without those whose variable is set.
///
/// Fails with one sentence when the file cannot be read or says what no flag can.
pub(crate) fn flags(path: &Path) -> Result<Vec<String>, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the configuration file {shown}: {error}"))?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        format!("{shown}, line {line}: {}", one_line(error.message()))
    })?;
    let known = Options::augment_args(Command::new("crossdock"));
    let mut flags = Vec::new();
    for (key, value) in &table {
        let flag = known.get_arguments().find(|it| it.get_long() == Some(key) && key != "config");
        let Some(flag) = flag else {
            return Err(format!(
                "{shown}: there is no option '{key}'; crossdock serve --help lists them"
            ));
        };
        let set = |name: &std::ffi::OsStr| std::env::var_os(name).is_some();
        if flag.get_env().is_some_and(set) {
            continue;
        }
        for value in values(value).ok_or_else(|| format!("{shown}: '{key}' cannot be {value}"))? {
            flags.push(format!("--{key}={value}"));
        }
    }
    Ok(flags)
}

/// The text of a flag's values; `None` when no flag can say it.
fn values(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Integer(number) => Some(vec![number.to_string()]),
        Value::Boolean(flag) => Some(vec![flag.to_string()]),
        Value::Array(list) => {
            let texts = list.iter().map(|it| it.as_str().map(str::to_owned));
            texts.collect()
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
