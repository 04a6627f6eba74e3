//! What a token of an upstream authorization server would permit, from the catalogue: one resource or audience, and scope values
//! written out there, with typed parameters filled in. None of these is ever empty, since a server takes what is left out for its
//! own default; and a value of a parameter can never end the part of a scope value that it stands in.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::settings::{is_resource, read_effect};
use super::super::{MintError, MintOrder};
use crate::domain::{CatalogueEntry, Name, Scope};

/// The most scope values of one entry.
const MAX_VALUES: usize = 64;
/// The longest scope value or name of an audience, in bytes.
const MAX_TEXT: usize = 512;

/// The native effect of a catalogue entry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    resource: Option<String>,
    audience: Option<String>,
    /// What the server calls that in `aud`, where not by the same name.
    aud: Option<String>,
    scope: Vec<String>,
}

/// Where a token is to be accepted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Target {
    /// By its URI (RFC 8707).
    Resource(String),
    /// By the server's own name for it (RFC 8693 §2.1).
    Audience(String),
}

impl Target {
    /// The parameter of the request, and the member of the credential, that it goes by.
    pub(super) const fn parameter(&self) -> &'static str {
        match self {
            Self::Resource(_) => "resource",
            Self::Audience(_) => "audience",
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Resource(name) | Self::Audience(name) => name,
        }
    }
}

/// What one token would be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    /// What the server calls the target in `aud`.
    pub(super) aud: String,
    pub(super) scope: BTreeSet<String>,
    pub(super) target: Target,
}

impl Ask {
    /// As the parameter `scope` has it.
    pub(super) fn scope(&self) -> String {
        let values: Vec<&str> = self.scope.iter().map(String::as_str).collect();
        values.join(" ")
    }
}

/// The effect of an entry that may be one.
#[derive(Debug)]
pub(super) struct Effect {
    aud: String,
    target: Target,
    values: Vec<Vec<Part>>,
}

/// A piece of a scope value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Param(Name),
}

impl Effect {
    pub(super) fn read(entry: &CatalogueEntry) -> Result<Self, MintError> {
        let refuse = |why: String| MintError::Misconfigured(format!("the effect of `{}`: {why}", entry.name));
        let Written { resource, audience, aud, scope } = read_effect(entry)?;
        let target = match (resource, audience) {
            (Some(uri), None) if is_resource(&uri) => Target::Resource(uri),
            (Some(_), None) => {
                return Err(refuse(
                    "`resource` is an absolute URI without a fragment: https, urn, or http on this machine".to_owned(),
                ));
            }
            (None, Some(name)) if is_visible(&name) => Target::Audience(name),
            (None, Some(_)) => return Err(refuse(format!("`audience` is 1 to {MAX_TEXT} visible ASCII characters"))),
            (Some(_), Some(_)) | (None, None) => {
                return Err(refuse("give either `resource` or `audience`, as the server knows the target".to_owned()));
            }
        };
        let aud = aud.unwrap_or_else(|| target.name().to_owned());
        if !is_visible(&aud) {
            return Err(refuse(format!("`aud` is 1 to {MAX_TEXT} visible ASCII characters")));
        }
        if scope.is_empty() {
            return Err(MintError::Unsupported(format!(
                "the effect of `{}` names no scope values, which the server would take for its default",
                entry.name
            )));
        }
        if scope.len() > MAX_VALUES {
            return Err(refuse(format!("more than {MAX_VALUES} scope values")));
        }
        let values = scope.iter().map(|value| template(value, entry)).collect::<Result<Vec<_>, _>>().map_err(refuse)?;
        // A parameter that narrows nothing would deceive whoever approves it.
        let used = |name: &Name| values.iter().flatten().any(|part| matches!(part, Part::Param(one) if one == name));
        if let Some(idle) = entry.params.keys().find(|name| !used(name)) {
            return Err(refuse(format!("the parameter `{idle}` is in no value of `scope`, so it narrows nothing")));
        }
        Ok(Self { aud, target, values })
    }

    /// Scopes of the same target may share a token.
    pub(super) fn bucket(&self) -> String {
        format!("{} {} {}", self.target.parameter(), self.target.name(), self.aud)
    }
}

