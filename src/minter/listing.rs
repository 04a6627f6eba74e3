//! Ending by a revocation list: since when each credential is on it, and a file that it is kept in. Verifiers that fetch the list
//! ask us for nothing else, so a credential is gone only when each of them had the time to fetch one that names it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{CredentialRef, MintError, Over, Revoked};
use crate::domain::{Handle, Timestamp};

/// From the end of a lease until the list that says so is out, in milliseconds: the commit, and the chore that publishes it.
const UNTIL_LISTED_MILLIS: i64 = 5_000;
/// How old a list may be that another replica answers with, in milliseconds.
const STALE_MILLIS: i64 = 2_000;

/// What verifiers can know.
pub(super) struct Listing {
    /// Who fetches the list, in one word.
    verifiers: &'static str,
    poll_seconds: u32,
    file: Option<PathBuf>,
    /// What is on the published list, as this replica knows.
    listed: Mutex<Listed>,
}

#[derive(Default)]
struct Listed {
    since: HashMap<Handle, Timestamp>,
    /// What stands in the file.
    written: Vec<u8>,
}

impl Listing {
    /// Of a list that each of the verifiers fetches within so many seconds, and that is kept in a file as well if one is named.
    pub(super) fn new(verifiers: &'static str, poll_seconds: u32, file: Option<PathBuf>) -> Self {
        Self { verifiers, poll_seconds, file, listed: Mutex::default() }
    }

    fn listed(&self) -> MutexGuard<'_, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How fast verifiers learn of it, for [`super::Revocability`].
    pub(super) const fn strength(&self) -> &'static str {
        if self.poll_seconds < 60 { "within_seconds" } else { "within_minutes" }
    }

    /// What is known of a credential whose end is on record.
    pub(super) fn told(&self, credential: CredentialRef<'_>, now: Timestamp) -> Revoked {
        let poll_millis = i64::from(self.poll_seconds).saturating_mul(1000);
        let since = self.listed().since.get(credential.handle).copied();
        let by = match since {
            Some(since) => since.plus_millis(poll_millis.saturating_add(STALE_MILLIS)),
            None => now.plus_millis(poll_millis.saturating_add(UNTIL_LISTED_MILLIS)),
        };
        match since {
            Some(since) if by <= now && now < credential.native_end => Revoked::Gone(format!(
                "on the revocation list since {since}, which {} fetch every {} s",
                self.verifiers, self.poll_seconds
            )),
            Some(_) | None => Revoked::EndsBy(by.min(credential.native_end)),
        }
    }

    /// Put the list into the file, and remember since when it names each of these.
    pub(super) async fn publish(&self, over: &[Over<'_>], bytes: &[u8], now: Timestamp) -> Result<(), MintError> {
        if let Some(file) = &self.file
            && self.listed().written != bytes
        {
            replace(file, bytes).await.map_err(|error| {
                MintError::Unavailable(format!("the revocation list {} cannot be written: {error}", file.display()))
            })?;
        }
        let mut listed = self.listed();
        let since = |over: &Over<'_>| {
            let handle = over.credential.handle;
            (handle.clone(), listed.since.get(handle).copied().unwrap_or(now))
        };
        let since = over.iter().map(since).collect();
        *listed = Listed { since, written: bytes.to_vec() };
        Ok(())
    }

    /// What an operator must mend of the file, which the settings have under this name.
    pub(super) fn check(&self, setting: &str) -> Option<String> {
        let folder = self.file.as_deref().and_then(Path::parent).filter(|folder| !folder.is_dir())?;
        Some(format!(
            "the folder {} of `{setting}` is not there: make it, and let the broker write to it",
            folder.display()
        ))
    }
}

/// Write a file so that whoever reads it finds the old one or the new one, whole.
async fn replace(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    // Another replica may be writing the same file.
    name.push(format!(".new-{}", std::process::id()));
    let new = file.with_file_name(name);
    let mut to = tokio::fs::File::create(&new).await?;
    tokio::io::AsyncWriteExt::write_all(&mut to, bytes).await?;
    to.sync_all().await?;
    drop(to);
    tokio::fs::rename(&new, file).await
}
