//! The rules of the house that no compiler checks: who may import whom, and what code may not hold.
//!
//! Every failure is a sentence that says which rule is broken and why there is one. The arrows are
//! those of `docs/architecture.md`; what `cargo metadata` declares is compared with them.

mod source;
mod workspace;

use std::path::Path;

use workspace::{Workspace, text};

/// Which of our crates each of our crates may import. `serve`, `tests` and `benchmarks` may import
/// all.
const ARROWS: &[(&str, &[&str])] = &[
    ("api", &["engine-contract", "runtime"]),
    (
        "engine",
        &[
            "engine-backend",
            "engine-contract",
            "engine-cpu",
            "engine-cuda",
            "engine-model",
            "engine-sim",
        ],
    ),
    ("engine-backend", &[]),
    ("engine-contract", &[]),
    ("engine-cpu", &["engine-backend"]),
    ("engine-cuda", &["engine-backend"]),
    ("engine-model", &["engine-backend"]),
    ("engine-sim", &["engine-contract"]),
    ("runtime", &["engine-contract", "runtime-core", "runtime-text"]),
    ("runtime-core", &["engine-contract"]),
    ("runtime-text", &[]),
    ("simulation", &["engine-contract", "engine-sim", "runtime-core"]),
];

/// The crates at the top, which may import everything and which nothing imports.
const TOP: &[&str] = &["benchmarks", "serve", "tests"];

/// Crates whose every outside dependency is listed: they must stay without a clock, a thread or a
/// file.
const PURE: &[(&str, &[&str])] =
    &[("engine-contract", &[]), ("runtime-core", &["hashbrown", "rustc-hash", "thiserror"])];

/// Outside dependencies that only some crates may have, and why.
const FENCED: &[(&str, &[&str], &str)] = &[
    ("actix", &["runtime", "serve", "tests"], "actors live in the shell"),
    ("actix-rt", &["api", "runtime", "serve", "tests"], "arbiters are the shell's and the edge's"),
    ("actix-web", &["api", "tests"], "HTTP ends at the edge"),
    ("actix-web-lab", &["api", "tests"], "HTTP ends at the edge"),
    ("anyhow", &["benchmarks", "serve", "tests"], "libraries have typed errors"),
    ("cudarc", &["engine-cuda"], "one crate knows the device's driver"),
    ("minijinja", &["runtime-text"], "templates are text's concern"),
    (
        "serde",
        &["api", "engine-model", "engine-sim", "runtime-text", "serve", "simulation"],
        "the wire must not freeze what is below the edge; what reads files reads JSON, too",
    ),
    ("tokenizers", &["runtime-text"], "tokens are text's concern"),
    ("tokio", &["api", "runtime", "serve", "tests"], "nothing below the shell is asynchronous"),
];

/// Where `unsafe` may stand.
const UNSAFE: &[&str] =
    &["engine/cpu/src/simd/", "engine/cuda/", "engine/model/src/weights/map.rs"];

/// File names that say nothing of what the file holds.
const BANNED_NAMES: &[&str] = &["common", "helpers", "manager", "misc", "types", "utils"];

/// What code must not say, and why.
const BANNED_CODE: &[(&str, &str)] = &[
    ("#[ignore", "a test that does not run proves nothing"),
    ("cfg(feature", "there is one build; what a machine can do is found at run time"),
    ("cfg_attr(feature", "there is one build; what a machine can do is found at run time"),
    ("todo!(", "what is not done is not there"),
    ("unimplemented!(", "what is not done is not there"),
];

const COLUMNS_MAX: usize = 100;
const LINES_MAX: usize = 500;

/// Files that may be longer than [`LINES_MAX`], and why.
const LONG_FILES: &[(&str, &str)] = &[];

#[test]
fn our_crates_import_each_other_only_along_the_arrows() {
    let workspace = Workspace::read();
    let mut broken = Vec::new();
    for (package, dependencies) in &workspace.ours {
        let allowed = ARROWS.iter().find(|(name, _)| name == package).map(|(_, allowed)| *allowed);
        if allowed.is_none() && !TOP.contains(&package.as_str()) {
            broken.push(format!("{package} has no line in ARROWS: say what it may import"));
        }
        for dependency in dependencies {
            if TOP.contains(&dependency.as_str()) {
                broken.push(format!("{package} imports {dependency}, which nothing may import"));
            }
            if allowed.is_some_and(|allowed| !allowed.contains(&dependency.as_str())) {
                broken.push(format!(
                    "{package} imports {dependency}, but no arrow of docs/architecture.md leads there"
                ));
            }
        }
    }
    report(&broken);
}

