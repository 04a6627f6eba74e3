//! RBAC of the API server on loopback: who may do what, and that nobody hands out what they do not hold.

use serde_json::Value;

use super::World;

/// Who asks.
#[derive(Debug, Clone)]
pub(super) enum User {
    Broker,
    /// A service account by namespace and name.
    Account(String, String),
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deed<'a> {
    pub(super) verb: &'a str,
    pub(super) group: &'a str,
    /// With its subresource after a slash.
    pub(super) resource: &'a str,
    pub(super) name: &'a str,
}

fn has(list: &Value, word: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|one| one == word || one == "*"))
}

fn allows(rule: &Value, deed: Deed<'_>) -> bool {
    let named = rule["resourceNames"].as_array().is_none_or(Vec::is_empty)
        || (!deed.name.is_empty() && has(&rule["resourceNames"], deed.name));
    has(&rule["verbs"], deed.verb)
        && has(&rule["apiGroups"], deed.group)
        && has(&rule["resources"], deed.resource)
        && named
}

impl World {
    fn rules_of(&self, user: &User, namespace: &str) -> Vec<Value> {
        match user {
            User::Broker => self.broker.get(namespace).cloned().unwrap_or_default(),
            User::Account(home, name) => self
                .all("rolebindings", namespace)
                .filter(|binding| {
                    let subjects = binding["subjects"].as_array().cloned().unwrap_or_default();
                    subjects
                        .iter()
                        .any(|s| s["kind"] == "ServiceAccount" && s["name"] == **name && s["namespace"] == **home)
                })
                .filter_map(|binding| self.get("roles", namespace, binding["roleRef"]["name"].as_str()?))
                .flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default())
                .collect(),
        }
    }

    pub(super) fn may(&self, user: &User, namespace: &str, deed: Deed<'_>) -> bool {
        let admin = self.admin && matches!(user, User::Broker);
        admin || self.rules_of(user, namespace).iter().any(|rule| allows(rule, deed))
    }

    /// Whether somebody holds everything that rules say, so that they may put them into a Role or bind them.
    pub(super) fn holds(&self, user: &User, namespace: &str, rules: &Value) -> bool {
        let texts = |list: &Value| -> Vec<String> {
            list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        rules.as_array().into_iter().flatten().all(|rule| {
            let mut names = texts(&rule["resourceNames"]);
            if names.is_empty() {
                names.push(String::new());
            }
            texts(&rule["apiGroups"]).iter().all(|group| {
                texts(&rule["resources"]).iter().all(|resource| {
                    texts(&rule["verbs"]).iter().all(|verb| {
                        names.iter().all(|name| self.may(user, namespace, Deed { verb, group, resource, name }))
                    })
                })
            })
        })
    }
}
