//! Rules about the code: which room may import which, how a file opens, how long it and its functions may be, and what the
//! domain may not know.

use super::text::{Source, leading_name, places_of};
use super::{settle, sources, tracked};

/// The rooms and their floors. Imports go down: never up, never sideways.
const FLOORS: [(&str, u8); 16] = [
    ("domain", 0),
    ("sys", 1),
    ("identity", 2),
    ("policy", 2),
    ("minter", 2),
    ("audit", 2),
    ("store", 2),
    ("api", 2),
    ("notify", 2),
    ("broker", 3),
    ("http", 4),
    ("mcp", 4),
    ("worker", 4),
    ("client", 4),
    ("app", 5),
    ("cli", 6),
];

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_HEADER_LINES: usize = 6;

/// Files that may be longer: path, how long, and why. This list may only shrink.
const LONG_FILES: &[(&str, usize, &str)] = &[];

/// Functions that may be longer: path, name, how long, and why. This list may only shrink.
const LONG_FUNCTIONS: &[(&str, &str, usize, &str)] = &[];

/// What the domain may not know, as whole names.
const IMPURE: [&str; 17] = [
    "async",
    "await",
    "tokio",
    "sqlx",
    "reqwest",
    "axum",
    "hyper",
    "ring",
    "rustls",
    "tracing",
    "SystemTime",
    "Instant",
    "fs",
    "env",
    "net",
    "thread",
    "process",
];

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// The first names after a path prefix: one, or those of a `{…}` group.
fn first_names(after: &str) -> Vec<&str> {
    let after = after.trim_start();
    let Some(group) = after.strip_prefix('{') else { return vec![leading_name(after)] };
    let (mut depth, mut start, mut names) = (0_u32, 0, Vec::new());
    for (place, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(leading_name(&group[start..place]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(leading_name(&group[start..place]));
                start = place + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// How many modules deep a file is: 1 for `src/room/mod.rs` and `src/room.rs`, 2 for `src/room/part.rs`.
fn depth(path: &str) -> usize {
    path.matches('/').count() - usize::from(path.ends_with("/mod.rs"))
}

/// The rooms a file imports from, with the line of the import.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for place in places_of(&source.code, "crate") {
        if let Some(after) = source.code[place..].strip_prefix("crate::") {
            found.extend(first_names(after).into_iter().map(|name| (source.line_at(place), name.to_owned())));
        }
    }
    for place in places_of(&source.code, "super") {
        if source.code[..place].ends_with("super::") {
            continue;
        }
        let (mut after, mut climbed) = (&source.code[place..], 0);
        while let Some(rest) = after.strip_prefix("super::") {
            (after, climbed) = (rest, climbed + 1);
        }
        if climbed >= depth(&source.path) {
            let rooms = first_names(after).into_iter().filter(|name| floor(name).is_some());
            found.extend(rooms.map(|name| (source.line_at(place), name.to_owned())));
        }
    }
    found
}

#[test]
fn imports_go_down_never_up_never_sideways() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().filter(|source| !["lib", "main"].contains(&source.room())) {
        let Some(own) = floor(source.room()) else {
            wrong.push(format!("{}: `{}` is not in the table of floors", source.path, source.room()));
            continue;
        };
        for (line, name) in imports(source) {
            if name != source.room() && floor(&name).is_none_or(|other| other >= own) {
                wrong.push(format!(
                    "{}:{line}: `{}` (floor {own}) imports `crate::{name}`",
                    source.path,
                    source.room()
                ));
            }
        }
    }
    settle("Imports go down a floor, never up, never sideways:", &wrong);
}

#[test]
fn the_reader_of_imports_sees_groups_and_climbing() {
    let text = "use crate::{domain::{Id, Name}, sys};\nuse super::super::store::Tx;\nuse super::Clock;";
    let source = Source::new("src/policy/cedar.rs".into(), text.into());
    let found = imports(&source);
    assert_eq!(found, [(1, "domain".into()), (1, "sys".into()), (2, "store".into())]);
}

#[test]
fn a_file_opens_with_its_reason() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        let header = source.raw.lines().take_while(|line| line.starts_with("//!")).count();
        let allowed = if source.path == "src/lib.rs" { usize::MAX } else { MAX_HEADER_LINES };
        if header == 0 || header > allowed {
            wrong.push(format!("{}: {header} lines of `//!` at the top (1 to {MAX_HEADER_LINES})", source.path));
        }
    }
    settle("A file opens with what it is, why it is here and which promise it keeps:", &wrong);
}

