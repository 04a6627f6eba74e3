//! IAM's evaluation of policies, as far as ours go: a denial wins, and what no statement allows is denied. A condition, an operator or
//! a member it does not know is an error, never a match.

use std::collections::BTreeMap;

use serde_json::Value;

/// The condition keys of a request, with their values.
pub(crate) type Context = BTreeMap<String, String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Denied,
    Allowed,
    Silent,
}

/// What one policy says to a request.
pub(crate) fn says(policy: &Value, action: &str, resource: &str, context: &Context) -> Result<Verdict, String> {
    let policy = policy.as_object().ok_or("a policy is an object")?;
    if policy.get("Version") != Some(&Value::from("2012-10-17")) || policy.len() != 2 {
        return Err("a policy has a Version and Statements".to_owned());
    }
    let mut verdict = Verdict::Silent;
    for statement in policy["Statement"].as_array().filter(|list| !list.is_empty()).ok_or("no Statement")? {
        let statement = statement.as_object().ok_or("a statement is an object")?;
        for member in statement.keys() {
            if !["Effect", "Action", "Resource", "Condition", "Principal", "Sid"].contains(&member.as_str()) {
                return Err(format!("unknown member {member}"));
            }
        }
        let matches = |member: &str, wanted: &str, fold: bool| -> Result<bool, String> {
            let lower = |text: &str| if fold { text.to_lowercase() } else { text.to_owned() };
            let patterns = list(statement.get(member).ok_or(format!("no {member}"))?)?;
            Ok(patterns.iter().any(|pattern| like(&lower(pattern), &lower(wanted))))
        };
        let resource_fits = statement.contains_key("Principal") || matches("Resource", resource, false)?;
        let applies = matches("Action", action, true)? && resource_fits && holds(statement.get("Condition"), context)?;
        match (statement.get("Effect").and_then(Value::as_str), applies) {
            (Some("Deny"), true) => verdict = Verdict::Denied,
            (Some("Allow"), true) if verdict == Verdict::Silent => verdict = Verdict::Allowed,
            (Some("Allow" | "Deny"), _) => {}
            _ => return Err("an Effect is Allow or Deny".to_owned()),
        }
    }
    Ok(verdict)
}

/// Whether every operator holds for every key; a key the request does not have fails the ones we use.
fn holds(conditions: Option<&Value>, context: &Context) -> Result<bool, String> {
    let Some(conditions) = conditions else { return Ok(true) };
    for (operator, keys) in conditions.as_object().ok_or("a Condition is an object")? {
        for (key, values) in keys.as_object().ok_or("an operator has keys")? {
            let found = context.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value);
            let Some(found) = found else { return Ok(false) };
            let mut any = false;
            for value in list(values)? {
                any |= compare(operator, found, &value)?;
            }
            if !any {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn compare(operator: &str, found: &str, value: &str) -> Result<bool, String> {
    let dates = || -> Result<(jiff::Timestamp, jiff::Timestamp), String> {
        let read = |text: &str| text.parse().map_err(|error| format!("{text}: {error}"));
        Ok((read(found)?, read(value)?))
    };
    Ok(match operator {
        "StringEquals" => found == value,
        "StringLike" => like(value, found),
        "DateLessThan" => dates()?.0 < dates()?.1,
        "DateLessThanEquals" => dates()?.0 <= dates()?.1,
        "DateGreaterThan" => dates()?.0 > dates()?.1,
        "DateGreaterThanEquals" => dates()?.0 >= dates()?.1,
        other => return Err(format!("unknown operator {other}")),
    })
}

fn list(value: &Value) -> Result<Vec<String>, String> {
    let text = |one: &Value| one.as_str().map(str::to_owned).ok_or(format!("{one} is no text"));
    match value.as_array() {
        Some(many) if many.is_empty() => Err("an empty list".to_owned()),
        Some(many) => many.iter().map(text).collect(),
        None => Ok(vec![text(value)?]),
    }
}

/// `*` and `?`, by a table.
pub(crate) fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let mut row = vec![true];
    row.extend(std::iter::repeat_n(false, text.len()));
    for letter in pattern {
        let mut next = vec![row[0] && letter == '*'];
        for at in 0..text.len() {
            next.push(match letter {
                '*' => next[at] || row[at + 1],
                '?' => row[at],
                _ => row[at] && text[at] == letter,
            });
        }
        row = next;
    }
    row[text.len()]
}

#[test]
fn patterns_are_matched_as_iam_does() {
    assert!(like("a*c", "abbc") && like("*", "") && like("a?c", "abc") && like("**a", "a"));
    assert!(!like("a*c", "abcd") && !like("?", "") && !like("a?c", "ac"));
}
