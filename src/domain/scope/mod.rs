//! Scopes: one action on one resource of one backend, with declared parameters, never with a wildcard. Here live their
//! written form, their canonical order and the rule for "narrower", on which attenuation rests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::Catalogue;

/// Longest name, in bytes.
const MAX_NAME: usize = 63;
/// Longest parameter value, in bytes.
const MAX_VALUE: usize = 256;
/// Most parameters a scope may have.
const MAX_PARAMS: usize = 16;

/// A text that is not a scope, or not a part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not a name.
    #[error("`{0}` is not a name: use 1 to 63 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit")]
    Name(String),
    /// A wildcard where a name belongs.
    #[error("`{0}` has a wildcard: a scope names exactly one action on one resource; ask for each scope by name")]
    Wildcard(String),
    /// Not `backend:resource:action`.
    #[error("`{0}` is not a scope: write `backend:resource:action` or `backend:resource:action(name=value)`")]
    Shape(String),
    /// A parameter that cannot be.
    #[error("parameter `{name}`: {why}")]
    Param {
        /// Which parameter.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A set with nothing in it.
    #[error("no scopes: name at least one (an empty list never means all)")]
    Empty,
    /// A set with too much in it.
    #[error("{0} scopes are more than the 50 allowed")]
    TooMany(usize),
    /// The same scope twice.
    #[error("`{0}` is there twice")]
    Duplicate(String),
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A name of a backend, resource, action, parameter, agent, team or kind of task.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text.contains('*') {
            return Err(ScopeError::Wildcard(cut(text)));
        }
        let starts = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let all = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
        if starts && all && text.len() <= MAX_NAME { Ok(Self(text.into())) } else { Err(ScopeError::Name(cut(text))) }
    }
}

/// The name of a catalogue entry: `backend:resource:action`, without parameters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName {
    backend: Name,
    resource: Name,
    action: Name,
}

impl EntryName {
    /// From its three names.
    #[must_use]
    pub const fn new(backend: Name, resource: Name, action: Name) -> Self {
        Self { backend, resource, action }
    }

    /// The backend that accepts the credential.
    #[must_use]
    pub const fn backend(&self) -> &Name {
        &self.backend
    }

    /// The resource in it.
    #[must_use]
    pub const fn resource(&self) -> &Name {
        &self.resource
    }

    /// What may be done to the resource.
    #[must_use]
    pub const fn action(&self) -> &Name {
        &self.action
    }
}

impl FromStr for EntryName {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text.contains('*') {
            return Err(ScopeError::Wildcard(cut(text)));
        }
        let mut parts = text.split(':');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(backend), Some(resource), Some(action), None) => {
                Ok(Self { backend: backend.parse()?, resource: resource.parse()?, action: action.parse()? })
            }
            _ => Err(ScopeError::Shape(cut(text))),
        }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.backend, self.resource, self.action)
    }
}

/// One permission: one action on one resource of one backend, with the parameters its catalogue entry declares, never with
/// a wildcard. Written `backend:resource:action` or `backend:resource:action(name=value)`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    entry: EntryName,
    params: BTreeMap<Name, String>,
}

impl Scope {
    /// From a catalogue entry's name and parameters by name.
    ///
    /// # Errors
    /// [`ScopeError::Param`] when there are too many, or a value is empty, too long or has control characters.
    pub fn new(entry: EntryName, params: BTreeMap<Name, String>) -> Result<Self, ScopeError> {
        for (index, (name, value)) in params.iter().enumerate() {
            let refuse = |why| ScopeError::Param { name: name.to_string(), why };
            if index >= MAX_PARAMS {
                return Err(refuse("a scope has at most 16 parameters"));
            }
            if value.is_empty() {
                return Err(refuse("empty (absent or empty never means all)"));
            }
            if value.len() > MAX_VALUE {
                return Err(refuse("longer than 256 bytes"));
            }
            if !super::forbidden_characters(value).is_empty() || value.contains(['\n', '\t']) {
                return Err(refuse("has control, bidirectional or invisible characters"));
            }
        }
        Ok(Self { entry, params })
    }

    /// The catalogue entry it names.
    #[must_use]
    pub const fn entry(&self) -> &EntryName {
        &self.entry
    }

    /// Its parameters by name.
    #[must_use]
    pub const fn params(&self) -> &BTreeMap<Name, String> {
        &self.params
    }

    /// Whether this scope permits at most what `wider` does: same entry, same parameter names, and each value equal or
    /// inside by its declared type. An entry the catalogue lacks covers nothing.
    #[must_use]
    pub fn is_within(&self, wider: &Scope, catalogue: &Catalogue) -> bool {
        let Some(entry) = catalogue.find(&self.entry) else { return false };
        self.entry == wider.entry
            && self.params.len() == wider.params.len()
            && self.params.iter().all(|(name, value)| {
                wider.params.get(name).is_some_and(|outer| entry.param_is_inside(name, value, outer))
            })
    }
}

