//! What the configuration says of one backend: its name, its kind, and a table that only its kind can read. Unknown keys
//! are errors there as everywhere.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

use super::MintError;
use crate::domain::{CatalogueEntry, Name};
use crate::sys::{canonical_json, is_loopback_url, sorted_json};

/// One backend as configured.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BackendSettings {
    /// Its name, the first part of its scopes.
    pub name: Name,
    /// Its kind, one of [`super::KINDS`].
    pub kind: String,
    /// Everything else, in the words of its kind.
    #[serde(flatten)]
    pub rest: toml::Table,
}

impl BackendSettings {
    /// The settings of its kind.
    ///
    /// # Errors
    /// [`MintError::Misconfigured`] naming the backend and the key.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, MintError> {
        toml::Value::Table(self.rest.clone()).try_into().map_err(|error: toml::de::Error| {
            MintError::Misconfigured(format!("backend `{}` of kind `{}`: {}", self.name, self.kind, error.message()))
        })
    }
}

/// The native effect of a catalogue entry, in the words of its minter.
///
/// # Errors
/// [`MintError::Misconfigured`] naming the entry and the key.
pub(super) fn read_effect<T: DeserializeOwned>(entry: &CatalogueEntry) -> Result<T, MintError> {
    T::deserialize(&entry.effect)
        .map_err(|error| MintError::Misconfigured(format!("the effect of `{}`: {error}", entry.name)))
}

/// The canonical form of an effect (RFC 8785). Our own values always have one; should one not, the plan is refused and nothing is
/// minted.
///
/// # Errors
/// [`MintError::Unsupported`].
pub(super) fn canonical(effect: &impl Serialize) -> Result<String, MintError> {
    canonical_json(effect).map_err(without_form)
}

/// The same of one that is written in canonical order already, see [`sorted_json`].
///
/// # Errors
/// [`MintError::Unsupported`].
pub(super) fn sorted(effect: &impl Serialize) -> Result<String, MintError> {
    sorted_json(effect).map_err(without_form)
}

/// What is wrong when one of our own values cannot be written as JSON.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
pub(super) fn without_form(error: serde_json::Error) -> MintError {
    MintError::Unsupported(format!("no canonical form: {error}"))
}

/// The longest URI of a resource, in bytes.
const MAX_RESOURCE: usize = 512;

/// Whether a text can be the URI of a resource (RFC 8707 §2): absolute, without a fragment. Plain HTTP would send the token in the
/// clear, but for loopback.
pub(super) fn is_resource(text: &str) -> bool {
    let Ok(uri) = Url::parse(text) else { return false };
    let plain = text.len() <= MAX_RESOURCE && text.bytes().all(|b| b.is_ascii_graphic());
    let scheme_ok = match uri.scheme() {
        "https" | "urn" => true,
        "http" => is_loopback_url(&uri),
        _ => false,
    };
    plain && scheme_ok && uri.fragment().is_none() && uri.username().is_empty() && uri.password().is_none()
}