#[test]
fn outside_dependencies_stay_in_their_crates() {
    let workspace = Workspace::read();
    let mut broken = Vec::new();
    for (package, dependencies) in &workspace.outside {
        for dependency in dependencies {
            let pure = PURE.iter().find(|(name, _)| name == package);
            if pure.is_some_and(|(_, allowed)| !allowed.contains(&dependency.as_str())) {
                broken.push(format!(
                    "{package} depends on {dependency}: it may depend on nothing that could reach \
                     a clock, a thread or a file, so each dependency is listed in PURE"
                ));
            }
            let fenced = FENCED.iter().find(|(name, ..)| name == dependency);
            if let Some((_, crates, why)) =
                fenced.filter(|(_, c, _)| !c.contains(&package.as_str()))
            {
                let crates = crates.join(", ");
                broken.push(format!(
                    "{package} depends on {dependency}, which only {crates} may: {why}"
                ));
            }
        }
    }
    report(&broken);
}

#[test]
fn versions_and_lints_are_the_workspace_s() {
    let workspace = Workspace::read();
    let mut broken = Vec::new();
    for (package, directory) in &workspace.directories {
        let manifest: toml::Table =
            text(&directory.join("Cargo.toml")).parse().expect("cargo reads it");
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let entries = manifest.get(table).and_then(toml::Value::as_table).into_iter().flatten();
            for (name, entry) in entries {
                if entry.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                    broken.push(format!(
                        "{package} gives {name} a version of its own: versions stand in the \
                         workspace's Cargo.toml, so that there is one of each"
                    ));
                }
            }
        }
        let inherits = |table: &str, key: &str| {
            manifest.get(table).and_then(|t| t.get(key)).is_some_and(|value| {
                value.as_bool() == Some(true) || value.get("workspace").is_some()
            })
        };
        for (table, key) in [("package", "version"), ("package", "edition"), ("lints", "workspace")]
        {
            if !inherits(table, key) {
                broken.push(format!("{package} does not take {table}.{key} from the workspace"));
            }
        }
        if manifest.contains_key("features") {
            broken.push(format!("{package} has cargo features: {}", BANNED_CODE[1].1));
        }
    }
    report(&broken);
}

#[test]
fn every_crate_says_what_it_is_and_the_architecture_quotes_it() {
    let workspace = Workspace::read();
    let architecture = text(&workspace.root.join("docs/architecture.md"));
    let mut broken = Vec::new();
    for (package, kind, source) in &workspace.roots {
        let shown = workspace.shown(source);
        let code = text(source);
        let Some(first) = code.lines().next().and_then(|line| line.strip_prefix("//! ")) else {
            broken.push(format!("{shown} does not open with `//!`: say what the crate is for"));
            continue;
        };
        let is_face = kind == "lib" || (kind == "bin" && package == "serve");
        if is_face && !architecture.contains(first) {
            broken.push(format!(
                "docs/architecture.md does not quote the first line of {package}, \"{first}\""
            ));
        }
        let is_pure = PURE.iter().any(|(name, _)| name == package);
        if is_pure && kind == "lib" && !code.lines().any(|line| line == "#![no_std]") {
            broken.push(format!("{shown} is not `#![no_std]`: nothing else keeps it pure"));
        }
    }
    report(&broken);
}

#[test]
fn unsafe_code_stays_behind_its_fence() {
    let workspace = Workspace::read();
    let mut broken = Vec::new();
    for file in
        workspace.rust_files().filter(|file| !UNSAFE.iter().any(|at| file.path.starts_with(at)))
    {
        for (number, line) in file.code_lines() {
            if has_word(line, "unsafe") || has_word(line, "unsafe_code") {
                let fence = UNSAFE.join(", ");
                broken.push(format!(
                    "{}:{number} has unsafe code, which only {fence} may",
                    file.path
                ));
            }
        }
    }
    report(&broken);
}

#[test]
fn code_holds_nothing_that_is_banned() {
    let workspace = Workspace::read();
    let mut broken = Vec::new();
    for file in workspace.rust_files() {
        let stem = Path::new(&file.path).file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
        if BANNED_NAMES.contains(&stem) {
            broken.push(format!("{} is named for nothing: name it for what it holds", file.path));
        }
        for (number, line) in file.code_lines() {
            for (banned, why) in BANNED_CODE.iter().filter(|(banned, _)| line.contains(banned)) {
                broken.push(format!("{}:{number} has `{banned}`: {why}", file.path));
            }
        }
    }
    report(&broken);
}

#[test]
fn files_and_lines_are_short_enough_to_read() {
    let workspace = Workspace::read();
    let mut broken = Vec::new();
    for file in workspace.rust_files() {
        let lines = file.lines_without_tests();
        if lines > LINES_MAX && !LONG_FILES.iter().any(|(path, _)| *path == file.path) {
            broken.push(format!(
                "{} has {lines} lines, more than {LINES_MAX}: a noun in it wants a file of its own",
                file.path
            ));
        }
        for (number, columns) in file.long_lines() {
            broken.push(format!(
                "{}:{number} has {columns} columns, more than {COLUMNS_MAX}",
                file.path
            ));
        }
    }
    report(&broken);
}

#[test]
fn the_default_configuration_is_there_to_be_read() {
    let path = Workspace::read().root.join("configs/default.toml");
    assert!(path.is_file(), "configs/default.toml is missing: it documents every knob");
}

/// Fails with all sentences, one a line.
fn report(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|char: char| !char.is_alphanumeric() && char != '_').any(|part| part == word)
}
