//! The policy bundle: schema, policies, catalogue, agents, people and tests, read as one, checked as one, and named by one
//! digest. What is loaded is immutable; another version is another bundle.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::OnceLock;

use cedar_policy::{Entities, Schema};
use serde_json::value::RawValue;

use super::cedar::Vocabulary;
use super::engine::{Engine, Ground, Judged};
use super::input::{ContextFacts, GRANT, Input, PrincipalFacts, ResourceFacts, VoterFacts};
use super::people::People;
use super::policies::{Policies, excess, say, span_of};
use super::problem::{BundleError, Problem, Problems};
use super::recognise::{Recogniser, Recognition};
use super::{Answer, OperatorAnswer, OperatorQuestion, Question, agents, files, register, scopes};
use crate::domain::{Agent, AgentId, Catalogue, Denial, Digest, EntryName, Operator, Outcome, Person, Scope};

/// A policy bundle: everything policy decides by, under one digest.
pub struct Bundle {
    files: BTreeMap<String, String>,
    digest: Digest,
    catalogue: Catalogue,
    agents: BTreeMap<AgentId, Agent>,
    people: People,
    recogniser: Recogniser,
    pub(super) engine: Engine,
    /// For each agent and each entry of its ceiling what can be made ready beforehand, made when it is first needed.
    grounds: HashMap<AgentId, HashMap<EntryName, OnceLock<Prepared>>>,
}

/// A ground and how its two sides are written into the input.
struct Prepared {
    ground: Ground,
    principal: Box<RawValue>,
    resource: Box<RawValue>,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Bundle {
    /// Read a folder.
    ///
    /// # Errors
    /// [`BundleError`] with everything that is wrong with it.
    pub fn load(folder: &Path) -> Result<Self, BundleError> {
        Self::from_files(files::read(folder)?)
    }

    /// From the text of its files, by path relative to the bundle's folder.
    ///
    /// # Errors
    /// [`BundleError`] with everything that is wrong with it.
    pub fn from_files(files: BTreeMap<String, String>) -> Result<Self, BundleError> {
        let mut problems = Problems::default();
        files::check(&files, &mut problems);
        if !problems.is_empty() {
            return Err(problems.into_error());
        }
        let people = People::read(&register::rows(&files, "people", "person", &mut problems), &mut problems);
        let catalogue =
            scopes::read(&register::rows(&files, "catalogue", "scope", &mut problems), &people, &mut problems);
        let agent_rows = register::rows(&files, "agents", "agent", &mut problems);
        let agents = agents::read(&agent_rows, &people, &catalogue, &mut problems);
        let recogniser = Recogniser::new(agents.values().map(|(agent, _)| agent));
        for (agent, other) in recogniser.overlaps(&agents) {
            if let Some(row) = agents.get(&agent).and_then(|(_, row)| agent_rows.get(*row)) {
                let message = format!("every identity of one of `{agent}`'s bindings is one of `{other}`'s too");
                row.refuse(&mut problems, message);
            }
        }
        let engine = with_stack(|| read_policies(&files, &mut problems)).flatten();
        if engine.is_none() && problems.is_empty() {
            problems.add("", "its policies cannot be read: no thread could be started, or it failed");
        }
        let agents: BTreeMap<_, _> = agents.into_iter().map(|(id, (agent, _))| (id, agent)).collect();
        super::golden::check(&files, &mut problems);
        let Some(engine) = engine.filter(|_| problems.is_empty()) else {
            return Err(problems.into_error());
        };
        let slots = |agent: &Agent| {
            agent.ceiling.entries().iter().map(|scope| (scope.entry().clone(), OnceLock::new())).collect()
        };
        let grounds = agents.iter().map(|(id, agent)| (id.clone(), slots(agent))).collect();
        let digest = files::digest(&files);
        Ok(Self { files, digest, catalogue, agents, people, recogniser, engine, grounds })
    }

    /// The digest of all its files.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Its files' text by path, to be kept with the digest.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    /// What may be asked for at all.
    #[must_use]
    pub const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Every agent, in order of id.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// The agent of that id.
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<&Agent> {
        self.agents.get(id)
    }

    /// Every policy as people read it, in order of id.
    pub fn policy_texts(&self) -> impl Iterator<Item = super::PolicyText> {
        self.engine.policies.texts()
    }

    /// What deserves a look although the bundle loads, e.g. a policy that can never apply.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.engine.policies.warnings
    }

