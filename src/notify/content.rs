//! What a notice says, in words of ours and of policy's. It is put together once, kept with the notice, and rendered by each kind of
//! channel its own way. The agent's own words are not in it; what an agent could choose, a scope's parameters, is escaped.

use serde::{Deserialize, Serialize};

use crate::domain::{NoticeKind, Timestamp};

/// What a notice says. Members stand in alphabetical order, so that it is written in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Who asks.
    pub agent: String,
    /// The people who brought the outcome about.
    pub by: Vec<String>,
    /// The digest a verdict on what was shown must carry.
    pub digest: String,
    /// What it is about.
    pub event: NoticeKind,
    /// `low`, `medium` or `high`.
    pub impact: String,
    /// When the request lapses, while it waits; when the review is due, where there must be one.
    pub lapses_at: Option<Timestamp>,
    /// Where to read and decide.
    pub link: String,
    /// The people who are not asked, because the request is their own.
    pub not_for: Vec<String>,
    /// How it ended: `granted`, `denied`, `withdrawn` or `lapsed`.
    pub outcome: Option<String>,
    /// Why a person is asked, as policy says.
    pub reasons: Vec<String>,
    /// The request's id.
    pub request: String,
    /// Who must agree.
    pub rule: Option<String>,
    /// What is asked for, as written.
    pub scopes: Vec<String>,
    /// The request in one sentence of ours.
    pub sentence: String,
    /// How long one credential would live.
    pub ttl_seconds: u32,
    /// What deviates from what this agent usually asks for.
    pub unusual: Vec<String>,
    /// The version of this form.
    pub v: u8,
}

impl Content {
    /// What happened, in a few words of ours that hold nothing an agent could choose but its registered name.
    #[must_use]
    pub fn headline(&self) -> String {
        let agent = &self.agent;
        match self.event {
            NoticeKind::Awaited => format!("{agent} asks for access"),
            NoticeKind::Resolved => {
                let by = if self.by.is_empty() { String::new() } else { format!(" by {}", self.by.join(", ")) };
                match self.outcome.as_deref() {
                    Some("granted") => format!("Granted{by}: the request of {agent}"),
                    Some("denied") => format!("Denied{by}: the request of {agent}"),
                    Some("withdrawn") => format!("Withdrawn: the request of {agent}"),
                    _ => format!("Lapsed: nobody answered the request of {agent} in time"),
                }
            }
            NoticeKind::BreakGlass => format!("Break glass: {agent} was let pass by one person"),
            NoticeKind::ReviewDue => format!("A review is due: {agent} was let pass by one person"),
        }
    }

    /// The facts in the order in which they are shown, each with its label; what an agent could choose is not escaped yet.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        let mut add = |label: &'static str, text: String| {
            if !text.is_empty() {
                facts.push((label, text));
            }
        };
        add("Why you are asked", self.reasons.join(" "));
        add("Impact", self.impact.clone());
        add("Credential lives", span(self.ttl_seconds));
        add("Who must agree", self.rule.clone().unwrap_or_default());
        add("By", self.by.join(", "));
        let lapses = self.lapses_at.map(|at| at.to_string()).unwrap_or_default();
        match self.event {
            NoticeKind::Awaited => add("Lapses at", lapses),
            NoticeKind::ReviewDue => add("Due at", lapses),
            NoticeKind::Resolved | NoticeKind::BreakGlass => {}
        }
        add("Not for", self.not_for.join(", "));
        facts
    }
}

/// A length of time in words.
fn span(secs: u32) -> String {
    match (secs / 60, secs % 60) {
        (0, secs) => format!("{secs} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, secs) => format!("{minutes} min {secs} s"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What the renderings are tried on: the scope's parameter is as nasty as an agent could make it.
    pub(in crate::notify) fn content(event: NoticeKind) -> Content {
        let resolved = event == NoticeKind::Resolved;
        Content {
            agent: "release-bot".to_owned(),
            by: if resolved { vec!["jonas".to_owned()] } else { Vec::new() },
            digest: format!("sha256:{}", "0b".repeat(32)),
            event,
            impact: "high".to_owned(),
            lapses_at: Some(Timestamp::from_secs(1_800_000_900)),
            link: "https://hallpass.test/r/req_1".to_owned(),
            not_for: vec!["maya".to_owned()],
            outcome: resolved.then(|| "denied".to_owned()),
            reasons: vec!["High-risk scopes need a person & a half.".to_owned()],
            request: "req_1".to_owned(),
            rule: Some("1 of release-approvers".to_owned()),
            scopes: vec![
                "sandbox:releases:write(prefix=\"<!channel> *v1* <https://evil.example|Approve>\")".to_owned(),
            ],
            sentence: "release-bot asks for sandbox:releases:write for 600 s".to_owned(),
            ttl_seconds: 600,
            unusual: vec!["first time for this scope".to_owned()],
            v: 1,
        }
    }

    #[test]
    fn it_is_written_in_canonical_form_and_read_back() {
        let content = content(NoticeKind::Resolved);
        let text = crate::sys::sorted_json(&content).unwrap();
        assert_eq!(serde_json::from_str::<Content>(&text).unwrap(), content);
    }

    #[test]
    fn the_headline_says_how_it_ended_and_by_whom() {
        let denied = content(NoticeKind::Resolved);
        assert_eq!(denied.headline(), "Denied by jonas: the request of release-bot");
        let lapsed = Content { outcome: Some("lapsed".to_owned()), by: Vec::new(), ..denied };
        assert_eq!(lapsed.headline(), "Lapsed: nobody answered the request of release-bot in time");
        assert_eq!((span(45), span(600), span(605)), ("45 s".into(), "10 min".into(), "10 min 5 s".into()));
    }
}
