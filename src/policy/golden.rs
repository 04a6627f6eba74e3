//! Golden tests: stories in `tests/*.json` that say what policy shall answer. They travel with the bundle and under its
//! digest, and say at the end which policies no story has ever needed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::problem::Problems;
use super::{Bundle, OperatorAction, OperatorAnswer, OperatorQuestion, Question};
use crate::domain::{
    Agent, AgentId, Message, Name, Operator, Outcome, Person, PolicyRef, Purpose, Scope, ScopeSet, Task, TaskId,
    TaskRecord, TaskState, Timestamp, Ttl, Voter,
};

/// Most stories in one file.
const MAX_STORIES: usize = 2_000;

/// One story. With `operator` it asks whether a person may act, else whether an agent may hold scopes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Story {
    name: String,
    agent: Option<AgentId>,
    operator: Option<Voice>,
    action: Option<OperatorAction>,
    scope: Option<Scope>,
    scopes: Option<ScopeSet>,
    kind: Option<Name>,
    ttl_seconds: Option<Ttl>,
    task_ttl_seconds: Option<Ttl>,
    now: Option<Timestamp>,
    #[serde(default)]
    voters: Vec<Voice>,
    beneficiary: Option<String>,
    purpose: Option<String>,
    message: Option<String>,
    #[serde(default)]
    references: BTreeMap<String, String>,
    issuer: Option<String>,
    #[serde(default)]
    key_bound: bool,
    expect: Expected,
    by: Option<BTreeSet<String>>,
    rule: Option<String>,
    max_ttl_seconds: Option<Ttl>,
}

/// A person and the groups they are in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Voice {
    person: String,
    #[serde(default)]
    groups: Vec<String>,
    /// Whether the voter lets it pass alone, in an emergency.
    #[serde(default)]
    break_glass: bool,
}

/// What a story expects: for an agent `grant`, `pending` or `deny`, for an operator `allow` or `refuse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expected {
    Grant,
    Pending,
    Deny,
    Allow,
    Refuse,
}

impl Expected {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Pending => "pending",
            Self::Deny => "deny",
            Self::Allow => "allow",
            Self::Refuse => "refuse",
        }
    }
}

/// What came of one story.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StoryReport {
    /// Its name.
    pub name: String,
    /// Whether everything it expects is so.
    pub passed: bool,
    /// Each expectation that is not met, e.g. `expected deny, got grant`.
    pub failures: Vec<String>,
    /// The policies that decided it, as `id (file:line)`.
    pub decided_by: Vec<String>,
}

/// What came of one file of stories.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FileReport {
    /// The file.
    pub file: String,
    /// Its stories, in order.
    pub stories: Vec<StoryReport>,
}

impl FileReport {
    /// How many passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.stories.iter().filter(|story| story.passed).count()
    }

    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.stories.len().saturating_sub(self.passed())
    }
}

/// What came of all stories of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TestReport {
    /// Each file, in order of path.
    pub files: Vec<FileReport>,
    /// How many policies there are.
    pub policies: usize,
    /// The policies that decided no story, by id.
    pub never_decided: Vec<String>,
}

impl TestReport {
    /// Whether every story passed.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.files.iter().all(|file| file.failed() == 0)
    }
}

impl std::fmt::Display for TestReport {
    /// As `hallpass policy test` prints it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = self.files.iter().map(|file| file.file.len()).max().unwrap_or_default();
        for file in &self.files {
            write!(f, "{:<width$}  {:>3} passed", file.file, file.passed())?;
            writeln!(f, "{}", if file.failed() > 0 { format!(", {} FAILED", file.failed()) } else { String::new() })?;
            for story in file.stories.iter().filter(|story| !story.passed) {
                writeln!(f, "  ✗ {:?}  {}", story.name, story.failures.join("; "))?;
                let by = if story.decided_by.is_empty() { "no policy".to_owned() } else { story.decided_by.join(", ") };
                writeln!(f, "      decided by  {by}")?;
            }
        }
        let decided = self.policies.saturating_sub(self.never_decided.len());
        write!(f, "coverage: {decided} of {} policies decided at least one test", self.policies)?;
        if self.never_decided.is_empty() {
            Ok(())
        } else {
            write!(f, "; never fired: {}", self.never_decided.join(", "))
        }
    }
}