fn is_bare(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':' | b'@' | b'+'))
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.entry, f)?;
        for (index, (name, value)) in self.params.iter().enumerate() {
            f.write_str(if index == 0 { "(" } else { "," })?;
            if is_bare(value) {
                write!(f, "{name}={value}")?;
            } else {
                // A JSON string: one escaping rule everybody knows, and it reads back exactly.
                let quoted = serde_json::to_string(value).map_err(|_| fmt::Error)?;
                write!(f, "{name}={quoted}")?;
            }
        }
        if self.params.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl FromStr for Scope {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let Some((entry, rest)) = text.split_once('(') else {
            return Scope::new(text.parse()?, BTreeMap::new());
        };
        let entry = entry.parse()?;
        let mut rest = rest.strip_suffix(')').ok_or_else(|| ScopeError::Shape(cut(text)))?;
        let mut params = BTreeMap::new();
        while !rest.is_empty() || params.is_empty() {
            let (name, after) = rest.split_once('=').ok_or_else(|| ScopeError::Shape(cut(text)))?;
            let (value, after) = if after.starts_with('"') { quoted_value(after) } else { bare_value(after) }
                .ok_or_else(|| ScopeError::Shape(cut(text)))?;
            let name: Name = name.parse()?;
            if params.insert(name.clone(), value).is_some() {
                return Err(ScopeError::Param { name: name.to_string(), why: "there twice" });
            }
            rest = match after.strip_prefix(',') {
                Some("") => return Err(ScopeError::Shape(cut(text))),
                Some(more) => more,
                None if after.is_empty() => "",
                None => return Err(ScopeError::Shape(cut(text))),
            };
        }
        Scope::new(entry, params)
    }
}

fn bare_value(text: &str) -> Option<(String, &str)> {
    let end = text.find(',').unwrap_or(text.len());
    let (value, rest) = text.split_at_checked(end)?;
    is_bare(value).then(|| (value.to_owned(), rest))
}

fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = stream.next()?.ok()?;
    text.split_at_checked(stream.byte_offset()).map(|(_, rest)| (value, rest))
}

macro_rules! as_text {
    ($($name:ident),+) => { $(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )+ };
}
as_text!(Name, EntryName, Scope);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of scopes; narrower means every scope is covered by one of the wider set (same entry, and each parameter equal or
/// inside, by its declared type), and nothing else does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ScopeSet(BTreeSet<Scope>);

impl ScopeSet {
    /// The most scopes a set may have.
    pub const MAX: usize = 50;

    /// From scopes in any order.
    ///
    /// # Errors
    /// [`ScopeError`] when there are none, more than 50, or one is there twice.
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Result<Self, ScopeError> {
        let mut set = BTreeSet::new();
        for scope in scopes {
            if set.contains(&scope) {
                return Err(ScopeError::Duplicate(scope.to_string()));
            }
            set.insert(scope);
        }
        match set.len() {
            0 => Err(ScopeError::Empty),
            many if many > Self::MAX => Err(ScopeError::TooMany(many)),
            _ => Ok(Self(set)),
        }
    }

    /// The scopes in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// How many scopes, at least one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never true; here because a length wants it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every scope here is covered by one of `wider`.
    #[must_use]
    pub fn is_within(&self, wider: &ScopeSet, catalogue: &Catalogue) -> bool {
        self.0.iter().all(|scope| wider.0.iter().any(|outer| scope.is_within(outer, catalogue)))
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<Scope>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The largest scope set a task may ever be granted.
///
/// Written as entries; a parameter an entry pins must be equal or inside, one it leaves open is bounded by the catalogue
/// and by policy alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ceiling(Vec<CeilingEntry>);

/// One entry of a ceiling, written like a scope; parameters it does not name stay open.
pub type CeilingEntry = Scope;

impl Ceiling {
    /// From entries.
    #[must_use]
    pub const fn new(entries: Vec<CeilingEntry>) -> Self {
        Self(entries)
    }

    /// The entries as written.
    #[must_use]
    pub fn entries(&self) -> &[CeilingEntry] {
        &self.0
    }

    /// Whether `scope` lies under this ceiling. An empty ceiling covers nothing.
    #[must_use]
    pub fn covers(&self, scope: &Scope, catalogue: &Catalogue) -> bool {
        let Some(entry) = catalogue.find(&scope.entry) else { return false };
        self.0.iter().any(|outer| {
            outer.entry == scope.entry
                && outer.params.iter().all(|(name, pinned)| {
                    scope.params.get(name).is_some_and(|value| entry.param_is_inside(name, value, pinned))
                })
        })
    }

    /// Whether every entry of this ceiling lies under `wider`.
    #[must_use]
    pub fn is_within(&self, wider: &Ceiling, catalogue: &Catalogue) -> bool {
        self.0.iter().all(|entry| wider.covers(entry, catalogue))
    }
}

#[cfg(test)]
mod tests;
