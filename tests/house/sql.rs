//! Rules about SQL: it is literal and named; the broker's own is in the store and tested by name, a target's is with its minter;
//! migrations come in pairs and never change once they are merged.

use super::text::{Source, leading_name, places_of};
use super::{exists, files, read, settle, sources};

/// Whether a literal is a statement that reads or writes rows or tables.
fn is_sql(text: &str) -> bool {
    let statement: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.starts_with("--")).collect();
    let text = statement.join(" ").to_lowercase();
    let text = text.trim_start();
    let begins = |word: &str| text.starts_with(word);
    begins("select ") && text.contains(" from ")
        || begins("with ") && text.contains(" as (") && text.contains("select ")
        || begins("update ") && text.contains(" set ") && text.contains('=')
        || begins("insert into ")
        || begins("delete from ")
        || begins("create table ")
        || begins("create index ")
        || begins("alter table ")
        || begins("drop table ")
        || begins("grant ") && text.contains(" to ")
        || begins("revoke ") && text.contains(" from ")
        || begins("create role ")
        || begins("alter role ")
        || begins("drop role ")
        || begins("drop owned by ")
}

/// A statement's name: the comment it begins with, e.g. `-- leases.claim_due`.
fn has_name(text: &str) -> bool {
    let first = text.trim_start().split(['\n', '\\']).next().unwrap_or_default();
    first.strip_prefix("-- ").is_some_and(|name| {
        let name = name.trim();
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'))
    })
}

/// Where SQL may be besides the store: what is said there goes to a target's server, never to the broker's own database.
const TARGETS: &str = "src/minter/postgres/";

#[test]
fn sql_is_in_the_store_or_for_a_target_and_has_a_name() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        for (index, literal) in source.literals.iter().enumerate().filter(|(_, literal)| is_sql(&literal.text)) {
            let place = format!("{}:{}", source.path, literal.line);
            // In a macro the name is a parameter: `concat!("-- ", $name, "\nSELECT …")`.
            let named_by_macro = index > 0 && source.literals[index - 1].text == "-- ";
            if source.room() != "store" && !source.path.starts_with(TARGETS) {
                wrong.push(format!("{place}: SQL outside src/store and {TARGETS}"));
            } else if !has_name(&literal.text) && !named_by_macro {
                wrong.push(format!("{place}: a statement begins with its name, e.g. `-- leases.claim_due`"));
            }
        }
    }
    settle("SQL is literal, named, and in src/store or for a target only:", &wrong);
}

#[test]
fn the_reader_of_sql_knows_a_statement_from_prose() {
    assert!(is_sql("-- tasks.find\nselect id from task where id = $1"));
    assert!(is_sql("update task set state = $1"));
    assert!(!is_sql("Select a scope from the catalogue".trim_start_matches("Select ")));
    assert!(!is_sql("update the policy bundle"));
    assert!(is_sql("-- postgres.stop\n    alter role {} nologin") && is_sql("grant {} to {}"));
    assert!(!is_sql("grant it to somebody".trim_start_matches("grant ")));
    assert!(has_name("-- leases.claim_due\nupdate lease set fence = fence + 1"));
    assert!(!has_name("select 1 from task"));
}

#[test]
fn every_function_of_the_store_is_named_in_its_suite() {
    let functions: Vec<(String, String)> = sources("src/store").iter().flat_map(public_async).collect();
    if functions.is_empty() {
        return;
    }
    let suite: Vec<Source> =
        sources("tests/it").into_iter().filter(|source| source.path.starts_with("tests/it/store")).collect();
    let unnamed = functions
        .iter()
        .filter(|(_, name)| !suite.iter().any(|source| !places_of(&source.code, name).is_empty()))
        .map(|(path, name)| format!("{path}: `{name}` is not called in tests/it/store"));
    settle("Every public async function of the store is called by its suite:", &unnamed.collect::<Vec<_>>());
}

/// The public async functions of a file, with its path.
fn public_async(source: &Source) -> Vec<(String, String)> {
    let names = source.code.match_indices("pub async fn ");
    names
        .map(|(place, found)| (source.path.clone(), leading_name(&source.code[place + found.len()..]).to_owned()))
        .collect()
}

