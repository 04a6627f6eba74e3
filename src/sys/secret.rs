//! A secret in the configuration is where it is, never what it is.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::SecretString;

/// The longest secret that is read, in bytes.
const MAX_SECRET_BYTES: usize = 16 * 1024;

/// The value of an environment variable; `None` when it is not set, empty, or not UTF-8.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where a secret is: `{ env = "NAME" }` or `{ file = "path" }`. A file must be readable by its owner only, or belong to root
/// and be readable by its group, which is how Kubernetes mounts a Secret for a process that is not root.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum SecretRef {
    /// In an environment variable.
    Env(EnvRef),
    /// In a file, relative to the configuration's folder.
    File(FileRef),
}

/// In an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvRef {
    /// Its name.
    pub env: String,
}

/// In a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// Its path.
    pub file: PathBuf,
}

impl SecretRef {
    /// The secret, without white space around it.
    ///
    /// # Errors
    /// In words: what is missing, or who else could read it, and what to do.
    pub fn read(&self) -> Result<SecretString, String> {
        let text = match self {
            Self::Env(EnvRef { env: name }) => {
                environment(name).ok_or_else(|| format!("the environment variable {name} is not set or is empty"))?
            }
            Self::File(FileRef { file }) => read_private(file)?,
        };
        let secret = text.trim();
        if secret.is_empty() || secret.len() > MAX_SECRET_BYTES {
            return Err(format!("{self} holds no secret (1 to {MAX_SECRET_BYTES} bytes)"));
        }
        Ok(SecretString::from(secret))
    }

    /// The same reference with a file's path taken from `folder` when it is relative.
    #[must_use]
    pub fn below(self, folder: &Path) -> Self {
        match self {
            Self::Env(name) => Self::Env(name),
            Self::File(FileRef { file }) => Self::File(FileRef { file: folder.join(file) }),
        }
    }
}

impl std::fmt::Display for SecretRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(EnvRef { env }) => write!(f, "the environment variable {env}"),
            Self::File(FileRef { file }) => write!(f, "the file {}", file.display()),
        }
    }
}

fn read_private(path: &Path) -> Result<String, String> {
    let why = |error: std::io::Error| format!("the file {} cannot be read: {error}", path.display());
    let mut file = std::fs::File::open(path).map_err(why)?;
    // Asked of the open file, so that nobody can swap it in between.
    let status = file.metadata().map_err(why)?;
    let mode = status.mode();
    if mode & forbidden_bits(status.uid(), rustix::process::geteuid().as_raw()) != 0 {
        let path = path.display();
        return Err(format!(
            "others than its owner may use {path} (mode {:04o}): run `chmod 600 {path}`",
            mode & 0o777
        ));
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(&mut file, 64 * 1024), &mut text).map_err(why)?;
    Ok(text)
}

/// What a secret file's mode may not allow. PostgreSQL has the same rule for its server's key: of a file that root lends us,
/// the group is ours, and reading is all that it may do.
const fn forbidden_bits(owner: u32, me: u32) -> u32 {
    if owner == 0 && me != 0 { 0o037 } else { 0o077 }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::sys::ExposeSecret as _;

    #[test]
    fn only_a_file_that_root_lends_may_be_read_by_its_group() {
        let fine = |mode: u32, owner, me| mode & forbidden_bits(owner, me) == 0;
        assert!(fine(0o440, 0, 65532), "a Secret as Kubernetes mounts it");
        assert!(fine(0o640, 0, 65532) && fine(0o600, 65532, 65532) && fine(0o400, 0, 0));
        for mode in [0o444, 0o460, 0o450, 0o660, 0o641] {
            assert!(!fine(mode, 0, 65532), "{mode:o}");
        }
        assert!(!fine(0o440, 65532, 65532) && !fine(0o440, 0, 0) && !fine(0o440, 1000, 65532));
    }

    #[test]
    fn a_secret_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "s3cret\n").unwrap();
        let secret = SecretRef::File(FileRef { file: PathBuf::from("secret") }).below(folder.path());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refusal = secret.read().unwrap_err();
        assert!(refusal.contains("0640") && refusal.contains("chmod 600"), "{refusal}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(secret.read().unwrap().expose_secret(), "s3cret");
    }

    #[test]
    fn a_secret_is_never_a_value() {
        #[derive(Debug, Deserialize)]
        struct Holder {
            #[expect(dead_code, reason = "only whether it parses is asked")]
            secret: SecretRef,
        }
        assert!(toml::from_str::<Holder>("secret = \"s3cret\"").is_err());
        assert!(toml::from_str::<Holder>("secret = { env = \"A\", file = \"b\" }").is_err());
        assert!(toml::from_str::<Holder>("secret = { env = \"A\" }").is_ok());
    }
}
