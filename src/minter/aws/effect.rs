//! What a catalogue entry means in AWS: a role by its key in the settings, and what a session of it may do. There is always
//! something that it may do and on what: AWS takes an absent session policy for everything that the role may.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::pattern::covers;
use super::policy::{Allow, CURRENT_TIME, Conditions, DENIED};
use super::settings::Role;
use super::template::{Template, check_values};
use crate::domain::{CatalogueEntry, Name, Scope};
use crate::minter::settings::read_effect;
use crate::minter::{MintError, MintOrder};

const MAX_STATEMENTS: usize = 32;
const MAX_LIST: usize = 64;
/// The operators of conditions (IAM User Guide, "Condition operators").
const OPERATORS: [&str; 27] = [
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
    "NumericEquals",
    "NumericNotEquals",
    "NumericLessThan",
    "NumericLessThanEquals",
    "NumericGreaterThan",
    "NumericGreaterThanEquals",
    "DateEquals",
    "DateNotEquals",
    "DateLessThan",
    "DateLessThanEquals",
    "DateGreaterThan",
    "DateGreaterThanEquals",
    "Bool",
    "BinaryEquals",
    "IpAddress",
    "NotIpAddress",
    "ArnEquals",
    "ArnLike",
    "ArnNotEquals",
    "ArnNotLike",
    "Null",
];
/// Actions whose names begin so look and change nothing.
const READS: [&str; 7] = ["get", "list", "describe", "head", "query", "scan", "batchget"];
/// Actions with this in their names make access that the end of a session does not take away.
const OUTLIVES: [&str; 7] = ["policy", "permission", "grant", "acl", "createfunction", "runinstances", "runtask"];
/// Actions that give a token with a life of its own.
const TOKENS: [&str; 3] =
    ["codeartifact:getauthorizationtoken", "ecr:getauthorizationtoken", "ecr-public:getauthorizationtoken"];

/// The native effect of a catalogue entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Effect {
    /// The key of a role in the backend's `roles`.
    role: Name,
    /// What a session of it may do.
    statements: Vec<StatementTemplate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementTemplate {
    actions: Vec<String>,
    resources: Vec<Template>,
    #[serde(default)]
    conditions: BTreeMap<String, BTreeMap<String, Values>>,
}

/// One value or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(Template),
    Many(Vec<Template>),
}

impl Values {
    fn as_slice(&self) -> &[Template] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// What an order comes to.
pub(super) struct Target {
    pub(super) role: Name,
    pub(super) allows: Vec<Allow>,
}

impl Effect {
    pub(super) fn read(entry: &CatalogueEntry, roles: &BTreeMap<Name, Vec<Role>>) -> Result<Self, MintError> {
        let effect: Self = read_effect(entry)?;
        if effect.statements.is_empty() {
            return Err(MintError::Unsupported(format!(
                "the effect of `{}` allows nothing, and a session without a policy could do all that its role may",
                entry.name
            )));
        }
        let checked = effect.check(entry, roles);
        checked.map_err(|why| MintError::Misconfigured(format!("the effect of `{}`: {why}", entry.name)))?;
        Ok(effect)
    }

    fn check(&self, entry: &CatalogueEntry, roles: &BTreeMap<Name, Vec<Role>>) -> Result<(), String> {
        if !roles.contains_key(&self.role) {
            let known: Vec<&str> = roles.keys().map(Name::as_str).collect();
            return Err(format!("the backend has no role `{}`; its `roles` are {}", self.role, known.join(", ")));
        }
        if self.statements.len() > MAX_STATEMENTS {
            return Err(format!("`statements` has 1 to {MAX_STATEMENTS} statements"));
        }
        self.statements.iter().try_for_each(StatementTemplate::check)?;
        let templates = || self.statements.iter().flat_map(StatementTemplate::templates);
        if let Some(name) = entry.params.keys().find(|name| !templates().any(|template| template.uses(name))) {
            return Err(format!("the parameter `{name}` would narrow nothing: use `{{{name}}}` or drop it"));
        }
        if let Some(name) = templates().flat_map(Template::parameters).find(|name| !entry.params.contains_key(*name)) {
            return Err(format!("`{{{name}}}` is no parameter of this scope"));
        }
        entry.params.values().try_for_each(check_values)
    }

