//! From a file and a few overrides to a configuration that may be used.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError, DEFAULT_PATH};
use crate::app::env;

/// The largest configuration that is read, in bytes.
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// What stands above the file: flags, then environment variables.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Instead of `server.listen`.
    pub listen: Option<SocketAddr>,
    /// Instead of `store.url`.
    pub store_url: Option<String>,
}

impl Overrides {
    /// What the environment says.
    ///
    /// # Errors
    /// [`ConfigError::Refused`] when `HALLPASS_LISTEN` is no address.
    pub fn from_environment() -> Result<Self, ConfigError> {
        let listen = env::read(env::LISTEN).map(|text| text.parse::<SocketAddr>()).transpose().map_err(|_| {
            ConfigError::Refused {
                path: PathBuf::from(env::LISTEN),
                problems: vec!["it is no address and port; write it like 127.0.0.1:8600".to_owned()],
            }
        })?;
        Ok(Self { listen, store_url: env::read(env::STORE_URL) })
    }
}

impl Config {
    /// Where the configuration is: as told, else `HALLPASS_CONFIG`, else `hallpass.toml` here.
    #[must_use]
    pub fn locate(told: Option<&Path>) -> PathBuf {
        told.map(Path::to_path_buf)
            .or_else(|| env::read(env::CONFIG).map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from(DEFAULT_PATH))
    }

    /// Read the file, apply the overrides, and refuse what must not be used.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong and what to do.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_path_buf(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_CONFIG_BYTES), &mut text)
            .map_err(unreadable)?;
        Self::parse(path, &text, overrides)
    }

    /// Like [`Self::load`], from text.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong and what to do.
    pub fn parse(path: &Path, text: &str, overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_path_buf(),
            text: format!("{}\n  every key is described in docs/configuration.md", error.to_string().trim_end()),
        })?;
        config.path = path.to_path_buf();
        if let Some(listen) = overrides.listen {
            config.server.listen = listen;
        }
        if let Some(url) = &overrides.store_url {
            config.store.url.clone_from(url);
        }
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        config.take_paths_from(&folder);
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Refused { path: path.to_path_buf(), problems }) }
    }

    /// Paths are written relative to the configuration, so that it does not matter where the process was started.
    fn take_paths_from(&mut self, folder: &Path) {
        self.server.data_dir = folder.join(&self.server.data_dir);
        self.policy.folder = folder.join(&self.policy.folder);
        if let Some(tls) = &mut self.server.tls {
            tls.cert_file = folder.join(&tls.cert_file);
            tls.key_file = folder.join(&tls.key_file);
        }
        self.keys.kek = self.keys.kek.clone().below(folder);
        self.store.password = self.store.password.take().map(|password| password.below(folder));
        for server in &mut self.resource_servers {
            server.secret = server.secret.clone().below(folder);
        }
        if let Some(sign_in) = &mut self.sign_in {
            sign_in.client_secret = sign_in.client_secret.take().map(|secret| secret.below(folder));
        }
        for issuer in &mut self.issuers {
            for path in [&mut issuer.jwks_file, &mut issuer.ca_file, &mut issuer.bearer_file].into_iter().flatten() {
                *path = folder.join(&*path);
            }
        }
        if let Some(file) = self.store.url.strip_prefix("sqlite:")
            && !file.starts_with(':')
            && !file.starts_with("//")
        {
            self.store.url = format!("sqlite:{}", self.server.data_dir.join(file).display());
        }
    }
}
