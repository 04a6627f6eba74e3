//! The one place that knows every kind of channel. Adding one is a line in [`KINDS`] and a file beside this one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ChannelSettings, Misconfigured, Sender, SenderDeps, slack, smtp, webhook};
use crate::domain::{Name, NoticeKind};

/// Builds a sender of one kind.
pub(super) type Builder = fn(&ChannelSettings, &SenderDeps) -> Result<Arc<dyn Sender>, Misconfigured>;

/// Every kind of channel.
pub const KINDS: &[(&str, Builder)] = &[("slack", slack::build), ("smtp", smtp::build), ("webhook", webhook::build)];

/// The most channels; each looks at the audit events by itself.
const MAX_CHANNELS: usize = 32;

/// One configured way to tell people, and what it is for.
#[derive(Clone)]
pub struct Channel {
    /// Its name.
    pub name: Name,
    /// Its kind.
    pub kind: &'static str,
    /// What sends.
    pub sender: Arc<dyn Sender>,
    groups: Vec<String>,
    events: Vec<NoticeKind>,
}

impl Channel {
    /// Whether it tells of this.
    #[must_use]
    pub fn wants(&self, kind: NoticeKind) -> bool {
        self.events.contains(&kind)
    }

    /// Which of these groups it is for.
    #[must_use]
    pub fn groups_of<'g>(&self, groups: &'g [String]) -> Vec<&'g str> {
        let is_for = |group: &&String| self.groups.is_empty() || self.groups.contains(group);
        groups.iter().filter(is_for).map(String::as_str).collect()
    }
}

/// The configured channels, by name.
#[derive(Clone, Default)]
pub struct Channels(BTreeMap<Name, Channel>);

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.0.values().map(|channel| (&channel.name, channel.kind))).finish()
    }
}

impl Channels {
    /// Build each configured channel.
    ///
    /// # Errors
    /// [`Misconfigured`] naming the channel, when its kind is unknown, its settings are wrong or its name is there twice.
    pub fn build(settings: &[ChannelSettings], deps: &SenderDeps) -> Result<Self, Misconfigured> {
        if settings.len() > MAX_CHANNELS {
            return Err(Misconfigured(format!("there are {} channels, at most {MAX_CHANNELS} can be", settings.len())));
        }
        let mut channels = BTreeMap::new();
        for one in settings {
            let Some((kind, builder)) = KINDS.iter().find(|(kind, _)| *kind == one.kind) else {
                let known: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
                return Err(one.refuse(format_args!("there is no such kind; there are {}", known.join(", "))));
            };
            let channel = Channel {
                name: one.name.clone(),
                kind,
                sender: builder(one, deps)?,
                groups: one.groups.clone(),
                events: one.events.clone(),
            };
            if channels.insert(one.name.clone(), channel).is_some() {
                return Err(one.refuse("its name is there twice"));
            }
        }
        Ok(Self(channels))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The channel of that name.
    #[must_use]
    pub fn find(&self, name: &Name) -> Option<&Channel> {
        self.0.get(name)
    }

    /// Every channel, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.0.values()
    }
}
