//! What a catalogue entry puts into a certificate, and the one place where a scope's parameters get into it. A value stands in one
//! attribute of the subject or one alternative name, and is less than a whole part of it could be: no value adds another.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::domain::CatalogueEntry;
use crate::minter::settings::{canonical, read_effect};
use crate::minter::template::{Values, fill};
use crate::minter::{MintError, MintOrder};

/// The most alternative names of one kind.
const MAX_NAMES: usize = 16;
/// The longest attribute of a subject, in characters (RFC 5280 appendix A.1, `ub-common-name` and its kin).
const MAX_ATTRIBUTE: usize = 64;
/// The longest alternative name, in bytes.
const MAX_NAME: usize = 256;

/// The native effect of a catalogue entry: texts with `{parameter}` in them.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Effect {
    #[serde(default)]
    common_name: Option<String>,
    #[serde(default)]
    organization: Option<String>,
    #[serde(default)]
    organizational_unit: Option<String>,
    /// URIs, e.g. of SPIFFE.
    #[serde(default)]
    uris: Option<Vec<String>>,
    #[serde(default)]
    dns_names: Option<Vec<String>>,
    #[serde(default)]
    emails: Option<Vec<String>>,
    /// Whether the subject says for which lease, task and agent it was made; not where a server compares the whole subject.
    #[serde(default = "yes")]
    reason_in_subject: bool,
}

const fn yes() -> bool {
    true
}

/// Whom a certificate names. At least one thing is named besides the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) common_name: Option<String>,
    pub(super) organization: Option<String>,
    pub(super) organizational_unit: Option<String>,
    pub(super) uris: BTreeSet<String>,
    pub(super) dns_names: BTreeSet<String>,
    pub(super) emails: BTreeSet<String>,
    pub(super) reason_in_subject: bool,
}

/// Where a parameter's value gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Attribute,
    Uri,
    Dns,
    Email,
}

impl Effect {
    /// Read and check an entry's.
    pub(super) fn read(entry: &CatalogueEntry) -> Result<Self, MintError> {
        let effect: Self = read_effect(entry)?;
        let checked = effect.fill(&Values::Declared(entry));
        checked.map_err(|why| MintError::Misconfigured(format!("the effect of `{}`: {why}", entry.name)))?;
        Ok(effect)
    }

    /// What scopes must have in common to share a certificate: everything. Two names in one certificate could together be more
    /// than each is alone.
    pub(super) fn bucket(&self) -> Result<String, MintError> {
        canonical(self)
    }

    fn fill(&self, values: &Values<'_>) -> Result<Profile, String> {
        let one = |what: &str, text: &Option<String>| {
            let put = |text: &String| put(text, values, Place::Attribute).map_err(|why| format!("`{what}`: {why}"));
            text.as_ref().map(put).transpose()
        };
        let all = |what: &str, texts: &Option<Vec<String>>, place: Place| {
            let Some(texts) = texts else { return Ok(BTreeSet::new()) };
            if texts.is_empty() || texts.len() > MAX_NAMES {
                return Err(format!("`{what}` has 1 to {MAX_NAMES} items; leave out what is not wanted"));
            }
            let put = |text: &String| put(text, values, place).map_err(|why| format!("`{what}`, `{text}`: {why}"));
            texts.iter().map(put).collect()
        };
        let profile = Profile {
            common_name: one("common_name", &self.common_name)?,
            organization: one("organization", &self.organization)?,
            organizational_unit: one("organizational_unit", &self.organizational_unit)?,
            uris: all("uris", &self.uris, Place::Uri)?,
            dns_names: all("dns_names", &self.dns_names, Place::Dns)?,
            emails: all("emails", &self.emails, Place::Email)?,
            reason_in_subject: self.reason_in_subject,
        };
        // Empty never means all, also for a server that takes any certificate: what it logs must be somebody.
        let nobody = profile.common_name.is_none() && profile.names().next().is_none();
        if nobody { Err("it needs a `common_name`, `uris`, `dns_names` or `emails`".to_owned()) } else { Ok(profile) }
    }
}

impl Profile {
    /// Whom the scopes of an order name: all of them the same.
    pub(super) fn of(order: &MintOrder<'_>) -> Result<Self, MintError> {
        let mut together: Option<Self> = None;
        for (scope, entry) in &order.scopes {
            let filled = Effect::read(entry)?.fill(&Values::Given(scope.params()));
            let own = filled.map_err(|why| MintError::Unsupported(format!("`{scope}`: {why}")))?;
            if together.get_or_insert_with(|| own.clone()) != &own {
                let why = "a certificate names one holder; ask for these scopes in requests of their own";
                return Err(MintError::Unsupported(why.to_owned()));
            }
        }
        together.ok_or_else(|| MintError::Unsupported("no scopes".to_owned()))
    }

