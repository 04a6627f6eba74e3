//! The chart says of a key of `hallpass.toml` what its doc comment says, knows every key, and lets nothing else in. A new
//! key is either offered in `helm/hallpass/values.schema.json` or listed here as the chart's own affair.

use std::collections::BTreeSet;

use serde_json::Value;

use super::text::leading_name;
use super::{exists, read, settle};

/// Which struct's fields a part of `config` in the chart's values is made of, and which of them the chart itself sets.
const SECTIONS: &[(&str, &str, &str, &[&str])] = &[
    ("", "src/app/config/settings.rs", "Config", &["dev", "path"]),
    (
        "server",
        "src/app/config/settings.rs",
        "ServerSettings",
        &["listen", "tls", "insecure_loopback", "metrics_listen", "data_dir"],
    ),
    ("store", "src/app/config/settings.rs", "StoreSection", &["url", "password", "migrate"]),
    ("keys", "src/app/config/settings.rs", "KeySettings", &["kek"]),
    ("intervals", "src/app/config/settings.rs", "IntervalSettings", &[]),
    ("policy", "src/app/config/settings.rs", "PolicySettings", &["folder"]),
    ("sign_in", "src/identity/provider/settings.rs", "SignInSettings", &[]),
    ("resource_servers", "src/app/config/settings.rs", "ResourceServerSettings", &[]),
    ("access_requests", "src/app/config/settings.rs", "AccessRequestSettings", &[]),
    ("limits", "src/app/config/settings.rs", "LimitSettings", &[]),
    ("passkeys", "src/identity/webauthn/party.rs", "PasskeySettings", &[]),
    ("issuers", "src/identity/settings.rs", "IssuerSettings", &[]),
    ("backends", "src/minter/settings.rs", "BackendSettings", &["rest"]),
    ("notify", "src/notify/settings.rs", "ChannelSettings", &["rest"]),
];

/// Every kind of backend but the sandbox, which exists in `hallpass dev` only; or every kind of channel.
fn kinds(section: &str) -> Vec<String> {
    let registry = read(&format!("src/{}/registry.rs", room_of(section)));
    let kinds = registry.split_once("KINDS: &[(&str, Builder)] =").and_then(|(_, rest)| rest.split_once("];"));
    let names = kinds.expect("the registry has KINDS").0.split('"').skip(1).step_by(2);
    names.filter(|kind| *kind != "sandbox").map(str::to_owned).collect()
}

/// The room whose registry knows the kinds of a section.
fn room_of(section: &str) -> &'static str {
    if section == "notify" { "notify" } else { "minter" }
}

/// The file with the settings of a kind, whose keys are its backends' or channels' own. Their words in the chart are the chart's.
fn settings_of(section: &str, kind: &str) -> String {
    let (room, kind) = (room_of(section), kind.replace('-', "_"));
    let mut places = [format!("{kind}.rs"), format!("{kind}/mod.rs"), format!("{kind}/settings.rs")]
        .map(|file| format!("src/{room}/{file}"))
        .into_iter();
    let found = places.find(|path| exists(path) && read(path).contains("struct Settings {\n"));
    found.unwrap_or_else(|| {
        panic!("src/{room}/{kind} has no `struct Settings` in its own, its mod.rs or its settings.rs")
    })
}

fn schema() -> Value {
    serde_json::from_str(&read("helm/hallpass/values.schema.json")).expect("the chart's schema is JSON")
}

/// The fields of a struct as the file has them, by their serialized name, each with its doc comment on one line.
fn fields(path: &str, name: &str) -> Vec<(String, String)> {
    let text = read(path);
    let body = text
        .split_once(&format!("struct {name} {{\n"))
        .and_then(|(_, rest)| rest.split_once("\n}\n"))
        .unwrap_or_else(|| panic!("{path} has no struct {name}"))
        .0;
    let (mut found, mut words, mut renamed) = (Vec::new(), Vec::new(), None);
    for line in body.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            words.push(comment.trim());
        } else if line.starts_with("#[") {
            let name = line.split_once("rename = \"").and_then(|(_, rest)| rest.split_once('"'));
            renamed = name.map(|(name, _)| name).or(renamed);
        } else if line.contains(':') {
            let name = leading_name(line.strip_prefix("pub ").unwrap_or(line));
            found.push((renamed.take().unwrap_or(name).to_owned(), words.join(" ")));
            words.clear();
        }
    }
    assert!(!found.is_empty(), "{path}: the fields of {name} cannot be read");
    found
}

