//! What the configuration says of one backend: its name, its kind, and a table that only its kind can read. Unknown keys
//! are errors there as everywhere.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::MintError;
use crate::domain::{CatalogueEntry, Name};

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
