//! An AuthZEN question in the house's words: who it is about, which scope it means, and what of it counts when it is compared with
//! another one. Unknown members are ignored, as AuthZEN §10.1.1 demands; known ones must have their type.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::{AgentCaller, BrokerError};
use crate::api::authzen::{ActionView, EvaluationAsk, Members, ResourceView, SubjectView};
use crate::domain::{Name, Scope};
use crate::sys::{canonical_json, sha256};

/// The members of a context that policy may look at, and so the authorization-relevant ones (ARAP §4). Time and other passing
/// things are not among them.
pub(super) const CONTEXT_MEMBERS: [&str; 5] = ["kind", "on_behalf_of", "purpose", "task", "ttl_seconds"];
/// Longest type, id and name, in bytes.
const MAX_NAME_BYTES: usize = 1024;

/// A question whose members are there.
pub(super) struct Asked {
    pub subject: SubjectView,
    pub action: ActionView,
    pub resource: ResourceView,
    pub context: Members,
}

fn missing(what: &str) -> BrokerError {
    BrokerError::Invalid(format!("`{what}` is missing"))
}

fn named(what: &str, text: &str) -> Result<(), BrokerError> {
    if (1..=MAX_NAME_BYTES).contains(&text.len()) {
        Ok(())
    } else {
        Err(BrokerError::Invalid(format!("`{what}` must have 1 to {MAX_NAME_BYTES} bytes")))
    }
}

/// Check the names of a subject.
pub(super) fn check_subject(subject: &SubjectView) -> Result<(), BrokerError> {
    named("subject.type", &subject.kind)?;
    named("subject.id", &subject.id)
}

/// Check the names of a resource and an action.
pub(super) fn check_object(resource: &ResourceView, action: &ActionView) -> Result<(), BrokerError> {
    named("resource.type", &resource.kind)?;
    named("resource.id", &resource.id)?;
    named("action.name", &action.name)
}

impl Asked {
    /// From what was sent.
    ///
    /// # Errors
    /// [`BrokerError::Invalid`] when a required member is missing or empty.
    pub(super) fn new(ask: EvaluationAsk) -> Result<Self, BrokerError> {
        let subject = ask.subject.ok_or_else(|| missing("subject"))?;
        let action = ask.action.ok_or_else(|| missing("action"))?;
        let resource = ask.resource.ok_or_else(|| missing("resource"))?;
        check_subject(&subject)?;
        check_object(&resource, &action)?;
        Ok(Self { subject, action, resource, context: ask.context.unwrap_or_default() })
    }

    /// What it is bound by.
    pub(super) fn binding(&self) -> Result<String, BrokerError> {
        binding(&self.subject, &self.resource, &self.action, &self.context)
    }
}

/// Whether a subject is the caller itself: an agent speaks for nobody else.
pub(super) fn is_caller(subject: &SubjectView, caller: &AgentCaller) -> bool {
    subject.kind == "agent" && subject.id == caller.agent.as_str()
}

/// A value in canonical form.
pub(super) fn canonical(value: &impl serde::Serialize) -> Result<String, BrokerError> {
    canonical_json(value).map_err(|error| BrokerError::Internal(error.to_string()))
}

/// The subject without its actor, which may be sent in another place (ARAP §19.1).
pub(super) fn without_actor(subject: &SubjectView) -> SubjectView {
    let mut subject = subject.clone();
    if let Some(properties) = &mut subject.properties
        && properties.remove("act").is_some()
        && properties.is_empty()
    {
        subject.properties = None;
    }
    subject
}

/// The members of the context that count.
pub(super) fn relevant(context: &Members) -> Members {
    let counts = |(name, _): &(&String, &Value)| CONTEXT_MEMBERS.contains(&name.as_str());
    context.iter().filter(counts).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The binding of ARAP's hashed form: base64url of the SHA-256 of the canonical JSON (RFC 8785) of subject, resource, action and the
/// context that counts.
pub(super) fn binding(
    subject: &SubjectView,
    resource: &ResourceView,
    action: &ActionView,
    context: &Members,
) -> Result<String, BrokerError> {
    let bound = json!({
        "subject": without_actor(subject), "resource": resource, "action": action, "context": relevant(context),
    });
    Ok(data_encoding::BASE64URL_NOPAD.encode(sha256(canonical(&bound)?).as_bytes()))
}

/// The scope that a resource and an action mean; nothing when they mean none.
pub(super) fn scope_of(resource: &ResourceView, action: &ActionView) -> Option<Scope> {
    if resource.kind != "scope" {
        return None;
    }
    let given = resource.properties.as_ref().and_then(|properties| properties.get("params"));
    let params = match given {
        Some(given) => Some(params_of(given)?),
        None => None,
    };
    let head = resource.id.split('(').next().unwrap_or_default();
    let written: Scope = if head.matches(':').count() == 1 {
        // `backend:resource`, completed by the action.
        format!("{head}:{}", action.name).parse().ok().filter(|_| head.len() == resource.id.len())?
    } else {
        resource.id.parse().ok()?
    };
    if written.entry().action().as_str() != action.name {
        return None;
    }
    match params {
        Some(params) if written.params().is_empty() => Scope::new(written.entry().clone(), params).ok(),
        // Parameters in two places: which of them were meant?
        Some(params) if !params.is_empty() => None,
        Some(_) | None => Some(written),
    }
}

fn params_of(given: &Value) -> Option<BTreeMap<Name, String>> {
    let members: &Map<String, Value> = given.as_object()?;
    members.iter().map(|(name, value)| Some((name.parse().ok()?, value.as_str()?.to_owned()))).collect()
}

/// What a context says that the house knows.
pub(super) struct Wanted {
    pub task: Option<String>,
    pub ttl_seconds: Option<i64>,
    pub purpose: Option<String>,
    pub kind: Option<String>,
    pub on_behalf_of: Option<String>,
    pub justification: Option<String>,
}

impl Wanted {
    /// From a context.
    ///
    /// # Errors
    /// [`BrokerError::Invalid`] when a member that is known has another type, or two of them contradict each other.
    pub(super) fn read(context: &Members) -> Result<Self, BrokerError> {
        let text = |name: &str| match context.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(BrokerError::Invalid(format!("`context.{name}`: expected a string"))),
        };
        let ttl_seconds = match context.get("ttl_seconds") {
            None => None,
            Some(value) => Some(value.as_i64().ok_or_else(|| {
                BrokerError::Invalid("`context.ttl_seconds`: expected a whole number of seconds".to_owned())
            })?),
        };
        let wanted = Self {
            task: text("task")?,
            ttl_seconds,
            purpose: text("purpose")?,
            kind: text("kind")?,
            on_behalf_of: text("on_behalf_of")?,
            justification: text("business_justification")?,
        };
        let of_a_new_task = [&wanted.purpose, &wanted.kind, &wanted.on_behalf_of];
        if wanted.task.is_some() && of_a_new_task.iter().any(|member| member.is_some()) {
            return Err(BrokerError::Invalid(
                "`context.task` names a task that has a purpose, a kind and a beneficiary already; leave `purpose`, `kind` \
                 and `on_behalf_of` out"
                    .to_owned(),
            ));
        }
        Ok(wanted)
    }
}
