//! How a child gets its credentials: in its environment, and as a JSON file that only this user can read and that is gone
//! afterwards.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::api::Credential;
use crate::cli::failure::{Exit, Failure};

/// The variable with the task's id.
pub(crate) const TASK: &str = "HALLPASS_TASK";
/// The variable with the path of the credentials file.
pub(crate) const CREDENTIALS_FILE: &str = "HALLPASS_CREDENTIALS_FILE";

/// The variables of some credentials. A kind's variable is set when there is one credential of it; with several, each has a
/// variable of its own that ends in backend and resource.
#[must_use]
pub(crate) fn variables(task: &str, credentials: &[Credential]) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::from([(TASK.to_owned(), task.to_owned())]);
    for (name, value) in named(credentials, "jwt", "access_token", "HALLPASS_ACCESS_TOKEN") {
        variables.insert(name, value);
    }
    for (name, value) in named(credentials, "sandbox", "token", "SANDBOX_TOKEN") {
        variables.insert(name, value);
    }
    variables
}

fn named(credentials: &[Credential], kind: &str, member: &str, variable: &str) -> Vec<(String, String)> {
    let of_kind: Vec<(&Credential, &String)> = credentials
        .iter()
        .filter(|credential| credential.kind == kind)
        .filter_map(|credential| credential.values.get(member).map(|value| (credential, value)))
        .collect();
    match of_kind.as_slice() {
        [] => Vec::new(),
        [(_, value)] => vec![(variable.to_owned(), (*value).clone())],
        several => several
            .iter()
            .flat_map(|(credential, value)| {
                credential.scopes.iter().map(move |scope| (format!("{variable}_{}", suffix(scope)), (*value).clone()))
            })
            .collect(),
    }
}

/// `api:release-list:read(prefix=a)` → `API_RELEASE_LIST`.
fn suffix(scope: &str) -> String {
    let name = scope.split('(').next().unwrap_or(scope);
    let parts: Vec<&str> = name.split(':').take(2).collect();
    parts.join("_").chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

#[derive(Serialize)]
struct CredentialsFile<'a> {
    task: &'a str,
    credentials: &'a [Credential],
}

/// A folder of its own for one file; both are gone when this is dropped.
pub(crate) struct TempFile {
    folder: PathBuf,
    path: PathBuf,
}

impl TempFile {
    /// Write the credentials, for this user only. `unique` makes the folder's name one nobody can have guessed.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be written.
    pub(crate) fn write(unique: &str, task: &str, credentials: &[Credential]) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("hallpass-{unique}"));
        let why = |error: std::io::Error| {
            Failure::new(
                Exit::Failure,
                format!("the credentials file below {} cannot be written: {error}", folder.display()),
            )
            .fix("set TMPDIR to a folder you can write")
        };
        std::fs::DirBuilder::new().mode(0o700).create(&folder).map_err(why)?;
        let made = Self { path: folder.join("credentials.json"), folder: folder.clone() };
        let text =
            serde_json::to_vec(&CredentialsFile { task, credentials }).map_err(std::io::Error::from).map_err(why)?;
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&made.path).map_err(why)?;
        file.write_all(&text).map_err(why)?;
        Ok(made)
    }

    /// Where it is.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            crate::cli::output::say(&format!("warning: {} could not be removed: {error}", self.folder.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RevocationView;
    use crate::domain::Timestamp;

    fn credential(kind: &str, member: &str, scope: &str, value: &str) -> Credential {
        Credential {
            id: "lse_1".to_owned(),
            request: "req_1".to_owned(),
            kind: kind.to_owned(),
            scopes: vec![scope.to_owned()],
            values: BTreeMap::from([(member.to_owned(), value.to_owned())]),
            sealed: None,
            usable_until: Timestamp::from_secs(1),
            native_end: Timestamp::from_secs(1),
            revocation: RevocationView { how: String::new(), strength: String::new() },
        }
    }

    #[test]
    fn one_credential_of_a_kind_has_the_short_name() {
        let credentials = [
            credential("jwt", "access_token", "api:releases:read", "J"),
            credential("sandbox", "token", "sandbox:releases:read", "S"),
        ];
        let variables = variables("tsk_1", &credentials);
        assert_eq!(variables["HALLPASS_ACCESS_TOKEN"], "J");
        assert_eq!(variables["SANDBOX_TOKEN"], "S");
        assert_eq!(variables["HALLPASS_TASK"], "tsk_1");
    }

    #[test]
    fn several_credentials_of_a_kind_are_told_apart() {
        let credentials = [
            credential("jwt", "access_token", "api:release-list:read", "A"),
            credential("jwt", "access_token", "web:pages:write(prefix=a:b)", "B"),
        ];
        let variables = variables("tsk_1", &credentials);
        assert_eq!(variables["HALLPASS_ACCESS_TOKEN_API_RELEASE_LIST"], "A");
        assert_eq!(variables["HALLPASS_ACCESS_TOKEN_WEB_PAGES"], "B");
        assert!(!variables.contains_key("HALLPASS_ACCESS_TOKEN"), "which of the two would it be?");
    }

    #[test]
    fn the_credentials_file_is_private_and_goes_away() {
        use std::os::unix::fs::PermissionsExt as _;
        let unique = format!("test-{}", std::process::id());
        let file = TempFile::write(&unique, "tsk_1", &[]).unwrap();
        let path = file.path().to_path_buf();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.parent().unwrap().exists());
    }
}
