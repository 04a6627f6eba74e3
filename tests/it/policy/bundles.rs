//! The bundle as a whole: what it is made of, what names it, and that one with a mistake never loads in part.

use std::path::Path;

use hallpass::domain::{Operator, Person};
use hallpass::policy::{Bundle, OperatorAction, OperatorAnswer, OperatorQuestion, PolicyEngine, run_tests};

use super::support::{NOW, PERMIT_ALL, bundle, files, problems, with_file};

fn write(folder: &Path, policies: &str) {
    std::fs::create_dir_all(folder).unwrap();
    for (path, text) in files(policies) {
        std::fs::write(folder.join(path), text).unwrap();
    }
}

#[test]
fn a_folder_and_its_files_have_one_digest_and_any_change_another() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), PERMIT_ALL);
    let loaded = Bundle::load(folder.path()).unwrap();
    assert_eq!(loaded.digest(), Bundle::from_files(loaded.files().clone()).unwrap().digest());
    for name in [".hidden", "policies.cedar~", "#policies.cedar#", ".policies.cedar.swp", "README.md"] {
        std::fs::write(folder.path().join(name), "left behind").unwrap();
    }
    assert_eq!(Bundle::load(folder.path()).unwrap().digest(), loaded.digest());
    std::fs::create_dir(folder.path().join("more")).unwrap();
    std::fs::write(folder.path().join("more/empty.cedar"), "").unwrap();
    let more = Bundle::load(folder.path()).unwrap();
    assert_ne!(more.digest(), loaded.digest());
    std::fs::rename(folder.path().join("more/empty.cedar"), folder.path().join("more/other.cedar")).unwrap();
    assert_ne!(Bundle::load(folder.path()).unwrap().digest(), more.digest());
}

#[test]
fn a_mounted_config_map_is_read_through_its_links() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("..2026_11_21"), PERMIT_ALL);
    std::os::unix::fs::symlink("..2026_11_21", folder.path().join("..data")).unwrap();
    for path in files("").keys() {
        std::os::unix::fs::symlink(Path::new("..data").join(path), folder.path().join(path)).unwrap();
    }
    assert_eq!(Bundle::load(folder.path()).unwrap().digest(), bundle(PERMIT_ALL).digest());
}

#[test]
fn links_out_of_the_folder_and_round_in_it_are_refused() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(folder.path(), PERMIT_ALL);
    std::fs::write(outside.path().join("x.cedar"), "").unwrap();
    std::os::unix::fs::symlink(outside.path().join("x.cedar"), folder.path().join("x.cedar")).unwrap();
    assert!(problems(Bundle::load(folder.path()))[0].starts_with("x.cedar: a link that leads out"));
    std::fs::remove_file(folder.path().join("x.cedar")).unwrap();
    std::os::unix::fs::symlink(".", folder.path().join("round")).unwrap();
    assert!(problems(Bundle::load(folder.path()))[0].contains("nested more than 8 deep"));
}

#[test]
fn what_is_no_part_of_a_bundle_or_too_large_is_refused() {
    assert!(problems(with_file("catalog.toml", ""))[0].starts_with("catalog.toml: not a part of a bundle"));
    for path in ["../x.cedar", "/x.cedar", "a//x.cedar", ".x.cedar"] {
        assert!(problems(with_file(path, ""))[0].contains("not a path inside a bundle"), "{path}");
    }
    assert!(problems(with_file("x.cedar", &"/".repeat((1 << 20) + 1)))[0].contains("larger than"));
    let mut none = files("");
    none.remove("schema.cedarschema");
    assert_eq!(
        problems(Bundle::from_files(none)),
        ["schema.cedarschema: is missing; copy it from the bundle that is shipped"]
    );
    assert!(Bundle::load(Path::new("/does/not/exist")).is_err());
}

#[test]
fn pol_04_a_bundle_that_does_not_load_says_where_and_the_one_in_force_stays() {
    let engine = PolicyEngine::new(bundle(PERMIT_ALL));
    let before = engine.current().digest();
    let broken = "\n  permit (principal, action == , resource);";
    assert!(
        problems(with_file("b.cedar", broken))[0].starts_with("b.cedar:2:"),
        "{:?}",
        problems(with_file("b.cedar", broken))
    );
    let untyped = "@id(\"a\") @reason(\"x\") permit (principal, action == Hallpass::Action::\"grant\", resource)\nwhen { resource.risk == \"high\" };";
    let mut two = files(untyped);
    two.insert("b.cedar".to_owned(), broken.to_owned());
    two.insert("tests/t.json".to_owned(), "[\n {\"name\": \"x\", \"expct\": 1}]".to_owned());
    let found = problems(Bundle::from_files(two));
    for place in ["b.cedar:2:", "policies.cedar:2:", "tests/t.json:2:"] {
        assert!(found.iter().any(|one| one.starts_with(place)), "{place} is not in {found:?}");
    }
    assert_eq!(engine.current().digest(), before);
    let other = engine.swap(bundle(""));
    assert_eq!(other.digest(), before);
    assert_ne!(engine.current().digest(), before);
}