    /// Scopes share a session when they are of one role: all that they allow is added up, and no more.
    pub(super) fn bucket(&self) -> String {
        self.role.to_string()
    }
}

impl StatementTemplate {
    fn check(&self) -> Result<(), String> {
        let lists = [self.actions.len(), self.resources.len()];
        if lists.into_iter().any(|length| length == 0 || length > MAX_LIST) {
            return Err(format!("a statement names its `actions` and its `resources`, 1 to {MAX_LIST} of each"));
        }
        self.actions.iter().try_for_each(|action| check_action(action))?;
        let arn = |text: &String| text == "*" || (text.starts_with("arn:") && text.matches(':').count() >= 5);
        if let Some(wrong) = self.resources.iter().map(ToString::to_string).find(|text| !arn(text)) {
            return Err(format!(
                "the resource `{wrong}` is no ARN (arn:partition:service:region:account:resource) and not `*`"
            ));
        }
        for (operator, keys) in &self.conditions {
            if !is_operator(operator) {
                return Err(format!("`{operator}` is no operator of conditions, e.g. StringEquals"));
            }
            let word = |b: u8| b.is_ascii_alphanumeric() || b":/-_.+=@".contains(&b);
            for (key, values) in keys {
                if key.is_empty() || key.len() > 256 || !key.bytes().all(word) {
                    return Err(format!("`{key}` is no condition key, e.g. aws:RequestedRegion"));
                }
                if key.eq_ignore_ascii_case(CURRENT_TIME) {
                    return Err(format!(
                        "`{key}` is what the broker ends sessions by: the lease's life says for how long"
                    ));
                }
                if values.as_slice().is_empty() || values.as_slice().len() > MAX_LIST {
                    return Err(format!("`{key}` has 1 to {MAX_LIST} values"));
                }
            }
            if keys.is_empty() {
                return Err(format!("`{operator}` names no condition key"));
            }
        }
        Ok(())
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.resources.iter().chain(self.conditions.values().flat_map(BTreeMap::values).flat_map(Values::as_slice))
    }

    fn fill(&self, scope: &Scope) -> Result<Allow, MintError> {
        let all = |templates: &[Template]| -> Result<BTreeSet<String>, MintError> {
            templates.iter().map(|template| template.fill(scope)).collect()
        };
        let mut conditions = Conditions::new();
        for (operator, keys) in &self.conditions {
            for (key, values) in keys {
                conditions.entry(operator.clone()).or_default().insert(key.clone(), all(values.as_slice())?);
            }
        }
        Ok(Allow { actions: self.actions.iter().cloned().collect(), resources: all(&self.resources)?, conditions })
    }
}

fn check_action(action: &str) -> Result<(), String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let named = action.split_once(':').is_some_and(|(service, name)| {
        let fits = |b: u8| word(b) || b == b'*' || b == b'?';
        !service.is_empty() && service.bytes().all(word) && !name.is_empty() && name.bytes().all(fits)
    });
    if action.len() > 128 || (action != "*" && !named) {
        return Err(format!("`{action}` is no action, e.g. s3:GetObject"));
    }
    let lower = action.to_ascii_lowercase();
    if DENIED.iter().any(|denied| covers(denied, &lower)) {
        return Err(format!("`{action}` is denied to every session: it could make access that does not end with it"));
    }
    Ok(())
}

fn is_operator(text: &str) -> bool {
    let bare = text.strip_prefix("ForAllValues:").or_else(|| text.strip_prefix("ForAnyValue:")).unwrap_or(text);
    OPERATORS.contains(&bare.strip_suffix("IfExists").unwrap_or(bare))
}

