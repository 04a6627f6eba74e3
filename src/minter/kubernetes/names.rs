//! Names in a cluster. Every name that reaches a path or an object passes here, whether an operator wrote it or an agent gave it
//! as a parameter, so that there is one place to look for what could be injected.

use serde::Deserialize;

use super::super::MintError;
use crate::domain::{CatalogueEntry, Name, Scope};

/// RFC 1123 §2.1, as Kubernetes takes it for a label: what a namespace is called.
pub(super) fn is_label(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (bytes, ends) = (text.as_bytes(), |b: Option<&u8>| b.is_some_and(|b| inside(*b)));
    text.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|b| inside(*b) || *b == b'-')
}

/// RFC 1123 labels with dots between, at most 253 bytes: what most other objects are called.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// What a label of an object may have for a value, other than nothing.
pub(super) fn is_label_value(text: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let (bytes, inside) = (text.as_bytes(), |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    text.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(inside)
}

/// A value in a catalogue's effect: itself, or `{name}` for a parameter of the scope. Never a part of each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Value {
    Literal(String),
    Parameter(Name),
}

impl TryFrom<String> for Value {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => name.parse().map(Self::Parameter).map_err(|error| format!("`{text}`: {error}")),
            None => Ok(Self::Literal(text)),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Parameter(name) => write!(f, "{{{name}}}"),
        }
    }
}

/// What a value is for, and so what it may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    Namespace,
    ServiceAccount,
    ResourceName,
}

impl Role {
    fn admits(self, text: &str) -> bool {
        match self {
            Self::Namespace => is_label(text),
            Self::ServiceAccount | Self::ResourceName => is_subdomain(text),
        }
    }

    const fn rule(self) -> &'static str {
        match self {
            Self::Namespace => "a namespace is 1 to 63 of a-z, 0-9 and `-`, the first and last not `-` (RFC 1123)",
            Self::ServiceAccount => "a service account is labels of a-z, 0-9 and `-` with dots between (RFC 1123)",
            Self::ResourceName => "a resource name is labels of a-z, 0-9 and `-` with dots between (RFC 1123)",
        }
    }
}

impl Value {
    /// What is wrong with it, as far as can be told without a scope.
    pub(super) fn check(&self, role: Role, entry: &CatalogueEntry) -> Result<(), String> {
        match self {
            Self::Literal(text) if role.admits(text) => Ok(()),
            Self::Literal(_) => Err(role.rule().to_owned()),
            Self::Parameter(name) if entry.params.contains_key(name) => Ok(()),
            Self::Parameter(name) => Err(format!("`{{{name}}}` is no parameter of it")),
        }
    }

    /// The value for a scope.
    ///
    /// # Errors
    /// [`MintError::Unsupported`] when the parameter's value is no such name.
    pub(super) fn fill(&self, role: Role, scope: &Scope) -> Result<String, MintError> {
        let text = match self {
            Self::Literal(text) => Some(text),
            Self::Parameter(name) => scope.params().get(name),
        };
        match text {
            Some(text) if role.admits(text) => Ok(text.clone()),
            Some(_) | None => Err(MintError::Unsupported(format!("`{scope}`: {}", role.rule()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn k8s_06_names_are_those_of_rfc_1123() {
        let long = "a".repeat(63);
        for right in ["a", "0", "agents", "a-b", "x--y", &long] {
            assert!(is_label(right) && is_subdomain(right), "{right}");
        }
        let too_long = "a".repeat(64);
        for wrong in ["", "-a", "a-", "A", "a_b", "a/../b", "..", ".", "x;y", "a b", "ä", "a%2fb", "a\n", &too_long] {
            assert!(!is_label(wrong), "{wrong:?}");
        }
        assert!(is_subdomain("ci.release-bot") && !is_label("ci.release-bot"));
        for wrong in ["a..b", ".a", "a.", "a./b", &[long.as_str(); 4].join(".")] {
            assert!(!is_subdomain(wrong), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn k8s_06_no_name_leaves_its_place_in_a_path(text in "\\PC{0,20}|[a-z0-9./;%-]{0,8}|[a-z0-9.-]{1,12}") {
            if is_subdomain(&text) {
                let mut url = url::Url::parse("https://api.example/").unwrap();
                url.path_segments_mut().unwrap().pop_if_empty().extend(["namespaces", &text, "secrets"]);
                prop_assert_eq!(url.path(), format!("/namespaces/{text}/secrets"));
                prop_assert_eq!(url.path_segments().unwrap().count(), 3);
            }
        }
    }
}
