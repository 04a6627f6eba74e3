//! Rules about pages: the glossary says what the types say, and everything that has a name a user can meet (a problem, a
//! backend) has a page of that name, and no page outlives its subject.

use super::text::{Source, leading_name, places_of};
use super::{exists, files, read, root, settle, sources, tracked};

/// The glossary's terms that are types: term, room, name of the type.
const TYPES: &[(&str, &str, &str)] = &[
    ("Agent", "domain", "Agent"),
    ("Claim", "store", "Claim"),
    ("Passkey", "domain", "Passkey"),
    ("Verdict statement", "domain", "VerdictStatement"),
    ("Verified identity", "identity", "VerifiedIdentity"),
    ("Binding", "domain", "Binding"),
    ("Owner", "domain", "Owner"),
    ("Operator", "domain", "Operator"),
    ("Actor", "domain", "Actor"),
    ("Task", "domain", "Task"),
    ("Question", "domain", "Question"),
    ("Delegation", "domain", "Delegation"),
    ("Review", "domain", "Review"),
    ("Beneficiary", "domain", "Beneficiary"),
    ("Scope", "domain", "Scope"),
    ("Catalogue", "domain", "Catalogue"),
    ("Scope set", "domain", "ScopeSet"),
    ("Ceiling", "domain", "Ceiling"),
    ("Access request", "domain", "AccessRequest"),
    ("Filing", "domain", "Filing"),
    ("Decision", "domain", "Decision"),
    ("Terms", "domain", "Terms"),
    ("Approval", "domain", "Approval"),
    ("Plan", "domain", "MintPlan"),
    ("Grant", "domain", "Grant"),
    ("Minter", "minter", "Minter"),
    ("Lease", "domain", "Lease"),
    ("Handle", "domain", "Handle"),
    ("Closure", "api", "Closure"),
    ("Audit event", "domain", "AuditEvent"),
    ("Session", "domain", "Session"),
    ("Device sign-in", "domain", "DeviceSignIn"),
    ("Channel", "notify", "Channel"),
    ("Notice", "domain", "Notice"),
    ("Sweep", "worker", "Sweep"),
];

/// Rooms whose types carry the wire's or a tool's view of a noun, and may say so in their own words.
const VIEWS: [&str; 6] = ["api", "http", "mcp", "client", "app", "cli"];

/// The glossary as pairs of term and definition.
fn glossary() -> Vec<(String, String)> {
    let page = read("docs/glossary.md");
    let row = |line: &str| {
        let (term, definition) = line.strip_prefix("| **")?.split_once("** | ")?;
        Some((term.to_owned(), definition.trim_end().strip_suffix(" |")?.to_owned()))
    };
    page.lines().filter_map(row).collect()
}

/// The first paragraph of the documentation of a type, if the file declares it.
fn type_story(source: &Source, name: &str) -> Option<String> {
    let declares = |line: &&str| {
        let line = line.trim_start();
        ["pub struct ", "pub enum ", "pub trait ", "pub type "]
            .iter()
            .any(|keyword| line.strip_prefix(keyword).is_some_and(|rest| leading_name(rest) == name))
    };
    let lines: Vec<&str> = source.raw.lines().collect();
    let at = lines.iter().position(declares)?;
    let above = lines[..at].iter().rev().take_while(|line| {
        let line = line.trim_start();
        line.starts_with("///") || line.starts_with("#[") || line.starts_with(')') || line.starts_with(']')
    });
    let mut story: Vec<&str> = above.filter_map(|line| line.trim_start().strip_prefix("///")).map(str::trim).collect();
    story.reverse();
    Some(story.split(|line| line.is_empty()).next().unwrap_or_default().join(" "))
}

#[test]
fn the_glossary_says_what_the_types_say() {
    let (glossary, all) = (glossary(), sources("src"));
    assert!(glossary.len() > 30, "docs/glossary.md has lost its table");
    let mut wrong = Vec::new();
    for (term, room, name) in TYPES {
        let Some((_, definition)) = glossary.iter().find(|(known, _)| known == term) else {
            wrong.push(format!("`{term}` is not in docs/glossary.md"));
            continue;
        };
        match all.iter().filter(|source| source.room() == *room).find_map(|source| type_story(source, name)) {
            None => wrong.push(format!("{room} has no public type `{name}` for `{term}`")),
            Some(story) if story != *definition => {
                wrong.push(format!("{term}:\n    page: {definition}\n    type: {story}"));
            }
            Some(_) => {}
        }
    }
    for (term, _) in glossary.iter().filter(|(term, _)| !TYPES.iter().any(|(known, ..)| known == term)) {
        let camel: String = term
            .split(' ')
            .flat_map(|word| word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)))
            .collect();
        for source in all.iter().filter(|source| !VIEWS.contains(&source.room())) {
            if type_story(source, &camel).is_some() {
                wrong.push(format!("{} has a type for `{term}`: add it to TYPES in tests/house/pages.rs", source.path));
            }
        }
    }
    settle("A type's first paragraph is its sentence in docs/glossary.md:", &wrong);
}

