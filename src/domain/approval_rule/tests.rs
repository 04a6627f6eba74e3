//! The quorum against brute force on small worlds, and the written form of rules.

use proptest::prelude::*;

use super::{ApprovalRule, RuleError, Voter};
use crate::domain::Person;

fn rule(text: &str) -> ApprovalRule {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn voter(person: &str, groups: &[&str]) -> Voter {
    Voter { person: Person::new(person), groups: groups.iter().map(ToString::to_string).collect(), break_glass: false }
}

const GROUPS: [&str; 3] = ["a", "b", "c"];

/// Every set of people that could be left after the rule's places were filled from `free`, by trying everybody for each
/// place; people are bits, `world` says which groups each is in.
fn leftovers(rule: &ApprovalRule, world: &[usize], free: usize) -> Vec<usize> {
    match rule {
        ApprovalRule::Of { count: 0, .. } => vec![free],
        ApprovalRule::Of { count, group } => {
            let bit = GROUPS.iter().position(|name| name == group).unwrap();
            let less = ApprovalRule::Of { count: count - 1, group: group.clone() };
            let fits = |person: &usize| free & (1 << person) != 0 && world[*person] & (1 << bit) != 0;
            let people = (0..world.len()).filter(fits);
            people.flat_map(|person| leftovers(&less, world, free & !(1 << person))).collect()
        }
        ApprovalRule::Any(parts) => parts.iter().flat_map(|part| leftovers(part, world, free)).collect(),
        ApprovalRule::All(parts) => parts.iter().fold(vec![free], |lefts, part| {
            let mut next: Vec<usize> = lefts.iter().flat_map(|left| leftovers(part, world, *left)).collect();
            next.sort_unstable();
            next.dedup();
            next
        }),
    }
}

#[test]
fn the_quorum_is_what_brute_force_says_in_every_small_world() {
    let rules = [
        "1 of a",
        "2 of a",
        "1 of a and 1 of b",
        "1 of a or 1 of b",
        "2 of a or 1 of b",
        "1 of a and 1 of b and 1 of c",
        "1 of a and (1 of b or 1 of c)",
        "(1 of a and 1 of b) or 2 of c",
        "1 of a and 1 of a",
        "2 of a and 1 of b",
        "(1 of a or 1 of b) and (1 of b or 1 of c)",
        "(2 of a or 1 of c) and (1 of a or 2 of b)",
    ]
    .map(rule);
    for people in 0..=3_u32 {
        for number in 0..8_usize.pow(people) {
            let world: Vec<usize> = (0..people).map(|person| number / 8_usize.pow(person) % 8).collect();
            let voters: Vec<Voter> = world
                .iter()
                .enumerate()
                .map(|(person, groups)| {
                    let of: Vec<&str> = (0..3).filter(|bit| groups & (1 << bit) != 0).map(|bit| GROUPS[bit]).collect();
                    voter(&person.to_string(), &of)
                })
                .collect();
            for rule in &rules {
                let expected = !leftovers(rule, &world, (1 << people) - 1).is_empty();
                assert_eq!(rule.is_satisfied_by(&voters), expected, "{rule} by {voters:?}");
            }
        }
    }
}

#[test]
fn one_person_with_two_accounts_or_in_two_groups_fills_one_place() {
    let both = rule("1 of a and 1 of b");
    assert!(!both.is_satisfied_by(&[voter("maya", &["a", "b"])]));
    assert!(!both.is_satisfied_by(&[voter("maya", &["a"]), voter("maya", &["b"])]));
    assert!(both.is_satisfied_by(&[voter("maya", &["a", "b"]), voter("jo", &["a"])]));
    assert!(!rule("2 of a").is_satisfied_by(&[voter("maya", &["a"]), voter("maya", &["a"])]));
}

#[test]
fn rules_that_need_nobody_or_too_much_are_refused() {
    for text in ["0 of a", "1 of a and 0 of b", "1 of a or 0 of b"] {
        assert!(matches!(text.parse::<ApprovalRule>(), Err(RuleError::NeedsNobody(_))), "{text}");
    }
    for text in ["11 of a", "6 of a and 5 of b", "6 of a or 5 of b", "4294967295 of a and 4294967295 of b"] {
        assert!(matches!(text.parse::<ApprovalRule>(), Err(RuleError::TooLarge(_))), "{text}");
    }
    assert!(matches!("1 of a ".repeat(100).parse::<ApprovalRule>(), Err(RuleError::TooLarge(_))));
    let deep = format!("{}1 of a{}", "(".repeat(9), ")".repeat(9));
    for text in
        ["", "1", "1 of", "of a", "-1 of a", "1 of and", "1 of a and", "(1 of a", "1 of a)", "1 of a 1 of b", &deep]
    {
        assert!(matches!(text.parse::<ApprovalRule>(), Err(RuleError::Shape(_))), "{text}");
    }
}

#[test]
fn a_rule_joined_with_itself_stays_itself() {
    let (a, b) = (rule("1 of a"), rule("1 of b"));
    assert_eq!(a.clone().and(a.clone()), a);
    let both = a.clone().and(b.clone());
    assert_eq!(both.to_string(), "1 of a and 1 of b");
    assert_eq!(both.clone().and(a).and(b), both);
}

#[test]
fn a_part_that_is_there_twice_still_asks_for_two_people() {
    let joined = rule("1 of b and 1 of a").and(rule("1 of a and 1 of a"));
    assert!(!joined.is_satisfied_by(&[voter("maya", &["b"]), voter("jo", &["a"])]));
    assert!(joined.is_satisfied_by(&[voter("maya", &["b"]), voter("jo", &["a"]), voter("nia", &["a"])]));
}

fn any_rule() -> impl Strategy<Value = ApprovalRule> {
    let leaf = (1..3_u32, "[a-c]").prop_map(|(count, group)| ApprovalRule::Of { count, group });
    leaf.prop_recursive(2, 4, 2, |inner| {
        let parts = prop::collection::vec(inner, 2..3);
        prop_oneof![parts.clone().prop_map(ApprovalRule::All), parts.prop_map(ApprovalRule::Any)]
    })
}

proptest! {
    #[test]
    fn a_written_rule_reads_back_as_itself(rule in any_rule()) {
        prop_assume!(rule.people() <= super::MAX_PEOPLE);
        prop_assert_eq!(rule.to_string().parse::<ApprovalRule>().unwrap(), rule);
    }

    #[test]
    fn who_satisfies_two_rules_joined_satisfies_each(
        one in any_rule(), two in any_rule(), world in prop::collection::vec(prop::collection::vec("[a-c]", 0..3), 0..6),
    ) {
        let voters: Vec<Voter> = world.iter().enumerate()
            .map(|(person, groups)| Voter { person: Person::new(person.to_string()), groups: groups.clone(), break_glass: false }).collect();
        if one.clone().and(two.clone()).is_satisfied_by(&voters) {
            prop_assert!(one.is_satisfied_by(&voters) && two.is_satisfied_by(&voters));
        }
    }

    #[test]
    fn one_more_yes_never_unsatisfies_a_rule(rule in any_rule(), groups in prop::collection::vec("[a-c]", 0..5)) {
        let voters: Vec<Voter> =
            groups.iter().enumerate().map(|(person, group)| voter(&person.to_string(), &[group])).collect();
        for fewer in 0..voters.len() {
            prop_assert!(!rule.is_satisfied_by(&voters[..fewer]) || rule.is_satisfied_by(&voters[..=fewer]));
        }
    }
}
