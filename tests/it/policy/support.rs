//! A small bundle to vary, and questions to put to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hallpass::domain::{Agent, Person, Scope, Task, TaskId, TaskRecord, TaskState, Timestamp, Ttl, Voter};
use hallpass::policy::{Answer, Bundle, BundleError, Question};

pub(super) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

const CATALOGUE: &str = r#"
[[scope]]
name = "app:db:read"
description = "Read"
risk = 10
owner = "maya"
max_ttl_seconds = 3600
labels = { env = "dev" }

[[scope]]
name = "app:db:write"
description = "Write in production"
risk = 80
owner = "maya"
max_ttl_seconds = 900
labels = { env = "prod" }
params = { prefix = { type = "path", max_length = 64 } }
"#;

const AGENTS: &str = r#"
[[agent]]
id = "bot"
description = "A bot"
owner = "maya"
risk_tier = "low"
teams = ["deploy"]
kinds = ["deploy"]
ceiling = ["app:db:read", "app:db:write"]
binding = [{ issuer = "https://id.acme.example", subject = "bot" }]
"#;

const PEOPLE: &str = r#"
[[person]]
name = "maya"
email = "Maya@acme.example"
identities = [{ issuer = "https://sso.acme.example", subject = "u-1" }]
"#;

/// Permits every grant.
pub(super) const PERMIT_ALL: &str =
    r#"@id("all") @reason("everything") permit (principal, action == Hallpass::Action::"grant", resource);"#;

pub(super) fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")
}

/// The small bundle's files with these policies.
pub(super) fn files(policies: &str) -> BTreeMap<String, String> {
    let schema = std::fs::read_to_string(shipped().join("schema.cedarschema")).unwrap();
    [
        ("schema.cedarschema", schema.as_str()),
        ("catalogue.toml", CATALOGUE),
        ("agents.toml", AGENTS),
        ("people.toml", PEOPLE),
        ("policies.cedar", policies),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into()
}

pub(super) fn bundle(policies: &str) -> Bundle {
    Bundle::from_files(files(policies)).unwrap_or_else(|error| panic!("{error}"))
}

/// The small bundle with one file replaced or added.
pub(super) fn with_file(path: &str, text: &str) -> Result<Bundle, BundleError> {
    let mut files = files(PERMIT_ALL);
    files.insert(path.to_owned(), text.to_owned());
    Bundle::from_files(files)
}

/// Everything that is wrong with it, one line each.
pub(super) fn problems(result: Result<Bundle, BundleError>) -> Vec<String> {
    result.expect_err("it loads").problems.iter().map(ToString::to_string).collect()
}

pub(super) fn task(agent: &Agent) -> TaskRecord {
    TaskRecord {
        id: TaskId::new(NOW, [7; 10]),
        agent: agent.id.clone(),
        identity: "https://id.acme.example#bot".to_owned(),
        purpose: "test".parse().unwrap(),
        kind: None,
        beneficiary: None,
        references: BTreeMap::new(),
        message: None,
        ceiling: agent.ceiling.clone(),
        opened_at: NOW,
        ends_at: NOW.plus(Ttl::EIGHT_HOURS),
        heartbeat: None,
        heard_at: None,
        state: TaskState::Open,
    }
}

/// Ask about one scope as the bundle's agent `bot`, within this task.
pub(super) fn ask_within(bundle: &Bundle, task: TaskRecord, scope: &str, voters: &[Voter]) -> Answer {
    let agent = bundle.agent(&task.agent).unwrap();
    let task = Task::new(task).unwrap();
    let issuer = "https://id.acme.example";
    let question = Question { agent, task: &task, issuer, ttl: Ttl::TEN_MINUTES, now: NOW, voters, key_bound: false };
    bundle.ask(&question, &scope.parse::<Scope>().unwrap())
}

pub(super) fn ask_with(bundle: &Bundle, scope: &str, voters: &[Voter]) -> Answer {
    ask_within(bundle, task(bundle.agent(&"bot".parse().unwrap()).unwrap()), scope, voters)
}

pub(super) fn ask(bundle: &Bundle, scope: &str) -> Answer {
    ask_with(bundle, scope, &[])
}

pub(super) fn voter(person: &str, groups: &[&str]) -> Voter {
    Voter { person: Person::new(person), groups: groups.iter().map(ToString::to_string).collect(), break_glass: false }
}

pub(super) fn ids(answer: &Answer) -> Vec<&str> {
    answer.determining.iter().map(|policy| policy.id.as_str()).collect()
}
