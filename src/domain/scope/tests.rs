//! Scopes and sets of them: the written form reads back exactly, wildcards and emptiness are refused, and narrower is a
//! partial order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Ceiling, EntryName, Scope, ScopeError, ScopeSet};
use crate::domain::{Catalogue, CatalogueEntry, Name, ParamType, Ttl};

fn entry(name: &str, params: &[(&str, ParamType)]) -> CatalogueEntry {
    CatalogueEntry {
        name: name.parse().unwrap(),
        description: "x".to_owned(),
        risk: 0,
        owner: "maya".to_owned(),
        max_ttl: Ttl::TEN_MINUTES,
        params: params.iter().map(|(name, kind)| (name.parse().unwrap(), kind.clone())).collect(),
        labels: BTreeMap::new(),
        effect: serde_json::json!({}),
    }
}

/// One entry without parameters, and one with a parameter of each type that has an inside.
fn catalogue() -> Catalogue {
    let path = ParamType::Path { max_length: 64 };
    let count = ParamType::Integer { min: 0, max: 9 };
    Catalogue::new([entry("b:r:read", &[]), entry("b:r:write", &[("prefix", path), ("count", count)])])
}

fn scope(text: &str) -> Scope {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn task_11_wildcards_and_empty_scopes_are_refused_and_never_mean_all() {
    for text in ["*", "prod:*", "prod:*:read", "*:*:*", "b:r:read*", "b:r:write(prefix=*)"] {
        assert!(matches!(text.parse::<Scope>(), Err(ScopeError::Wildcard(_) | ScopeError::Shape(_))), "{text}");
    }
    for text in
        ["", ":", "::", "b:r", "b:r:", "b::read", "b:r:read:x", "B:r:read", " b:r:read", "b:r:read()", "b:r:read("]
    {
        assert!(text.parse::<Scope>().is_err(), "{text:?}");
    }
    assert_eq!(ScopeSet::new([]), Err(ScopeError::Empty));
    for json in ["[]", r#"["*"]"#, r#"["prod:*"]"#, r#"[""]"#, "null", "{}"] {
        assert!(serde_json::from_str::<ScopeSet>(json).is_err(), "{json}");
    }
    assert!(!Ceiling::default().covers(&scope("b:r:read"), &catalogue()), "an empty ceiling covers nothing");
}

#[test]
fn a_set_refuses_duplicates_and_more_than_fifty() {
    assert!(matches!(ScopeSet::new([scope("b:r:read"), scope("b:r:read")]), Err(ScopeError::Duplicate(_))));
    let many = |count: usize| ScopeSet::new((0..count).map(|index| scope(&format!("b:r:a{index}"))));
    assert_eq!(many(50).unwrap().len(), 50);
    assert_eq!(many(51), Err(ScopeError::TooMany(51)));
}

#[test]
fn parameters_are_refused_when_empty_long_doubled_or_invisible() {
    let long = format!("b:r:write(prefix={})", "x".repeat(257));
    for text in [
        "b:r:write(prefix=)",
        r#"b:r:write(prefix="")"#,
        "b:r:write(prefix=a,prefix=b)",
        "b:r:write(prefix=a,)",
        "b:r:write(,prefix=a)",
        "b:r:write(prefix=a b)",
        r#"b:r:write(prefix="a"x)"#,
        r#"b:r:write(prefix="a\nb")"#,
        "b:r:write(prefix=\"a\u{202e}b\")",
        "b:r:write(prefix=a)(count=1)",
        &long,
    ] {
        assert!(text.parse::<Scope>().is_err(), "{text}");
    }
}

#[test]
fn narrower_means_inside_by_the_declared_type() {
    let catalogue = catalogue();
    let wide = scope("b:r:write(prefix=v1/,count=5)");
    for (text, inside) in [
        ("b:r:write(prefix=v1/,count=5)", true),
        ("b:r:write(prefix=v1/a,count=0)", true),
        ("b:r:write(prefix=v1/a,count=6)", false),
        ("b:r:write(prefix=v10,count=5)", false),
        ("b:r:write(prefix=v1/)", false),
        ("b:r:read", false),
    ] {
        assert_eq!(scope(text).is_within(&wide, &catalogue), inside, "{text}");
    }
    let unknown = scope("b:r:gone");
    assert!(!unknown.is_within(&unknown, &catalogue), "what the catalogue lacks covers nothing, not even itself");
    let open = Ceiling::new(vec![scope("b:r:write(prefix=v1)")]);
    assert!(open.covers(&scope("b:r:write(prefix=v1/a,count=9)"), &catalogue));
    assert!(!open.covers(&scope("b:r:write(prefix=v2,count=1)"), &catalogue));
}

fn any_name() -> impl Strategy<Value = Name> {
    "[a-z0-9][a-z0-9._-]{0,12}".prop_map(|text| text.parse().unwrap())
}

fn any_scope() -> impl Strategy<Value = Scope> {
    let value = "\\PC{1,20}".prop_filter("visible", |value| super::super::forbidden_characters(value).is_empty());
    let params = prop::collection::btree_map(any_name(), value, 0..4);
    ((any_name(), any_name(), any_name()), params)
        .prop_map(|((b, r, a), params)| Scope::new(EntryName::new(b, r, a), params).unwrap())
}

/// A scope of the catalogue above.
fn known_scope() -> impl Strategy<Value = Scope> {
    let path = prop::collection::vec("[ab]", 1..4).prop_map(|segments| segments.join("/"));
    (path, 0..10_i64, any::<bool>()).prop_map(|(path, count, plain)| {
        scope(&if plain { "b:r:read".to_owned() } else { format!("b:r:write(prefix={path},count={count})") })
    })
}

fn known_set() -> impl Strategy<Value = ScopeSet> {
    prop::collection::btree_set(known_scope(), 1..5).prop_map(|scopes| ScopeSet::new(scopes).unwrap())
}

proptest! {
    #[test]
    fn a_written_scope_reads_back_as_itself(scope in any_scope()) {
        prop_assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
    }

    #[test]
    fn reading_any_text_never_panics(text in "\\PC{0,60}") {
        let read = text.parse::<Scope>();
        prop_assert!(read.is_err() || !text.is_empty());
    }

    #[test]
    fn narrower_is_reflexive_and_transitive(a in known_set(), b in known_set(), c in known_set()) {
        let catalogue = catalogue();
        prop_assert!(a.is_within(&a, &catalogue));
        prop_assert!(!(a.is_within(&b, &catalogue) && b.is_within(&c, &catalogue)) || a.is_within(&c, &catalogue));
    }

    #[test]
    fn a_narrower_set_is_under_every_ceiling_the_wider_is_under(a in known_set(), b in known_set(), c in known_set()) {
        let catalogue = catalogue();
        let ceiling = Ceiling::new(c.iter().cloned().collect());
        let under = |set: &ScopeSet| set.iter().all(|scope| ceiling.covers(scope, &catalogue));
        prop_assert!(!(a.is_within(&b, &catalogue) && under(&b)) || under(&a));
    }

    #[test]
    fn dropping_a_scope_only_narrows(set in known_set()) {
        let rest: Vec<Scope> = set.iter().skip(1).cloned().collect();
        if let Ok(rest) = ScopeSet::new(rest) {
            prop_assert!(rest.is_within(&set, &catalogue()));
        }
    }
}