#[test]
fn a_file_fits_in_400_lines() {
    let all: Vec<Source> = sources("src").into_iter().chain(sources("tests")).collect();
    let mut wrong = Vec::new();
    for source in &all {
        let lines = source.raw.lines().count();
        let allowed =
            LONG_FILES.iter().find(|(path, ..)| *path == source.path).map_or(MAX_FILE_LINES, |(_, most, _)| *most);
        if lines > allowed {
            wrong.push(format!("{}: {lines} lines (at most {allowed})", source.path));
        }
    }
    for (path, _, why) in LONG_FILES {
        if !all.iter().any(|source| source.path == *path && source.raw.lines().count() > MAX_FILE_LINES) {
            wrong.push(format!("{path}: no longer long ({why}); take it off the list of exceptions"));
        }
    }
    settle("A file fits in 400 lines:", &wrong);
}

/// The functions of a file: name, line, and how many lines of code the body has.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for place in places_of(&source.code, "fn") {
        let name = leading_name(&source.code[place + 2..]);
        // Where the signature ends: at the body, or at a `;` outside brackets where there is none.
        let mut brackets = 0_i32;
        let signature_ends = |c: char| {
            brackets += i32::from(matches!(c, '(' | '[')) - i32::from(matches!(c, ')' | ']'));
            brackets == 0 && matches!(c, '{' | ';')
        };
        let Some(open) = source.code[place..].find(signature_ends).map(|offset| place + offset) else { continue };
        if name.is_empty() || source.code[open..].starts_with(';') {
            continue;
        }
        let mut depth = 0_i32;
        let end = source.code[open..].find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0
        });
        let body = end.map_or("", |end| &source.code[open + 1..open + end]);
        let lines = body.lines().filter(|line| !line.trim().is_empty()).count();
        found.push((name.to_owned(), source.line_at(place), lines));
    }
    found
}

#[test]
fn a_function_fits_on_a_screen() {
    let (mut wrong, mut used) = (Vec::new(), Vec::new());
    for source in sources("src").iter().chain(&sources("tests")) {
        for (name, line, lines) in functions(source) {
            let exception =
                LONG_FUNCTIONS.iter().find(|(path, function, ..)| *path == source.path && *function == name);
            let allowed = exception.map_or(MAX_FUNCTION_LINES, |(.., most, _)| *most);
            if lines > allowed {
                wrong.push(format!("{}:{line}: `{name}` has {lines} lines of code (at most {allowed})", source.path));
            } else if lines > MAX_FUNCTION_LINES {
                used.push((source.path.clone(), name));
            }
        }
    }
    for (path, name, _, why) in LONG_FUNCTIONS {
        if !used.contains(&((*path).to_owned(), (*name).to_owned())) {
            wrong.push(format!("{path}: `{name}` is no longer long ({why}); take it off the list of exceptions"));
        }
    }
    settle("A function fits on a screen:", &wrong);
}

#[test]
fn the_domain_is_pure() {
    let mut wrong = Vec::new();
    for source in sources("src/domain") {
        for word in IMPURE {
            for place in places_of(&source.code, word) {
                wrong.push(format!("{}:{}: `{word}`", source.path, source.line_at(place)));
            }
        }
    }
    settle("The domain knows no I/O, clock, randomness or async; they come in as arguments:", &wrong);
}

#[test]
fn nothing_is_left_for_later_and_no_machine_is_named() {
    // Put together here, so that this file does not hold what it looks for.
    let later = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let hosts = [
        concat!("crates", ".io"),
        concat!("pypi", ".org"),
        concat!("python", "hosted.org"),
        concat!("npmjs", ".org"),
        concat!("npmjs", ".com"),
        concat!("deb.", "debian.org"),
        concat!("proxy.", "golang.org"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
    ];
    let mut wrong = Vec::new();
    for path in tracked() {
        let shown = path.display().to_string();
        let Ok(text) = std::fs::read_to_string(super::root().join(&path)) else { continue };
        for (index, line) in text.lines().enumerate() {
            let place = format!("{shown}:{}", index + 1);
            if !shown.starts_with("tests/vectors/") {
                wrong.extend(later.iter().filter(|word| line.contains(*word)).map(|word| format!("{place}: {word}")));
            }
            if shown != "Cargo.lock" {
                wrong.extend(hosts.iter().filter(|host| line.contains(*host)).map(|host| format!("{place}: {host}")));
            }
        }
    }
    settle("No work left for later, no registry's host and no machine's path in the files:", &wrong);
}