/// The one place where parameters get into what a server is asked for.
fn fill(parts: &[Part], params: &BTreeMap<Name, String>) -> Result<String, String> {
    let separators: String = parts.iter().map(|part| if let Part::Literal(text) = part { text } else { "" }).collect();
    let mut filled = String::new();
    for part in parts {
        match part {
            Part::Literal(text) => filled.push_str(text),
            Part::Param(name) => {
                let value = params.get(name).map_or("", String::as_str);
                if value.is_empty() || value == "." || value == ".." {
                    return Err(format!("`{value}` is no value that `{name}` may have here"));
                }
                // INVARIANT: what separates the parts of a value is in none of them, so that each is read as it was meant.
                if let Some(bad) =
                    value.chars().find(|c| !is_scope_char(*c) || (is_mark(*c) && separators.contains(*c)))
                {
                    return Err(format!("`{name}` may not have {bad:?}, which has a meaning there"));
                }
                filled.push_str(value);
            }
        }
    }
    if filled.len() > MAX_TEXT {
        return Err(format!("a scope value is longer than {MAX_TEXT} bytes"));
    }
    Ok(filled)
}

/// `contacts:{region}:read` in pieces.
fn template(value: &str, entry: &CatalogueEntry) -> Result<Vec<Part>, String> {
    let mut parts: Vec<Part> = Vec::new();
    let mut rest = value;
    while let Some((before, from)) = rest.split_once('{') {
        let (name, after) = from.split_once('}').ok_or_else(|| format!("`{value}`: `{{` without `}}`"))?;
        let apart = before.chars().any(is_mark);
        if !parts.is_empty() && !apart {
            return Err(format!("`{value}`: a mark such as `:` must stand between two parameters"));
        }
        if !before.is_empty() {
            parts.push(Part::Literal(before.to_owned()));
        }
        let name: Name = name.parse().map_err(|_| format!("`{value}`: `{name}` is not a parameter's name"))?;
        if !entry.params.contains_key(&name) {
            return Err(format!("`{value}`: `{name}` is no parameter of this scope"));
        }
        parts.push(Part::Param(name));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.to_owned()));
    }
    let literal = |part: &Part| match part {
        Part::Literal(text) => text.chars().all(|c| is_scope_char(c) && !matches!(c, '{' | '}')),
        Part::Param(_) => true,
    };
    // A value that is nothing but a parameter would let whoever asks choose the scope itself.
    let named = parts.iter().any(|part| matches!(part, Part::Literal(text) if text.chars().any(char::is_alphanumeric)));
    if !named || value.len() > MAX_TEXT || !parts.iter().all(literal) {
        return Err(format!(
            "`{value}` is not a scope value: visible ASCII but for `\"` and `\\`, and not a parameter alone"
        ));
    }
    Ok(parts)
}

/// RFC 6749 §3.3: what a scope-token is made of.
const fn is_scope_char(c: char) -> bool {
    matches!(c, '\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e')
}

const fn is_mark(c: char) -> bool {
    c.is_ascii_punctuation()
}

fn is_visible(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// What an order asks for, and for people each scope value with the risk of its entry, the dangerous first.
pub(super) fn ask(order: &MintOrder<'_>) -> Result<(Ask, Vec<(u8, String)>), MintError> {
    let mut found: Option<(String, Ask)> = None;
    let mut risks: BTreeMap<String, u8> = BTreeMap::new();
    for (scope, entry) in &order.scopes {
        let effect = Effect::read(entry)?;
        let bucket = effect.bucket();
        let (first, ask) = found.get_or_insert_with(|| {
            let (aud, target) = (effect.aud.clone(), effect.target.clone());
            (bucket.clone(), Ask { aud, scope: BTreeSet::new(), target })
        });
        if *first != bucket {
            return Err(MintError::Unsupported("one token is for one resource".to_owned()));
        }
        for value in filled(&effect, scope)? {
            let risk = risks.entry(value.clone()).or_default();
            *risk = entry.risk.max(*risk);
            ask.scope.insert(value);
        }
    }
    let (_, ask) = found.ok_or_else(|| MintError::Unsupported("no scopes".to_owned()))?;
    let mut risks: Vec<(u8, String)> = risks.into_iter().map(|(value, risk)| (risk, value)).collect();
    risks.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    Ok((ask, risks))
}

fn filled(effect: &Effect, scope: &Scope) -> Result<Vec<String>, MintError> {
    let fill = |parts: &Vec<Part>| fill(parts, scope.params());
    effect
        .values
        .iter()
        .map(fill)
        .collect::<Result<_, _>>()
        .map_err(|why| MintError::Unsupported(format!("`{scope}`: {why}")))
}
