//! What a GitHub token would permit, from the catalogue: repositories pinned by id and permissions by level. GitHub takes an absent
//! or empty list for everything the App has, so neither is ever empty here; and one token has all its permissions in all its
//! repositories, so scopes share one only where that is no more than each of them says.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::settings::read_effect;
use super::super::{MintError, MintOrder};
use crate::domain::{CatalogueEntry, Name, Scope};

/// The most repositories one token may name; GitHub's own limit.
const MAX_REPOSITORIES: usize = 500;
/// The longest `owner/name`, in bytes.
const MAX_NAME: usize = 140;
/// The longest name of a permission, in bytes.
const MAX_PERMISSION: usize = 64;
/// The permission that GitHub gives with every other.
const METADATA: &str = "metadata";
/// Repositories that are named in each line for people; the last line names all.
const NAMED: usize = 3;

/// How much of a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Look.
    Read,
    /// Look and change.
    Write,
    /// Everything.
    Admin,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// A repository: its id, which stays when it is renamed, and the name that people approve.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Repository {
    /// GitHub's number of it.
    pub(super) id: u64,
    /// `owner/name`.
    pub(super) name: String,
}

/// Permissions by name.
pub(super) type Permissions = BTreeMap<String, Level>;

/// The native effect of a catalogue entry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Effect {
    repositories: Vec<Repository>,
    permissions: Permissions,
    /// The parameter that picks one of the repositories by its name.
    choose: Option<Name>,
}

/// What one token would be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    pub(super) permissions: Permissions,
    /// In order of id.
    pub(super) repositories: Vec<Repository>,
}

impl Effect {
    pub(super) fn read(entry: &CatalogueEntry) -> Result<Self, MintError> {
        let mut effect: Self = read_effect(entry)?;
        let refuse = |why: String| Err(MintError::Misconfigured(format!("the effect of `{}`: {why}", entry.name)));
        if effect.repositories.is_empty() || effect.permissions.is_empty() {
            return Err(MintError::Unsupported(format!(
                "the effect of `{}` names no repositories or no permissions, which GitHub would take for all of them",
                entry.name
            )));
        }
        if effect.repositories.len() > MAX_REPOSITORIES {
            return refuse(format!("more than {MAX_REPOSITORIES} repositories"));
        }
        if let Some(wrong) = effect.repositories.iter().find(|one| one.id == 0 || !is_full_name(&one.name)) {
            return refuse(format!("`{}` with the id {} is no repository; write `owner/name`", wrong.name, wrong.id));
        }
        let ids: BTreeSet<u64> = effect.repositories.iter().map(|one| one.id).collect();
        let names: BTreeSet<String> = effect.repositories.iter().map(|one| one.name.to_ascii_lowercase()).collect();
        if ids.len().min(names.len()) < effect.repositories.len() {
            return refuse("a repository is there twice".to_owned());
        }
        if let Some(wrong) = effect.permissions.keys().find(|name| !is_permission(name)) {
            return refuse(format!("`{wrong}` is not a permission's name"));
        }
        // A parameter that narrows nothing would deceive whoever approves it.
        if let Some(idle) = entry.params.keys().find(|name| effect.choose.as_ref() != Some(name)) {
            return refuse(format!("the parameter `{idle}` has no meaning here; only the one that `choose` names has"));
        }
        if let Some(absent) = effect.choose.as_ref().filter(|name| !entry.params.contains_key(*name)) {
            return refuse(format!("`choose` names `{absent}`, which is no parameter of this scope"));
        }
        effect.repositories.sort();
        Ok(effect)
    }

    /// Scopes of the same repositories may share a token.
    pub(super) fn bucket(&self) -> String {
        let ids: Vec<String> = self.repositories.iter().map(|one| one.id.to_string()).collect();
        ids.join(",")
    }

