//! The one form in which a policy may look at approvals: a forbid that ends `unless
//! { context.approvals.satisfied.contains("<its own id>") }`. In this form approvals can only ever lift the policy that asks
//! for them, so that more approvals never forbid more, and never permit by themselves.

use serde_json::{Value, json};

/// Check the use of `context.approvals` in a policy, given in Cedar's JSON form; one that waits for people must have the form, any other must not look.
pub(super) fn check(tree: &Value, id: &str, waits: bool) -> Result<(), String> {
    let form = format!("unless {{ context.approvals.satisfied.contains(\"{id}\") }}");
    let conditions = tree.get("conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let own = own_term(id);
    let is_form = |condition: &&Value| {
        condition.get("kind").and_then(Value::as_str) == Some("unless")
            && condition.get("body").is_some_and(|body| *body == own)
    };
    let formed = conditions.iter().filter(is_form).count();
    let looks = conditions.iter().filter(|condition| !is_form(condition)).any(looks_at_approvals);
    match (waits, formed, looks) {
        (true, 1, false) | (false, 0, false) => Ok(()),
        (true, _, _) => Err(format!("a policy with @approval ends `{form}` and looks at approvals nowhere else")),
        (false, _, _) => {
            Err(format!("only a forbid with @approval may look at `context.approvals`, and only as `{form}`"))
        }
    }
}

/// `context.approvals.satisfied.contains("<id>")` in Cedar's JSON form.
fn own_term(id: &str) -> Value {
    let approvals = json!({".": {"left": {"Var": "context"}, "attr": "approvals"}});
    let satisfied = json!({".": {"left": approvals, "attr": "satisfied"}});
    json!({"contains": {"left": satisfied, "right": {"Value": id}}})
}

/// Whether an expression could see approvals: it names the attribute, or uses the context as a whole.
fn looks_at_approvals(expression: &Value) -> bool {
    match expression {
        Value::Object(members) => members.iter().any(|(name, value)| match name.as_str() {
            "." | "has" => {
                let of_context = value.get("left").is_some_and(|left| *left == json!({"Var": "context"}));
                let approvals = value.get("attr").and_then(Value::as_str) == Some("approvals");
                approvals || (!of_context && looks_at_approvals(value))
            }
            "Var" => value == "context",
            _ => looks_at_approvals(value),
        }),
        Value::Array(items) => items.iter().any(looks_at_approvals),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
