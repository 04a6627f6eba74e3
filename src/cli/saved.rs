//! The sessions `hallpass login` got, one for each server: in a file of their own under the person's configuration, for its owner
//! only. What others may read is not used, as it may not be the person's alone any more.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::failure::{Exit, Failure};
use crate::app::env;
use crate::domain::Timestamp;
use crate::sys::{ExposeSecret as _, SecretString};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// A session as it is kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedSession {
    /// The bearer.
    token: String,
    /// When it ends.
    pub(super) ends_at: Timestamp,
}

impl SavedSession {
    pub(super) fn new(token: &SecretString, ends_at: Timestamp) -> Self {
        Self { token: token.expose_secret().to_owned(), ends_at }
    }

    /// The bearer.
    pub(super) fn token(&self) -> SecretString {
        SecretString::from(self.token.as_str())
    }
}

/// The file, by server.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    servers: BTreeMap<String, SavedSession>,
}

/// Where sessions are kept.
pub(super) struct SavedSessions(PathBuf);

impl SavedSessions {
    /// In `$XDG_CONFIG_HOME/hallpass`, or `~/.config/hallpass`; nowhere when neither is known.
    pub(super) fn of_this_person() -> Option<Self> {
        let absolute = |path: String| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
        let config = env::read(env::XDG_CONFIG_HOME).and_then(absolute);
        let config = config.or_else(|| Some(env::read(env::HOME).and_then(absolute)?.join(".config")))?;
        Some(Self(config.join("hallpass/sessions.json")))
    }

    /// The session at a server, if there is one.
    ///
    /// # Errors
    /// [`Failure`] when the file cannot be read, or others may use it.
    pub(super) fn find(&self, server: &str) -> Result<Option<SavedSession>, Failure> {
        Ok(self.load()?.servers.remove(server))
    }

    /// Keep a session, or none any more.
    ///
    /// # Errors
    /// [`Failure`] when the file cannot be read or written.
    pub(super) fn set(&self, server: &str, session: Option<SavedSession>) -> Result<(), Failure> {
        let mut file = self.load()?;
        match session {
            Some(session) => file.servers.insert(server.to_owned(), session),
            None => file.servers.remove(server),
        };
        self.save(&file).map_err(|error| self.wrong(&error))
    }

    fn load(&self) -> Result<File, Failure> {
        let file = match std::fs::File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
            Err(error) => return Err(self.wrong(&error)),
        };
        let mode = file.metadata().map_err(|error| self.wrong(&error))?.permissions().mode();
        if mode & 0o077 != 0 {
            let path = self.0.display();
            return Err(Failure::new(
                Exit::Unauthenticated,
                format!("others than you may use {path} (mode {:04o}), so it is not used", mode & 0o777),
            )
            .fix(format!(
                "run `chmod 600 {path}`; if anybody may have read it, run `hallpass session end --all` then"
            )));
        }
        serde_json::from_reader(std::io::Read::take(file, MAX_BYTES)).map_err(|error| self.wrong(&error))
    }

    fn save(&self, file: &File) -> std::io::Result<()> {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let fresh = self.0.with_extension("json.new");
        let _ = std::fs::remove_file(&fresh);
        let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        out.write_all(&serde_json::to_vec_pretty(file)?)?;
        out.sync_all()?;
        std::fs::rename(&fresh, &self.0)
    }

    fn wrong(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::new(Exit::Failure, format!("{} cannot be used: {error}", self.0.display()))
            .fix("mend or delete the file, then run `hallpass login`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_kept_for_its_owner_only_and_for_its_server_only() {
        let folder = tempfile::tempdir().unwrap();
        let saved = SavedSessions(folder.path().join("hallpass/sessions.json"));
        assert!(saved.find("https://a").unwrap().is_none());
        for (server, token) in [("https://a", "hps_a"), ("https://b", "hps_b")] {
            let session = SavedSession::new(&SecretString::from(token), Timestamp::from_secs(60));
            saved.set(server, Some(session)).unwrap();
        }
        assert_eq!(saved.find("https://a").unwrap().unwrap().token().expose_secret(), "hps_a");
        assert_eq!(std::fs::metadata(&saved.0).unwrap().permissions().mode() & 0o777, 0o600);
        saved.set("https://a", None).unwrap();
        assert!(saved.find("https://a").unwrap().is_none() && saved.find("https://b").unwrap().is_some());
        std::fs::set_permissions(&saved.0, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = saved.find("https://b").map(drop).unwrap_err();
        assert_eq!(refused.exit, Exit::Unauthenticated);
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
    }
}