fn stories(files: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    files.iter().filter(|(path, _)| path.starts_with("tests/"))
}

/// Check that each file of stories can be read.
pub(super) fn check(files: &BTreeMap<String, String>, problems: &mut Problems) {
    for (file, text) in stories(files) {
        match serde_json::from_str::<Vec<Story>>(text) {
            Ok(stories) if stories.len() > MAX_STORIES => {
                problems.add(file, format!("more than {MAX_STORIES} stories"));
            }
            Ok(_) => {}
            Err(error) => {
                let line = error.line().saturating_sub(1);
                let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
                problems.at(file, text, start.saturating_add(error.column().saturating_sub(1)), error.to_string());
            }
        }
    }
}

/// Run every story of a bundle.
#[must_use]
pub fn run_tests(bundle: &Bundle) -> TestReport {
    let mut unused: BTreeSet<String> = bundle.engine.policies.infos.keys().map(ToString::to_string).collect();
    let mut reports = Vec::new();
    for (file, text) in stories(bundle.files()) {
        let told: Vec<Story> = serde_json::from_str(text).unwrap_or_default();
        let stories: Vec<StoryReport> = told.iter().map(|story| story.run(bundle, &mut unused)).collect();
        reports.push(FileReport { file: file.clone(), stories });
    }
    let policies = bundle.engine.policies.infos.len();
    TestReport { files: reports, policies, never_decided: unused.into_iter().collect() }
}

/// What a bundle says to a story.
struct Told {
    word: Expected,
    determining: Vec<PolicyRef>,
    outcome: Option<Outcome>,
}

impl Story {
    fn run(&self, bundle: &Bundle, unused: &mut BTreeSet<String>) -> StoryReport {
        let told = match self.tell(bundle) {
            Ok(told) => told,
            Err(why) => {
                let (name, failures, decided_by) = (self.name.clone(), vec![why], Vec::new());
                return StoryReport { name, passed: false, failures, decided_by };
            }
        };
        let ids: BTreeSet<String> = told.determining.iter().map(|policy| policy.id.clone()).collect();
        unused.retain(|id| !ids.contains(id));
        let mut failures = Vec::new();
        if told.word != self.expect {
            failures.push(format!("expected {}, got {}", self.expect.as_str(), told.word.as_str()));
        }
        if let Some(by) = self.by.as_ref().filter(|by| **by != ids) {
            let list = |ids: &BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>().join(", ");
            failures.push(format!("expected it to be decided by [{}], not [{}]", list(by), list(&ids)));
        }
        let terms = match &told.outcome {
            Some(Outcome::Permit(terms) | Outcome::RequireApproval(terms)) => Some(terms),
            Some(Outcome::Deny(_)) | None => None,
        };
        let rule = terms.and_then(|terms| terms.approval.as_ref()).map(ToString::to_string);
        if self.rule.is_some() && self.rule != rule {
            let (want, got) = (self.rule.as_deref().unwrap_or_default(), rule.as_deref().unwrap_or("nobody"));
            failures.push(format!("expected to wait for {want}, not {got}"));
        }
        let ttl = terms.map(|terms| terms.max_ttl);
        if let Some(want) = self.max_ttl_seconds.filter(|want| Some(*want) != ttl) {
            failures.push(format!("expected at most {want}, not {ttl:?}"));
        }
        let infos = &bundle.engine.policies.infos;
        let place = |(id, info): (_, &super::policies::PolicyInfo)| format!("{id} ({}:{})", info.file, info.line);
        let decided_by = infos.iter().filter(|(id, _)| ids.contains(AsRef::<str>::as_ref(*id))).map(place).collect();
        StoryReport { name: self.name.clone(), passed: failures.is_empty(), failures, decided_by }
    }

