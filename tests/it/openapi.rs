//! The OpenAPI document: its golden copy, and that it tells the truth about routes and problems.

use hallpass::api::ProblemKind;
use serde_json::Value;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");

fn document() -> Value {
    serde_json::from_str(&hallpass::http::openapi_document()).unwrap()
}

fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let each = |(path, item): (&String, &Value)| {
        let item = item.as_object().unwrap().clone();
        let path = path.clone();
        item.into_iter().map(move |(method, operation)| (format!("{method} {path}"), operation)).collect::<Vec<_>>()
    };
    paths.iter().flat_map(each).collect()
}

#[test]
fn the_golden_copy_is_what_the_server_serves() {
    let golden = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    assert!(
        golden == hallpass::http::openapi_document(),
        "docs/openapi.json is stale: run `make docs`, or `hallpass openapi > docs/openapi.json`"
    );
}

#[test]
fn it_is_openapi_3_1() {
    assert_eq!(document()["openapi"], "3.1.0");
}

#[test]
fn every_reference_in_it_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[test]
fn every_problem_it_names_exists_with_that_status() {
    for (name, operation) in operations(&document()) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            if response["content"].get("application/problem+json").is_none() {
                continue;
            }
            for code in response["description"].as_str().unwrap().split(", ") {
                let known = ProblemKind::ALL.iter().find(|kind| kind.slug() == code);
                let known = known.unwrap_or_else(|| panic!("{name}: no problem is called {code}"));
                assert_eq!(known.status().to_string(), *status, "{name}: {code}");
            }
        }
    }
}

#[test]
fn every_operation_has_a_summary_a_tag_and_its_own_id() {
    let mut ids = std::collections::BTreeSet::new();
    for (name, operation) in operations(&document()) {
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        assert!(operation["tags"][0].is_string(), "{name}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{name}");
    }
}

#[test]
fn the_route_list_is_the_document() {
    // The console's pages are for people and are no part of the API.
    let listed: Vec<String> = hallpass::http::route_list()
        .into_iter()
        .filter(|route| !crate::doors_console::doors().any(|door| door == format!("{} {}", route.method, route.path)))
        .map(|route| format!("{} {}", route.method.to_lowercase(), route.path))
        .collect();
    let documented: Vec<String> = operations(&document()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(listed.len(), documented.len());
    assert!(documented.iter().all(|name| listed.contains(name)));
}
