//! A policy means the same after it was made shorter: shown with an evaluator that shares no code with what shortens it.

use proptest::prelude::*;

use super::*;

/// Whether a pattern matches a text, by recursion.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern_rest, mut text_rest) = (pattern.chars(), text.chars());
    match pattern_rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = |at: usize| text.get(at..).is_some_and(|text| glob(pattern_rest.as_str(), text));
            (0..=text.len()).any(rest)
        }
        Some('?') => text_rest.next().is_some() && glob(pattern_rest.as_str(), text_rest.as_str()),
        Some(letter) => text_rest.next() == Some(letter) && glob(pattern_rest.as_str(), text_rest.as_str()),
    }
}

/// Field by field, as AWS matches ARNs.
fn arn_matches(pattern: &str, arn: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let (pattern, arn): (Vec<_>, Vec<_>) = (pattern.splitn(6, ':').collect(), arn.splitn(6, ':').collect());
    pattern.len() == arn.len() && pattern.iter().zip(arn).all(|(pattern, field)| glob(pattern, field))
}

/// A condition holds when it is one of those that hold now.
fn allows(policy: &[Allow], action: &str, arn: &str, holding: &[Conditions]) -> bool {
    policy.iter().any(|allow| {
        allow.actions.iter().any(|one| glob(&one.to_lowercase(), &action.to_lowercase()))
            && allow.resources.iter().any(|one| arn_matches(one, arn))
            && (allow.conditions.is_empty() || holding.contains(&allow.conditions))
    })
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn condition(number: u8) -> Conditions {
    match number {
        0 => Conditions::new(),
        _ => [("StringEquals".to_owned(), [("aws:x".to_owned(), set(&[&number.to_string()]))].into())].into(),
    }
}

fn a_statement() -> impl Strategy<Value = Allow> {
    let actions = prop::collection::btree_set("s3:(Get|get|Put|\\*)(Ob|\\?b|\\*|)", 1..4);
    let resources =
        prop::collection::btree_set("(\\*|arn:aws:s3:::[ab*?]{1,3}|arn:aws:s[3*]:(eu|\\*)::[ab*:]{1,3})", 1..4);
    (actions, resources, 0_u8..3).prop_map(|(actions, resources, number)| Allow {
        actions,
        resources,
        conditions: condition(number),
    })
}

proptest! {
    #[test]
    fn a_shorter_policy_means_the_same(
        policy in prop::collection::vec(a_statement(), 0..6),
        asked in prop::collection::vec(
            ("s3:(Get|Put|Del)(Ob|ob|xb|)", "arn:aws:s[3x]:(eu|us|)::[ab:]{1,4}|arn:aws:s3:::[ab]{1,4}", 0_u8..4),
            1..40,
        ),
    ) {
        let shorter = minimise(policy.clone());
        for (action, arn, number) in asked {
            let holding: Vec<Conditions> = (1..3).filter(|bit| number & bit != 0).map(condition).collect();
            prop_assert_eq!(
                allows(&policy, &action, &arn, &holding),
                allows(&shorter, &action, &arn, &holding),
                "{} on {} with {}: {:?} became {:?}", action, arn, number, policy, shorter
            );
        }
        let length = |policy: &[Allow]| session_policy(policy, "2026-11-21T12:15:00Z").unwrap().len();
        prop_assert!(length(&shorter) <= length(&policy));
        prop_assert_eq!(&minimise(shorter.clone()), &shorter);
    }
}

#[test]
fn what_another_says_is_said_once() {
    let one = |actions: &[&str], resources: &[&str]| Allow {
        actions: set(actions),
        resources: set(resources),
        conditions: Conditions::new(),
    };
    let short = minimise(vec![
        one(&["s3:GetObject"], &["arn:aws:s3:::a/*"]),
        one(&["s3:GetObject", "s3:Get*"], &["arn:aws:s3:::a/*", "arn:aws:s3:::a/b"]),
        one(&["s3:PutObject"], &["arn:aws:s3:::a/*"]),
        one(&["s3:Get*", "s3:PutObject"], &["arn:aws:s3:::b/*"]),
    ]);
    assert_eq!(short, [one(&["s3:Get*", "s3:PutObject"], &["arn:aws:s3:::a/*", "arn:aws:s3:::b/*"])]);
}

#[test]
fn sts_01_the_hard_stop_is_in_every_statement_that_allows_and_denies_besides() {
    let allow = Allow {
        actions: set(&["s3:GetObject"]),
        resources: set(&["arn:aws:s3:::a/*"]),
        conditions: [("StringEquals".to_owned(), [("aws:RequestedRegion".to_owned(), set(&["eu-central-1"]))].into())]
            .into(),
    };
    assert_eq!(
        session_policy(&[allow], "2026-11-21T12:15:00Z").unwrap(),
        concat!(
            r#"{"Version":"2012-10-17","Statement":["#,
            r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::a/*","Condition":{"#,
            r#""DateLessThan":{"aws:CurrentTime":"2026-11-21T12:15:00Z"},"#,
            r#""StringEquals":{"aws:RequestedRegion":"eu-central-1"}}},"#,
            r#"{"Effect":"Deny","Action":["iam:*","sts:*"],"Resource":"*"},"#,
            r#"{"Effect":"Deny","Action":"*","Resource":"*","#,
            r#""Condition":{"DateGreaterThanEquals":{"aws:CurrentTime":"2026-11-21T12:15:00Z"}}}]}"#,
        )
    );
}