/// The names of the pages in a folder of `docs/`, without the folder's own introduction.
fn pages(folder: &str) -> Vec<String> {
    let name = |path: String| path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".md").map(str::to_owned);
    files(folder, "md").into_iter().filter_map(name).filter(|name| name != "README").collect()
}

/// The rows of the table of problems, `Variant = "slug", status, Action, "title";`, as slug, status and title.
fn problems() -> Vec<(String, String, String)> {
    if !exists("src/api/problem.rs") {
        return Vec::new();
    }
    let table = read("src/api/problem.rs");
    let row = |line: &str| {
        let (slug, rest) = line.trim().split_once(" = \"")?.1.split_once("\", ")?;
        let (status, rest) = rest.split_once(", ")?;
        let title = rest.split_once(", \"")?.1.strip_suffix("\";")?;
        Some((slug.to_owned(), status.to_owned(), title.to_owned()))
    };
    let rows: Vec<_> = table.lines().filter_map(row).collect();
    assert!(rows.len() > 10, "the table in src/api/problem.rs cannot be read");
    rows
}

#[test]
fn every_problem_has_a_page_and_every_page_a_problem() {
    let (problems, pages) = (problems(), pages("docs/problems"));
    let mut wrong = Vec::new();
    for (slug, status, title) in &problems {
        let path = format!("docs/problems/{slug}.md");
        if !pages.contains(slug) {
            wrong.push(format!("{path} is missing"));
        } else if !read(&path).starts_with(&format!("# {title}\n\n`{slug}`, HTTP status {status}, ")) {
            wrong.push(format!("{path} has another title, code or status than src/api/problem.rs"));
        }
    }
    let stale = pages.iter().filter(|page| !problems.iter().any(|(slug, ..)| slug == *page));
    wrong.extend(stale.map(|page| format!("docs/problems/{page}.md has no problem")));
    settle("Every problem has a page of the same name:", &wrong);
}

#[test]
fn every_problem_page_speaks_to_its_three_readers() {
    let mut wrong = Vec::new();
    for page in pages("docs/problems") {
        let text = read(&format!("docs/problems/{page}.md"));
        for part in ["## If you write the agent", "## If you operate Hallpass", "## If you maintain Hallpass"] {
            if !text.contains(part) {
                wrong.push(format!("docs/problems/{page}.md lacks `{part}`"));
            }
        }
    }
    settle("A problem's page says what each of its readers should do:", &wrong);
}

#[test]
fn every_backend_has_a_page_and_goes_through_the_suite() {
    if !exists("src/minter/registry.rs") {
        return;
    }
    let source = Source::new("src/minter/registry.rs".into(), read("src/minter/registry.rs"));
    let place = *places_of(&source.code, "KINDS").first().expect("src/minter/registry.rs declares KINDS");
    let length = source.code[place..].find(';').expect("KINDS ends");
    let lines = source.line_at(place)..=source.line_at(place + length);
    // The list may span a type with `;` in it, e.g. `[(&str, Build); 2]`: read on to the end of the statement.
    let end = source.code[place..].find("];").map_or(*lines.end(), |end| source.line_at(place + end));
    let kinds: Vec<&str> = source
        .literals
        .iter()
        .filter(|literal| (*lines.start()..=end).contains(&literal.line))
        .map(|literal| literal.text.as_str())
        .collect();
    assert!(!kinds.is_empty(), "no kinds found in src/minter/registry.rs");
    let mut wrong = Vec::new();
    for kind in &kinds {
        let (page, suite) = (format!("docs/backends/{kind}.md"), format!("tests/it/minter/{}", kind.replace('-', "_")));
        for (path, folder) in [(page, None), (format!("{suite}.rs"), Some(format!("{suite}/mod.rs")))] {
            if !exists(&path) && !folder.is_some_and(|folder| exists(&folder)) {
                wrong.push(format!("{path} is missing"));
            }
        }
    }
    let table = read("docs/backends/README.md");
    wrong.extend(
        kinds
            .iter()
            .filter(|kind| !table.contains(&format!("| [`{kind}`]({kind}.md) |")))
            .map(|kind| format!("docs/backends/README.md has no row of `{kind}`")),
    );
    // The guide is about none of them.
    let stale = pages("docs/backends").into_iter().filter(|page| page != "adding" && !kinds.contains(&page.as_str()));
    wrong.extend(stale.map(|page| format!("docs/backends/{page}.md has no backend in KINDS")));
    settle("Every backend has a page and a test that runs the suite:", &wrong);
}

#[test]
fn a_link_between_pages_leads_somewhere() {
    let mut wrong = Vec::new();
    for path in tracked().into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "md")) {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        let local =
            targets.filter(|target| !target.contains("://") && !target.starts_with('#') && !target.contains(' '));
        for target in local {
            let file = target.split('#').next().unwrap_or_default();
            if !root().join(&path).parent().is_some_and(|folder| folder.join(file).exists()) {
                wrong.push(format!("{}: `{target}`", path.display()));
            }
        }
    }
    settle("A link between pages leads somewhere:", &wrong);
}
