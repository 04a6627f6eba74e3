//! The register of scopes, read into the catalogue.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value as Json;
use toml::Spanned;

use super::people::People;
use super::problem::Problems;
use super::register::Row;
use crate::domain::{Catalogue, CatalogueEntry, EntryName, Name, ParamType, Ttl};

/// Most parameters, and most labels, of one entry.
const MAX_MEMBERS: usize = 16;
/// Longest parameter value the scope grammar admits, in bytes.
const MAX_VALUE: u16 = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScopeRow {
    name: Spanned<String>,
    description: Spanned<String>,
    risk: Spanned<i64>,
    owner: Spanned<String>,
    max_ttl_seconds: Spanned<i64>,
    #[serde(default)]
    params: BTreeMap<Spanned<String>, Spanned<ParamType>>,
    #[serde(default)]
    labels: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    effect: Option<Spanned<toml::Value>>,
}

pub(super) fn read(rows: &[Row<'_, ScopeRow>], people: &People, problems: &mut Problems) -> Catalogue {
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    for row in rows {
        if let Some(entry) = read_entry(row, people, problems) {
            if seen.insert(entry.name.clone()) {
                entries.push(entry);
            } else {
                row.refuse_value(problems, &row.value.name, format!("`{}` is there twice", entry.name));
            }
        }
    }
    Catalogue::new(entries)
}

fn read_entry(row: &Row<'_, ScopeRow>, people: &People, problems: &mut Problems) -> Option<CatalogueEntry> {
    let value = &row.value;
    row.check_sentence(problems, &value.description);
    if !people.has(value.owner.get_ref()) {
        let message =
            format!("`{}` is not in people.toml; a scope has an owner who is registered", value.owner.get_ref());
        row.refuse_value(problems, &value.owner, message);
    }
    let risk = u8::try_from(*value.risk.get_ref()).ok().filter(|risk| *risk <= 100);
    if risk.is_none() {
        row.refuse_value(problems, &value.risk, "risk is a whole number from 0 (harmless) to 100");
    }
    let max_ttl = Ttl::from_secs(*value.max_ttl_seconds.get_ref())
        .map_err(|error| row.refuse_value(problems, &value.max_ttl_seconds, error.to_string()))
        .ok();
    if value.params.len() > MAX_MEMBERS || value.labels.len() > MAX_MEMBERS {
        row.refuse(problems, format!("more than {MAX_MEMBERS} params or labels"));
    }
    let mut params = BTreeMap::new();
    for (name, kind) in &value.params {
        if let Some(why) = unfit_param(kind.get_ref()) {
            row.refuse_value(problems, kind, why);
        }
        if let Some(name) = row.parse::<Name>(problems, name) {
            params.insert(name, kind.get_ref().clone());
        }
    }
    let mut labels = BTreeMap::new();
    for (name, label) in &value.labels {
        row.check_sentence(problems, label);
        if let Some(name) = row.parse::<Name>(problems, name) {
            labels.insert(name, label.get_ref().clone());
        }
    }
    let effect = match value.effect.as_ref().map(|effect| (effect, json_of(effect.get_ref()))) {
        None => Json::Object(serde_json::Map::new()),
        Some((_, Ok(json))) => json,
        Some((effect, Err(why))) => {
            row.refuse_value(problems, effect, why);
            Json::Null
        }
    };
    let name = row.parse::<EntryName>(problems, &value.name)?;
    let (description, owner) = (value.description.get_ref().clone(), value.owner.get_ref().clone());
    Some(CatalogueEntry { name, description, risk: risk?, owner, max_ttl: max_ttl?, params, labels, effect })
}

/// Why a declared type admits nothing, or more than the grammar of scopes does.
fn unfit_param(kind: &ParamType) -> Option<&'static str> {
    match kind {
        ParamType::OneOf { values } if values.is_empty() => Some("lists no values"),
        ParamType::OneOf { values }
            if values.iter().any(|one| one.is_empty() || one.len() > usize::from(MAX_VALUE)) =>
        {
            Some("each value has 1 to 256 bytes")
        }
        ParamType::Word { max_length } | ParamType::Path { max_length } if !(1..=MAX_VALUE).contains(max_length) => {
            Some("max_length is a number from 1 to 256")
        }
        ParamType::Integer { min, max } if min > max => Some("min is larger than max"),
        ParamType::OneOf { .. } | ParamType::Word { .. } | ParamType::Path { .. } | ParamType::Integer { .. } => None,
    }
}

/// A native effect as JSON; what TOML has and JSON has not is refused.
fn json_of(value: &toml::Value) -> Result<Json, &'static str> {
    match value {
        toml::Value::String(text) => Ok(Json::String(text.clone())),
        toml::Value::Integer(number) => Ok(Json::from(*number)),
        toml::Value::Boolean(truth) => Ok(Json::Bool(*truth)),
        toml::Value::Array(items) => items.iter().map(json_of).collect::<Result<_, _>>().map(Json::Array),
        toml::Value::Table(members) => members
            .iter()
            .map(|(name, value)| Ok((name.clone(), json_of(value)?)))
            .collect::<Result<_, _>>()
            .map(Json::Object),
        toml::Value::Float(_) => Err("an effect has no fractions; write a whole number or a string"),
        toml::Value::Datetime(_) => Err("an effect has no dates; write a string"),
    }
}
