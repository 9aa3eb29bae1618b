//! Rules about `Cargo.lock`: how much comes in, and from where.

use toml::{Table, Value};

/// Most packages in `Cargo.lock`; lower it when it can be lowered.
const PACKAGES_MAX: usize = 260;

/// Packages that must not come in: one TLS provider, and none that builds or links C for it.
const NEVER: &[&str] = &["openssl-sys", "native-tls", "aws-lc-sys", "aws-lc-rs"];

fn offences(lock: &Table) -> Vec<String> {
    let packages = lock.get("package").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut found = Vec::new();
    if packages.len() > PACKAGES_MAX {
        found.push(format!("{} packages, at most {PACKAGES_MAX}", packages.len()));
    }
    for package in &packages {
        let name = package.get("name").and_then(Value::as_str).unwrap_or_default();
        if NEVER.contains(&name) {
            found.push(format!("{name} is locked"));
        }
        let source = package.get("source").and_then(Value::as_str);
        let index = packages.iter().find_map(|package| package.get("source")?.as_str());
        if source.is_some_and(|source| !source.starts_with("registry+") || Some(source) != index) {
            found.push(format!("{name} comes from {}", source.unwrap_or_default()));
        }
    }
    found
}

#[test]
fn few_packages_are_locked_and_all_from_one_place() {
    let text = std::fs::read_to_string(crate::run::root().join("Cargo.lock")).unwrap();
    let found = offences(&text.parse().unwrap());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_second_tls_provider_and_a_foreign_source_are_named() {
    let lock = "[[package]]\nname = \"openssl-sys\"\n[[package]]\nname = \"x\"\nsource = \"git+y\"";
    assert_eq!(offences(&lock.parse().unwrap()), ["openssl-sys is locked", "x comes from git+y"]);
    let many = "[[package]]\nname = \"x\"\n".repeat(PACKAGES_MAX + 1);
    assert_eq!(offences(&many.parse().unwrap()), ["261 packages, at most 260"]);
}
