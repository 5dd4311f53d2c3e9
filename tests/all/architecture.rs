//! What the tree promises: modules depend downward only, files stay readable, and the whole
//! stays small enough to travel.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::objects::root;
use super::support::process::succeed;

const LINES_OF_A_FILE: usize = 600;
const MIB: u64 = 1 << 20;
/// They compose the others, so they may use them all.
const USE_ALL: [&str; 2] = ["node", "cli"];

/// The modules in the order of `src/lib.rs`.
fn modules() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared = text.lines().filter_map(|line| line.strip_prefix("pub mod "));
    declared.map(|rest| rest.trim_end_matches(';').to_owned()).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The files that git tracks, or would once they are added.
fn tracked_files() -> Vec<PathBuf> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listing = succeed(&mut git);
    let names = listing.split('\0').filter(|name| !name.is_empty());
    names.map(|name| root().join(name)).filter(|path| path.is_file()).collect()
}

fn size_of<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> u64 {
    files.into_iter().map(|file| file.metadata().unwrap().len()).sum()
}

/// The top-level modules that a source text names after `crate::`, comments left out.
fn used_modules(source: &str) -> Vec<String> {
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code.get(..at).unwrap().chars().next_back();
        if before.is_some_and(|c| c == '$' || c == '_' || c.is_alphanumeric()) {
            continue;
        }
        let rest = code.get(at + "crate::".len()..).unwrap();
        match rest.strip_prefix('{') {
            Some(group) => used.extend(first_names_of_group(group)),
            None => used.push(identifier(rest)),
        }
    }
    used
}

/// `a::B, c::{D, E}}` → `a`, `c`.
fn first_names_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                names.push(identifier(group.get(start..at).unwrap().trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| *c == '_' || c.is_alphanumeric()).collect()
}

#[test]
fn the_scan_of_uses_sees_every_form() {
    let source = "use crate::spool::{Spool, retry};\nuse crate::{\n    model::Model, report::{a, b},\n};\n\
                  // crate::cli\nfn f() { crate::object::g(); $crate::h(); }";
    assert_eq!(used_modules(source), ["spool", "model", "report", "object"]);
}

#[test]
fn a_module_uses_only_those_above_it() {
    let modules = modules();
    assert!(modules.len() > 10, "src/lib.rs declares {modules:?}");
    let place = |name: &str| modules.iter().position(|module| module == name);
    let mut offences = Vec::new();
    for file in rust_files(&root().join("src")) {
        let path = file.strip_prefix(root().join("src")).unwrap();
        let first = path.iter().next().unwrap().to_string_lossy();
        let own = first.trim_end_matches(".rs");
        let Some(own_place) = place(own) else { continue };
        if USE_ALL.contains(&own) {
            continue;
        }
        for used in used_modules(&std::fs::read_to_string(&file).unwrap()) {
            if place(&used).is_some_and(|used_place| used_place > own_place) {
                offences.push(format!("src/{} uses crate::{used}", path.display()));
            }
        }
    }
    assert!(offences.is_empty(), "a module may use those above it in src/lib.rs: {offences:#?}");
}

#[test]
fn every_module_opens_with_what_it_is() {
    for file in rust_files(&root().join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//!"), "{} does not open with //!", file.display());
    }
}

#[test]
fn files_stay_readable() {
    for folder in ["src", "tests"] {
        for file in rust_files(&root().join(folder)) {
            let lines = std::fs::read_to_string(&file).unwrap().lines().count();
            let name = file.display();
            assert!(
                lines <= LINES_OF_A_FILE,
                "{name} has {lines} lines, {LINES_OF_A_FILE} are allowed"
            );
        }
    }
}

#[test]
fn the_tree_stays_small_enough_to_travel() {
    let files = tracked_files();
    let total = size_of(&files);
    assert!(total < 48 * MIB, "the tracked tree has {} MiB of 48", total / MIB);
    let under = |folder: &str| {
        let folder = root().join(folder);
        size_of(files.iter().filter(|file| file.starts_with(&folder)))
    };
    let (dicom, weights) = (under("fixtures/dicom"), under("src/model/embedded"));
    assert!(dicom <= 10_000_000, "fixtures/dicom has {dicom} bytes of 10 MB");
    assert!(weights <= 14_000_000, "src/model/embedded has {weights} bytes of 14 MB");
}
