//! The one place that knows every kind of backend. Adding one is a line in [`KINDS`] and a file beside this one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{
    BackendSettings, MintError, Minter, SandboxBackend, aws, github, jwt, kubernetes, oauth, postgres, redis, sandbox,
    ssh, x509,
};
use crate::domain::{Catalogue, Name};
use crate::sys::keys::KeyRing;
use crate::sys::{Clock, Entropy};

/// What minters are built from besides their settings.
#[derive(Clone)]
pub struct MinterDeps {
    /// The keys that sign.
    pub keyring: Arc<KeyRing>,
    /// Our public URL, the `iss` of what we sign, byte for byte as in our metadata.
    pub issuer_url: String,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The deployment's mark on what it makes in a backend, by which it leaves alone what another made.
    pub deployment: String,
    /// The configuration's folder, which files in a backend's settings are relative to.
    pub folder: PathBuf,
    /// The sandbox, where there is one: in `hallpass dev` and in tests.
    pub sandbox: Option<Arc<SandboxBackend>>,
}

/// Builds a minter of one kind.
pub type Builder = fn(&BackendSettings, &MinterDeps) -> Result<Arc<dyn Minter>, MintError>;

/// Every kind of backend.
pub const KINDS: &[(&str, Builder)] = &[
    ("aws", aws::build),
    ("github", github::build),
    ("jwt", jwt::build),
    ("kubernetes", kubernetes::build),
    ("oauth", oauth::build),
    ("postgres", postgres::build),
    ("redis", redis::build),
    ("sandbox", sandbox::build),
    ("ssh", ssh::build),
    ("x509", x509::build),
];

/// The minters of all configured backends, by the backend's name.
#[derive(Clone, Default)]
pub struct Minters(BTreeMap<Name, Arc<dyn Minter>>);

impl std::fmt::Debug for Minters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, minter)| (name, minter.kind()))).finish()
    }
}

impl Minters {
    /// Build a minter for each configured backend.
    ///
    /// # Errors
    /// [`MintError::Misconfigured`] naming the backend, when its kind is unknown, its settings are wrong or its name is
    /// there twice.
    pub fn build(backends: &[BackendSettings], deps: &MinterDeps) -> Result<Self, MintError> {
        let mut minters = BTreeMap::new();
        for settings in backends {
            let Some((_, builder)) = KINDS.iter().find(|(kind, _)| *kind == settings.kind) else {
                let known: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
                return Err(MintError::Misconfigured(format!(
                    "backend `{}`: there is no kind `{}`; there are {}",
                    settings.name,
                    settings.kind,
                    known.join(", ")
                )));
            };
            if minters.insert(settings.name.clone(), builder(settings, deps)?).is_some() {
                return Err(MintError::Misconfigured(format!("the backend `{}` is there twice", settings.name)));
            }
        }
        Ok(Self(minters))
    }

    /// The minter of the backend of that name.
    #[must_use]
    pub fn find(&self, backend: &Name) -> Option<&Arc<dyn Minter>> {
        self.0.get(backend)
    }

    /// Every minter, in order of its backend's name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Arc<dyn Minter>)> {
        self.0.iter()
    }

    /// What is wrong with a catalogue's native effects, entry by entry: an unknown backend, or an effect its minter cannot
    /// read. Empty when all can be minted.
    #[must_use]
    pub fn check_catalogue(&self, catalogue: &Catalogue) -> Vec<MintError> {
        let problem = |entry: &crate::domain::CatalogueEntry| match self.find(entry.name.backend()) {
            Some(minter) => minter.bucket(entry).err(),
            None => Some(MintError::Misconfigured(format!(
                "`{}`: no backend `{}` is configured",
                entry.name,
                entry.name.backend()
            ))),
        };
        catalogue.entries().filter_map(problem).collect()
    }
}
