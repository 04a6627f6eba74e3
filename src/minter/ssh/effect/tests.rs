//! What gets into a certificate: each place takes only what means there what it says, and a shell reads the words back as given.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::{Name, ParamType, Ttl};

fn entry(effect: serde_json::Value) -> CatalogueEntry {
    let word = |name: &str| (name.parse::<Name>().unwrap(), ParamType::Word { max_length: 64 });
    CatalogueEntry {
        name: "hosts:web:deploy".parse().unwrap(),
        description: "Deploys.".to_owned(),
        risk: 10,
        owner: "maya".to_owned(),
        max_ttl: Ttl::EIGHT_HOURS,
        params: [word("app"), word("user")].into(),
        labels: BTreeMap::new(),
        effect,
    }
}

fn filled(effect: serde_json::Value, app: &str, user: &str) -> Result<Permits, String> {
    let params = [("app", app), ("user", user)].map(|(name, value)| (name.parse().unwrap(), value.to_owned())).into();
    Effect::read(&entry(effect)).unwrap().fill(&Values::Given(&params))
}

#[test]
fn values_stand_where_their_names_stood() {
    let effect = json!({ "principals": ["{user}", "ops-{user}"], "force_command": ["/bin/deploy", "--app={app}", "for {app}"],
        "source_address": ["10.0.0.0/8", "2001:db8::1"], "extensions": ["permit-pty"] });
    let permits = filled(effect, "web", "ada").unwrap();
    assert_eq!(permits.principals, ["ada", "ops-ada"].map(str::to_owned).into());
    assert_eq!(permits.force_command.as_deref(), Some("/bin/deploy '--app=web' 'for web'"));
    assert_eq!(permits.source_address.as_deref(), Some("10.0.0.0/8,2001:db8::1"));
    assert_eq!(permits.extensions, [Extension::Pty].into());
}

#[test]
fn what_would_mean_something_else_cannot_be_expressed() {
    let command = || json!({ "principals": ["deploy"], "force_command": ["/bin/deploy", "{app}"] });
    assert!(filled(command(), "web", "x").is_ok());
    for value in ["-rf", "it's", "a\\b", "a\nb", "a!b", "é", "", &"a".repeat(257)] {
        assert!(filled(command(), value, "x").is_err(), "{value:?}");
    }
    for user in ["", "-ada", "*", "ada,root", "a da", "ada\n", "?", "!root", ".hidden", "a\"b"] {
        assert!(filled(json!({ "principals": ["{user}"] }), "x", user).is_err(), "{user:?}");
    }
    let from = || json!({ "principals": ["deploy"], "source_address": ["{app}"] });
    assert_eq!(filled(from(), "10.1.2.3", "x").unwrap().source_address.as_deref(), Some("10.1.2.3"));
    for value in ["0.0.0.0/0", "10.1.2.3,0.0.0.0", "example", "*", ""] {
        assert!(filled(from(), value, "x").is_err(), "{value:?}");
    }
}

#[test]
fn ssh_02_principals_are_never_empty_and_empty_never_means_all() {
    for effect in [
        json!({}),
        json!({ "principals": [] }),
        json!({ "principals": [""] }),
        json!({ "principals": ["deploy", ""] }),
        json!({ "principals": ["deploy"], "source_address": [] }),
        json!({ "principals": ["deploy"], "force_command": [] }),
        json!({ "principals": "deploy" }),
        json!({ "principals": vec!["a"; 65] }),
    ] {
        assert!(matches!(Effect::read(&entry(effect.clone())), Err(MintError::Misconfigured(_))), "{effect}");
    }
    assert!(filled(json!({ "principals": ["{user}"] }), "x", "").is_err());
}

#[test]
fn a_catalogue_that_says_something_else_than_it_means_is_refused() {
    for (effect, why) in [
        (json!({ "principals": ["{nobody}"] }), "no parameter `nobody`"),
        (json!({ "principals": ["{app"] }), "without `}`"),
        (json!({ "principals": ["app}"] }), "without `{`"),
        (json!({ "principals": ["*"] }), "letters, digits"),
        (json!({ "principals": ["a"], "source_address": ["10.0.0.1/8"] }), "is 10.0.0.0/8 meant?"),
        (json!({ "principals": ["a"], "source_address": ["office"] }), "not an IP address"),
        (json!({ "principals": ["a"], "force_command": ["sh", "it's"] }), "no `'`"),
        (json!({ "principals": ["a"], "extensions": ["permit-everything"] }), "permit-everything"),
        (json!({ "principals": ["a"], "principal": ["b"] }), "principal"),
    ] {
        let refusal = Effect::read(&entry(effect)).unwrap_err().to_string();
        assert!(refusal.contains(why) && refusal.contains("hosts:web:deploy"), "{refusal}");
    }
}

/// How a shell reads a command back: its words.
fn read_by(shell: &str, command: &str) -> Vec<String> {
    let script = format!("printf '%s\\0' {command}");
    let output = std::process::Command::new(shell).arg("-c").arg(script).env_clear().output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_shell_reads_every_word_back_as_it_was_given(words in prop::collection::vec("[ -~]{1,40}|[a-z$`\"*?~#;&|<>(){}=\\[\\] ]{1,12}", 1..6)) {
        let kept: Vec<String> = words.into_iter().filter(|text| word(text).is_ok()).collect();
        prop_assume!(!kept.is_empty());
        let command = kept.iter().map(|text| word(text).unwrap()).collect::<Vec<_>>().join(" ");
        for shell in ["/bin/sh", "/bin/bash"] {
            prop_assert_eq!(&read_by(shell, &command), &kept);
        }
    }

    #[test]
    fn no_value_gets_out_of_its_place(value in "\\PC{0,20}|[-a,{}*'\"0-9./ \n]{0,12}") {
        let effect = json!({ "principals": ["p-{user}"], "force_command": ["c", "{app}"], "source_address": ["10.0.0.1"] });
        if let Ok(permits) = filled(effect, &value, "u") {
            let command = permits.force_command.unwrap();
            prop_assert_eq!(read_by("/bin/sh", &command), vec!["c".to_owned(), value]);
            prop_assert_eq!((permits.principals.len(), permits.source_address.as_deref()), (1, Some("10.0.0.1")));
        }
    }

    #[test]
    fn a_principal_is_one_plain_name(value in "\\PC{0,20}|[-a,*!?\n ]{0,8}") {
        if let Ok(permits) = filled(json!({ "principals": ["{user}"] }), "x", &value) {
            prop_assert_eq!(permits.principals, BTreeSet::from([value.clone()]));
            prop_assert!(!value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && !b",*?!\"'\\#".contains(&b)));
        }
    }
}
