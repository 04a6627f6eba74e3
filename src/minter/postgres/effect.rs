//! What a catalogue entry does natively: the groups a role is put into, in which database, and what row policies read for it.
//! An entry whose parameters narrow nothing is refused, for its credential would be wider than its scope says.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::quote::Ident;
use super::settings::Target;
use crate::domain::{CatalogueEntry, Name, Scope};
use crate::minter::MintError;
use crate::minter::settings::read_effect;

/// The longest key or value of a row policy, in bytes.
const MAX_TEXT: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The groups.
    groups: Vec<String>,
    /// The database; by default the backend's first.
    database: Option<String>,
    /// What row policies read, by key.
    #[serde(default)]
    rows: BTreeMap<String, RowValue>,
}

/// Where the value of a key comes from.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum RowValue {
    /// The catalogue.
    Fixed(String),
    /// A parameter of the scope.
    Param(ParamRef),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ParamRef {
    /// Its name.
    param: Name,
}

/// The native effect of a catalogue entry, checked.
pub(super) struct Effect {
    groups: BTreeSet<Ident>,
    database: Ident,
    rows: BTreeMap<String, RowValue>,
}

impl Effect {
    /// Read an entry's.
    pub(super) fn read(entry: &CatalogueEntry, target: &Target) -> Result<Self, MintError> {
        let written: Written = read_effect(entry)?;
        Self::checked(written, entry, target)
            .map_err(|why| MintError::Misconfigured(format!("the effect of `{}`: {why}", entry.name)))
    }

    fn checked(written: Written, entry: &CatalogueEntry, target: &Target) -> Result<Self, String> {
        let group = |name: &String| {
            let found = target.groups.iter().find(|group| group.as_str() == name).cloned();
            found.ok_or_else(|| format!("`{name}` is not one of the backend's `groups`"))
        };
        let groups = written.groups.iter().map(group).collect::<Result<BTreeSet<_>, _>>()?;
        if groups.is_empty() {
            return Err("`groups` is empty: a role without a group may do nothing".to_owned());
        }
        let wanted = |database: &&Ident| written.database.as_ref().is_none_or(|name| database.as_str() == name);
        let database = target.databases.iter().find(wanted).cloned();
        let database = database.ok_or("`database` is not one of the backend's `databases`")?;
        for (key, value) in &written.rows {
            let fine = |text: &str| (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control);
            match value {
                _ if !fine(key) => {
                    return Err("a key of `rows` has 1 to 256 bytes and no control characters".to_owned());
                }
                RowValue::Fixed(text) if !fine(text) => {
                    return Err(format!("`rows.{key}` has 1 to 256 bytes and no control characters"));
                }
                RowValue::Param(ParamRef { param }) if !entry.params.contains_key(param) => {
                    return Err(format!("`rows.{key}`: the entry has no parameter `{param}`"));
                }
                RowValue::Fixed(_) | RowValue::Param(_) => {}
            }
        }
        let used = |name: &Name| {
            written.rows.values().any(|value| matches!(value, RowValue::Param(one) if one.param == *name))
        };
        if let Some(name) = entry.params.keys().find(|name| !used(name)) {
            return Err(format!("the parameter `{name}` narrows nothing: let a key of `rows` have its value"));
        }
        Ok(Self { groups, database, rows: written.rows })
    }

    /// Scopes share a role when it is for one database and row policies read the same there. With other keys each would be read
    /// by the policies of the other's groups too.
    pub(super) fn bucket(&self) -> Result<String, MintError> {
        serde_json::to_string(&(self.database.as_str(), &self.rows))
            .map_err(|error| MintError::Unsupported(format!("no written form: {error}")))
    }
}

/// What a role is to be: the effects of its scopes together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleEffect {
    /// The database it is for.
    pub(super) database: String,
    /// The groups it is a member of.
    pub(super) groups: BTreeSet<String>,
    /// What row policies read for it.
    pub(super) rows: BTreeMap<String, String>,
}

impl RoleEffect {
    /// Of some scopes; they must agree, since a role has one set of groups and one value for a key.
    pub(super) fn of(scopes: &[(&Scope, &CatalogueEntry)], target: &Target) -> Result<Self, MintError> {
        let unsupported = |why: &str| MintError::Unsupported(why.to_owned());
        let mut bucket: Option<String> = None;
        let mut role: Option<Self> = None;
        for (scope, entry) in scopes {
            let effect = Effect::read(entry, target)?;
            let own = effect.bucket()?;
            if bucket.as_ref().is_some_and(|first| *first != own) {
                return Err(unsupported(
                    "one role is for one database, and for one set of keys that row policies read",
                ));
            }
            bucket = Some(own);
            let rows = effect.rows_for(scope)?;
            let groups = effect.groups.iter().map(|group| group.as_str().to_owned());
            match &mut role {
                None => {
                    let database = effect.database.as_str().to_owned();
                    role = Some(Self { database, groups: groups.collect(), rows });
                }
                Some(role) if role.rows != rows => {
                    return Err(unsupported(
                        "one role has one value for each key that row policies read: ask for scopes with other values in \
                        a request of their own",
                    ));
                }
                Some(role) => role.groups.extend(groups),
            }
        }
        role.ok_or_else(|| unsupported("no scopes"))
    }
}

impl Effect {
    fn rows_for(&self, scope: &Scope) -> Result<BTreeMap<String, String>, MintError> {
        let value = |(key, value): (&String, &RowValue)| {
            let text = match value {
                RowValue::Fixed(text) => Some(text),
                RowValue::Param(ParamRef { param }) => scope.params().get(param),
            };
            match text {
                Some(text) if text.len() <= MAX_TEXT && !text.contains('\0') => Ok((key.clone(), text.clone())),
                Some(_) | None => Err(MintError::Unsupported(format!("`{scope}` gives `rows.{key}` no value"))),
            }
        };
        self.rows.iter().map(value).collect()
    }
}
