//! The registers: who is recognised as which agent, which accounts are one person, and what refuses to load.

use std::collections::BTreeMap;

use hallpass::domain::AgentId;
use hallpass::policy::{Bundle, BundleError, Recognition};

use super::support::{bundle, files, problems, with_file};

fn agent(id: &str, binding: &str) -> String {
    format!(
        "[[agent]]\nid = \"{id}\"\ndescription = \"x\"\nowner = \"maya\"\nrisk_tier = \"low\"\nbinding = [{{ {binding} }}]\n"
    )
}

fn agents(rows: &[(&str, &str)]) -> Result<Bundle, BundleError> {
    with_file("agents.toml", &rows.iter().map(|(id, binding)| agent(id, binding)).collect::<String>())
}

fn recognise(bundle: &Bundle, issuer: &str, subject: &str, claims: &[(&str, &str)]) -> Recognition {
    let claims: BTreeMap<&str, &str> = claims.iter().copied().collect();
    bundle.recognise(issuer, subject, |name| claims.get(name).copied())
}

fn is(id: &str) -> Recognition {
    Recognition::Agent(id.parse::<AgentId>().unwrap())
}

const GITHUB: &str = "https://token.actions.githubusercontent.com";

#[test]
fn tok_32_a_binding_to_a_shared_issuer_without_owner_or_subject_does_not_load() {
    for (issuer, pins) in [
        (GITHUB, &["repository_id", "repository_owner_id"][..]),
        ("https://gitlab.com", &["namespace_id"]),
        ("https://app.terraform.io", &["terraform_organization_id"]),
        ("https://GitLab.com/", &["namespace_id"]),
    ] {
        let found = problems(agents(&[("bot", &format!(r#"issuer = "{issuer}", subject = "acme/web""#))]));
        assert!(
            found.len() == 1 && found[0].starts_with("agents.toml:6:12: ") && found[0].contains(pins[0]),
            "{found:?}"
        );
        let claims: Vec<String> = pins.iter().map(|pin| format!("{pin} = \"1\"")).collect();
        let pinned = format!(r#"issuer = "{issuer}", claims = {{ {} }}"#, claims.join(", "));
        let found = problems(agents(&[("bot", &pinned)]));
        assert!(found.len() == 1 && found[0].contains("`subject`"), "{found:?}");
        assert!(agents(&[("bot", &format!(r#"{pinned}, subject = "acme/web""#))]).is_ok());
    }
    // An issuer that states no owner but the subject: the subject is enough, and must be there.
    assert!(agents(&[("bot", r#"issuer = "https://scalr.io", subject = "account:acme""#)]).is_ok());
    assert!(agents(&[("bot", r#"issuer = "https://scalr.io", claims = { x = "1" }"#)]).is_err());
}

#[test]
fn a_binding_for_any_subject_must_pin_something() {
    assert!(problems(agents(&[("bot", r#"issuer = "https://id.acme.example""#)]))[0].contains("everybody"));
    assert!(agents(&[("bot", r#"issuer = "https://id.acme.example", claims = { team = "x" }"#)]).is_ok());
    for binding in [
        r#"issuer = "https://id", subject = """#,
        r#"issuer = "https://id", subject_under = "/""#,
        r#"issuer = "https://id", subject = "repo:acme/*""#,
        r#"issuer = "https://id", subject = "a", subject_under = "a""#,
        r#"issuer = "https://id", subject = "a", regex = "a""#,
        r#"issuer = "", subject = "a""#,
    ] {
        assert!(agents(&[("bot", binding)]).is_err(), "{binding}");
    }
}

#[test]
fn tok_30_the_same_names_under_another_owner_are_not_the_agent() {
    let binding = format!(
        r#"issuer = "{GITHUB}", subject = "repo:acme/web:ref:refs/heads/main", claims = {{ repository_id = "7", repository_owner_id = "1" }}"#
    );
    let bundle = agents(&[("web", &binding)]).unwrap();
    let seen = |claims: &[(&str, &str)]| recognise(&bundle, GITHUB, "repo:acme/web:ref:refs/heads/main", claims);
    assert_eq!(seen(&[("repository_id", "7"), ("repository_owner_id", "1")]), is("web"));
    let differs = |claim: &str| Recognition::ClaimDiffers { agent: "web".parse().unwrap(), claim: claim.to_owned() };
    assert_eq!(seen(&[("repository_id", "8"), ("repository_owner_id", "1")]), differs("repository_id"));
    assert_eq!(seen(&[("repository_id", "7"), ("repository_owner_id", "2")]), differs("repository_owner_id"));
    assert_eq!(seen(&[]), differs("repository_id"));
}

#[test]
fn agents_are_recognised_by_equality_or_whole_segments() {
    let rows = [
        ("one", r#"issuer = "https://id", subject = "a/b""#),
        ("two", r#"issuer = "https://id", subject_under = "spiffe://acme/ns/prod/""#),
        ("three", r#"issuer = "https://other", subject = "a/b""#),
        ("four", r#"issuer = "https://id", claims = { team = "four" }"#),
    ];
    let bundle = agents(&rows).unwrap();
    for (subject, claims, expected) in [
        ("a/b", &[][..], is("one")),
        ("spiffe://acme/ns/prod/sa/x", &[], is("two")),
        ("spiffe://acme/ns/prod", &[], is("two")),
        ("x", &[("team", "four")], is("four")),
        ("a/b", &[("team", "four")], Recognition::Ambiguous),
    ] {
        assert_eq!(recognise(&bundle, "https://id", subject, claims), expected, "{subject}");
    }
    for subject in ["spiffe://acme/ns/production", "a/b/c", "A/b", ""] {
        let seen = recognise(&bundle, "https://id", subject, &[]);
        assert!(matches!(seen, Recognition::ClaimDiffers { .. }), "{subject}: {seen:?}");
    }
    assert_eq!(recognise(&bundle, "https://id/", "a/b", &[]), Recognition::Nobody);
}

#[test]
fn two_agents_whom_one_identity_would_satisfy_do_not_load() {
    let equal = r#"issuer = "https://id", subject = "a/b""#;
    for (one, two) in [
        (equal, equal),
        (equal, r#"issuer = "https://id", subject_under = "a""#),
        (r#"issuer = "https://id", subject_under = "a/b""#, r#"issuer = "https://id", subject_under = "a""#),
        (
            r#"issuer = "https://id", subject = "a", claims = { t = "1", u = "2" }"#,
            r#"issuer = "https://id", claims = { t = "1" }"#,
        ),
    ] {
        let found = problems(agents(&[("one", one), ("two", two)]));
        assert!(found.iter().any(|one| one.contains("one of `two`'s too")), "{found:?}");
    }
    let (one, two) = (
        r#"issuer = "https://id", subject = "a", claims = { t = "1" }"#,
        r#"issuer = "https://id", subject = "a", claims = { t = "2" }"#,
    );
    assert!(agents(&[("one", one), ("two", two)]).is_ok());
}

#[test]
fn one_person_with_two_accounts_is_one_person() {
    let bundle = bundle("");
    let person = |issuer: &str, subject: &str, email: Option<&str>| {
        bundle.operator(issuer, subject, email, &["sre".to_owned()]).person.to_string()
    };
    assert_eq!(person("https://sso.acme.example", "u-1", None), "maya");
    assert_eq!(person("https://sso.acme.example", "u-1", Some("other@acme.example")), "maya");
    assert_eq!(person("https://sso.acme.example", "u-9", Some("MAYA@acme.example")), "maya");
    assert_eq!(person("https://elsewhere.example", "u-1", None), "https://elsewhere.example#u-1");
    for text in ["maya", " Maya ", "MAYA@ACME.example"] {
        assert_eq!(bundle.person_of_beneficiary(text).unwrap().as_str(), "maya");
    }
    assert_eq!(bundle.person_of_beneficiary("nobody"), None);
}

#[test]
fn registers_name_each_mistake_with_its_place() {
    let agents = r#"
[[agent]]
id = "Bot"
description = ""
owner = "nobody"
risk_tier = "huge"
ceiling = ["app:db:drop", "app:db:read(x=1)", "app:*:read", "app:db:read", "app:db:read"]

[[agent]]
id = "bad"
descripton = "x"

[[agents]]
id = "x"
"#;
    let mut files = files("");
    files.insert("agents.toml".to_owned(), agents.to_owned());
    files.insert(
        "people.toml".to_owned(),
        "[[person]]\nname = \"maya\"\n[[person]]\nname = \"maya\"\nemail = \"x\"\n".to_owned(),
    );
    let found = problems(Bundle::from_files(files)).join("\n");
    for expected in [
        "agents.toml:3:6: `Bot` is not a name",
        "agents.toml:4:15: empty",
        "agents.toml:5:9: `nobody` is not in people.toml",
        "agents.toml:6:13: `huge` is not a risk tier",
        "agents.toml:7:12: the catalogue has no scope",
        "agents.toml:7:27: `app:db:read` has no parameter `x`",
        "agents.toml:7:47: `app:*:read` has a wildcard",
        "agents.toml:7:76: is there twice",
        "agents.toml:11:1: unknown field `descripton`",
        "agents.toml:13:3: `agents` is not expected here",
        "people.toml:4:8: `maya` is registered twice",
        "people.toml:5:9: not an e-mail address",
    ] {
        assert!(found.contains(expected), "{expected}\nis not in\n{found}");
    }
}

#[test]
fn catalogue_entries_are_checked() {
    let entry = |more: &str| {
        format!(
            "[[scope]]\nname = \"app:db:read\"\ndescription = \"x\"\nrisk = 1\nowner = \"maya\"\nmax_ttl_seconds = 60\n{more}"
        )
    };
    let found = |text: &str| problems(with_file("catalogue.toml", text)).join("\n");
    for (more, expected) in [
        ("params = { p = { type = \"path\", max_length = 999 } }", "7:16: max_length is a number from 1 to 256"),
        ("params = { p = { type = \"integer\", min = 2, max = 1 } }", "7:16: min is larger than max"),
        ("params = { p = { type = \"regex\" } }", "unknown variant `regex`"),
        ("effect = { at = 2020-01-01 }", "7:10: an effect has no dates"),
        ("labels = { ENV = \"x\" }", "7:12: `ENV` is not a name"),
        (&entry("risk2 = 1"), "unknown field `risk2`"),
        (&entry(""), "8:8: `app:db:read` is there twice"),
    ] {
        let found = found(&entry(more));
        assert!(found.contains(expected), "{expected}\nis not in\n{found}");
    }
    let found =
        found(&entry("").replace("risk = 1", "risk = 101").replace("= 60", "= 90000").replace("\"maya\"", "\"x\""));
    for expected in ["4:8: risk is a whole number", "6:19: a life of 90000 s", "5:9: `x` is not in people.toml"] {
        assert!(found.contains(expected), "{expected}\nis not in\n{found}");
    }
}
