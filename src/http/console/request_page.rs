//! The request as an approver reads it; the order is the design. What we know comes first and large, what the agent says comes late
//! and in a box, and what decides comes after everything else.

use askama::Template;

use super::effect::{EffectRow, rows};
use super::page::{Note, Page, Reading as _};
use super::text::{self, Shown, exact, has_foreign_letters, life, reveal, reveal_claim, words};
use crate::api::{RequestView, ScopeDetail, VerdictView};
use crate::sys::sha256;

/// What must be typed before something is approved that nobody can inspect.
pub(super) const TYPED: &str = "approve unseen";
/// Lives that are offered instead of the one asked for, in seconds.
const SHORTER: [u32; 9] = [60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400];

#[derive(Template)]
#[template(path = "console/request.html")]
pub(super) struct RequestPage {
    pub(super) page: Page,
    pub(super) note: Option<Note>,
    pub(super) request: RequestView,
    /// The bundle in force, by its digest.
    pub(super) bundle: String,
    /// Names this form, so that it counts once however often it is sent.
    pub(super) once: String,
    /// Whether the sign-in of whoever looks is too old or too weak for a yes.
    pub(super) sign_in_again: bool,
}

/// What the agent says, in one piece.
struct Claim {
    label: &'static str,
    text: Shown,
    left_out: usize,
}

/// A way to put a scope's risk.
struct Risk {
    kind: &'static str,
    words: String,
}

fn risk(risk: u8) -> Risk {
    let (kind, word) = match risk {
        70.. => ("bad", "High"),
        40..=69 => ("wary", "Medium"),
        0..=39 => ("", "Low"),
    };
    Risk { kind, words: format!("{word} risk, {risk} of 100") }
}

impl RequestPage {
    fn here(&self) -> String {
        format!("/r/{}", self.request.id)
    }

    fn sentence(&self) -> Shown {
        reveal(&self.request.sentence)
    }

    fn impact(&self) -> Risk {
        risk(self.request.risk)
    }

    fn is_pending(&self) -> bool {
        self.request.state == "pending"
    }

    fn may_decide(&self) -> bool {
        self.is_pending() && self.request.cannot_decide.is_none()
    }

    fn may_break_glass(&self) -> bool {
        self.is_pending() && self.request.terms.break_glass.is_some() && self.cannot_decide_word() != "own_request"
    }

    fn cannot_decide_word(&self) -> &str {
        self.request.cannot_decide.as_deref().unwrap_or_default()
    }

    /// Why there are no buttons, in one line.
    fn why_not(&self) -> String {
        why_not(self.cannot_decide_word(), &self.request.agent)
    }

    /// How it went, once it did.
    fn outcome(&self) -> Note {
        let agent = &self.request.agent;
        let (kind, title) = match self.request.state.as_str() {
            "granted" => ("", format!("Granted. {agent} may collect its credential.")),
            "denied" => ("danger", format!("Denied. {agent} is told.")),
            "withdrawn" => ("warn", format!("Withdrawn. {agent} no longer asks for it.")),
            "lapsed" => ("warn", "Lapsed. Nobody decided in time, so nothing was granted.".to_owned()),
            other => ("warn", format!("It is {}.", words(other))),
        };
        let mine = self.request.verdicts.iter().find(|verdict| verdict.person == self.page.person);
        let lines = mine.map(|verdict| format!("You {} at {}.", did(verdict), text::when(verdict.at)));
        Note { kind, title, lines: lines.into_iter().collect() }
    }

    /// What the person who looks has said already, while others must still agree.
    fn own_verdict(&self) -> Option<String> {
        let mine = self.request.verdicts.iter().find(|verdict| verdict.person == self.page.person)?;
        let rule = self.request.rule.as_deref().unwrap_or_default();
        Some(format!(
            "You {}. {} so far; it needs {rule}.",
            did(mine),
            text::count(self.request.given.into(), "yes", "yeses")
        ))
    }

    fn scope_text(&self, scope: &ScopeDetail) -> Shown {
        let _ = self;
        exact(&scope.scope)
    }

    fn scope_risk(&self, scope: &ScopeDetail) -> Risk {
        let _ = self;
        risk(scope.risk)
    }

    fn is_foreign(&self, scope: &ScopeDetail) -> bool {
        let _ = self;
        has_foreign_letters(&scope.scope)
    }

    /// Every scope, the dangerous ones first; where nobody described them, as they are written.
    fn scopes(&self) -> Vec<ScopeDetail> {
        if !self.request.scope_details.is_empty() {
            return self.request.scope_details.clone();
        }
        let undescribed = |scope: &String| ScopeDetail {
            scope: scope.clone(),
            action: scope.rsplit(':').next().unwrap_or_default().split('(').next().unwrap_or_default().to_owned(),
            description: String::new(),
            risk: self.request.risk,
            params: std::collections::BTreeMap::new(),
            labels: std::collections::BTreeMap::new(),
            inspectable: true,
        };
        self.request.scopes.iter().map(undescribed).collect()
    }

    /// Whether something is asked for that the catalogue in force does not know.
    pub(super) fn is_uninspectable(&self) -> bool {
        self.request.scope_details.iter().any(|scope| !scope.inspectable)
    }

