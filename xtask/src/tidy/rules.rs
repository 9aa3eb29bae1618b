//! Rules about one file: each gives what breaks it.

use super::source::Source;

/// Longest file, in lines of code.
pub(super) const FILE_LINES_MAX: usize = 500;

/// Most fields of one struct.
pub(super) const FIELDS_MAX: usize = 12;

/// Longest `ARCHITECTURE.md`, in lines.
pub(super) const ARCHITECTURE_LINES_MAX: usize = 250;

/// Files that are longer, by name, with the most they may have: they may only shrink.
pub(super) const LONGER_FILES: &[(&str, usize)] = &[];

/// Structs that have more fields, by name, with the reason.
pub(super) const WIDER_STRUCTS: &[(&str, &str)] = &[
    ("Keeper", "debt: its files and its schedule are two things"),
    ("Shard", "debt: what checkpoints note of the names belongs beside them"),
    ("Worker", "debt: what one stage of the turn owns belongs together"),
    ("Seat", "debt: a shard's frames in flight and its waiting clients are two things"),
];

/// What may lie in the root.
pub(super) const ROOT: &[&str] = &[
    ".cargo",
    ".ci",
    ".gitattributes",
    ".github",
    ".gitignore",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "STYLE.md",
    "bench",
    "clients",
    "clippy.toml",
    "crates",
    "deny.toml",
    "docs",
    "examples",
    "fuzz",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "xtask",
];

const BANNED_ENDINGS: &[&str] = &[
    "Manager",
    "Handler",
    "Service",
    "Helper",
    "Helpers",
    "Util",
    "Utils",
    "Processor",
    "Info",
    "Data",
    "Impl",
    "Common",
];

pub(super) fn length(source: &Source) -> Vec<String> {
    if !source.is_rust() {
        return Vec::new();
    }
    let lines = source.code_lines();
    match LONGER_FILES.iter().find(|(path, _)| *path == source.path) {
        Some((_, most)) if lines > *most => {
            vec![format!("{lines} lines of code, its exception allows {most}")]
        }
        Some(_) if lines <= FILE_LINES_MAX => {
            vec![format!("{lines} lines of code: it needs no exception any more")]
        }
        None if lines > FILE_LINES_MAX => {
            vec![format!("{lines} lines of code, at most {FILE_LINES_MAX}")]
        }
        _ => Vec::new(),
    }
}

pub(super) fn no_mod_files(source: &Source) -> Vec<String> {
    let offends = source.path.ends_with("/mod.rs");
    if offends { vec!["write foo.rs beside foo/".into()] } else { Vec::new() }
}

pub(super) fn no_leftovers(source: &Source) -> Vec<String> {
    const WORDS: &[&str] = &["TODO", "FIXME", "dbg!(", "todo!(", "unimplemented!("];
    let ours = [".rs", ".py", ".sh", ".js", ".go", ".java", ".toml", ".md"]
        .iter()
        .any(|ending| source.path.ends_with(ending));
    if !ours || source.states_the_rules() {
        return Vec::new();
    }
    words_of(&source.text.lines().collect::<Vec<_>>(), WORDS)
}

pub(super) fn no_banned_names(source: &Source) -> Vec<String> {
    if !source.is_rust() {
        return Vec::new();
    }
    let declared = |line: &str| -> Option<String> {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
        let keyword = words.next()?;
        // A type inside an impl has the name its trait gave it.
        let associated = keyword == "type" && line.starts_with(' ');
        if associated || !["struct", "enum", "trait", "type", "union"].contains(&keyword) {
            return None;
        }
        let name = words.next()?;
        Some(name.chars().take_while(|letter| letter.is_alphanumeric()).collect())
    };
    source
        .text
        .lines()
        .filter_map(declared)
        .filter(|name| BANNED_ENDINGS.iter().any(|ending| name.ends_with(ending)))
        .map(|name| format!("a type called {name}: name what it is"))
        .collect()
}

pub(super) fn crate_doc(source: &Source) -> Vec<String> {
    let is_root = ["/src/lib.rs", "/src/main.rs"].iter().any(|root| source.path.ends_with(root));
    if is_root && !source.text.starts_with("//!") {
        vec!["a crate begins with what it is: `//! …`".into()]
    } else {
        Vec::new()
    }
}

pub(super) fn root_is_known(source: &Source) -> Vec<String> {
    let first = source.path.split('/').next().unwrap_or_default();
    if ROOT.contains(&first) { Vec::new() } else { vec![format!("{first} in the root")] }
}

pub(super) fn bounded_channels(source: &Source) -> Vec<String> {
    const WORDS: &[&str] =
        &["unbounded_channel", "mpsc::channel()", "UnboundedSender", "unbounded()", "unbounded::<"];
    if !source.is_rust() || source.states_the_rules() {
        return Vec::new();
    }
    words_of(&source.text.lines().collect::<Vec<_>>(), WORDS)
}

pub(super) fn tests_do_not_wait(source: &Source) -> Vec<String> {
    const WORDS: &[&str] = &["sleep(", "sleep_until(", "#[ignore", "should_panic"];
    if !source.is_rust() || source.states_the_rules() {
        return Vec::new();
    }
    words_of(&source.tests(), WORDS)
}

pub(super) fn no_machine_paths(source: &Source) -> Vec<String> {
    const WORDS: &[&str] = &["/root/", "/home/", "/Users/"];
    if source.states_the_rules() {
        Vec::new()
    } else {
        words_of(&source.text.lines().collect::<Vec<_>>(), WORDS)
    }
}

pub(super) fn architecture_is_short(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if source.path == "ARCHITECTURE.md" && lines > ARCHITECTURE_LINES_MAX {
        return vec![format!("{lines} lines, at most {ARCHITECTURE_LINES_MAX}")];
    }
    Vec::new()
}

/// Structs with more named fields than allowed; fields are the lines one level in.
pub(super) fn narrow_structs(source: &Source) -> Vec<String> {
    if !source.is_rust() {
        return Vec::new();
    }
    let mut offences = Vec::new();
    let mut open: Option<(String, usize)> = None;
    for line in source.code() {
        match &mut open {
            None => {
                let start = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub(super) "));
                let start = start.or(line.strip_prefix("pub ")).unwrap_or(line);
                if let Some(rest) = start.strip_prefix("struct ")
                    && line.ends_with('{')
                {
                    let name = rest.chars().take_while(|letter| letter.is_alphanumeric()).collect();
                    open = Some((name, 0));
                }
            }
            Some((name, fields)) if line == "}" => {
                if *fields > FIELDS_MAX && !WIDER_STRUCTS.iter().any(|(wide, _)| wide == name) {
                    offences.push(format!("{name} has {fields} fields, at most {FIELDS_MAX}"));
                }
                open = None;
            }
            Some((_, fields)) => *fields += usize::from(is_field(line)),
        }
    }
    offences
}

fn is_field(line: &str) -> bool {
    let Some(field) = line.strip_prefix("    ") else { return false };
    !field.starts_with([' ', '/', '#', '}', ')']) && field.contains(": ")
}

fn words_of(lines: &[&str], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for line in lines {
        for word in words.iter().filter(|word| line.contains(**word)) {
            found.push(format!("`{word}` in: {}", line.trim()));
        }
    }
    found
}
