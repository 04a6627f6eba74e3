//! What a catalogue entry means in a cluster: a token of a service account that is there, or of one made for the lease alone with
//! rules of its own. A Role bound to a shared account would widen every other token of that account, so there is no such thing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::settings::read_effect;
use super::super::{MintError, MintOrder};
use super::Settings;
use super::names::{Role, Value};
use crate::domain::{CatalogueEntry, Name, Scope};

const MAX_AUDIENCES: usize = 8;
const MAX_AUDIENCE_BYTES: usize = 512;
const MAX_RULES: usize = 64;
/// What could make access that outlives the lease, by resource; reading is enough for the first.
const OUTLIVES: [&str; 12] = [
    "secrets",
    "serviceaccounts/token",
    "serviceaccounts",
    "roles",
    "rolebindings",
    "pods",
    "pods/exec",
    "deployments",
    "statefulsets",
    "daemonsets",
    "jobs",
    "cronjobs",
];
const READS: [&str; 3] = ["get", "list", "watch"];
const RAISES: [&str; 3] = ["bind", "escalate", "impersonate"];

/// The native effect of a catalogue entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Effect {
    /// Where; may be left out when the backend has one namespace only.
    namespace: Option<Value>,
    /// Whose token it is, unless there are `rules`.
    service_account: Option<Value>,
    /// Who accepts it.
    audiences: Vec<String>,
    /// What a service account of the lease's own may do.
    rules: Option<Vec<RuleTemplate>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTemplate {
    api_groups: Vec<String>,
    resources: Vec<String>,
    resource_names: Option<Vec<Value>>,
    verbs: Vec<String>,
}

/// A rule of a Role (rbac.authorization.k8s.io/v1 `PolicyRule`), sorted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Rule {
    api_groups: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    resource_names: BTreeSet<String>,
    resources: BTreeSet<String>,
    verbs: BTreeSet<String>,
}

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Account {
    /// Of an account that is there, with all that it may do.
    Shared(String),
    /// Of one that is made for the lease and may do this.
    Own(BTreeSet<Rule>),
}

/// What an order comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    pub(super) account: Account,
    pub(super) audiences: BTreeSet<String>,
    pub(super) namespace: String,
}

impl RuleTemplate {
    fn check(&self, entry: &CatalogueEntry) -> Result<(), String> {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'/');
        let words = |list: &[String], may_be_empty: bool| {
            let one = |text: &String| (may_be_empty || !text.is_empty()) && text.len() <= 253 && text.bytes().all(word);
            !list.is_empty() && list.iter().all(one)
        };
        if !words(&self.api_groups, true) || !words(&self.resources, false) || !words(&self.verbs, false) {
            return Err(
                "a rule names its `api_groups` (\"\" is the core), `resources` and `verbs`, none of them empty and \
                        none with `*`"
                    .to_owned(),
            );
        }
        match &self.resource_names {
            Some(names) if names.is_empty() => {
                Err("`resource_names` is empty, which Kubernetes takes for all: leave it out if you mean all"
                    .to_owned())
            }
            Some(names) => names.iter().try_for_each(|name| name.check(Role::ResourceName, entry)),
            None => Ok(()),
        }
    }

    fn fill(&self, scope: &Scope) -> Result<Rule, MintError> {
        let names = self.resource_names.iter().flatten().map(|name| name.fill(Role::ResourceName, scope));
        Ok(Rule {
            api_groups: self.api_groups.iter().cloned().collect(),
            resource_names: names.collect::<Result<_, _>>()?,
            resources: self.resources.iter().cloned().collect(),
            verbs: self.verbs.iter().cloned().collect(),
        })
    }
}

impl Rule {
    /// Whether it lets its holder make access that the end of the lease does not take away.
    fn outlives(&self) -> bool {
        let has = |set: &BTreeSet<String>, words: &[&str]| words.iter().any(|word| set.contains(*word));
        let writes = self.verbs.iter().any(|verb| !READS.contains(&verb.as_str()));
        has(&self.verbs, &RAISES) || self.resources.contains("secrets") || (writes && has(&self.resources, &OUTLIVES))
    }

    fn line(&self, namespace: &str) -> String {
        let join = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let groups: Vec<&str> = self.api_groups.iter().map(|g| if g.is_empty() { "core" } else { g }).collect();
        let named = if self.resource_names.is_empty() {
            String::new()
        } else {
            format!(" named {}", join(&self.resource_names))
        };
        let (verbs, resources) = (join(&self.verbs), join(&self.resources));
        format!("may {verbs} {resources} ({}){named} in namespace {namespace}", groups.join(", "))
    }
}

impl Effect {
    fn read(entry: &CatalogueEntry, settings: &Settings) -> Result<Self, MintError> {
        let effect: Self = read_effect(entry)?;
        let checked = effect.check(entry, settings);
        checked.map_err(|why| MintError::Misconfigured(format!("the effect of `{}`: {why}", entry.name)))?;
        Ok(effect)
    }