    /// The repositories that a scope is about.
    fn chosen(&self, scope: &Scope) -> Result<Vec<Repository>, MintError> {
        let Some(param) = &self.choose else { return Ok(self.repositories.clone()) };
        let asked = scope.params().get(param).map_or("", String::as_str);
        let named = |one: &&Repository| {
            one.name.eq_ignore_ascii_case(asked)
                || one.name.split_once('/').is_some_and(|(_, short)| short.eq_ignore_ascii_case(asked))
        };
        let found: Vec<Repository> = self.repositories.iter().filter(named).cloned().collect();
        match found.len() {
            1 => Ok(found),
            0 => Err(MintError::Unsupported(format!("`{scope}` names no repository of its catalogue entry"))),
            _ => Err(MintError::Unsupported(format!("`{scope}` names several repositories; write `owner/name`"))),
        }
    }
}

impl Ask {
    /// That of an order.
    pub(super) fn of(order: &MintOrder<'_>) -> Result<Self, MintError> {
        let mut parts: Vec<(Vec<Repository>, Permissions)> = Vec::with_capacity(order.scopes.len());
        let mut bucket: Option<String> = None;
        for (scope, entry) in &order.scopes {
            let effect = Effect::read(entry)?;
            if bucket.as_ref().is_some_and(|first| *first != effect.bucket()) {
                return Err(MintError::Unsupported("one token is of one list of repositories".to_owned()));
            }
            bucket = Some(effect.bucket());
            let repositories = effect.chosen(scope)?;
            parts.push((repositories, effect.permissions));
        }
        let Some((first, _)) = parts.first() else { return Err(MintError::Unsupported("no scopes".to_owned())) };
        // INVARIANT: what is asked for is the union of the scopes and no more.
        let same_repositories = parts.iter().all(|(repositories, _)| repositories == first);
        let same_permissions = parts.windows(2).all(|two| matches!(two, [(_, one), (_, other)] if one == other));
        if !same_repositories && !same_permissions {
            return Err(MintError::Unsupported(
                "one token has the same permissions in all its repositories; ask for these scopes one by one"
                    .to_owned(),
            ));
        }
        let mut permissions = Permissions::from([(METADATA.to_owned(), Level::Read)]);
        let mut repositories = BTreeSet::new();
        for (part, levels) in parts {
            repositories.extend(part);
            for (name, level) in levels {
                let held = permissions.entry(name).or_insert(level);
                *held = level.max(*held);
            }
        }
        Ok(Self { permissions, repositories: repositories.into_iter().collect() })
    }

    /// For people, dangerous parts first.
    pub(super) fn summary(&self) -> Vec<String> {
        let mut names: Vec<&str> = self.repositories.iter().map(|one| one.name.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        let place = if count > NAMED { format!("each of {count} repositories") } else { names.join(" and ") };
        let mut permissions: Vec<(&String, Level)> =
            self.permissions.iter().map(|(name, level)| (name, *level)).collect();
        permissions.sort_by_key(|(name, level)| (std::cmp::Reverse((is_wide(name), *level)), (*name).clone()));
        let mut lines: Vec<String> = permissions
            .into_iter()
            .map(|(name, level)| {
                let danger = if level > Level::Read || is_wide(name) { "dangerous: " } else { "" };
                let place = if is_wide(name) { "the whole organisation, whatever the repositories" } else { &place };
                format!("{danger}{} of `{name}` in {place}", level.as_str())
            })
            .collect();
        let all: Vec<String> = self.repositories.iter().map(|one| format!("{} (id {})", one.name, one.id)).collect();
        lines.push(format!("repositories: {}", all.join(", ")));
        lines
    }
}

/// Whether a permission is not held to the repositories of a token: it is one of the organisation's, the enterprise's or the
/// account's (docs.github.com, "Permissions required for GitHub Apps").
fn is_wide(permission: &str) -> bool {
    permission.starts_with("organization_")
        || permission.starts_with("enterprise_")
        || matches!(
            permission,
            "members" | "team_discussions" | "email_addresses" | "followers" | "git_ssh_keys" | "gpg_keys"
        )
}

/// `owner/name`, of the characters GitHub allows in them.
fn is_full_name(text: &str) -> bool {
    let part = |text: &str| {
        !text.is_empty()
            && text != "."
            && text != ".."
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    text.len() <= MAX_NAME && text.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

fn is_permission(text: &str) -> bool {
    let named = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=MAX_PERMISSION).contains(&text.len()) && text.bytes().all(named)
}