    /// The attributes of its subject, in words.
    pub(super) fn subject(&self) -> impl Iterator<Item = String> {
        [("CN", &self.common_name), ("O", &self.organization), ("OU", &self.organizational_unit)]
            .into_iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")))
    }

    /// Its alternative names, in words.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let of = |kind: &'static str, names: &BTreeSet<String>| {
            names.iter().map(|name| format!("{kind}:{name}")).collect::<Vec<_>>()
        };
        [of("URI", &self.uris), of("DNS", &self.dns_names), of("email", &self.emails)].into_iter().flatten()
    }
}

/// Put values in the places of their names. This is the only way by which anything of a request gets into a certificate.
fn put(template: &str, values: &Values<'_>, place: Place) -> Result<String, String> {
    let scheme_is_fixed = template.split('{').next().is_some_and(|before| before.contains(':'));
    if place == Place::Uri && !scheme_is_fixed {
        return Err("a URI begins with its scheme, which no parameter may choose".to_owned());
    }
    let (text, known) = fill(template, values, |before, name, value| admit(place, before, name, value))?;
    // What is made of names alone is looked at when it has its values.
    if known { fit(text, place) } else { Ok(text) }
}

/// Whether a value may stand there: never what ends the part that it stands in.
fn admit(place: Place, before: &str, name: &str, value: &str) -> Result<(), String> {
    let more: &[u8] = match place {
        Place::Attribute => b"._@:-",
        Place::Uri => b"._~-",
        Place::Dns => b"-",
        Place::Email if before.contains('@') => b"-",
        Place::Email => b"._-",
    };
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b)) {
        return Ok(());
    }
    let more = String::from_utf8_lossy(more);
    Err(format!("the value of `{name}` may have letters, digits and `{more}` there, and nothing else"))
}

/// The text as it stands in the certificate, if it means there what it says.
fn fit(text: String, place: Place) -> Result<String, String> {
    match place {
        Place::Attribute => attribute(&text)?,
        Place::Uri => uri(&text)?,
        Place::Dns => dns(&text)?,
        Place::Email => email(&text)?,
    }
    Ok(text)
}

/// An attribute of the subject. Logs and access rules print subjects in forms of which some escape nothing, so what stands between
/// attributes in any of them is not taken.
fn attribute(text: &str) -> Result<(), String> {
    let length = text.chars().count();
    if length == 0 || length > MAX_ATTRIBUTE {
        return Err(format!("not 1 to {MAX_ATTRIBUTE} characters"));
    }
    if text.starts_with(' ') || text.ends_with(' ') || text.contains("  ") {
        return Err("a space stands between two words".to_owned());
    }
    if text.chars().all(|c| c.is_alphanumeric() || " ._@:-'()&".contains(c)) {
        Ok(())
    } else {
        Err("an attribute has letters, digits, spaces and `._@:-'()&`".to_owned())
    }
}

fn uri(text: &str) -> Result<(), String> {
    if text.len() > MAX_NAME {
        return Err(format!("longer than {MAX_NAME} bytes"));
    }
    let url = Url::parse(text).map_err(|error| format!("not a URI: {error}"))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=".contains(&b);
    if !text.bytes().all(plain) || url.as_str() != text {
        // `..`, `%2e`, a capital in a host, a default port: whoever normalises it would read another one.
        return Err(format!("a URI is written in its one normal form, {url}"));
    }
    let opaque = url.cannot_be_a_base();
    if (url.host_str().is_none_or(str::is_empty) && !opaque) || !url.username().is_empty() || url.fragment().is_some() {
        return Err("a URI has a host, no user and no fragment".to_owned());
    }
    Ok(())
}

fn dns(text: &str) -> Result<(), String> {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(letter) && !label.starts_with('-') && !label.ends_with('-')
    };
    let number = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if text.len() > 253 || number || !text.split('.').all(label) {
        return Err(
            "a DNS name has labels of small letters, digits and `-` with `.` between, and no wildcard".to_owned()
        );
    }
    Ok(())
}

fn email(text: &str) -> Result<(), String> {
    let (local, domain) = text.split_once('@').ok_or("an email address has an `@`")?;
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b));
    if local.len() > 64 || !local.split('.').all(word) {
        return Err("an email address has letters, digits and `._+-` before the `@`".to_owned());
    }
    dns(domain)
}

#[cfg(test)]
mod tests;