    fn check(&self, entry: &CatalogueEntry, settings: &Settings) -> Result<(), String> {
        self.namespace(settings)?.check(Role::Namespace, entry)?;
        if let Value::Literal(namespace) = self.namespace(settings)?
            && !settings.namespaces.contains(&namespace)
        {
            return Err(format!("`{namespace}` is not one of the backend's `namespaces`"));
        }
        let audience = |text: &String| {
            !text.is_empty() && text.len() <= MAX_AUDIENCE_BYTES && text.bytes().all(|b| b.is_ascii_graphic())
        };
        if self.audiences.is_empty() || self.audiences.len() > MAX_AUDIENCES || !self.audiences.iter().all(audience) {
            return Err(
                "`audiences` is 1 to 8 texts of 1 to 512 visible ASCII characters; without one the token would be \
                        good for the API server itself, so that is to be said, e.g. `https://kubernetes.default.svc`"
                    .to_owned(),
            );
        }
        match (&self.service_account, &self.rules) {
            (Some(account), None) => account.check(Role::ServiceAccount, entry)?,
            (None, Some(_)) if !settings.own_accounts => {
                return Err("`rules` need `own_accounts = true` in the backend's settings".to_owned());
            }
            (None, Some(rules)) if rules.is_empty() || rules.len() > MAX_RULES => {
                return Err(format!("`rules` has 1 to {MAX_RULES} rules"));
            }
            (None, Some(rules)) => rules.iter().try_for_each(|rule| rule.check(entry))?,
            (Some(_), Some(_)) => {
                return Err(
                    "`rules` are for a service account of the lease's own: bound to a shared one they would widen \
                            every token of it, so leave out `service_account`"
                        .to_owned(),
                );
            }
            (None, None) => return Err("`service_account` or `rules` is missing".to_owned()),
        }
        match entry.params.keys().find(|name| !self.uses(name)) {
            Some(name) => Err(format!("the parameter `{name}` would narrow nothing: use `{{{name}}}` or drop it")),
            None => Ok(()),
        }
    }

    fn namespace(&self, settings: &Settings) -> Result<Value, String> {
        match (&self.namespace, settings.namespaces.as_slice()) {
            (Some(namespace), _) => Ok(namespace.clone()),
            (None, [only]) => Ok(Value::Literal(only.clone())),
            (None, _) => Err("`namespace` is missing, and the backend has several".to_owned()),
        }
    }

    fn uses(&self, name: &Name) -> bool {
        let names = self.rules.iter().flatten().flat_map(|rule| rule.resource_names.iter().flatten());
        self.namespace
            .iter()
            .chain(&self.service_account)
            .chain(names)
            .any(|value| matches!(value, Value::Parameter(used) if used == name))
    }

    fn fill(&self, scope: &Scope, settings: &Settings) -> Result<Target, MintError> {
        let namespace = self.namespace(settings).map_err(MintError::Misconfigured)?.fill(Role::Namespace, scope)?;
        if !settings.namespaces.contains(&namespace) {
            return Err(MintError::Unsupported(format!("`{scope}`: the backend has no namespace `{namespace}`")));
        }
        let account = match &self.service_account {
            Some(account) => Account::Shared(account.fill(Role::ServiceAccount, scope)?),
            None => Account::Own(
                self.rules.iter().flatten().map(|rule| rule.fill(scope)).collect::<Result<_, MintError>>()?,
            ),
        };
        Ok(Target { account, audiences: self.audiences.iter().cloned().collect(), namespace })
    }
}

/// Scopes share a token when they are of one account, in one namespace, for the same audiences.
pub(super) fn bucket(entry: &CatalogueEntry, settings: &Settings) -> Result<String, MintError> {
    let effect = Effect::read(entry, settings)?;
    let namespace = effect.namespace(settings).map_err(MintError::Misconfigured)?;
    let account = effect.service_account.as_ref().map_or_else(|| "its own".to_owned(), ToString::to_string);
    let audiences: BTreeSet<&str> = effect.audiences.iter().map(String::as_str).collect();
    Ok(format!("{namespace} {account} {}", audiences.into_iter().collect::<Vec<_>>().join(" ")))
}

/// What an order comes to, all its scopes together.
pub(super) fn target(order: &MintOrder<'_>, settings: &Settings) -> Result<Target, MintError> {
    let mut whole: Option<Target> = None;
    for (scope, entry) in &order.scopes {
        let next = Effect::read(entry, settings)?.fill(scope, settings)?;
        whole = Some(match whole {
            None => next,
            Some(before) => before.with(next)?,
        });
    }
    whole.ok_or_else(|| MintError::Unsupported("no scopes".to_owned()))
}

impl Target {
    fn with(mut self, next: Self) -> Result<Self, MintError> {
        let fits = self.namespace == next.namespace && self.audiences == next.audiences;
        match (&mut self.account, next.account) {
            (Account::Shared(one), Account::Shared(other)) if fits && *one == other => {}
            (Account::Own(rules), Account::Own(more)) if fits => rules.extend(more),
            (Account::Shared(_) | Account::Own(_), _) => {
                return Err(MintError::Unsupported(
                    "one token is of one service account, in one namespace, for one list of audiences: ask for the others \
                     in a request of their own"
                        .to_owned(),
                ));
            }
        }
        Ok(self)
    }

    /// For people, dangerous first.
    pub(super) fn summary(&self, order: &MintOrder<'_>, expiration_seconds: u32, honoured_seconds: i64) -> Vec<String> {
        let audiences = self.audiences.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let (namespace, ttl) = (&self.namespace, order.ttl);
        let mut lines = Vec::new();
        match &self.account {
            Account::Shared(account) => lines.push(format!(
                "token of service account {namespace}/{account}, with all that it may do, for {audiences}, for {ttl}"
            )),
            Account::Own(rules) => {
                for rule in rules.iter().filter(|rule| rule.outlives()) {
                    lines.push(format!("can leave access behind that does not end with it: {}", rule.line(namespace)));
                }
                lines.push(format!(
                    "token of a service account of its own in namespace {namespace}, for {audiences}, for {ttl}"
                ));
                lines.extend(rules.iter().filter(|rule| !rule.outlives()).map(|rule| rule.line(namespace)));
            }
        }
        lines.push("anybody who holds the token can use it".to_owned());
        if order.ttl.as_secs() < expiration_seconds {
            lines.push(format!(
                "ended by the broker; without it the API server would honour the token for {honoured_seconds} s"
            ));
        }
        lines
    }
}
