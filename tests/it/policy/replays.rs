//! The record of a decision: canonical, complete, and judged the same again by every policy at once.

use hallpass::domain::{Outcome, Timestamp, Ttl};
use hallpass::policy::{Bundle, Question};
use hallpass::sys::canonical_json;
use proptest::prelude::*;

use super::support::{NOW, PERMIT_ALL, ask, ask_within, bundle, shipped, task, voter};

#[test]
fn every_input_is_canonical_json_and_replays_to_the_same_answer() {
    let bundle = Bundle::load(&shipped()).unwrap();
    let voters = [voter("dev-approver", &["release-approvers"])];
    let mut seen = std::collections::BTreeSet::new();
    for agent in bundle.agents() {
        for entry in bundle.catalogue().entries() {
            for (voters, ttl) in [(&voters[..], 600), (&[], 600), (&[], 1_000), (&voters[..], 1_000)] {
                let mut told = task(agent);
                told.references = [("ticket", "REL-1"), ("\u{1F600}", "a\"\\\u{7f}é"), ("\u{FB33}", "b")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into();
                let told = hallpass::domain::Task::new(told).unwrap();
                let params = if entry.params.is_empty() { "" } else { "(prefix=v1/)" };
                let scope = format!("{}{params}", entry.name).parse().unwrap();
                let issuer = "http://127.0.0.1:8601";
                let (ttl, now) = (Ttl::from_secs(ttl).unwrap(), NOW.plus_millis(7));
                let question = Question { agent, task: &told, issuer, ttl, now, voters, key_bound: true };
                let answer = bundle.ask(&question, &scope);
                let value: serde_json::Value = serde_json::from_str(&answer.input).unwrap();
                assert_eq!(canonical_json(&value).unwrap(), answer.input);
                let replayed = bundle.replay(&answer.input).unwrap();
                assert_eq!((&replayed.outcome, &replayed.determining), (&answer.outcome, &answer.determining));
                seen.insert(answer.outcome.as_str());
            }
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["deny", "permit", "require_approval"]);
}

#[test]
fn a_replay_by_another_bundle_says_what_the_change_would_do() {
    let then = bundle(PERMIT_ALL);
    let answer = ask(&then, "app:db:write(prefix=a)");
    let now = bundle("");
    assert_ne!(then.digest(), now.digest());
    assert!(matches!(now.replay(&answer.input).unwrap().outcome, Outcome::Deny(_)));
}

#[test]
fn what_is_no_input_is_an_error_and_not_an_answer() {
    let bundle = bundle(PERMIT_ALL);
    let input = ask(&bundle, "app:db:read").input;
    for text in ["", "{}", "[]", &input.replace("grant", "decide"), &input.replace("\"key_bound\":false,", "")] {
        assert!(bundle.replay(text).is_err(), "{text}");
    }
    assert!(bundle.replay(&input).is_ok());
}

#[test]
fn a_time_that_cannot_be_written_denies() {
    let bundle = bundle(PERMIT_ALL);
    let told = hallpass::domain::Task::new(task(bundle.agents().next().unwrap())).unwrap();
    let agent = bundle.agents().next().unwrap();
    let now = Timestamp::from_millis(i64::MAX);
    let question =
        Question { agent, task: &told, issuer: "x", ttl: Ttl::TEN_MINUTES, now, voters: &[], key_bound: false };
    assert!(matches!(bundle.ask(&question, &"app:db:read".parse().unwrap()).outcome, Outcome::Deny(_)));
}

static PERMISSIVE: std::sync::LazyLock<Bundle> = std::sync::LazyLock::new(|| bundle(PERMIT_ALL));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_an_agent_sends_is_recorded_canonically_and_replays(
        name in "\\PC{1,8}", value in "\\PC{0,20}", beneficiary in any::<String>(), purpose in "[a-z]\\PC{0,20}",
    ) {
        let bundle = &*PERMISSIVE;
        let mut told = task(bundle.agents().next().unwrap());
        told.references.insert(name, value);
        told.references.insert("z".to_owned(), String::new());
        told.beneficiary = Some(beneficiary);
        if let Ok(purpose) = purpose.parse() {
            told.purpose = purpose;
        }
        let answer = ask_within(bundle, told, "app:db:write(prefix=a)", &[]);
        let parsed: serde_json::Value = serde_json::from_str(&answer.input).unwrap();
        prop_assert_eq!(&canonical_json(&parsed).unwrap(), &answer.input);
        prop_assert_eq!(bundle.replay(&answer.input).unwrap().outcome, answer.outcome);
    }
}
