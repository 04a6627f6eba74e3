//! The native effect as people read it: every value of the plan with the way to it, in the plan's order, none left out. What the
//! backend would be told is what is shown; only the brackets are gone.

use serde_json::Value;

use super::text::{Shown, exact, words};

/// One line of an effect: where it stands, and its values.
pub(super) struct EffectRow {
    pub(super) path: String,
    pub(super) values: Vec<Shown>,
}

/// Every value of an effect. Lists of plain values stand together on one line; an empty list or object is said to be empty.
pub(super) fn rows(effect: &Value) -> Vec<EffectRow> {
    let mut rows = Vec::new();
    collect(effect, &mut Vec::new(), &mut rows);
    rows
}

fn collect(value: &Value, path: &mut Vec<String>, rows: &mut Vec<EffectRow>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                path.push(label(name));
                collect(member, path, rows);
                path.pop();
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (index, item) in items.iter().enumerate() {
                // One of one needs no number.
                let numbered = (items.len() > 1).then(|| number(path, index));
                collect(item, path, rows);
                if let Some(before) = numbered {
                    restore(path, before);
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            rows.push(EffectRow { path: path.join(" › "), values: items.iter().map(plain).collect() });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            rows.push(EffectRow { path: path.join(" › "), values: vec![plain(value)] });
        }
    }
}

/// Put a number behind the last step; what it was before is returned.
fn number(path: &mut Vec<String>, index: usize) -> Option<String> {
    let before = path.pop();
    path.push(format!("{} {}", before.as_deref().unwrap_or("item"), index.saturating_add(1)));
    before
}

fn restore(path: &mut Vec<String>, before: Option<String>) {
    path.pop();
    path.extend(before);
}

/// A member's name as words, if it is a plain one; names that mean something to the backend (`aws:CurrentTime`) stay.
fn label(name: &str) -> String {
    let is_plain = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_plain { words(name) } else { name.to_owned() }
}

fn plain(value: &Value) -> Shown {
    match value {
        Value::String(text) if text.is_empty() => exact("empty"),
        Value::String(text) => exact(text),
        Value::Null => exact("none"),
        Value::Bool(true) => exact("yes"),
        Value::Bool(false) => exact("no"),
        Value::Number(number) => exact(&number.to_string()),
        Value::Array(_) => exact("empty list"),
        Value::Object(_) => exact("empty"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_of_an_effect_is_on_the_page_with_the_way_to_it() {
        let effect = json!({
            "role": "arn:aws:iam::1:role/releases",
            "session_policy": { "Statement": [
                { "Action": ["s3:PutObject", "s3:DeleteObject"], "Resource": ["arn:aws:s3:::releases/v1/*"],
                  "Condition": { "DateLessThan": { "aws:CurrentTime": "2026-11-21T12:15:00Z" } } },
                { "Action": "s3:ListBucket", "Resource": [] },
            ] },
            "seconds": 900, "external": false, "tags": {},
        });
        let rows: Vec<(String, String)> = rows(&effect)
            .into_iter()
            .map(|row| {
                let values: Vec<String> = row.values.iter().map(ToString::to_string).collect();
                (row.path, values.join(",").replace("<bdi class=\"exact\">", "").replace("</bdi>", ""))
            })
            .collect();
        for (path, value) in [
            ("role", "arn:aws:iam::1:role/releases"),
            ("session policy › Statement 1 › Action", "s3:PutObject,s3:DeleteObject"),
            ("session policy › Statement 1 › Resource", "arn:aws:s3:::releases/v1/*"),
            ("session policy › Statement 1 › Condition › DateLessThan › aws:CurrentTime", "2026-11-21T12:15:00Z"),
            ("session policy › Statement 2 › Action", "s3:ListBucket"),
            ("session policy › Statement 2 › Resource", "empty list"),
            ("seconds", "900"),
            ("external", "no"),
            ("tags", "empty"),
        ] {
            assert!(rows.contains(&(path.to_owned(), value.to_owned())), "{path}: {value} is not in {rows:?}");
        }
        assert_eq!(rows.len(), 9);
    }
}