    fn tell(&self, bundle: &Bundle) -> Result<Told, String> {
        let now = self.now.unwrap_or_else(|| Timestamp::from_secs(1_800_000_000));
        let agent = match &self.agent {
            Some(id) => Some(bundle.agent(id).ok_or_else(|| format!("there is no agent `{id}`"))?),
            None => None,
        };
        match (&self.operator, self.action, agent) {
            (Some(voice), Some(action), agent) => Ok(self.tell_operator(bundle, voice, action, agent, now)),
            (None, None, Some(agent)) => self.tell_agent(bundle, agent, now),
            _ => Err("a story names `agent` with `scope` or `scopes`, or `operator` with `action`".to_owned()),
        }
    }

    fn tell_operator(
        &self,
        bundle: &Bundle,
        voice: &Voice,
        action: OperatorAction,
        agent: Option<&Agent>,
        now: Timestamp,
    ) -> Told {
        let operator = Operator {
            person: Person::new(voice.person.clone()),
            issuer: self.issuer.clone().unwrap_or_default(),
            subject: voice.person.clone(),
            email: None,
            groups: voice.groups.clone(),
        };
        let (word, determining) =
            match bundle.may_operator(&OperatorQuestion { operator: &operator, action, agent, now }) {
                OperatorAnswer::Allowed { determining } => (Expected::Allow, determining),
                OperatorAnswer::Refused { determining, .. } => (Expected::Refuse, determining),
            };
        Told { word, determining, outcome: None }
    }

    fn tell_agent(&self, bundle: &Bundle, agent: &Agent, now: Timestamp) -> Result<Told, String> {
        let say = |error: &dyn std::fmt::Display| error.to_string();
        let scopes = match (&self.scope, &self.scopes) {
            (Some(scope), None) => ScopeSet::new([scope.clone()]).map_err(|error| say(&error))?,
            (None, Some(scopes)) => scopes.clone(),
            _ => return Err("a story names `scope` or `scopes`".to_owned()),
        };
        let purpose = self.purpose.as_deref().unwrap_or("a golden test").parse::<Purpose>();
        let message = self.message.as_deref().map(str::parse::<Message>).transpose();
        let task = Task::new(TaskRecord {
            id: TaskId::new(now, [0; 10]),
            agent: agent.id.clone(),
            identity: "golden#test".to_owned(),
            purpose: purpose.map_err(|error| say(&error))?,
            kind: self.kind.clone(),
            beneficiary: self.beneficiary.clone(),
            references: self.references.clone(),
            message: message.map_err(|error| say(&error))?,
            ceiling: agent.ceiling.clone(),
            opened_at: now,
            ends_at: now.plus(self.task_ttl_seconds.unwrap_or(agent.limits.task_ttl)),
            heartbeat: None,
            heard_at: None,
            state: TaskState::Open,
        })
        .map_err(|error| say(&error))?;
        let voter = |voice: &Voice| Voter {
            person: Person::new(voice.person.clone()),
            groups: voice.groups.clone(),
            break_glass: voice.break_glass,
        };
        let voters: Vec<Voter> = self.voters.iter().map(voter).collect();
        let bound = agent.bindings.first().map(|binding| binding.issuer.as_str());
        let question = Question {
            agent,
            task: &task,
            issuer: self.issuer.as_deref().or(bound).unwrap_or_default(),
            ttl: self.ttl_seconds.unwrap_or(Ttl::TEN_MINUTES),
            now,
            voters: &voters,
            key_bound: self.key_bound,
        };
        let mut determining = Vec::new();
        let mut met: Option<Outcome> = None;
        let mut covered = self.kind.as_ref().is_none_or(|kind| agent.kinds.contains(kind));
        for scope in scopes.iter() {
            covered &= agent.ceiling.covers(scope, bundle.catalogue());
            let answer = bundle.ask(&question, scope);
            determining.extend(answer.determining);
            met = Some(met.map_or_else(|| answer.outcome.clone(), |met| met.meet(answer.outcome.clone())));
        }
        let word = match &met {
            // Whatever policy says, the broker refuses what lies outside the agent's ceiling or its kinds of task.
            _ if !covered => Expected::Deny,
            Some(Outcome::Permit(_)) => Expected::Grant,
            Some(Outcome::RequireApproval(_)) => Expected::Pending,
            Some(Outcome::Deny(_)) | None => Expected::Deny,
        };
        Ok(Told { word, determining, outcome: met })
    }
}
