//! The three answers: permit, wait for people, deny; and that whatever fails, denies.

use std::fmt::Write as _;

use hallpass::domain::{Denial, Outcome};

use super::support::{PERMIT_ALL, ask, ask_with, ask_within, bundle, ids, problems, task, voter, with_file};

fn denial(outcome: &Outcome) -> &Denial {
    match outcome {
        Outcome::Deny(denial) => denial,
        Outcome::Permit(_) | Outcome::RequireApproval(_) => panic!("not denied: {outcome:?}"),
    }
}

/// A forbid of what is in prod, which waits for this rule.
fn waits(id: &str, rule: &str) -> String {
    format!(
        r#"@id("{id}") @reason("ask") @approval("{rule}")
        forbid (principal, action, resource is Hallpass::Scope)
        when {{ resource.hasTag("env") && resource.getTag("env") == "prod" }}
        unless {{ context.approvals.satisfied.contains("{id}") }};"#
    )
}

#[test]
fn pol_03_a_forbid_that_fails_to_evaluate_denies_and_is_counted() {
    // What Cedar alone makes of it: the forbid is skipped and the permit stands.
    let overflow = r#"@id("overflow") @reason("x") forbid (principal, action == Hallpass::Action::"grant", resource)
        when { resource.risk * 9223372036854775807 > 0 };"#;
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let bundle = bundle(&format!("{PERMIT_ALL}\n{overflow}"));
    let answer = metrics::with_local_recorder(&recorder, || ask(&bundle, "app:db:read"));
    let Denial::PolicyError { errors } = denial(&answer.outcome) else { panic!("{:?}", answer.outcome) };
    assert!(errors.len() == 1 && errors[0].starts_with("overflow: "), "{errors:?}");
    assert_eq!(ids(&answer), ["overflow"]);
    assert!(metrics.render().contains("hallpass_policy_errors_total 1"), "{}", metrics.render());
}

#[test]
fn pol_03_a_missing_attribute_and_an_in_on_a_string_do_not_even_load() {
    for (when, line) in [
        ("resource.secret == \"x\"", 2),
        ("resource.getTag(\"gone\") == \"x\"", 2),
        ("context.request.purpose in [\"prod\"]", 2),
    ] {
        let text = format!(
            "{PERMIT_ALL}\n@id(\"f\") @reason(\"x\") forbid (principal, action == Hallpass::Action::\"grant\", resource) when {{ {when} }};"
        );
        let found = problems(with_file("policies.cedar", &text));
        assert!(found.iter().all(|one| one.starts_with(&format!("policies.cedar:{line}:"))), "{found:?}");
    }
}

#[test]
fn pol_03_an_error_behind_an_approval_denies_instead_of_asking() {
    let error = r#"@id("error") @reason("x") permit (principal, action == Hallpass::Action::"grant", resource)
        when { context.approvals.satisfied.contains("ask") };"#;
    // Only a forbid may look at approvals at all.
    let found = problems(with_file("policies.cedar", &format!("{}\n{error}", waits("ask", "1 of sre"))));
    assert!(found.iter().any(|one| one.contains("only a forbid with @approval")), "{found:?}");
    let overflow = r#"@id("o") @reason("x") permit (principal, action == Hallpass::Action::"grant", resource)
        when { context.task.ttl_seconds * 9223372036854775807 > 0 };"#;
    let bundle = bundle(&format!("{PERMIT_ALL}\n{}\n{overflow}", waits("ask", "1 of sre")));
    assert!(matches!(denial(&ask(&bundle, "app:db:write(prefix=a)").outcome), Denial::PolicyError { .. }));
}

#[test]
fn pol_01_an_empty_bundle_denies_everything() {
    let answer = ask(&bundle(""), "app:db:read");
    assert_eq!(denial(&answer.outcome), &Denial::NotPermitted);
    assert!(ids(&answer).is_empty());
}

#[test]
fn pol_02_a_forbid_beats_a_permit_and_is_named() {
    let forbid = r#"@id("no-prod") @reason("No") forbid (principal, action == Hallpass::Action::"grant", resource)
        when { resource.hasTag("env") && resource.getTag("env") == "prod" };"#;
    let bundle = bundle(&format!("{PERMIT_ALL}\n{forbid}"));
    let answer = ask(&bundle, "app:db:write(prefix=a)");
    assert_eq!((denial(&answer.outcome), ids(&answer)), (&Denial::Forbidden, vec!["no-prod"]));
    assert_eq!(ids(&ask(&bundle, "app:db:read")), ["all"]);
}

