use super::rules::*;
use super::source::Source;
use super::{check_tree, tree};

/// A rule, a planted file it must object to, and how often.
type Planted = (fn(&Source) -> Vec<String>, &'static str, &'static str, usize);

#[test]
fn every_rule_objects_to_what_it_forbids() {
    let cases: &[Planted] = &[
        (no_mod_files, "crates/x/src/y/mod.rs", "", 1),
        (no_mod_files, "crates/x/src/y.rs", "", 0),
        (no_leftovers, "crates/x/src/y.rs", "// TODO later\nlet x = dbg!(1);", 2),
        (no_leftovers, "docs/x.md", "nothing left over", 0),
        (no_banned_names, "a.rs", "pub(crate) struct QueueManager<T> {", 1),
        (no_banned_names, "a.rs", "pub enum TopicInfo {}\ntype Data = u8;\n    type Data = u8;", 2),
        (no_banned_names, "a.rs", "pub struct Managed;\nimpl Handler for X {}", 0),
        (crate_doc, "crates/x/src/lib.rs", "use std::fmt;", 1),
        (crate_doc, "crates/x/src/lib.rs", "//! What it is.", 0),
        (root_is_known, "plan.md", "", 1),
        (root_is_known, "crates/x/plan.md", "", 0),
        (bounded_channels, "a.rs", "let (a, b) = mpsc::channel();", 1),
        (bounded_channels, "a.rs", "let (a, b) = mpsc::channel(BOUND);", 0),
        (tests_do_not_wait, "crates/x/src/tests.rs", "std::thread::sleep(time);", 1),
        (tests_do_not_wait, "a.rs", "sleep(a);\n#[cfg(test)]\nmod tests {\n    sleep(b);\n}", 1),
        (no_machine_paths, "docs/x.md", "see /root/y and /home/me", 2),
        (no_machine_paths, "docs/x.md", "the network/x and ../x", 0),
    ];
    for (rule, path, text, offences) in cases {
        let found = rule(&Source::planted(path, text));
        assert_eq!(found.len(), *offences, "{path}: {text}: {found:?}");
    }
}

#[test]
fn long_files_wide_structs_and_a_long_architecture_are_seen() {
    let line = "let x = 1;\n";
    let long = line.repeat(FILE_LINES_MAX + 1);
    assert_eq!(length(&Source::planted("a.rs", &long)).len(), 1);
    let comments = format!("{}// why\n\n", line.repeat(FILE_LINES_MAX));
    let tests = format!("{comments}#[cfg(test)]\nmod tests {{\n{line}}}\n");
    assert!(length(&Source::planted("a.rs", &tests)).is_empty());
    assert!(length(&Source::planted("x/tests.rs", &long)).is_empty());

    let wide = |fields| format!("pub struct X<T> {{\n{}}}\n", "    a: u8,\n".repeat(fields));
    assert_eq!(narrow_structs(&Source::planted("a.rs", &wide(FIELDS_MAX + 1))).len(), 1);
    assert!(narrow_structs(&Source::planted("a.rs", &wide(FIELDS_MAX))).is_empty());

    let plan = "line\n".repeat(ARCHITECTURE_LINES_MAX + 1);
    assert_eq!(architecture_is_short(&Source::planted("ARCHITECTURE.md", &plan)).len(), 1);
}

#[test]
fn the_tree_is_read() {
    let paths: Vec<String> = tree().into_iter().map(|source| source.path).collect();
    for path in ["Cargo.toml", "xtask/src/main.rs", ".ci/run"] {
        assert!(paths.iter().any(|found| found == path), "{path} was not read");
    }
}

#[test]
fn files_are_short() {
    check_tree(length);
}

#[test]
fn exceptions_name_files_that_exist() {
    let tree = tree();
    for (path, _) in LONGER_FILES {
        assert!(tree.iter().any(|source| source.path == *path), "{path} is gone");
    }
    for (name, _) in WIDER_STRUCTS {
        let declared = format!("struct {name}");
        assert!(tree.iter().any(|source| source.text.contains(&declared)), "{name} is gone");
    }
}

#[test]
fn structs_are_narrow() {
    check_tree(narrow_structs);
}

#[test]
fn modules_lie_beside_their_folders() {
    check_tree(no_mod_files);
}

#[test]
fn nothing_is_left_over() {
    check_tree(no_leftovers);
}

#[test]
fn types_are_named_for_what_they_are() {
    check_tree(no_banned_names);
}

#[test]
fn crates_say_what_they_are() {
    check_tree(crate_doc);
}

#[test]
fn the_root_holds_only_what_is_known() {
    check_tree(root_is_known);
}

#[test]
fn channels_are_bounded() {
    check_tree(bounded_channels);
}

#[test]
fn tests_neither_wait_nor_hide() {
    check_tree(tests_do_not_wait);
}

#[test]
fn no_path_of_a_machine_is_named() {
    check_tree(no_machine_paths);
}

#[test]
fn the_architecture_fits_in_one_sitting() {
    check_tree(architecture_is_short);
}

#[test]
fn every_module_is_reached() {
    let tree = tree();
    let mut dead = Vec::new();
    for source in tree.iter().filter(|source| source.is_rust() && source.path.contains("/src/")) {
        let (folder, file) = source.path.rsplit_once('/').unwrap();
        let name = file.trim_end_matches(".rs");
        if ["lib", "main"].contains(&name) || folder.ends_with("/bin") {
            continue;
        }
        let parents =
            [format!("{folder}.rs"), format!("{folder}/lib.rs"), format!("{folder}/main.rs")];
        let declares = |line: &str| {
            let line = line.trim().trim_end_matches(';');
            line.strip_suffix(name).is_some_and(|rest| rest.ends_with("mod "))
        };
        let reached = tree
            .iter()
            .any(|parent| parents.contains(&parent.path) && parent.text.lines().any(declares));
        if !reached {
            dead.push(source.path.clone());
        }
    }
    assert!(dead.is_empty(), "no `mod` line reaches {dead:?}");
}

#[test]
fn every_fault_to_plant_is_in_the_program_and_listed() {
    const LIST: &str = "crates/io/src/planted.rs";
    let tree = tree();
    let list = tree.iter().find(|source| source.path == LIST).unwrap();
    let listed: Vec<&str> = list
        .text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(\"")?.split_once('"').map(|(name, _)| name))
        .collect();
    assert!(listed.len() > 10, "{listed:?}");
    let program: Vec<String> = tree
        .iter()
        .filter(|source| source.path.starts_with("crates/") && source.path != LIST)
        .map(|source| source.code().join("\n"))
        .collect();
    for name in &listed {
        let quoted = format!("\"{name}\"");
        assert!(program.iter().any(|code| code.contains(&quoted)), "{name} is planted nowhere");
    }
    for code in &program {
        for asked in code.split("planted(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(listed.contains(&asked), "{asked} is not listed");
        }
    }
}
