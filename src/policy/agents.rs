//! The register of agents: who they are, who answers for them, how their workloads are recognised, and the most they may
//! ever hold. A binding that would recognise strangers does not load.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;

use super::people::People;
use super::problem::Problems;
use super::register::Row;
use crate::domain::{
    Agent, AgentId, AgentLimits, Binding, Catalogue, Ceiling, Name, Person, RiskTier, Scope, SubjectRule, Ttl,
    required_pins,
};

/// Most bindings, teams, kinds, or claims of one binding.
const MAX_MEMBERS: usize = 32;
/// Most entries of a ceiling.
const MAX_CEILING: usize = 500;
/// Longest issuer, subject or claim, in bytes.
const MAX_TEXT: usize = 1_024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentRow {
    id: Spanned<String>,
    description: Spanned<String>,
    owner: Spanned<String>,
    risk_tier: Spanned<String>,
    #[serde(default)]
    teams: Vec<Spanned<String>>,
    #[serde(default)]
    kinds: Vec<Spanned<String>>,
    #[serde(default)]
    ceiling: Vec<Spanned<String>>,
    #[serde(default)]
    limits: LimitsRow,
    #[serde(default)]
    binding: Vec<Spanned<BindingRow>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LimitsRow {
    live_leases: Option<u32>,
    pending_requests: Option<u32>,
    task_ttl_seconds: Option<Ttl>,
    requests_per_minute: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BindingRow {
    issuer: String,
    subject: Option<String>,
    subject_under: Option<String>,
    #[serde(default)]
    claims: BTreeMap<String, String>,
}

/// The agents with the places they are written at, as row numbers.
pub(super) fn read(
    rows: &[Row<'_, AgentRow>],
    people: &People,
    catalogue: &Catalogue,
    problems: &mut Problems,
) -> BTreeMap<AgentId, (Agent, usize)> {
    let mut agents = BTreeMap::new();
    for (number, row) in rows.iter().enumerate() {
        let Some(agent) = read_agent(row, people, catalogue, problems) else { continue };
        let id = agent.id.clone();
        if agents.insert(id.clone(), (agent, number)).is_some() {
            row.refuse_value(problems, &row.value.id, format!("the agent `{id}` is there twice"));
        }
    }
    agents
}

fn read_agent(
    row: &Row<'_, AgentRow>,
    people: &People,
    catalogue: &Catalogue,
    problems: &mut Problems,
) -> Option<Agent> {
    let value = &row.value;
    row.check_sentence(problems, &value.description);
    if !people.has(value.owner.get_ref()) {
        let owner = value.owner.get_ref();
        let message = format!("`{owner}` is not in people.toml; an agent has one owner, who is registered");
        row.refuse_value(problems, &value.owner, message);
    }
    if [&value.teams, &value.kinds].into_iter().any(|list| list.len() > MAX_MEMBERS)
        || value.binding.len() > MAX_MEMBERS
    {
        row.refuse(problems, format!("more than {MAX_MEMBERS} teams, kinds or bindings"));
    }
    if value.ceiling.len() > MAX_CEILING {
        row.refuse(problems, format!("a ceiling of more than {MAX_CEILING} entries"));
    }
    let mut names = |list: &[Spanned<String>]| -> BTreeSet<Name> {
        list.iter().filter_map(|name| row.parse(problems, name)).collect()
    };
    let (teams, kinds) = (names(&value.teams), names(&value.kinds));
    let ceiling = read_ceiling(row, catalogue, problems);
    let bindings = value.binding.iter().filter_map(|binding| read_binding(row, binding, problems)).collect();
    let risk_tier = row.parse::<RiskTier>(problems, &value.risk_tier);
    let defaults = AgentLimits::default();
    let limits = AgentLimits {
        live_leases: value.limits.live_leases.unwrap_or(defaults.live_leases),
        pending_requests: value.limits.pending_requests.unwrap_or(defaults.pending_requests),
        task_ttl: value.limits.task_ttl_seconds.unwrap_or(defaults.task_ttl),
        requests_per_minute: value.limits.requests_per_minute.unwrap_or(defaults.requests_per_minute),
    };
    Some(Agent {
        id: row.parse(problems, &value.id)?,
        description: value.description.get_ref().clone(),
        owner: Person::new(value.owner.get_ref().clone()),
        risk_tier: risk_tier?,
        teams,
        kinds,
        bindings,
        ceiling,
        limits,
    })
}

fn read_ceiling(row: &Row<'_, AgentRow>, catalogue: &Catalogue, problems: &mut Problems) -> Ceiling {
    let mut entries: Vec<Scope> = Vec::new();
    for written in &row.value.ceiling {
        let Some(scope) = row.parse::<Scope>(problems, written) else { continue };
        match catalogue.find(scope.entry()) {
            None => {
                let message = format!("the catalogue has no scope `{}`", scope.entry());
                row.refuse_value(problems, written, message);
            }
            Some(entry) => match entry.check_given(&scope) {
                Err(error) => row.refuse_value(problems, written, error.to_string()),
                Ok(()) if entries.contains(&scope) => row.refuse_value(problems, written, "is there twice"),
                Ok(()) => entries.push(scope),
            },
        }
    }
    Ceiling::new(entries)
}

fn read_binding(row: &Row<'_, AgentRow>, written: &Spanned<BindingRow>, problems: &mut Problems) -> Option<Binding> {
    let BindingRow { issuer, subject, subject_under, claims } = written.get_ref();
    let mut refuse = |message: String| {
        row.refuse_value(problems, written, message);
        None
    };
    let texts =
        claims.iter().flat_map(|(name, value)| [name, value]).chain([issuer]).chain(subject).chain(subject_under);
    if texts.into_iter().any(|text| text.is_empty() || text.len() > MAX_TEXT) {
        return refuse(
            "issuer, subject and claims have 1 to 1024 bytes each (absent or empty never means all)".to_owned(),
        );
    }
    if claims.len() > MAX_MEMBERS {
        return refuse(format!("more than {MAX_MEMBERS} claims"));
    }
    let wild = |text: &String| text.contains('*');
    if claims.values().any(wild) || subject.as_ref().is_some_and(wild) || subject_under.as_ref().is_some_and(wild) {
        return refuse("`*` is no wildcard here: values are compared byte for byte; use `subject_under`".to_owned());
    }
    let rule = match (subject, subject_under) {
        (Some(_), Some(_)) => return refuse("name `subject` or `subject_under`, not both".to_owned()),
        (Some(subject), None) => SubjectRule::Equal(subject.clone()),
        (None, Some(root)) if root.trim_matches('/').is_empty() => {
            return refuse("`subject_under` names at least one segment".to_owned());
        }
        (None, Some(root)) => SubjectRule::Under(root.strip_suffix('/').unwrap_or(root).to_owned()),
        (None, None) => SubjectRule::Any,
    };
    let shared = required_pins(issuer);
    let missing: Vec<&str> =
        shared.unwrap_or_default().iter().copied().filter(|pin| !claims.contains_key(*pin)).collect();
    if !missing.is_empty() {
        let pins = missing.join("`, `");
        return refuse(format!(
            "{issuer} signs for everybody, so this binding would recognise strangers: pin the owner, with the claim \
             `{pins}` in `claims`"
        ));
    }
    match (&rule, shared) {
        (SubjectRule::Any, Some(_)) => refuse(format!(
            "{issuer} signs for everybody, so this binding would recognise too many: name the workload, with `subject` \
             or `subject_under`"
        )),
        (SubjectRule::Any, None) if claims.is_empty() => refuse(format!(
            "this binding would recognise everybody {issuer} vouches for: name `subject` or `subject_under`, or pin the \
             owner in `claims`"
        )),
        _ => Some(Binding { issuer: issuer.clone(), subject: rule, claims: claims.clone() }),
    }
}