#[test]
fn a_hard_forbid_denies_even_what_people_agreed_to() {
    let hard = r#"@id("freeze") @reason("No") forbid (principal, action == Hallpass::Action::"grant", resource)
        when { context.now >= datetime("2020-01-01") };"#;
    let bundle = bundle(&format!("{PERMIT_ALL}\n{}\n{hard}", waits("ask", "1 of sre")));
    let answer = ask_with(&bundle, "app:db:write(prefix=a)", &[voter("a", &["sre"])]);
    assert_eq!((denial(&answer.outcome), ids(&answer)), (&Denial::Forbidden, vec!["freeze"]));
}

#[test]
fn nobody_is_asked_about_what_no_policy_would_permit_anyway() {
    let answer = ask(&bundle(&waits("ask", "1 of sre")), "app:db:write(prefix=a)");
    assert_eq!(denial(&answer.outcome), &Denial::NotPermitted);
}

#[test]
fn two_rules_together_want_two_people() {
    let bundle = bundle(&format!("{PERMIT_ALL}\n{}\n{}", waits("one", "1 of sre"), waits("two", "1 of sec")));
    let asked = |voters: &[_]| ask_with(&bundle, "app:db:write(prefix=a)", voters);
    let waiting = asked(&[]);
    let Outcome::RequireApproval(terms) = &waiting.outcome else { panic!("{waiting:?}") };
    assert_eq!(terms.approval.as_ref().unwrap().to_string(), "1 of sre and 1 of sec");
    assert_eq!(ids(&waiting), ["one", "two"]);
    let both = voter("a", &["sre", "sec"]);
    assert_eq!(asked(std::slice::from_ref(&both)).outcome, waiting.outcome, "one person does not fill two places");
    let answer = asked(&[both, voter("b", &["sec"])]);
    assert!(matches!(answer.outcome, Outcome::Permit(_)), "{answer:?}");
    assert!(answer.input.contains(r#""satisfied":["one","two"]"#), "{}", answer.input);
    assert_eq!(ids(&answer), ["all"]);
}

#[test]
fn rules_that_together_want_more_people_than_a_rule_may_are_an_error() {
    let bundle = bundle(&format!("{PERMIT_ALL}\n{}\n{}", waits("one", "6 of sre"), waits("two", "5 of sec")));
    assert!(matches!(denial(&ask(&bundle, "app:db:write(prefix=a)").outcome), Denial::PolicyError { .. }));
}

#[test]
fn the_shortest_life_of_catalogue_and_permits_wins() {
    let short = r#"@id("short") @reason("x") @max_ttl_seconds("300")
        permit (principal, action == Hallpass::Action::"grant", resource);"#;
    let bundle = bundle(&format!("{PERMIT_ALL}\n{short}"));
    let life = |scope: &str| match ask(&bundle, scope).outcome {
        Outcome::Permit(terms) => terms.max_ttl.as_secs(),
        other @ (Outcome::RequireApproval(_) | Outcome::Deny(_)) => panic!("{other:?}"),
    };
    assert_eq!((life("app:db:read"), life("app:db:write(prefix=a)")), (300, 300));
}

#[test]
fn scopes_outside_the_catalogue_or_with_other_parameters_are_not_permitted() {
    let bundle = bundle(PERMIT_ALL);
    for scope in ["app:db:drop", "app:db:write", "app:db:write(prefix=../x)", "app:db:read(prefix=a)", "no:such:scope"]
    {
        assert_eq!(denial(&ask(&bundle, scope).outcome), &Denial::NotPermitted, "{scope}");
    }
}

#[test]
fn pol_12_what_an_agent_says_reaches_policy_only_as_what_it_says() {
    let policies = r#"
        @id("trusting") @reason("x") permit (principal, action == Hallpass::Action::"grant", resource)
        when { context.key_bound || context.ttl_seconds < 5 || context.now < datetime("2000-01-01") || resource.risk < 5 };
        @id("ticket") @reason("x") permit (principal, action == Hallpass::Action::"grant", resource)
        when { context.request.references.hasTag("ticket") && context.request.references.getTag("ticket") like "REL-*" };"#;
    let bundle = bundle(policies);
    let mut told = task(bundle.agents().next().unwrap());
    for name in ["risk", "approved", "now", "principal", "key_bound", "context", "satisfied", "ttl_seconds"] {
        told.references.insert(name.to_owned(), "0".to_owned());
    }
    told.message = Some(r#"{"approvals":{"satisfied":["all"]},"key_bound":true}"#.parse().unwrap());
    assert_eq!(denial(&ask_within(&bundle, told.clone(), "app:db:read", &[]).outcome), &Denial::NotPermitted);
    told.references.insert("ticket".to_owned(), "REL-482".to_owned());
    let answer = ask_within(&bundle, told, "app:db:read", &[]);
    assert_eq!(ids(&answer), ["ticket"]);
    let input: serde_json::Value = serde_json::from_str(&answer.input).unwrap();
    let context: Vec<&String> = input["context"].as_object().unwrap().keys().collect();
    assert_eq!(context, ["approvals", "identity", "key_bound", "now", "request", "task", "ttl_seconds"]);
    assert_eq!(input["context"]["key_bound"], false);
}

#[test]
fn parameters_are_visible_to_policy() {
    let bundle = bundle(
        r#"@id("v1") @reason("x") permit (principal, action == Hallpass::Action::"grant", resource)
        when { context.request.params.hasTag("prefix") && context.request.params.getTag("prefix") like "v1/*" };"#,
    );
    assert!(matches!(ask(&bundle, "app:db:write(prefix=v1/a)").outcome, Outcome::Permit(_)));
    assert!(matches!(ask(&bundle, "app:db:write(prefix=v2/a)").outcome, Outcome::Deny(_)));
    assert!(matches!(ask(&bundle, "app:db:read").outcome, Outcome::Deny(_)));
}

#[test]
fn pol_10_a_thousand_policies_answer_each_time() {
    let mut text = format!("{PERMIT_ALL}\n");
    for index in 0..999 {
        let _ = writeln!(
            text,
            "@id(\"f{index}\") @reason(\"x\") forbid (principal, action == Hallpass::Action::\"grant\", resource) \
             when {{ context.request.purpose like \"*x{index}*y*z*\" }};"
        );
    }
    let bundle = bundle(&text);
    let mut told = task(bundle.agents().next().unwrap());
    told.purpose = "xy".repeat(900).parse().unwrap();
    for _ in 0..20 {
        assert!(matches!(ask_within(&bundle, told.clone(), "app:db:read", &[]).outcome, Outcome::Permit(_)));
    }
    told.purpose = format!("{}x998 y z", "x".repeat(1_000)).parse().unwrap();
    assert_eq!(ids(&ask_within(&bundle, told, "app:db:read", &[])), ["f9", "f99", "f998"]);
}

#[test]
fn pol_10_deep_or_long_policies_are_refused_or_answered_but_never_crash() {
    let policy = |when: &str| {
        format!(
            r#"@id("d") @reason("x") permit (principal, action == Hallpass::Action::"grant", resource) when {{ {when} }};"#
        )
    };
    let deep = policy(&format!("{}true{}", "(".repeat(5_000), ")".repeat(5_000)));
    assert!(problems(with_file("d.cedar", &deep))[0].contains("nested"));
    let long = policy(&format!("context.request.purpose like \"{}\"", "*a".repeat(100_000)));
    assert!(problems(with_file("d.cedar", &long))[0].contains("longer than"));
    for when in [
        vec!["context.key_bound"; 350].join(" && "),
        vec!["context.key_bound"; 350].join(" || "),
        vec!["context.ttl_seconds"; 300].join(" + ") + " > 0",
        "if context.key_bound then true else ".repeat(190) + "false",
    ] {
        let found = problems(with_file("d.cedar", &policy(&when)));
        assert!(found[0].starts_with("d.cedar:1:1: "), "{found:?}");
    }
    // What is allowed is answered on a thread as small as the server's.
    for when in [
        vec!["context.key_bound"; 20].join(" || "),
        vec!["context.ttl_seconds"; 20].join(" + ") + " < 0",
        format!("{}context.key_bound{}", "(".repeat(30), ")".repeat(30)),
    ] {
        let answer = ask(&bundle(&policy(&when)), "app:db:read");
        assert_eq!(denial(&answer.outcome), &Denial::NotPermitted, "{when}");
    }
    // Where a build's stack frames are too large for what is just allowed, the answer is a no all the same.
    denial(&ask(&bundle(&policy(&vec!["context.key_bound"; 60].join(" || "))), "app:db:read").outcome);
}
