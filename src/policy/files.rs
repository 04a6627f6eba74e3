//! The bundle as files: which of a folder's files belong to it, how large they may be, and the digest that names them all.
//! Links are followed only inside the folder, and a mounted `ConfigMap` is read as of one moment.

use std::collections::BTreeMap;
use std::path::Path;

use super::problem::{BundleError, Problems};
use crate::domain::Digest;
use crate::sys::sha256;

/// Most files a bundle may have.
const MAX_FILES: usize = 1_000;
/// Largest file, in bytes.
const MAX_FILE_BYTES: usize = 1 << 20;
/// Largest bundle, in bytes.
const MAX_TOTAL_BYTES: usize = 8 << 20;
/// Deepest nesting of folders.
const MAX_DEPTH: usize = 8;
/// Longest path of a file inside the bundle, in bytes.
const MAX_PATH: usize = 512;

/// Names the schema.
pub(super) const SCHEMA: &str = "schema.cedarschema";

/// Hidden files and what editors leave behind.
fn is_ignored(name: &str) -> bool {
    name.starts_with('.')
        || name.starts_with('#')
        || name.ends_with('~')
        || [".bak", ".orig", ".rej", ".swp", ".swo", ".tmp", ".md"].iter().any(|end| name.ends_with(end))
}

/// Whether a path ends in `.` and this extension.
pub(super) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == extension)
}

/// Whether a path, relative and with `/`, names something a bundle is made of.
fn is_part(path: &str) -> bool {
    let toml_of = |stem: &str| {
        path.strip_prefix(stem)
            .is_some_and(|rest| rest == ".toml" || (rest.starts_with('/') && has_extension(path, "toml")))
    };
    path == SCHEMA
        || has_extension(path, "cedar")
        || ["catalogue", "agents", "people"].into_iter().any(toml_of)
        || (path.starts_with("tests/") && has_extension(path, "json"))
}

/// Read a folder's files, by path relative to it.
pub(super) fn read(folder: &Path) -> Result<BTreeMap<String, String>, BundleError> {
    let mut problems = Problems::default();
    // Kubernetes swaps a `ConfigMap`'s content by one rename of `..data`; reading through its target sees one version only.
    let mounted = folder.join("..data");
    let root = if mounted.is_dir() { mounted } else { folder.to_path_buf() };
    let mut files = BTreeMap::new();
    match root.canonicalize() {
        Ok(root) => walk(&root, &root, "", 0, &mut files, &mut problems),
        Err(error) => problems.add("", format!("cannot read {}: {error}", folder.display())),
    }
    if problems.is_empty() { Ok(files) } else { Err(problems.into_error()) }
}

fn walk(
    root: &Path,
    folder: &Path,
    prefix: &str,
    depth: usize,
    files: &mut BTreeMap<String, String>,
    problems: &mut Problems,
) {
    if depth > MAX_DEPTH {
        return problems.add(prefix, format!("folders are nested more than {MAX_DEPTH} deep"));
    }
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return problems.add(prefix, format!("cannot list the folder: {error}")),
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return problems.add(prefix, format!("cannot list the folder: {error}")),
        };
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            problems.add(&format!("{prefix}{}", name.display()), "the file's name is not UTF-8");
            continue;
        };
        if is_ignored(name) {
            continue;
        }
        let path = format!("{prefix}{name}");
        let target = match entry.path().canonicalize() {
            Ok(target) => target,
            Err(error) => {
                problems.add(&path, format!("cannot be read: {error}"));
                continue;
            }
        };
        if !target.starts_with(root) {
            problems.add(&path, "a link that leads out of the bundle's folder; copy the file into it instead");
        } else if target.is_dir() {
            walk(root, &target, &format!("{path}/"), depth.saturating_add(1), files, problems);
        } else if files.len() >= MAX_FILES {
            return problems.add("", format!("has more than {MAX_FILES} files"));
        } else {
            match read_file(&target) {
                Ok(text) => drop(files.insert(path, text)),
                Err(message) => problems.add(&path, message),
            }
        }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !file.metadata().map_err(|error| format!("cannot be read: {error}"))?.is_file() {
        return Err("not a regular file".to_owned());
    }
    // One byte more than allowed, so that a file which grows meanwhile is found out and never read whole.
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(format!("larger than {MAX_FILE_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())
}

/// Check paths, count and sizes, whichever way the files came.
pub(super) fn check(files: &BTreeMap<String, String>, problems: &mut Problems) {
    if files.len() > MAX_FILES {
        problems.add("", format!("has {} files, more than the {MAX_FILES} allowed", files.len()));
    }
    let total = files.values().fold(0_usize, |sum, text| sum.saturating_add(text.len()));
    if total > MAX_TOTAL_BYTES {
        problems.add("", format!("has {total} bytes, more than the {MAX_TOTAL_BYTES} allowed"));
    }
    for (path, text) in files {
        let odd = |segment: &str| segment.is_empty() || segment.starts_with('.') || segment.contains(['\\', '\0']);
        if path.len() > MAX_PATH || path.split('/').any(odd) {
            problems.add(path, "not a path inside a bundle");
        } else if !is_part(path) {
            problems.add(
                path,
                "not a part of a bundle: expected schema.cedarschema, *.cedar, catalogue.toml, agents.toml, people.toml \
                 (or *.toml in a folder of one of these three names), or tests/*.json",
            );
        }
        if text.len() > MAX_FILE_BYTES {
            problems.add(path, format!("larger than {MAX_FILE_BYTES} bytes"));
        }
    }
    if !files.contains_key(SCHEMA) {
        problems.add(SCHEMA, "is missing; copy it from the bundle that is shipped");
    }
}

/// Names the files by their content: SHA-256 over each path and text in order of path, each preceded by its length in
/// bytes as eight bytes, most significant first, so that no two bundles run into the same bytes.
pub(super) fn digest(files: &BTreeMap<String, String>) -> Digest {
    let mut listing = b"hallpass-policy-bundle-v1\0".to_vec();
    for part in files.iter().flat_map(|(path, text)| [path, text]) {
        listing.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        listing.extend_from_slice(part.as_bytes());
    }
    sha256(listing)
}
