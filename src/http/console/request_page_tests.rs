//! The request page, filled by hand: what is shown, in which order, and what no text of an agent's can do to it.

use std::collections::BTreeMap;

use askama::Template as _;
use serde_json::json;

use super::super::page::{Page, Place};
use super::*;
use crate::api::{HistoryView, QuestionView, RevocationView, SiblingView, TermsView};
use crate::broker::Rights;

fn page() -> Page {
    Page {
        title: "release-bot asks".to_owned(),
        place: Place::Inbox,
        nonce: "bm9uY2U".to_owned(),
        csrf: "Y3NyZg".to_owned(),
        person: "jonas".to_owned(),
        rights: Rights { review: true, read: true, audit: true, ..Rights::default() },
        now: Timestamp::from_secs(1_800_000_000),
        pending: "3".to_owned(),
        killed: false,
    }
}

fn scope(scope: &str, risk: u8) -> ScopeDetail {
    ScopeDetail {
        scope: scope.to_owned(),
        action: "write".to_owned(),
        description: "Publish release files under one prefix".to_owned(),
        risk,
        params: BTreeMap::from([("prefix".to_owned(), "v1.4.2/".to_owned())]),
        labels: BTreeMap::from([("env".to_owned(), "prod".to_owned())]),
        inspectable: true,
    }
}

pub(super) fn request() -> RequestView {
    let now = Timestamp::from_secs(1_800_000_000);
    RequestView {
        id: "req_01kaf4cy0h0000000000000000".to_owned(),
        task: "tsk_01kaf4cy0h0000000000000000".to_owned(),
        agent: "release-bot".to_owned(),
        owner: "maya".to_owned(),
        state: "pending".to_owned(),
        sentence: "release-bot wants to WRITE api:releases for 10 minutes: Publish release files under one prefix"
            .to_owned(),
        scopes: vec!["api:releases:write(prefix=v1.4.2/)".to_owned(), "api:releases:read".to_owned()],
        scope_details: vec![scope("api:releases:write(prefix=v1.4.2/)", 80), scope("api:releases:read", 10)],
        risk: 80,
        impact: "high".to_owned(),
        environments: vec!["prod".to_owned()],
        ttl_seconds: 600,
        effect: json!({
            "role": "arn:aws:iam::111122223333:role/releases",
            "session_policy": { "Statement": [{ "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
                "Resource": ["arn:aws:s3:::releases-prod/v1.4.2/*"] }] },
            "seconds": 900,
        }),
        revocation: Some(RevocationView {
            how: "a deny for this one role session".to_owned(),
            strength: "within_minutes".to_owned(),
        }),
        reasons: vec!["High-risk scopes need a person from sre-oncall".to_owned()],
        unusual: vec![
            "First time that it asks for this scope".to_owned(),
            "Outside the hours in which it usually asks".to_owned(),
        ],
        rule: Some("1 of sre-oncall".to_owned()),
        terms: TermsView {
            step_up: "none".to_owned(),
            uses: 1,
            break_glass: Some("1 of incident-commanders".to_owned()),
            break_glass_ttl_seconds: Some(600),
            reason_required: true,
        },
        given: 0,
        verdicts: Vec::new(),
        questions: vec![QuestionView {
            id: "qst_1".to_owned(),
            person: "ana".to_owned(),
            text: "Which commit is this?".to_owned(),
            asked_at: now,
            asserted_answer: Some("3fd0c1, tagged v1.4.2".to_owned()),
            answered_at: Some(now),
        }],
        history: HistoryView { asked: 14, granted: 13, denied: 1, last_granted_at: Some(now) },
        siblings: vec![SiblingView {
            id: "req_2".to_owned(),
            state: "granted".to_owned(),
            scopes: vec!["sandbox:releases:read".to_owned()],
        }],
        review: None,
        asserted_purpose: "Publish release v1.4.2 to the artifact bucket".to_owned(),
        asserted_message: Some("I built v1.4.2 from commit 3fd0c1 and need to upload 14 files.".to_owned()),
        asserted_beneficiary: Some("maya@acme.example".to_owned()),
        asserted_references: BTreeMap::from([("ticket".to_owned(), "REL-482".to_owned())]),
        verified_identity: "https://token.actions.example#repo:acme/web:ref:refs/heads/main".to_owned(),
        request_digest: format!("sha256:{}", "0b".repeat(32)),
        decision: "dec_01kaf4cy0h0000000000000000".to_owned(),
        asked_at: now,
        lapses_at: Some(now.plus_millis(732_000)),
        cannot_decide: None,
    }
}

fn filled(request: RequestView) -> String {
    let bundle = "sha256:ab".to_owned();
    RequestPage { page: page(), note: None, request, bundle, once: "b25jZQ".to_owned(), sign_in_again: false }
        .render()
        .unwrap()
}

#[test]
fn preview() {
    let save = |name: &str, html: String| std::fs::write(format!("/tmp/console-preview/{name}.html"), html).unwrap();
    save("request", filled(request()));
    let mut other = request();
    other.cannot_decide = Some("own_request".to_owned());
    save("own", filled(other));
    let mut other = request();
    other.scope_details[1].inspectable = false;
    other.scope_details[0].scope = "api:releases:write(prefix=v1.\u{430}\u{202E}/)".to_owned();
    other.asserted_message = Some("read \u{202E}only\u{200B} <script>alert(1)</script>".to_owned());
    other.terms.break_glass = None;
    save("odd", filled(other));
    let mut other = request();
    other.state = "granted".to_owned();
    other.lapses_at = None;
    save("granted", filled(other));
}
