//! What an agent asks, parsed: from here on a type is proof. Every refusal names the member and the rule, and nothing is
//! clamped silently.

use std::collections::BTreeMap;

use super::BrokerError;
use crate::api::{AskScope, TaskAsk};
use crate::domain::{
    Agent, Catalogue, Ceiling, Message, Name, Purpose, Scope, ScopeError, ScopeSet, Task, TaskId, TaskRecord,
    TaskState, Timestamp, Ttl, forbidden_characters,
};
use crate::sys::DeliveryKey;

/// Most references a task may have, and the longest of their texts.
const MAX_REFERENCES: usize = 16;
const MAX_REFERENCE_CHARS: usize = 256;
/// Longest beneficiary, in characters.
const MAX_BENEFICIARY_CHARS: usize = 256;
/// Longest confirmation key, in bytes of JSON.
const MAX_KEY_BYTES: usize = 2048;

/// A task as it was asked for.
pub(super) struct ParsedTask {
    pub purpose: Purpose,
    pub kind: Option<Name>,
    pub beneficiary: Option<String>,
    pub references: BTreeMap<String, String>,
    pub message: Option<Message>,
    pub ceiling: Ceiling,
    pub ttl: Ttl,
    pub heartbeat: Option<Ttl>,
    pub access: ParsedAccess,
}

impl ParsedTask {
    /// The task this would be, and what it asks for.
    pub(super) fn into_task(
        self,
        id: TaskId,
        agent: &Agent,
        identity: String,
        now: Timestamp,
    ) -> Result<(Task, ParsedAccess), BrokerError> {
        let task = Task::new(TaskRecord {
            id,
            agent: agent.id.clone(),
            identity,
            purpose: self.purpose,
            kind: self.kind,
            beneficiary: self.beneficiary,
            references: self.references,
            message: self.message,
            ceiling: self.ceiling,
            opened_at: now,
            ends_at: now.plus(self.ttl),
            heartbeat: self.heartbeat,
            heard_at: self.heartbeat.map(|_| now),
            state: TaskState::Open,
        });
        Ok((task.map_err(|corrupt| BrokerError::Internal(corrupt.to_string()))?, self.access))
    }
}

/// The scopes that were asked for, each with its entry's name proven to exist.
pub(super) struct ParsedAccess {
    pub scopes: ScopeSet,
    /// The life that was asked for; `None` leaves it to the catalogue.
    pub ttl: Option<Ttl>,
    pub confirmation_key: Option<String>,
    /// The key to seal credentials to.
    pub delivery_key: Option<DeliveryKey>,
}

fn ttl(what: &'static str, secs: i64) -> Result<Ttl, BrokerError> {
    Ttl::from_secs(secs).map_err(|_| BrokerError::TtlOutOfBounds { what, found: secs })
}

fn line(what: &str, text: &str, max_chars: usize) -> Result<String, BrokerError> {
    let plain = forbidden_characters(text).is_empty() && !text.contains(['\n', '\t']);
    if plain && !text.trim().is_empty() && text.chars().count() <= max_chars {
        Ok(text.to_owned())
    } else {
        Err(BrokerError::Invalid(format!("`{what}` must be one line of 1 to {max_chars} visible characters")))
    }
}

fn scope(ask: &AskScope) -> Result<Scope, BrokerError> {
    let (written, with) = match ask {
        AskScope::Written(written) => (written, None),
        AskScope::With(parts) => (&parts.scope, Some(&parts.with)),
    };
    let base: Scope = written.parse()?;
    let Some(with) = with.filter(|with| !with.is_empty()) else { return Ok(base) };
    if !base.params().is_empty() {
        let name = base.entry().to_string();
        return Err(
            ScopeError::Param { name, why: "give parameters in the written scope or in `with`, not in both" }.into()
        );
    }
    let params = with
        .iter()
        .map(|(name, value)| Ok((name.parse::<Name>()?, value.clone())))
        .collect::<Result<BTreeMap<_, _>, ScopeError>>()?;
    Ok(Scope::new(base.entry().clone(), params)?)
}

/// Parse the scopes, their life, and the keys to bind to and to seal to; check them against catalogue and ceiling.
pub(super) fn parse_access(
    scopes: &[AskScope],
    ttl_seconds: Option<i64>,
    (confirmation_key, delivery): (Option<&serde_json::Value>, Option<&serde_json::Value>),
    catalogue: &Catalogue,
    ceilings: &[&Ceiling],
) -> Result<ParsedAccess, BrokerError> {
    if scopes.len() > ScopeSet::MAX {
        return Err(ScopeError::TooMany(scopes.len()).into());
    }
    let set = ScopeSet::new(scopes.iter().map(scope).collect::<Result<Vec<_>, _>>()?)?;
    let life = ttl_seconds.map(|secs| ttl("ttl_seconds", secs)).transpose()?;
    for scope in set.iter() {
        let entry = catalogue.check(scope)?;
        if let Some(asked) = life.filter(|asked| *asked > entry.max_ttl) {
            return Err(BrokerError::TtlTooLong {
                what: "ttl_seconds",
                asked: asked.as_secs(),
                allowed: entry.max_ttl.as_secs(),
                whose: format!("`{}`", entry.name),
            });
        }
    }
    let above: Vec<String> = set
        .iter()
        .filter(|scope| !ceilings.iter().all(|ceiling| ceiling.covers(scope, catalogue)))
        .map(ToString::to_string)
        .collect();
    if !above.is_empty() {
        return Err(BrokerError::AboveCeiling(above));
    }
    let confirmation_key = confirmation_key.map(canonical_key).transpose()?;
    let delivery_key = delivery.map(delivery_key).transpose()?;
    Ok(ParsedAccess { scopes: set, ttl: life, confirmation_key, delivery_key })
}

