//! Who may depend on whom: the table of `ARCHITECTURE.md` as data, held against the manifests.

use std::collections::BTreeMap;
use toml::Table;

/// All of ours below the wires, for crates that may use everything there.
const ENGINE_AND_BELOW: &[&str] =
    &["types", "record", "io", "calendar", "ledger", "catalog", "groups", "journal", "engine"];

/// A crate and the crates of ours it may depend on; `tests_aside`: dev-dependencies are free.
pub(super) const LAYERS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("record", &["types"]),
    ("io", &["types"]),
    ("calendar", &["types"]),
    ("ledger", &["types"]),
    ("catalog", &["types", "record"]),
    ("groups", &["types"]),
    ("journal", &["types", "record", "io"]),
    ("engine", &["types", "record", "io", "calendar", "ledger", "catalog", "groups", "journal"]),
    ("replica", &["types", "io", "journal", "engine"]),
    ("frontend", &["types", "record", "io", "engine"]),
    ("kafka", &["types", "record", "engine", "frontend"]),
    ("amqp091", &["types", "record", "engine", "frontend"]),
    ("admin", &["types", "record", "engine", "frontend"]),
    ("crossdock", EVERYTHING),
    ("sim", EVERYTHING_BUT_THE_BINARY),
    ("xtask", &[]),
];

const EVERYTHING: &[&str] = &[
    "types", "record", "io", "calendar", "ledger", "catalog", "groups", "journal", "replica",
    "engine", "frontend", "kafka", "amqp091", "admin",
];

const EVERYTHING_BUT_THE_BINARY: &[&str] = EVERYTHING;

/// Crates that speak a protocol; none may use another, not even in tests.
pub(super) const WIRES: &[&str] = &["kafka", "amqp091"];

/// Other people's crates with a border of their own: who alone may use them.
const FENCED: &[(&str, &[&str])] = &[
    ("anyhow", &["crossdock", "xtask"]),
    ("axum", &["admin"]),
    ("clap", &["crossdock", "xtask", "sim"]),
    ("croner", &["calendar"]),
    ("http-body", &["admin"]),
    ("jiff", &["calendar"]),
    ("rustix", &["io", "crossdock"]),
    ("libc", &[]),
    ("openraft", &["replica"]),
    ("rand", &["io"]),
    ("regex", &["catalog", "admin"]),
    ("sha2", &["catalog", "crossdock"]),
    ("tokio", &["replica", "frontend", "kafka", "amqp091", "admin", "crossdock", "sim"]),
];

/// Gives what in a manifest breaks the table.
pub(super) fn offences(manifest: &Table) -> Vec<String> {
    let name = manifest["package"]["name"].as_str().unwrap_or_default();
    let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
        return vec![format!("{name} has no row in the table of layers")];
    };
    let mut found = Vec::new();
    for (dependency, for_tests) in dependencies(manifest) {
        let ours = LAYERS.iter().any(|(layer, _)| *layer == dependency);
        let wire_on_wire = WIRES.contains(&name) && WIRES.contains(&dependency.as_str());
        if ours && (wire_on_wire || !for_tests && !allowed.contains(&dependency.as_str())) {
            found.push(format!("{name} may not depend on {dependency}"));
        }
        let fence = FENCED.iter().find(|(fenced, _)| *fenced == dependency);
        if let Some((_, users)) = fence
            && !for_tests
            && !users.contains(&name)
        {
            found.push(format!("{name} may not use {dependency}"));
        }
    }
    found.extend(house_rules(name, manifest));
    found
}

/// What every manifest of ours says.
fn house_rules(name: &str, manifest: &Table) -> Vec<String> {
    let inherits = |table: &str, key: &str| {
        let value = manifest.get(table).and_then(|table| table.get(key));
        value.and_then(|value| value.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
    };
    let mut found = Vec::new();
    let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
    if lints.and_then(toml::Value::as_bool) != Some(true) {
        found.push(format!("{name} does not take the workspace's lints"));
    }
    for key in ["version", "edition", "rust-version", "license", "publish"] {
        if !inherits("package", key) {
            found.push(format!("{name} does not take {key} from the workspace"));
        }
    }
    found
}

/// The dependencies of a manifest, those of tests marked.
fn dependencies(manifest: &Table) -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    let tables = manifest.get("target").and_then(toml::Value::as_table);
    let per_target = tables.into_iter().flat_map(|targets| targets.values());
    let scopes = per_target.filter_map(toml::Value::as_table).chain([manifest]);
    for scope in scopes {
        for (section, for_tests) in
            [("dev-dependencies", true), ("build-dependencies", false), ("dependencies", false)]
        {
            let listed = scope.get(section).and_then(toml::Value::as_table);
            for name in listed.into_iter().flat_map(Table::keys) {
                found.insert(name.clone(), for_tests && found.get(name).copied().unwrap_or(true));
            }
        }
    }
    found
}

#[test]
fn the_table_points_downwards() {
    for (place, (name, allowed)) in LAYERS.iter().enumerate() {
        for dependency in *allowed {
            let below = LAYERS[..place].iter().any(|(layer, _)| layer == dependency);
            assert!(below, "{name} is listed above {dependency}");
        }
    }
    let engine = LAYERS.iter().find(|(name, _)| *name == "engine").unwrap();
    assert_eq!(engine.1.len() + 1, ENGINE_AND_BELOW.len());
}

#[test]
fn crates_depend_only_downwards() {
    let mut found = Vec::new();
    let mut crates = 0;
    for source in super::tree() {
        let depth = source.path.matches('/').count();
        let ours =
            source.path == "xtask/Cargo.toml" || source.path.starts_with("crates/") && depth == 2;
        if ours && source.path.ends_with("/Cargo.toml") {
            crates += 1;
            let manifest: Table = source.text.parse().unwrap();
            let folder = source.path.rsplit('/').nth(1).unwrap();
            if manifest["package"]["name"].as_str() != Some(folder) {
                found.push(format!("the crate in {folder} has another name"));
            }
            found.extend(offences(&manifest));
        }
    }
    assert!(crates > 1, "the manifests were not found");
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn planted(name: &str, dependencies: &str) -> Vec<String> {
    let text = format!(
        "package.name = {name:?}\npackage.version.workspace = true\npackage.edition.workspace = true
         package.rust-version.workspace = true\npackage.license.workspace = true
         package.publish.workspace = true\nlints.workspace = true\n{dependencies}"
    );
    offences(&text.parse().unwrap())
}

#[test]
fn each_kind_of_breach_is_named() {
    let none: [&str; 0] = [];
    assert_eq!(planted("record", "dependencies.types.workspace = true"), none);
    assert_eq!(
        planted("kafka", "dependencies.ledger.workspace = true"),
        ["kafka may not depend on ledger"]
    );
    assert_eq!(planted("engine", "dev-dependencies.kafka.workspace = true"), none);
    assert_eq!(
        planted("kafka", "dev-dependencies.amqp091.workspace = true"),
        ["kafka may not depend on amqp091"]
    );
    assert_eq!(
        planted("engine", "target.'cfg(unix)'.dependencies.tokio.workspace = true"),
        ["engine may not use tokio"]
    );
    assert_eq!(planted("sundry", ""), ["sundry has no row in the table of layers"]);
    let bare: Table = "package.name = \"types\"".parse().unwrap();
    assert_eq!(offences(&bare).len(), 6);
}
