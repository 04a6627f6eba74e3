//! The register of people: which identities and addresses are one person. Four eyes are two people only if one person with
//! two accounts is known to be one.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use toml::Spanned;

use super::problem::Problems;
use super::register::Row;
use crate::domain::{Name, Operator, Person};

/// Longest e-mail address, in bytes.
const MAX_EMAIL: usize = 254;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PersonRow {
    name: Spanned<String>,
    email: Option<Spanned<String>>,
    #[serde(default)]
    identities: Vec<Spanned<IdentityRow>>,
    /// Whether the person may not act any more.
    #[serde(default)]
    disabled: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityRow {
    issuer: String,
    subject: String,
}

/// Everybody registered, by name, by address and by identity.
#[derive(Debug, Default)]
pub(super) struct People {
    names: HashMap<String, Person>,
    addresses: HashMap<String, Person>,
    identities: HashMap<String, HashMap<String, Person>>,
    disabled: HashSet<Person>,
}

impl People {
    pub(super) fn read(rows: &[Row<'_, PersonRow>], problems: &mut Problems) -> Self {
        let mut people = Self::default();
        for row in rows {
            let Some(name) = row.parse::<Name>(problems, &row.value.name) else { continue };
            let person = Person::new(name.as_str());
            if people.names.insert(name.as_str().to_owned(), person.clone()).is_some() {
                row.refuse_value(problems, &row.value.name, format!("`{name}` is registered twice"));
            }
            if row.value.disabled {
                people.disabled.insert(person.clone());
            }
            if let Some(email) = &row.value.email {
                let written = email.get_ref().trim().to_lowercase();
                if !written.contains('@') || written.len() > MAX_EMAIL || written.contains(char::is_whitespace) {
                    row.refuse_value(problems, email, "not an e-mail address");
                } else if people.addresses.insert(written, person.clone()).is_some() {
                    row.refuse_value(problems, email, "another person has this address; one person, one entry");
                }
            }
            for identity in &row.value.identities {
                let IdentityRow { issuer, subject } = identity.get_ref();
                if issuer.is_empty() || subject.is_empty() {
                    row.refuse_value(problems, identity, "an identity has an issuer and a subject");
                }
                let subjects = people.identities.entry(issuer.clone()).or_default();
                if subjects.insert(subject.clone(), person.clone()).is_some() {
                    row.refuse_value(problems, identity, "another person has this identity; one person, one entry");
                }
            }
        }
        people
    }

    /// Whether somebody of that name is registered.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Whether a person may not act any more.
    pub(super) fn is_disabled(&self, person: &Person) -> bool {
        self.disabled.contains(person)
    }

    /// The person an issuer signed in. The identity decides; where none is registered the address does, so that a second
    /// account of a registered person is not a second person; whoever is not registered is known as `issuer#subject`.
    pub(super) fn operator(&self, issuer: &str, subject: &str, email: Option<&str>, groups: &[String]) -> Operator {
        let registered = self.identities.get(issuer).and_then(|subjects| subjects.get(subject));
        let by_email = || email.and_then(|email| self.addresses.get(&email.trim().to_lowercase()));
        let person = registered.or_else(by_email).cloned();
        Operator {
            person: person.unwrap_or_else(|| Person::new(format!("{issuer}#{subject}"))),
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            email: email.map(str::to_owned),
            groups: groups.to_vec(),
        }
    }

    /// The registered person who has this identity.
    pub(super) fn with_identity(&self, issuer: &str, subject: &str) -> Option<Person> {
        self.identities.get(issuer).and_then(|subjects| subjects.get(subject)).cloned()
    }

    /// The address a registered person has.
    pub(super) fn address(&self, person: &Person) -> Option<&str> {
        self.addresses.iter().find(|(_, owner)| *owner == person).map(|(address, _)| address.as_str())
    }

    /// The registered person of that name or address, however it is capitalised.
    pub(super) fn find(&self, text: &str) -> Option<Person> {
        let written = text.trim().to_lowercase();
        self.names.get(&written).or_else(|| self.addresses.get(&written)).cloned()
    }
}
