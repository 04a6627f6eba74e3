//! What a running `hallpass dev` tells other commands of the same user: where it listens, and the secret of its issuer. The file
//! is in the dev folder, readable by its owner only, and is written anew at each start.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::failure::{Exit, Failure};
use crate::client::TokenSource;
use crate::sys::{ExposeSecret as _, SecretString};

/// The file's name in the dev folder.
const FILE: &str = "dev.json";

/// Where a `hallpass dev` listens and how its issuer is asked.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DevState {
    /// The broker's address.
    pub(crate) server: String,
    /// Where its issuer hands out identity tokens.
    pub(crate) token_endpoint: url::Url,
    /// The sandbox's resource server.
    pub(crate) sandbox: String,
    /// The id of the resource server that may introspect.
    pub(crate) resource_server_id: String,
    /// What the issuer asks for.
    token_secret: String,
    /// The resource server's secret.
    resource_server_secret: String,
}

impl DevState {
    /// With its secrets.
    #[must_use]
    pub(crate) fn new(
        addresses: [&str; 2],
        token_endpoint: url::Url,
        resource_server_id: &str,
        secrets: [&SecretString; 2],
    ) -> Self {
        let [server, sandbox] = addresses.map(str::to_owned);
        let [token_secret, resource_server_secret] = secrets.map(|secret| secret.expose_secret().to_owned());
        let resource_server_id = resource_server_id.to_owned();
        Self { server, token_endpoint, sandbox, resource_server_id, token_secret, resource_server_secret }
    }

    /// Read it.
    ///
    /// # Errors
    /// [`Failure`] when there is none, or others may read it.
    pub(crate) fn load(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(FILE);
        let wrong = |why: String| {
            Failure::new(Exit::Unauthenticated, format!("{}: {why}", path.display())).fix(
                "start `hallpass dev` in this folder, or name its folder with --dev-dir; --as works with `dev` only",
            )
        };
        let file = std::fs::File::open(&path).map_err(|error| wrong(error.to_string()))?;
        let mode = file.metadata().map_err(|error| wrong(error.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(wrong(format!("others than its owner may use it (mode {:04o})", mode & 0o777)));
        }
        serde_json::from_reader(std::io::Read::take(file, 64 * 1024)).map_err(|error| wrong(error.to_string()))
    }

    /// Write it, for its owner only.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn save(&self, folder: &Path) -> std::io::Result<()> {
        let (path, fresh) = (folder.join(FILE), folder.join("dev.json.new"));
        let _ = std::fs::remove_file(&fresh);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&fresh, &path)
    }

    /// Forget it, when the issuer stops.
    pub(crate) fn remove(folder: &Path) {
        let _ = std::fs::remove_file(folder.join(FILE));
    }

    /// Where tokens of one of the sample agents or people come from.
    ///
    /// # Errors
    /// [`Failure`] when the name cannot be one.
    pub(crate) fn tokens(&self, name: &str) -> Result<TokenSource, Failure> {
        if name.is_empty() || name.len() > 64 {
            return Err(Failure::usage("--as names one of the sample agents or people, e.g. release-bot"));
        }
        Ok(TokenSource::DevIssuer {
            endpoint: self.token_endpoint.clone(),
            secret: SecretString::from(self.token_secret.as_str()),
            ask: serde_json::json!({ "name": name }),
        })
    }

    /// Like [`Self::tokens`], for another audience or another life than usual.
    #[must_use]
    pub(crate) fn odd_tokens(&self, ask: serde_json::Value) -> TokenSource {
        let secret = SecretString::from(self.token_secret.as_str());
        TokenSource::DevIssuer { endpoint: self.token_endpoint.clone(), secret, ask }
    }

    /// The secret with which the resource server introspects.
    #[must_use]
    pub(crate) fn resource_server_secret(&self) -> SecretString {
        SecretString::from(self.resource_server_secret.as_str())
    }
}