/// The properties of a part of `config`, whether it is one table or a list of them.
fn properties(schema: &Value, section: &str) -> serde_json::Map<String, Value> {
    let config = &schema["properties"]["config"];
    let part = if section.is_empty() { config } else { &config["properties"][section] };
    let table = if part["type"] == "array" { &part["items"] } else { part };
    table["properties"].as_object().unwrap_or_else(|| panic!("the schema has no config.{section}")).clone()
}

#[test]
fn the_chart_knows_every_key_and_says_what_its_comment_says() {
    let schema = schema();
    let mut wrong = Vec::new();
    for (section, path, name, own) in SECTIONS {
        let mut offered = properties(&schema, section);
        for (key, comment) in fields(path, name) {
            match offered.remove(&key) {
                None if own.contains(&key.as_str()) => {}
                None => {
                    wrong.push(format!("config.{section}: `{key}` of {path} is neither offered nor the chart's own"));
                }
                Some(_) if own.contains(&key.as_str()) => {
                    wrong.push(format!("config.{section}.{key} is offered, and listed as the chart's own"));
                }
                Some(property) if property["description"] != comment => wrong.push(format!(
                    "config.{section}.{key}:\n    chart: {}\n    {path}: {comment}",
                    property["description"]
                )),
                Some(_) => {}
            }
        }
        let of_kinds: BTreeSet<String> = if ["backends", "notify"].contains(section) {
            let all = kinds(section);
            all.iter().flat_map(|kind| fields(&settings_of(section, kind), "Settings")).map(|(key, _)| key).collect()
        } else {
            BTreeSet::new()
        };
        wrong.extend(
            of_kinds.iter().filter(|key| offered.remove(*key).is_none()).map(|key| format!("no {section}.{key}")),
        );
        wrong.extend(offered.keys().map(|key| format!("config.{section}.{key}: {path} has no such key")));
    }
    settle(
        "helm/hallpass/values.schema.json offers the keys of hallpass.toml, in the words of their comments:",
        &wrong,
    );
}

#[test]
fn the_chart_offers_every_kind_of_backend_and_of_channel() {
    for section in ["backends", "notify"] {
        let known = properties(&schema(), section);
        let offered: Vec<&str> = known["kind"]["enum"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(offered, kinds(section), "the kinds of {section} in helm/hallpass/values.schema.json");
    }
}

/// Looks at a schema and everything below it.
fn look(at: &str, schema: &Value, wrong: &mut Vec<String>) {
    if schema["$ref"].is_string() {
        return;
    }
    if !schema["description"].is_string() {
        wrong.push(format!("{at} has no description"));
    }
    if let Some(properties) = schema["properties"].as_object() {
        if schema["additionalProperties"] != Value::Bool(false) {
            wrong.push(format!("{at} lets other keys in"));
        }
        for (key, property) in properties {
            look(&format!("{at}.{key}"), property, wrong);
        }
    }
    if schema["items"].is_object() {
        look(&format!("{at}[]"), &schema["items"], wrong);
    }
}

#[test]
fn the_chart_lets_no_unknown_key_in_and_describes_every_key() {
    let schema = schema();
    let mut wrong = Vec::new();
    look("values", &schema, &mut wrong);
    for (name, definition) in schema["definitions"].as_object().unwrap() {
        look(name, definition, &mut wrong);
    }
    settle("helm/hallpass/values.schema.json is strict and speaks:", &wrong);
}