    /// Which agent an identity is: its issuer as configured, its subject, and a look-up of claims as text.
    pub fn recognise<'a>(&self, issuer: &str, subject: &str, claim: impl Fn(&str) -> Option<&'a str>) -> Recognition {
        self.recogniser.recognise(issuer, subject, claim)
    }

    /// Whether a person is not let in any more, whatever an issuer says: `disabled = true` in people.toml.
    #[must_use]
    pub fn is_disabled(&self, person: &Person) -> bool {
        self.people.is_disabled(person)
    }

    /// The person an issuer signed in: the registered one who has this identity or this verified address, else
    /// `issuer#subject`.
    #[must_use]
    pub fn operator(&self, issuer: &str, subject: &str, email: Option<&str>, groups: &[String]) -> Operator {
        self.people.operator(issuer, subject, email, groups)
    }

    /// The registered person who has this identity; nobody else can be told from a stranger by it.
    #[must_use]
    pub fn person_with_identity(&self, issuer: &str, subject: &str) -> Option<Person> {
        self.people.with_identity(issuer, subject)
    }

    /// The e-mail address of a registered person, in lower case.
    #[must_use]
    pub fn address_of(&self, person: &Person) -> Option<&str> {
        self.people.address(person)
    }

    /// The registered person an agent names as beneficiary, by name or e-mail address, however it is capitalised.
    #[must_use]
    pub fn person_of_beneficiary(&self, text: &str) -> Option<Person> {
        self.people.find(text)
    }

    /// Answer one question about one scope. A scope the catalogue does not admit as it is written is not permitted.
    #[must_use]
    pub fn ask(&self, question: &Question<'_>, scope: &Scope) -> Answer {
        let mut facts = ContextFacts::of(question, scope);
        let ready = self
            .grounds
            .get(&question.agent.id)
            .and_then(|entries| entries.get(scope.entry()))
            .filter(|_| self.agents.get(&question.agent.id).is_some_and(|known| same(known, question.agent)));
        let made;
        let prepared = match ready.and_then(OnceLock::get) {
            Some(prepared) => Ok(prepared),
            None => match (self.prepare(question.agent, scope), ready) {
                (Ok(prepared), Some(slot)) => Ok(slot.get_or_init(|| prepared)),
                (Ok(prepared), None) => {
                    made = prepared;
                    Ok(&made)
                }
                (Err(error), _) => Err(error),
            },
        };
        let admitted = self.catalogue.check(scope).is_ok();
        let (prepared, judged) = match prepared {
            Ok(prepared) if admitted => (Some(prepared), self.engine.judge(&prepared.ground, &facts, question.voters)),
            Ok(prepared) => (Some(prepared), Judged::not_permitted()),
            Err(error) if admitted => (None, Judged::failed(error)),
            Err(_) => (None, Judged::not_permitted()),
        };
        facts.approvals.satisfied = judged.satisfied.into_iter().map(Cow::Owned).collect();
        let voters: Vec<_> = question.voters.iter().map(VoterFacts::from).collect();
        let action = Cow::Borrowed(GRANT);
        let input = if let Some(Prepared { principal, resource, .. }) = prepared {
            serde_json::to_string(&Input { action, context: facts, principal, resource, voters })
        } else {
            let (principal, resource) = (question.agent.id.as_str(), scope.entry());
            serde_json::to_string(&Input { action, context: facts, principal, resource, voters })
        };
        match input {
            Ok(input) => Answer { outcome: judged.outcome, determining: judged.determining, input },
            // What cannot be recorded is not permitted.
            Err(error) => Answer {
                outcome: Outcome::Deny(Denial::PolicyError { errors: vec![error.to_string()] }),
                determining: judged.determining,
                input: "{}".to_owned(),
            },
        }
    }

    fn prepare(&self, agent: &Agent, scope: &Scope) -> Result<Prepared, String> {
        let entry = self.catalogue.find(scope.entry()).ok_or("the catalogue has no such scope")?;
        let (principal, resource) = (PrincipalFacts::of(agent), ResourceFacts::of(entry));
        let raw = |text: Result<Box<RawValue>, serde_json::Error>| text.map_err(|error| error.to_string());
        Ok(Prepared {
            ground: self.ground(&principal, &resource, Selection::Fitting)?,
            principal: raw(serde_json::value::to_raw_value(&principal))?,
            resource: raw(serde_json::value::to_raw_value(&resource))?,
        })
    }

    pub(super) fn ground(
        &self,
        principal: &PrincipalFacts,
        resource: &ResourceFacts,
        selection: Selection,
    ) -> Result<Ground, String> {
        let vocabulary = &self.engine.vocabulary;
        let (agent, scope) = (vocabulary.agent(principal)?, vocabulary.scope(resource)?);
        let (principal, max_ttl) = (agent.uid(), resource.max_ttl_seconds);
        let resource = scope.uid();
        let entities = Entities::from_entities([agent, scope], None).map_err(|error| error.to_string())?;
        let policies = match selection {
            Selection::Fitting => self.engine.select(&principal, &resource, &entities),
            Selection::All => self.engine.everything(),
        }?;
        Ok(Ground { principal, resource, entities, policies, max_ttl })
    }

    /// Whether policy lets an operator do it.
    #[must_use]
    pub fn may_operator(&self, question: &OperatorQuestion<'_>) -> OperatorAnswer {
        self.engine.may_operator(question)
    }
}

/// Which policies a ground is judged by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Selection {
    /// Those whose head admits principal and resource.
    Fitting,
    /// All.
    All,
}

fn same(known: &Agent, asked: &Agent) -> bool {
    std::ptr::eq(known, asked) || known == asked
}

/// Run on a thread with room for whatever policies of the allowed size make the parser and the validator do.
fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    const STACK_BYTES: usize = 64 << 20;
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work).ok()?.join().ok()
    })
}

fn read_policies(files: &BTreeMap<String, String>, problems: &mut Problems) -> Option<Engine> {
    let text = files.get(files::SCHEMA).map(String::as_str).unwrap_or_default();
    if let Some((at, why)) = excess(text) {
        problems.at(files::SCHEMA, text, at, why);
        return None;
    }
    let schema = match Schema::from_cedarschema_str(text) {
        Ok((schema, warnings)) => {
            warnings.for_each(|warning| problems.within(files::SCHEMA, text, span_of(&warning), say(&warning)));
            schema
        }
        Err(error) => {
            problems.within(files::SCHEMA, text, span_of(&error), say(&error));
            return None;
        }
    };
    let vocabulary = Vocabulary::new().map_err(|error| problems.add("", error)).ok()?;
    if let Err(error) = vocabulary.check_against(&schema) {
        let message = format!("does not admit what Hallpass builds; start from the schema that is shipped: {error}");
        problems.add(files::SCHEMA, message);
        return None;
    }
    let policies = Policies::read(files, &schema, problems);
    Engine::new(vocabulary, policies).map_err(|error| problems.add("", error)).ok()
}