#[test]
fn policies_are_held_to_our_rules() {
    let forbid = |annotations: &str, end: &str| {
        format!(
            "@id(\"p\") @reason(\"x\") {annotations} forbid (principal, action == Hallpass::Action::\"grant\", resource) {end};"
        )
    };
    let own = "unless { context.approvals.satisfied.contains(\"p\") }";
    let ask = "@approval(\"1 of sre\")";
    for (text, expected) in [
        ("permit (principal, action, resource);".to_owned(), "@id(\"…\")"),
        (PERMIT_ALL.replace("everything", ""), "@reason(\"…\"), which tells people why, is empty"),
        (format!("{PERMIT_ALL}\n{PERMIT_ALL}"), "`all` is also the id of the policy at policies.cedar:1"),
        (PERMIT_ALL.replace("@reason", "@aproval(\"x\") @reason"), "`@aproval` is not an annotation we know"),
        (PERMIT_ALL.replace("@reason", "@approval(\"1 of sre\") @reason"), "@approval belongs on a forbid"),
        (PERMIT_ALL.replace("principal,", "principal == ?principal,"), "template"),
        (PERMIT_ALL.replace("@reason", "@max_ttl_seconds(\"0\") @reason"), "@max_ttl_seconds"),
        (forbid("@max_ttl_seconds(\"60\")", ""), "on a permit"),
        (PERMIT_ALL.replace("@reason", "@approval_uses(\"2\") @reason"), "@approval_uses belongs beside @approval"),
        (forbid("@approval(\"1 of sre\") @step_up(\"no\")", own), "\"sign_in\" or \"passkey\""),
        (forbid("@approval(\"1 of sre\") @approval_uses(\"0\")", own), "a number from 1 to 100"),
        (forbid("@approval(\"0 of sre\")", own), "needs nobody"),
        (forbid("@approval(\"sre\")", own), "is not an approval rule"),
        (forbid("@approval(\"99 of sre\")", own), "is too large"),
        (forbid(&format!("@approval(\"1 of {}\")", "g".repeat(200)), own), "longer than 128 bytes"),
        (forbid(ask, ""), "a policy with @approval ends"),
        (forbid(ask, &own.replace('p', "q")), "a policy with @approval ends"),
        (forbid(ask, &own.replace("\"p\"", "\"other\"")), "a policy with @approval ends"),
        (forbid(ask, &own.replace("unless", "when")), "a policy with @approval ends"),
        (
            forbid(ask, &format!("when {{ context.approvals.satisfied.contains(\"o\") }} {own}")),
            "looks at approvals nowhere else",
        ),
        (forbid("", own), "only a forbid with @approval"),
        (forbid("", "when { context.approvals.satisfied.isEmpty() }"), "only a forbid with @approval"),
        (forbid("", "when { context has approvals }"), "only a forbid with @approval"),
        (forbid("", "when { [context].isEmpty() }"), "only a forbid with @approval"),
    ] {
        let found = problems(Bundle::from_files(files(&text))).join("\n");
        assert!(found.contains(expected), "{expected}\nis not in\n{found}");
    }
    assert!(Bundle::from_files(files(&forbid(ask, own))).is_ok());
}

#[test]
fn a_schema_that_does_not_admit_what_is_built_does_not_load() {
    let schema = files("")["schema.cedarschema"].clone();
    for (from, to) in [
        ("risk: Long", "risk: String"),
        ("key_bound: Bool", "keybound: Bool"),
        (", simulate", ""),
        ("} tags String;", "};"),
    ] {
        assert!(schema.contains(from));
        let found = problems(with_file("schema.cedarschema", &schema.replacen(from, to, 1)));
        assert!(found[0].starts_with("schema.cedarschema"), "{found:?}");
    }
}

#[test]
fn a_failing_policy_refuses_an_operator_and_says_so() {
    let bundle = bundle(
        r#"@id("ok") @reason("x") permit (principal, action == Hallpass::Action::"revoke", resource);
        @id("bad") @reason("x") forbid (principal, action == Hallpass::Action::"revoke", resource is Hallpass::Broker)
        when { context.now.toTime().toMilliseconds() * 9223372036854775807 > 0 };"#,
    );
    let issuer = "https://sso.acme.example".to_owned();
    let operator = Operator {
        person: Person::new("maya"),
        issuer,
        subject: "u-1".to_owned(),
        email: None,
        groups: vec!["g".to_owned()],
    };
    let action = OperatorAction::Revoke;
    let ask = |agent| bundle.may_operator(&OperatorQuestion { operator: &operator, action, agent, now: NOW });
    assert!(ask(bundle.agents().next()).is_allowed());
    let OperatorAnswer::Refused { errors, .. } = ask(None) else { panic!("allowed in spite of an error") };
    assert!(errors[0].starts_with("bad: "), "{errors:?}");
}

#[test]
fn golden_tests_say_what_failed_and_which_policies_never_decided() {
    let stories = r#"[
        {"name": "wrong", "agent": "bot", "scope": "app:db:read", "expect": "deny"},
        {"name": "right", "agent": "bot", "scope": "app:db:read", "expect": "grant", "by": ["all"]},
        {"name": "a kind it is not approved for", "agent": "bot", "kind": "party", "scope": "app:db:read", "expect": "deny"},
        {"name": "nobody", "agent": "who", "scope": "app:db:read", "expect": "deny"}
    ]"#;
    let unused = r#"@id("unused") @reason("x") forbid (principal, action == Hallpass::Action::"grant", resource) when { resource.risk > 99 };"#;
    let mut files = files(&format!("{PERMIT_ALL}\n{unused}"));
    files.insert("tests/a.json".to_owned(), stories.to_owned());
    let report = run_tests(&Bundle::from_files(files).unwrap());
    assert!(!report.is_success());
    let text = report.to_string();
    for expected in [
        "tests/a.json    2 passed, 2 FAILED",
        "  ✗ \"wrong\"  expected deny, got grant",
        "      decided by  all (policies.cedar:1)",
        "  ✗ \"nobody\"  there is no agent `who`",
        "coverage: 1 of 2 policies decided at least one test; never fired: unused",
    ] {
        assert!(text.contains(expected), "{expected}\nis not in\n{text}");
    }
}
