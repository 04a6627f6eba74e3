//! The rules of the house that no compiler checks: floors, headers, lengths, purity, vocabulary, pages, SQL. Plain text
//! checks over the tracked files, fast enough to run before every commit. CONTRIBUTING.md says why each rule is there.

#![cfg(test)]
#![expect(clippy::string_slice, reason = "places come from searches in the same text, so they are boundaries")]

mod chart;
mod code;
mod pages;
mod sql;
mod text;

use std::path::{Path, PathBuf};

use text::Source;

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` whose name ends in `.extension`, in order of path, relative to the root.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() && path.file_name().is_some_and(|name| name != "node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The text of a file named relative to the root.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether a file named relative to the root is there.
fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// The Rust files below `folder`, taken apart.
fn sources(folder: &str) -> Vec<Source> {
    files(folder, "rs").into_iter().map(|path| Source::new(path.clone(), read(&path))).collect()
}

/// The files that version control knows, relative to the root.
fn tracked() -> Vec<PathBuf> {
    let listed = std::process::Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    assert!(listed.status.success(), "git ls-files failed");
    let names = String::from_utf8(listed.stdout).unwrap();
    names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|name| root().join(name).is_file())
        .collect()
}

/// Fail with everything that is wrong, not only with the first.
#[track_caller]
fn settle(rule: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{rule}\n  {}", wrong.join("\n  "));
}
