//! The catalogue: what may be asked for at all. Operators define its entries; agents only name them and fill in typed,
//! bounded parameters, so that there is nothing in a request to inject into.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{EntryName, Name, Scope, Ttl};

/// The declared type of a parameter: which values it admits and when one lies inside another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ParamType {
    /// One of a fixed list; inside means equal.
    OneOf {
        /// The values it may have.
        values: Vec<String>,
    },
    /// Letters, digits, `.`, `_`, `-`; inside means equal.
    Word {
        /// The longest value, in bytes, at most 256.
        max_length: u16,
    },
    /// A relative path with `/` between segments, no empty, `.` or `..` segment; inside means at or below.
    Path {
        /// The longest value, in bytes, at most 256.
        max_length: u16,
    },
    /// A whole number; inside means not larger.
    Integer {
        /// The smallest value.
        min: i64,
        /// The largest value.
        max: i64,
    },
}

impl ParamType {
    fn admits(&self, value: &str) -> Result<(), &'static str> {
        match self {
            Self::OneOf { values } if values.iter().any(|one| one == value) => Ok(()),
            Self::OneOf { .. } => Err("not one of the values the catalogue lists"),
            Self::Word { max_length } | Self::Path { max_length } if value.len() > usize::from(*max_length) => {
                Err("longer than the catalogue allows")
            }
            Self::Word { .. } if !value.is_empty() && value.bytes().all(is_word_byte) => Ok(()),
            Self::Word { .. } => Err("not a word: use letters, digits, `.`, `_` and `-`"),
            Self::Path { .. } => check_path(value),
            Self::Integer { min, max } => match parse_integer(value) {
                Some(number) if (*min..=*max).contains(&number) => Ok(()),
                Some(_) => Err("outside the range the catalogue allows"),
                None => Err("not a whole number"),
            },
        }
    }

    /// Whether `inner` is equal to `outer` or inside it.
    fn is_inside(&self, inner: &str, outer: &str) -> bool {
        match self {
            Self::OneOf { .. } | Self::Word { .. } => inner == outer,
            Self::Path { .. } => {
                let root = outer.strip_suffix('/').unwrap_or(outer);
                inner == outer || inner.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
            }
            Self::Integer { .. } => match (parse_integer(inner), parse_integer(outer)) {
                (Some(inner), Some(outer)) => inner <= outer,
                _ => false,
            },
        }
    }
}

const fn is_word_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}

/// Canonical decimal only, so that one number has one written form: no sign but `-`, no leading zeros.
fn parse_integer(value: &str) -> Option<i64> {
    value.parse::<i64>().ok().filter(|number| number.to_string() == value)
}

fn check_path(value: &str) -> Result<(), &'static str> {
    let body = value.strip_suffix('/').unwrap_or(value);
    let segment_ok = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment.bytes().all(|b| is_word_byte(b) || matches!(b, b'@' | b'+' | b'=' | b':'))
    };
    if body.split('/').all(segment_ok) {
        Ok(())
    } else {
        Err(
            "not a relative path: use segments of letters, digits and `._-@+=:` with `/` between, none of them `.` or `..`",
        )
    }
}

/// A scope whose parameters do not fit its catalogue entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// The catalogue has no such entry.
    #[error("the catalogue has no scope `{0}`; list what you may ask for with GET /v1/scopes")]
    UnknownEntry(EntryName),
    /// A declared parameter is absent.
    #[error("`{entry}` needs the parameter `{name}`")]
    Missing {
        /// The entry.
        entry: EntryName,
        /// The parameter.
        name: Name,
    },
    /// A parameter the entry does not declare.
    #[error("`{entry}` has no parameter `{name}`")]
    Undeclared {
        /// The entry.
        entry: EntryName,
        /// The parameter.
        name: Name,
    },
    /// A value its type does not admit.
    #[error("`{entry}`, parameter `{name}`: {why}")]
    Value {
        /// The entry.
        entry: EntryName,
        /// The parameter.
        name: Name,
        /// The rule it breaks.
        why: &'static str,
    },
}

/// One entry of the catalogue: a scope that may be asked for, and what it would do natively.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CatalogueEntry {
    /// Its name.
    pub name: EntryName,
    /// What it permits, in one sentence for people.
    pub description: String,
    /// How dangerous it is, from 0 (harmless) to 100.
    pub risk: u8,
    /// The person who answers for it, as registered in the bundle.
    pub owner: String,
    /// The longest life of one credential.
    pub max_ttl: Ttl,
    /// Its parameters by name; each must be given.
    pub params: BTreeMap<Name, ParamType>,
    /// Labels policy can use, e.g. `env = "prod"`.
    pub labels: BTreeMap<Name, String>,
    /// The native effect, in the words of its backend's minter and opaque to everybody else.
    pub effect: serde_json::Value,
}

