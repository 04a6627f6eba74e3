//! What the configuration says of one channel: its name, its kind, for whom and about what, and a table that only its kind can read.
//! Unknown keys are errors there as everywhere.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Misconfigured;
use crate::domain::{Name, NoticeKind};

/// The longest list of groups.
const MAX_GROUPS: usize = 64;

/// `[[notify]]`: one way to tell people.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChannelSettings {
    /// Its name.
    pub name: Name,
    /// Its kind, one of [`super::KINDS`].
    pub kind: String,
    /// For requests that one of these groups decides; for all when absent.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What is told: `awaited`, `resolved`, `break_glass`, `review_due`; everything when absent.
    #[serde(default = "everything")]
    pub events: Vec<NoticeKind>,
    /// Everything else, in the words of its kind.
    #[serde(flatten)]
    pub rest: toml::Table,
}

fn everything() -> Vec<NoticeKind> {
    NoticeKind::ALL.to_vec()
}

impl ChannelSettings {
    /// The settings of its kind.
    ///
    /// # Errors
    /// [`Misconfigured`] naming the channel and the key.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Misconfigured> {
        if self.events.is_empty() || self.groups.len() > MAX_GROUPS {
            return Err(self.refuse("it has no `events`, or more than 64 `groups`; leave them out to mean all"));
        }
        toml::Value::Table(self.rest.clone()).try_into().map_err(|error: toml::de::Error| self.refuse(error.message()))
    }

    /// What is wrong with it.
    pub(super) fn refuse(&self, why: impl std::fmt::Display) -> Misconfigured {
        Misconfigured(format!("channel `{}` of kind `{}`: {why}", self.name, self.kind))
    }
}
