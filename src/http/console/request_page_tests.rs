//! The request page, filled by hand: what is shown, in which order, and what no text of an agent's can do to it.

use std::collections::BTreeMap;

use askama::Template as _;
use serde_json::json;

use super::super::page::{Page, Place};
use super::*;
use crate::api::{HistoryView, QuestionView, RevocationView, SiblingView, TermsView};
use crate::broker::Rights;
use crate::domain::Timestamp;

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

fn request() -> RequestView {
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

/// The text of a page, without tags.
fn read_aloud(html: &str) -> String {
    let mut inside = false;
    let outside = |c: &char| {
        let was = inside;
        match c {
            '<' => inside = true,
            '>' => inside = false,
            _ => {}
        }
        !was && !inside
    };
    html.chars().filter(outside).collect()
}

/// What stands between two texts, for each time they come.
fn between<'a>(html: &'a str, from: &'a str, to: &'a str) -> Vec<&'a str> {
    html.split(from).skip(1).filter_map(|rest| rest.split(to).next()).collect()
}

#[test]
fn the_order_is_the_design() {
    let page = filled(request());
    let places: Vec<usize> = [
        "<h1>",
        "Why you are asked",
        "What is unusual",
        "id=\"who\"",
        "What gets minted",
        "Native effect",
        "How surely it ends",
        "What the agent says",
        "Before and beside it",
        "What people said",
        "Your decision",
        "value=\"deny\"",
        "value=\"approve\"",
    ]
    .map(|text| page.find(text).unwrap_or_else(|| panic!("{text} is not on the page")))
    .to_vec();
    assert!(places.is_sorted(), "{places:?}");
    assert!(page.find("class=\"tag yes\"").unwrap() < page.find("class=\"tag no\"").unwrap());
    assert_eq!(page.matches("unverified").count(), 2, "the beneficiary and the reference are only asserted");
}

#[test]
fn con_08_scopes_of_a_lax_time_are_isolated_and_keep_their_text() {
    let mut odd = request();
    let scope = "api:releases:write(prefix=v1.\u{430}\u{202E}/)";
    odd.scopes = vec![scope.to_owned()];
    odd.scope_details.truncate(1);
    odd.scope_details[0].scope = scope.to_owned();
    odd.asserted_message = Some("read \u{202E}only\u{200B}".to_owned());
    let page = filled(odd);
    let shown: Vec<String> = between(&page, "<p data-scope>", "</p>").into_iter().map(read_aloud).collect();
    assert_eq!(shown, [scope], "the text of the element is the scope");
    assert!(page.contains("data-u=\"430\"") && page.contains("data-u=\"202e\"") && page.contains("<bdi"));
    assert!(page.contains("Has letters that are not ASCII"));
    let says = between(&page, "<blockquote>", "</blockquote>")[1];
    assert_eq!(read_aloud(says), "read \\u{202e}only\\u{200b}");
}

#[test]
fn con_09_sixty_scopes_are_all_there_the_dangerous_ones_first_and_the_buttons_last() {
    let mut many = request();
    let name = |n: usize| format!("api:part{n}:read");
    many.scope_details = (0..58).map(|n| scope(&name(n), 10)).collect();
    // As the view orders them: by risk.
    many.scope_details.insert(0, scope("api:billing:write", 95));
    many.scope_details.insert(1, scope("api:users:write", 80));
    many.scopes = many.scope_details.iter().map(|one| one.scope.clone()).collect();
    let page = filled(many);
    let shown: Vec<String> = between(&page, "<p data-scope>", "</p>").into_iter().map(read_aloud).collect();
    assert_eq!(shown.len(), 60);
    assert_eq!(shown[..2], ["api:billing:write", "api:users:write"]);
    let last = page.rfind("<p data-scope>").unwrap();
    let minted = page.find("What gets minted").unwrap();
    assert!(!page.get(minted..last).unwrap().contains("<details"), "nothing is folded away");
    assert!(page.find("value=\"approve\"").unwrap() > last);
    assert!(!page.contains("autofocus") && !page.contains(" more scopes"));
}

#[test]
fn apr_25_what_cannot_be_inspected_says_so_and_wants_more_than_a_click() {
    let mut unknown = request();
    unknown.scope_details[0].inspectable = false;
    let page = filled(unknown);
    assert!(page.contains("Cannot be inspected"));
    assert!(page.contains("Type “approve unseen”") && page.contains("name=\"typed\""));
    assert!(!filled(request()).contains("name=\"typed\""));
}

#[test]
fn whoever_may_not_decide_has_no_buttons() {
    for (word, line) in [
        ("own_request", "you answer for release-bot"),
        ("not_in_group:sre-oncall,security", "only people in sre-oncall, security may"),
        ("not_permitted", "no policy permits you to"),
    ] {
        let mut other = request();
        other.cannot_decide = Some(word.to_owned());
        let page = filled(other);
        assert!(page.contains(line), "{word}");
        assert!(!page.contains("value=\"approve\"") && !page.contains("value=\"deny\""), "{word}");
    }
}

#[test]
fn what_changed_is_named() {
    let before = request();
    let shown = fingerprint(&before, "sha256:ab");
    let mut after = request();
    after.ttl_seconds = 900;
    after.rule = Some("2 of sre-oncall".to_owned());
    assert_eq!(
        changed(&shown, &after, "sha256:cd"),
        ["How long it would live changed.", "Who must agree changed.", "The policy bundle in force changed."]
    );
    assert_eq!(changed("nonsense", &before, "sha256:ab").len(), 1);
}

#[test]
fn a_passkey_signs_a_yes_and_never_a_no() {
    let mut strict = request();
    strict.terms.step_up = "passkey".to_owned();
    let page = filled(strict);
    assert!(
        page.contains("data-passkey=\"/r/req_01kaf4cy0h0000000000000000/challenge\"") && page.contains("<noscript>")
    );
    assert!(page.contains("value=\"deny\" formnovalidate data-passkey=\"no\""));
}