    fn typed(&self) -> &'static str {
        let _ = self;
        TYPED
    }

    fn effect(&self) -> Vec<EffectRow> {
        rows(&self.request.effect)
    }

    fn life(&self) -> String {
        life(self.request.ttl_seconds)
    }

    fn shorter(&self) -> Vec<(u32, String)> {
        let asked = self.request.ttl_seconds;
        SHORTER.iter().filter(|secs| **secs < asked).rev().map(|secs| (*secs, life(*secs))).collect()
    }

    /// How surely and how fast it ends, in a sentence.
    fn ending(&self) -> String {
        match &self.request.revocation {
            None => "The backend of these scopes is not set up here, so nothing can be said.".to_owned(),
            Some(revocation) => format!("{} How: {}.", strength(&revocation.strength), revocation.how),
        }
    }

    fn claims(&self) -> Vec<Claim> {
        let claim = |label, text: &str| {
            let (text, left_out) = reveal_claim(text);
            Claim { label, text, left_out }
        };
        let mut claims = vec![claim("Purpose", &self.request.asserted_purpose)];
        claims.extend(self.request.asserted_message.as_deref().map(|message| claim("Message", message)));
        claims
    }

    fn history(&self) -> String {
        let (agent, past) = (&self.request.agent, &self.request.history);
        if past.asked == 0 {
            return format!("{agent} has not asked for this in the last 30 days.");
        }
        format!(
            "{agent} asked for this {} in the last 30 days: {} granted, {} denied.",
            text::count(past.asked.into(), "time", "times"),
            past.granted,
            past.denied
        )
    }

    fn said(&self, text: &str) -> Shown {
        let _ = self;
        reveal_claim(text).0
    }

    fn verdict(&self, verdict: &VerdictView) -> String {
        let _ = self;
        did(verdict)
    }

    /// What the parts of this view are told apart by, to say later which of them changed.
    fn fingerprint(&self) -> String {
        fingerprint(&self.request, &self.bundle)
    }

    /// The part of the view that changes while somebody looks; the stream is told it, and tells when it is another.
    fn standing(&self) -> String {
        standing(&self.request)
    }
}

/// What may change about a request while somebody looks at it, as `Broker::request_standing` puts it.
fn standing(request: &RequestView) -> String {
    let answers = request.questions.iter().filter(|question| question.asserted_answer.is_some()).count();
    format!("{}.{}.{}.{answers}", request.state, request.verdicts.len(), request.questions.len())
}

/// What the parts of a view are told apart by: scopes, life, effect, who must agree, and the bundle.
fn fingerprint(request: &RequestView, bundle: &str) -> String {
    let short =
        |text: &str| -> String { data_encoding::HEXLOWER.encode(sha256(text).as_bytes()).chars().take(12).collect() };
    [
        short(&request.scopes.join(" ")),
        request.ttl_seconds.to_string(),
        short(&request.effect.to_string()),
        short(request.rule.as_deref().unwrap_or_default()),
        short(bundle),
    ]
    .join(".")
}

/// What differs between what somebody was shown and what is now, in sentences.
pub(super) fn changed(shown: &str, now: &RequestView, bundle: &str) -> Vec<String> {
    let now = fingerprint(now, bundle);
    let parts = [
        "The scopes",
        "How long it would live",
        "What would be minted",
        "Who must agree",
        "The policy bundle in force",
    ];
    let differs = |(before, after): (&str, &str)| before != after;
    let lines: Vec<String> = shown
        .split('.')
        .zip(now.split('.'))
        .map(differs)
        .zip(parts)
        .filter(|(differs, _)| *differs)
        .map(|(_, part)| format!("{part} changed."))
        .collect();
    if lines.is_empty() { vec!["Something that the verdict is bound to changed.".to_owned()] } else { lines }
}

fn did(verdict: &VerdictView) -> String {
    let mut said = match verdict.verdict.as_str() {
        "approve" if verdict.narrow.is_some() => "approved less than was asked".to_owned(),
        "approve" => "approved it".to_owned(),
        "deny" => "denied it".to_owned(),
        "break_glass" => "broke the glass".to_owned(),
        other => words(other),
    };
    if let Some(person) = &verdict.in_place_of {
        said.push_str(" in place of ");
        said.push_str(person);
    }
    if verdict.passkey {
        said.push_str(", signed with a passkey");
    }
    said
}

fn strength(word: &str) -> &'static str {
    match word {
        "immediate" => "It can be ended at once.",
        "within_seconds" => "It can be ended within seconds.",
        "within_minutes" => "It can be ended within minutes.",
        _ => "It cannot be ended early: it works until its native end.",
    }
}

/// Why somebody may not decide, in one line.
pub(super) fn why_not(word: &str, agent: &str) -> String {
    if let Some(groups) = word.strip_prefix("not_in_group:") {
        let groups = groups.replace(',', ", ");
        return format!("You cannot decide this: only people in {groups} may.");
    }
    match word {
        "own_request" => format!("You cannot decide this: you answer for {agent}, or it asks on your behalf."),
        "already_decided" => "It is decided already.".to_owned(),
        "agent_unknown" => format!("Nobody can decide this: {agent} is not registered any more."),
        "not_permitted" => "You cannot decide this: no policy permits you to.".to_owned(),
        other => format!("You cannot decide this: {}.", words(other)),
    }
}

#[cfg(test)]
#[path = "request_page_tests.rs"]
mod tests;