impl CatalogueEntry {
    /// Whether `inner` is equal to `outer` or inside it, by the declared type of parameter `name`.
    #[must_use]
    pub fn param_is_inside(&self, name: &Name, inner: &str, outer: &str) -> bool {
        self.params.get(name).is_some_and(|kind| kind.is_inside(inner, outer))
    }

    /// Check a scope's parameters against this entry: each declared one given, none else, each value admitted.
    ///
    /// # Errors
    /// [`ParamError`] naming the first parameter that does not fit.
    pub fn check(&self, scope: &Scope) -> Result<(), ParamError> {
        if let Some(name) = self.params.keys().find(|name| !scope.params().contains_key(*name)) {
            return Err(ParamError::Missing { entry: self.name.clone(), name: name.clone() });
        }
        self.check_given(scope)
    }

    /// Like [`Self::check`], but a declared parameter may be left open (as in a ceiling).
    ///
    /// # Errors
    /// [`ParamError`] naming the first parameter that does not fit.
    pub fn check_given(&self, scope: &Scope) -> Result<(), ParamError> {
        for (name, value) in scope.params() {
            let Some(kind) = self.params.get(name) else {
                return Err(ParamError::Undeclared { entry: self.name.clone(), name: name.clone() });
            };
            kind.admits(value).map_err(|why| ParamError::Value {
                entry: self.name.clone(),
                name: name.clone(),
                why,
            })?;
        }
        Ok(())
    }
}

/// The policy bundle's list of every scope that may be asked for: its backend, risk, owner, longest life, typed parameters
/// and native effect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalogue(BTreeMap<EntryName, CatalogueEntry>);

impl Catalogue {
    /// From entries; a later entry of the same name replaces an earlier one, so the loader checks for duplicates.
    pub fn new(entries: impl IntoIterator<Item = CatalogueEntry>) -> Self {
        Self(entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect())
    }

    /// The entry of that name.
    #[must_use]
    pub fn find(&self, name: &EntryName) -> Option<&CatalogueEntry> {
        self.0.get(name)
    }

    /// Every entry, in order of name.
    pub fn entries(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.0.values()
    }

    /// Check a scope against its entry, which is returned.
    ///
    /// # Errors
    /// [`ParamError`] when there is no such entry or the parameters do not fit it.
    pub fn check(&self, scope: &Scope) -> Result<&CatalogueEntry, ParamError> {
        let entry = self.find(scope.entry()).ok_or_else(|| ParamError::UnknownEntry(scope.entry().clone()))?;
        entry.check(scope).map(|()| entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ParamType;

    #[test]
    fn each_type_admits_only_its_own() {
        let path = ParamType::Path { max_length: 8 };
        let word = ParamType::Word { max_length: 3 };
        let number = ParamType::Integer { min: -1, max: 10 };
        let one_of = ParamType::OneOf { values: vec!["a".to_owned()] };
        for (kind, yes, no) in [
            (&path, ["a", "a/b/", "v1.2/x=@"], ["/a", "a//b", "a/../b"]),
            (&path, ["a/b", "_", "-"], [".", "a/b/c/d/e", "a b"]),
            (&word, ["a", "A.1", "_-."], ["abcd", "a/b", "é"]),
            (&number, ["-1", "0", "10"], ["11", "+1", "01"]),
            (&number, ["7", "8", "9"], ["1e1", "", "-0"]),
            (&one_of, ["a", "a", "a"], ["b", "A", ""]),
        ] {
            assert!(yes.iter().all(|value| kind.admits(value).is_ok()), "{kind:?} {yes:?}");
            assert!(no.iter().all(|value| kind.admits(value).is_err()), "{kind:?} {no:?}");
        }
    }

    #[test]
    fn inside_is_equal_at_or_below_or_not_larger() {
        let path = ParamType::Path { max_length: 99 };
        assert!(path.is_inside("v1/a", "v1") && path.is_inside("v1/", "v1/") && path.is_inside("v1/a", "v1/"));
        assert!(!path.is_inside("v10", "v1") && !path.is_inside("v1", "v1/a"));
        let number = ParamType::Integer { min: 0, max: 99 };
        assert!(number.is_inside("9", "10") && !number.is_inside("11", "10") && !number.is_inside("x", "10"));
        let word = ParamType::Word { max_length: 9 };
        assert!(word.is_inside("a", "a") && !word.is_inside("ab", "a"));
    }

    proptest! {
        #[test]
        fn a_path_inside_another_begins_with_its_segments(
            inner in prop::collection::vec("[ab]{1,2}", 1..5), outer in prop::collection::vec("[ab]{1,2}", 1..5),
        ) {
            let kind = ParamType::Path { max_length: 99 };
            prop_assert_eq!(kind.is_inside(&inner.join("/"), &outer.join("/")), inner.starts_with(&outer));
        }
    }
}