/// What an order comes to, all its scopes together.
pub(super) fn target(order: &MintOrder<'_>, roles: &BTreeMap<Name, Vec<Role>>) -> Result<Target, MintError> {
    let mut whole: Option<Target> = None;
    for (scope, entry) in &order.scopes {
        let effect = Effect::read(entry, roles)?;
        let allows: Vec<Allow> = effect.statements.iter().map(|one| one.fill(scope)).collect::<Result<_, _>>()?;
        match &mut whole {
            None => whole = Some(Target { role: effect.role, allows }),
            Some(before) if before.role == effect.role => before.allows.extend(allows),
            Some(_) => {
                return Err(MintError::Unsupported(
                    "one session is of one role: ask for the others in a request of their own".to_owned(),
                ));
            }
        }
    }
    whole.ok_or_else(|| MintError::Unsupported("no scopes, and a session without a policy could do all".to_owned()))
}

/// For people, dangerous first.
pub(super) fn lines(allows: &[Allow]) -> Vec<String> {
    let mut lines: Vec<(u8, String)> = Vec::new();
    for allow in allows {
        let join = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let mut groups: BTreeMap<u8, BTreeSet<String>> = BTreeMap::new();
        for action in &allow.actions {
            groups.entry(danger(action)).or_default().insert(action.clone());
        }
        let when: Vec<String> = allow
            .conditions
            .iter()
            .flat_map(|(operator, keys)| keys.iter().map(move |(key, values)| (operator, key, values)))
            .map(|(operator, key, values)| format!(" where {operator} {key} {}", join(values)))
            .collect();
        for (danger, actions) in groups {
            let word = ["can leave access behind that does not end with it: ", "dangerous: ", ""];
            let word = word.get(usize::from(danger)).copied().unwrap_or_default();
            lines.push((danger, format!("{word}{} on {}{}", join(&actions), join(&allow.resources), when.concat())));
        }
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

/// 0: may make access that outlives the session. 1: may change something. 2: looks. IAM reads the names of actions in any case.
fn danger(action: &str) -> u8 {
    let action = action.to_ascii_lowercase();
    let name = action.split_once(':').map_or("*", |(_, name)| name);
    let reads = READS.iter().any(|read| name.starts_with(read));
    let named = OUTLIVES.iter().any(|word| name.contains(word));
    let tokens = TOKENS.iter().any(|token| covers(&action, token));
    // What a pattern stands for besides is not for us to list.
    if tokens || (!reads && (named || name.contains(['*', '?']))) { 0 } else { u8::from(reads) + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_one_that_a_session_may_have() {
        for fine in ["s3:GetObject", "s3:Get*", "*", "dynamodb:?etItem", "execute-api:Invoke"] {
            assert!(check_action(fine).is_ok(), "{fine}");
        }
        for wrong in
            ["", "s3", "s3:", ":x", "s3:Get Object", "s3:a:b", "sts:AssumeRole", "STS:GetFederationToken", "iam:*"]
        {
            assert!(check_action(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn operators_are_those_of_the_guide() {
        for fine in
            ["StringEquals", "StringLikeIfExists", "ForAllValues:StringEquals", "ForAnyValue:StringLikeIfExists"]
        {
            assert!(is_operator(fine), "{fine}");
        }
        for wrong in ["stringequals", "StringEqual", "ForEach:StringEquals", ""] {
            assert!(!is_operator(wrong), "{wrong}");
        }
    }

    #[test]
    fn what_can_be_left_behind_is_said_first() {
        assert_eq!(danger("s3:PutBucketPolicy"), 0);
        assert_eq!(danger("kms:CreateGrant"), 0);
        assert_eq!(danger("s3:*"), 0);
        assert_eq!(danger("s3:PutObject"), 1);
        assert_eq!(danger("s3:GetBucketPolicy"), 2);
    }
}
