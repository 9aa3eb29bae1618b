//! The rules about files, manifests and layers, as tests that read the tree.
//!
//! Each rule is a function from a file to what breaks it, so that a test can show it a planted
//! offence; `ALLOWED` tables name the exceptions with their reasons.

mod layers;
mod locked;
mod rules;
mod source;
mod tests;

use source::Source;
use std::path::Path;
use std::process::Command;

/// Every text file of the tree that git tracks or would track.
fn tree() -> Vec<Source> {
    let root = crate::run::root();
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect());
    let mut paths: Vec<String> = listed.unwrap_or_else(|| {
        let mut found = Vec::new();
        walk(&root, &root, &mut found);
        found
    });
    paths.sort();
    paths.into_iter().filter_map(|path| Source::read(&root, path)).collect()
}

/// The files below `folder`, for a tree without git.
fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
    const NOT_OURS: &[&str] = &["target", ".git", ".venv", "node_modules", "crossdock-data"];
    for entry in std::fs::read_dir(folder).expect("the tree can be read").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if NOT_OURS.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, found);
        } else if let Ok(relative) = path.strip_prefix(root) {
            found.push(relative.to_string_lossy().into_owned());
        }
    }
}

/// Fails with every offence `rule` finds in the tree.
fn check_tree(rule: impl Fn(&Source) -> Vec<String>) {
    let offences: Vec<String> = tree()
        .iter()
        .flat_map(|source| {
            rule(source).into_iter().map(move |offence| format!("{}: {offence}", source.path))
        })
        .collect();
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}
