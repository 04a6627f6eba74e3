//! One person alone in an emergency, and exemptions: what people's yes may be replaced by.

use std::collections::BTreeSet;

use hallpass::domain::{Outcome, Ttl, Voter};
use hallpass::policy::{Bundle, Exemption};

use super::support::{PERMIT_ALL, ask_with, bundle, voter};

const WRITE: &str = "app:db:write(prefix=v1)";

fn waits(id: &str, annotations: &str) -> String {
    format!(
        "@id(\"{id}\")\n@reason(\"ask\")\n{annotations}\nforbid (principal, action, resource is Hallpass::Scope)\n\
         when {{ resource.action == \"write\" }}\n\
         unless {{ context.approvals.satisfied.contains(\"{id}\") }}; // the end; of it\n"
    )
}

fn alone(person: &str, groups: &[&str]) -> Voter {
    Voter { break_glass: true, ..voter(person, groups) }
}

const GLASS: &str = "@approval(\"2 of sre\")\n@break_glass(\"1 of commanders\")\n@break_glass_ttl_seconds(\"120\")";

#[test]
fn one_person_whom_policy_names_lets_it_pass_alone_for_a_short_life() {
    let bundle = bundle(&format!("{PERMIT_ALL}\n{}", waits("ask", GLASS)));
    let max_ttl = |voters: &[Voter]| match ask_with(&bundle, WRITE, voters).outcome {
        Outcome::Permit(terms) => Some(terms.max_ttl.as_secs()),
        Outcome::RequireApproval(_) => None,
        Outcome::Deny(denial) => panic!("{denial:?}"),
    };
    assert_eq!(max_ttl(&[alone("cora", &["commanders"])]), Some(120));
    assert_eq!(max_ttl(&[alone("cora", &["sre"])]), None);
    assert_eq!(max_ttl(&[voter("cora", &["commanders"])]), None, "only who says that it is an emergency");
    // Whoever lets it pass alone counts for nothing else.
    assert_eq!(max_ttl(&[alone("ann", &["sre"]), voter("ben", &["sre"])]), None);
    assert_eq!(max_ttl(&[voter("ann", &["sre"]), voter("ben", &["sre"])]), Some(900));
    let answer = ask_with(&bundle, WRITE, &[alone("cora", &["commanders"])]);
    let replayed = bundle.replay(&answer.input).unwrap();
    assert_eq!((replayed.outcome, replayed.determining), (answer.outcome, answer.determining));
}

#[test]
fn it_passes_only_where_each_policy_that_waits_allows_it() {
    let breaker = [alone("cora", &["commanders", "others"])];
    for (other, passes) in [
        ("@approval(\"1 of dba\")", false),
        ("@approval(\"1 of dba\")\n@break_glass(\"1 of commanders\")", true),
        ("@approval(\"1 of dba\")\n@break_glass(\"2 of commanders\")", false),
    ] {
        let bundle = bundle(&format!("{PERMIT_ALL}\n{}\n{}", waits("ask", GLASS), waits("too", other)));
        let permitted = matches!(ask_with(&bundle, WRITE, &breaker).outcome, Outcome::Permit(_));
        assert_eq!(permitted, passes, "{other}");
    }
    let hard = r#"@id("hard") @reason("never") forbid (principal, action == Hallpass::Action::"grant", resource);"#;
    let bundle = bundle(&format!("{PERMIT_ALL}\n{}\n{hard}", waits("ask", GLASS)));
    assert!(matches!(ask_with(&bundle, WRITE, &breaker).outcome, Outcome::Deny(_)));
}

fn exemption(prefixes: &[&str], secs: i64) -> Exemption {
    let values: BTreeSet<String> = prefixes.iter().map(ToString::to_string).collect();
    Exemption {
        agent: "bot".parse().unwrap(),
        scopes: [("app:db:write".parse().unwrap(), [("prefix".parse().unwrap(), values)].into())].into(),
        max_ttl: Ttl::from_secs(secs).unwrap(),
    }
}

fn permits(bundle: &Bundle, scope: &str) -> bool {
    matches!(ask_with(bundle, scope, &[]).outcome, Outcome::Permit(_))
}

#[test]
fn an_exemption_lifts_just_what_it_says_from_the_policies_it_names() {
    let two = format!("{PERMIT_ALL}\n{}\n// between\n{}", waits("ask", GLASS), waits("too", "@approval(\"1 of dba\")"));
    let bundle = bundle(&two);
    assert!(!permits(&bundle, WRITE));
    let exempted = bundle.exempting(["ask", "too"], &exemption(&["v1", "v2"], 600)).unwrap();
    assert!(permits(&exempted.bundle, WRITE) && permits(&exempted.bundle, "app:db:write(prefix=v2)"));
    assert!(!permits(&exempted.bundle, "app:db:write(prefix=v3)"));
    assert_eq!(exempted.policies.len(), 2);
    assert!(exempted.diff.contains("--- a/policies.cedar\n"), "{}", exempted.diff);
    // The question is for ten minutes.
    let shorter = bundle.exempting(["ask", "too"], &exemption(&["v1"], 599)).unwrap();
    assert!(!permits(&shorter.bundle, WRITE));
    let one = bundle.exempting(["ask"], &exemption(&["v1"], 600)).unwrap();
    assert!(!permits(&one.bundle, WRITE));
}

#[test]
fn only_a_policy_that_is_there_and_waits_for_people_is_changed() {
    let bundle = bundle(&format!("{PERMIT_ALL}\n{}", waits("ask", GLASS)));
    for id in ["all", "nothing"] {
        assert!(bundle.exempting([id], &exemption(&["v1"], 600)).is_none(), "{id}");
    }
    let odd = exemption(&["a\"b\\c\u{7f}'"], 600);
    assert!(bundle.exempting(["ask"], &odd).is_some(), "what is quoted stays a text");
}