/// Where something may be committed that no audit event explains, and why. Everything else goes through `Tx::commit`.
const WITHOUT_FACTS: [(&str, &str); 13] = [
    ("src/store/tx.rs", "the commit itself, after it has taken its facts"),
    ("src/store/probe.rs", "the readiness probe proves that the database can be written"),
    ("src/store/idempotency.rs", "a key is remembered after an act that is safe to repeat, which has its own events"),
    (
        "src/store/tasks.rs",
        "a task that closed with its own event holds nothing any more, so no sweep looks at it again",
    ),
    ("src/store/sessions.rs", "that a session is used is noted once a minute"),
    (
        "src/store/device_sign_ins.rs",
        "a command line that asks and polls is nobody yet; what a person answers has an event",
    ),
    ("src/store/viewings.rs", "that a person was shown a request says how long they thought; no authority hangs on it"),
    ("src/store/passkeys.rs", "what a passkey is asked to sign is kept for two minutes, and is no authority"),
    ("src/store/notices.rs", "who is told what follows from events that are on record; it changes no authority"),
    ("src/store/tokens_seen.rs", "a signed call is taken once, before what it asks for, which has its own events"),
    (
        "src/store/people_known.rs",
        "that what rests on somebody's yes was looked at; what ended by that has its own events",
    ),
    ("src/store/callbacks.rs", "who is told of an outcome that is on record, and how often it was tried"),
    ("src/store/sealed_deliveries.rs", "what is kept sealed is forgotten once its lease has ended"),
];

#[test]
fn nothing_is_committed_without_a_record_but_by_these() {
    let silent = |source: &&Source| !places_of(&source.code, "commit_without_facts").is_empty();
    let paths: Vec<String> = sources("src").iter().filter(silent).map(|source| source.path.clone()).collect();
    let mut wrong: Vec<String> = Vec::new();
    wrong.extend(paths.iter().filter(|path| !WITHOUT_FACTS.iter().any(|(known, _)| known == path)).cloned());
    if exists("src/store/tx.rs") {
        let unused = WITHOUT_FACTS.iter().filter(|(known, _)| !paths.iter().any(|path| path == known));
        wrong.extend(unused.map(|(path, why)| format!("{path} no longer does ({why}); take it off the list")));
    }
    settle("Nothing is committed without the audit events that explain it:", &wrong);
}

#[test]
fn migrations_come_in_pairs() {
    let names = |database: &str| {
        let folder = format!("migrations/{database}");
        let found = files(&folder, "sql").into_iter();
        found.map(|path| path.trim_start_matches(&folder).to_owned()).collect::<Vec<String>>()
    };
    let (sqlite, postgres) = (names("sqlite"), names("postgres"));
    // A database that is not supported yet has no folder; one that is has every migration of the other.
    assert!(
        sqlite.is_empty() || postgres.is_empty() || sqlite == postgres,
        "sqlite: {sqlite:?}\npostgres: {postgres:?}"
    );
}

#[test]
fn a_merged_migration_never_changes() {
    let merged = files("migrations", "sql");
    if merged.is_empty() {
        return;
    }
    assert!(exists("migrations/CHECKSUMS"), "run scripts/checksum-migrations.sh");
    let sums = read("migrations/CHECKSUMS");
    let listed: Vec<(&str, &str)> = sums.lines().filter_map(|line| line.split_once("  ")).collect();
    let mut wrong = Vec::new();
    for path in &merged {
        let digest = ring::digest::digest(&ring::digest::SHA256, read(path).as_bytes());
        let digest = data_encoding::HEXLOWER.encode(digest.as_ref());
        match listed.iter().find(|(_, name)| name == path) {
            None => wrong.push(format!("{path} is not listed: run scripts/checksum-migrations.sh")),
            Some((sum, _)) if *sum != digest => {
                wrong.push(format!("{path} has changed: write a new migration instead"));
            }
            Some(_) => {}
        }
    }
    let gone = listed.iter().filter(|(_, name)| !merged.iter().any(|path| path == name));
    wrong.extend(gone.map(|(_, name)| format!("{name} is listed, but gone")));
    settle("A migration never changes once it is merged:", &wrong);
}
