//! What gets into a pattern: Redis' own matcher, written again, finds in it the value and nothing else.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::{ParamType, Ttl};

fn entry(effect: serde_json::Value) -> CatalogueEntry {
    CatalogueEntry {
        name: "cache:orders:read".parse().unwrap(),
        description: "Reads orders.".to_owned(),
        risk: 10,
        owner: "maya".to_owned(),
        max_ttl: Ttl::EIGHT_HOURS,
        params: [("tenant".parse().unwrap(), ParamType::Word { max_length: 64 })].into(),
        labels: BTreeMap::new(),
        effect,
    }
}

fn filled(template: &str, tenant: &str) -> Result<String, String> {
    put(template, &Values::Given(&[("tenant".parse().unwrap(), tenant.to_owned())].into()))
}

/// `stringmatchlen` of Redis, for the parts that a pattern of ours can have.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|from| matches(rest, &text[from..])),
        ([b'?', rest @ ..], [_, more @ ..]) => matches(rest, more),
        ([b'[', ..], _) => panic!("a class in a pattern"),
        ([b'\\', c, rest @ ..] | [c, rest @ ..], [first, more @ ..]) => c == first && matches(rest, more),
        (_, []) => false,
    }
}

/// `sdssplitargs` of Redis, which splits a selector: white space ends a word, a quote begins one that can hold anything.
fn words(selector: &str) -> Option<Vec<&str>> {
    let inside = selector.strip_prefix('(')?.strip_suffix(')')?;
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '(' | ')');
    inside.chars().all(|c| plain(c) || c == ' ').then(|| inside.split(' ').collect())
}

#[test]
fn values_stand_where_their_names_stood() {
    assert_eq!(filled("orders:{tenant}:*", "acme").unwrap(), "orders:acme:*");
    assert_eq!(filled("{tenant}", "acme").unwrap(), "acme");
    assert_eq!(filled("a[1]:{tenant}?x", "b").unwrap(), "a\\[1\\]:b\\?x");
    let effect = Effect::read(&entry(json!({
        "commands": ["mget", "get"], "keys": { "orders:{tenant}:*": "read", "n:{tenant}": "read_write" }, "channels": ["c:{tenant}"]
    })));
    let params = [("tenant".parse().unwrap(), "acme".to_owned())].into();
    let selector = effect.unwrap().selector(&Values::Given(&params)).unwrap();
    assert_eq!(selector, "(resetchannels ~n:acme %R~orders:acme:* &c:acme +get +mget)");
}

#[test]
fn red_02_what_would_mean_something_else_cannot_be_expressed() {
    for value in ["", "a b", "a\nb", "a\tb", "a\0b", "é", "a\"b", "a'b", "a)", "(a", "{tenant}", "a:b"] {
        assert!(filled("orders:{tenant}:*", value).is_err(), "{value:?}");
    }
    assert!(filled("orders:{tenant}", "a:b").is_ok(), "nothing follows that it could be taken for");
    assert!(filled("orders:{tenant}", &"a".repeat(MAX_PATTERN)).is_err());
}

#[test]
fn red_03_an_effect_that_is_too_wide_or_narrows_nothing_is_refused() {
    let fine = json!({ "commands": ["get"], "keys": { "orders:{tenant}": "read" } });
    assert!(Effect::read(&entry(fine)).is_ok());
    let all = |commands: &str| json!({ "commands": [commands], "keys": { "orders:{tenant}": "read" } });
    let keys = |pattern: &str| json!({ "commands": ["get"], "keys": { pattern: "read", "x:{tenant}": "read" } });
    for effect in [
        json!({ "commands": [], "keys": { "orders:{tenant}": "read" } }),
        json!({ "commands": ["get"] }),
        json!({ "commands": ["get"], "keys": { "orders:*": "read" } }),
        json!({ "commands": ["get"], "keys": { "{tenant}": "all" } }),
        all("@all"),
        all("@read"),
        all("GET"),
        all("keys"),
        all("scan"),
        all("config|get"),
        all("acl|setuser"),
        all("eval"),
        all("flushall"),
        all("function|load"),
        all("get ~*"),
        all("client|kill"),
        all("select"),
        all(""),
        all("monitor"),
        keys("*"),
        keys("a*b"),
        keys("{tenant}*"),
        keys("{tenant}{tenant}"),
        keys("{nobody}"),
        keys("{tenant"),
        keys("a}b"),
        keys("a b"),
        keys(""),
    ] {
        let refused = Effect::read(&entry(effect.clone())).map(drop);
        assert!(matches!(refused, Err(MintError::Misconfigured(_))), "{effect}: {refused:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn red_02_a_value_matches_itself_alone(
        value in "([*?\\[\\]\\\\^!a:-]|[ -~]|[^\\p{Cc}]|[\\n\\t ]){1,8}", other in "([*?\\[\\]\\\\^!a:-]|[ -~]){1,8}",
    ) {
        if let Ok(pattern) = filled("k:{tenant}", &value) {
            prop_assert!(matches(pattern.as_bytes(), format!("k:{value}").as_bytes()), "{}", pattern);
            prop_assert_eq!(matches(pattern.as_bytes(), format!("k:{other}").as_bytes()), value == other, "{}", pattern);
        }
        if let Ok(pattern) = filled("k:{tenant}:*", &value) {
            let inside = |key: String| matches(pattern.as_bytes(), key.as_bytes());
            prop_assert!(inside(format!("k:{value}:x")), "{}", pattern);
            prop_assert_eq!(inside(format!("k:{other}:x")), format!("{other}:x").starts_with(&format!("{value}:")), "{}", pattern);
        }
    }

    #[test]
    fn red_02_a_value_adds_no_word_to_a_selector(value in "([ '\"()\\\\+~%&@]|nopass|[^\\p{Cc}]|[\\n\\x00]){1,12}") {
        let effect = entry(json!({ "commands": ["get"], "keys": { "k:{tenant}": "read" } }));
        let params = [("tenant".parse().unwrap(), value)].into();
        if let Ok(selector) = Effect::read(&effect).unwrap().selector(&Values::Given(&params)) {
            let words = words(&selector).expect("nothing that Redis reads as its own");
            prop_assert_eq!(words.len(), 3, "{}", selector);
            prop_assert_eq!((words[0], words[2]), ("resetchannels", "+get"));
            prop_assert!(words[1].starts_with("%R~k:"), "{}", selector);
        }
    }
}