/// A key to seal credentials to.
pub(super) fn delivery_key(key: &serde_json::Value) -> Result<DeliveryKey, BrokerError> {
    DeliveryKey::parse(&key.to_string()).map_err(|error| BrokerError::Invalid(format!("`delivery_key`: {error}")))
}

fn canonical_key(key: &serde_json::Value) -> Result<String, BrokerError> {
    let refuse = || BrokerError::Invalid("`confirmation_key` must be a public JWK of at most 2048 bytes".to_owned());
    let text = crate::sys::canonical_json(key).map_err(|_| refuse())?;
    if key.is_object() && text.len() <= MAX_KEY_BYTES { Ok(text) } else { Err(refuse()) }
}

/// Parse a whole task.
pub(super) fn parse_task(ask: &TaskAsk, agent: &Agent, catalogue: &Catalogue) -> Result<ParsedTask, BrokerError> {
    let purpose = ask.purpose.parse()?;
    let message = ask.message.as_deref().map(str::parse).transpose()?;
    let kind = ask.kind.as_deref().map(str::parse::<Name>).transpose()?;
    if let Some(kind) = kind.as_ref().filter(|kind| !agent.kinds.contains(*kind)) {
        let approved: Vec<&str> = agent.kinds.iter().map(Name::as_str).collect();
        return Err(BrokerError::Invalid(format!(
            "agent `{}` is not approved for tasks of kind `{kind}`; approved kinds: {}",
            agent.id,
            if approved.is_empty() { "none (leave `kind` out)".to_owned() } else { approved.join(", ") }
        )));
    }
    let ceiling = match &ask.ceiling {
        None => agent.ceiling.clone(),
        Some(written) => parse_ceiling(written, agent, catalogue)?,
    };
    let access = parse_access(
        &ask.scopes,
        ask.ttl_seconds,
        (ask.confirmation_key.as_ref(), ask.delivery_key.as_ref()),
        catalogue,
        &[&agent.ceiling, &ceiling],
    )?;
    let heartbeat = ask.heartbeat_seconds.map(|secs| ttl("heartbeat_seconds", secs)).transpose()?;
    let entries = access.scopes.iter().filter_map(|scope| catalogue.find(scope.entry()));
    let longest = access
        .ttl
        .unwrap_or_else(|| entries.map(|entry| entry.max_ttl.min(Ttl::TEN_MINUTES)).max().unwrap_or(Ttl::TEN_MINUTES));
    let task_ttl = match ask.task_ttl_seconds {
        None => task_ttl(longest, access.ttl, agent)?,
        Some(secs) => task_ttl(ttl("task_ttl_seconds", secs)?, access.ttl, agent)?,
    };
    Ok(ParsedTask {
        purpose,
        kind,
        beneficiary: ask
            .on_behalf_of
            .as_deref()
            .map(|text| line("on_behalf_of", text, MAX_BENEFICIARY_CHARS))
            .transpose()?,
        references: references(&ask.references)?,
        message,
        ceiling,
        ttl: task_ttl,
        heartbeat,
        access,
    })
}

fn task_ttl(asked: Ttl, credential: Option<Ttl>, agent: &Agent) -> Result<Ttl, BrokerError> {
    let too_long = |what, asked: Ttl, allowed: Ttl, whose| {
        Err(BrokerError::TtlTooLong { what, asked: asked.as_secs(), allowed: allowed.as_secs(), whose })
    };
    if asked > agent.limits.task_ttl {
        return too_long("task_ttl_seconds", asked, agent.limits.task_ttl, format!("a task of agent `{}`", agent.id));
    }
    match credential {
        Some(credential) if credential > asked => {
            too_long("ttl_seconds", credential, asked, "a credential of this task".to_owned())
        }
        _ => Ok(asked),
    }
}

fn parse_ceiling(written: &[String], agent: &Agent, catalogue: &Catalogue) -> Result<Ceiling, BrokerError> {
    if written.len() > ScopeSet::MAX {
        return Err(ScopeError::TooMany(written.len()).into());
    }
    let entries = written.iter().map(|text| text.parse::<Scope>()).collect::<Result<Vec<_>, _>>()?;
    let ceiling = Ceiling::new(entries);
    if ceiling.is_within(&agent.ceiling, catalogue) {
        return Ok(ceiling);
    }
    let above = ceiling.entries().iter().filter(|entry| !agent.ceiling.covers(entry, catalogue));
    Err(BrokerError::AboveCeiling(above.map(ToString::to_string).collect()))
}

fn references(given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, BrokerError> {
    if given.len() > MAX_REFERENCES {
        return Err(BrokerError::Invalid(format!(
            "`references` has {} members, more than {MAX_REFERENCES}",
            given.len()
        )));
    }
    given
        .iter()
        .map(|(name, value)| {
            let name: Name = name.parse()?;
            Ok((name.to_string(), line(&format!("references.{name}"), value, MAX_REFERENCE_CHARS)?))
        })
        .collect()
}
