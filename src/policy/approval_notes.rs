//! The annotations beside `@approval`: what a yes takes and what it is good for. Each stands on the forbid that waits for people
//! and is read here once; a value that cannot be read refuses the bundle, because a slip must not make an approval laxer.

use crate::domain::{ApprovalRule, ApprovalTerms, BreakGlass, StepUp, Ttl};

/// Longest group in an approval rule, in bytes.
pub(super) const MAX_GROUP: usize = 128;
/// How long a credential lives at most that is let pass in an emergency, where the policy does not say.
const BREAK_GLASS_TTL: Ttl = Ttl::TEN_MINUTES;

/// The annotations that belong beside `@approval`.
pub(super) const NAMES: &[&str] = &[
    "step_up",
    "approval_includes",
    "approval_window_seconds",
    "approval_uses",
    "approval_reason",
    "break_glass",
    "break_glass_ttl_seconds",
];

/// Read them from a policy that waits for people or does not, and note what is wrong with them.
pub(super) fn read<'a>(
    annotation: impl Fn(&str) -> Option<&'a str>,
    waits: bool,
    notes: &mut Vec<String>,
) -> ApprovalTerms {
    if !waits {
        for name in NAMES.iter().filter(|name| annotation(name).is_some()) {
            notes
                .push(format!("@{name} belongs beside @approval(\"…\") on a forbid: it says what that approval takes"));
        }
        return ApprovalTerms::default();
    }
    let mut terms = ApprovalTerms::default();
    if let Some(text) = annotation("step_up") {
        match text.parse::<StepUp>() {
            Ok(step_up @ (StepUp::SignIn | StepUp::Passkey)) => terms.step_up = step_up,
            Ok(StepUp::None) | Err(_) => {
                notes.push(format!("@step_up(\"{text}\"): write \"sign_in\" or \"passkey\", or leave it out"));
            }
        }
    }
    for word in annotation("approval_includes").into_iter().flat_map(|text| text.split(',')).map(str::trim) {
        match word {
            "owner" => terms.includes_owner = true,
            "beneficiary" => terms.includes_beneficiary = true,
            other => notes.push(format!(
                "@approval_includes names `{other}`: write \"owner\", \"beneficiary\" or \"owner, beneficiary\""
            )),
        }
    }
    terms.window = annotation("approval_window_seconds").and_then(|text| life("approval_window_seconds", text, notes));
    if let Some(text) = annotation("approval_uses") {
        match text.parse() {
            Ok(uses @ 1..=ApprovalTerms::MAX_USES) => terms.uses = uses,
            Ok(_) | Err(_) => {
                notes.push(format!("@approval_uses(\"{text}\") is a number from 1 to {}", ApprovalTerms::MAX_USES));
            }
        }
    }
    if let Some(text) = annotation("approval_reason") {
        terms.reason_required = true;
        if text != "required" {
            notes.push(format!("@approval_reason(\"{text}\"): write \"required\", or leave it out"));
        }
    }
    terms.break_glass = break_glass(&annotation, notes);
    terms
}

/// A life in seconds.
fn life(name: &str, text: &str, notes: &mut Vec<String>) -> Option<Ttl> {
    let ttl = text.parse().ok().and_then(|secs| Ttl::from_secs(secs).ok());
    if ttl.is_none() {
        notes.push(format!("@{name}(\"{text}\") is a number of seconds from 1 to 86400"));
    }
    ttl
}

fn break_glass<'a>(annotation: impl Fn(&str) -> Option<&'a str>, notes: &mut Vec<String>) -> Option<BreakGlass> {
    let max_ttl = annotation("break_glass_ttl_seconds").map(|text| life("break_glass_ttl_seconds", text, notes));
    let Some(text) = annotation("break_glass") else {
        if max_ttl.is_some() {
            notes.push("@break_glass_ttl_seconds belongs beside @break_glass(\"…\")".to_owned());
        }
        return None;
    };
    let rule = match text.parse::<ApprovalRule>() {
        Ok(rule) if rule.groups().iter().any(|group| group.len() > MAX_GROUP) => {
            notes.push(format!("a group in @break_glass is longer than {MAX_GROUP} bytes"));
            return None;
        }
        Ok(rule) => rule,
        Err(error) => {
            notes.push(format!("@break_glass: {error}"));
            return None;
        }
    };
    Some(BreakGlass { rule, max_ttl: max_ttl.flatten().unwrap_or(BREAK_GLASS_TTL) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(notes: &[(&str, &str)], waits: bool) -> Result<ApprovalTerms, Vec<String>> {
        let mut wrong = Vec::new();
        let find = |name: &str| notes.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
        let terms = read(find, waits, &mut wrong);
        if wrong.is_empty() { Ok(terms) } else { Err(wrong) }
    }

    #[test]
    fn every_annotation_is_read() {
        let terms = read_from(
            &[
                ("step_up", "passkey"),
                ("approval_includes", "owner, beneficiary"),
                ("approval_window_seconds", "900"),
                ("approval_uses", "3"),
                ("approval_reason", "required"),
                ("break_glass", "1 of incident-commanders"),
                ("break_glass_ttl_seconds", "300"),
            ],
            true,
        );
        let five_minutes = Ttl::from_secs(300).unwrap();
        let expected = ApprovalTerms {
            break_glass: Some(BreakGlass { rule: "1 of incident-commanders".parse().unwrap(), max_ttl: five_minutes }),
            includes_beneficiary: true,
            includes_owner: true,
            reason_required: true,
            step_up: StepUp::Passkey,
            uses: 3,
            window: Some(Ttl::from_secs(900).unwrap()),
        };
        assert_eq!(terms, Ok(expected));
        assert_eq!(read_from(&[], true), Ok(ApprovalTerms::default()));
        let glass = read_from(&[("break_glass", "1 of a")], true).unwrap().break_glass.unwrap();
        assert_eq!(glass.max_ttl, BREAK_GLASS_TTL);
    }

    #[test]
    fn a_value_that_cannot_be_read_is_said_and_never_taken_for_a_laxer_one() {
        for (name, text, says) in [
            ("step_up", "yes", "\"sign_in\" or \"passkey\""),
            ("step_up", "none", "leave it out"),
            ("approval_includes", "owner beneficiary", "owner, beneficiary"),
            ("approval_includes", "", "names ``"),
            ("approval_window_seconds", "0", "from 1 to 86400"),
            ("approval_window_seconds", "15m", "from 1 to 86400"),
            ("approval_uses", "0", "from 1 to 100"),
            ("approval_uses", "101", "from 1 to 100"),
            ("approval_reason", "optional", "\"required\""),
            ("break_glass", "anybody", "is not an approval rule"),
            ("break_glass_ttl_seconds", "60", "beside @break_glass"),
        ] {
            let wrong = read_from(&[(name, text)], true).expect_err(name);
            assert!(wrong.iter().any(|why| why.contains(says)), "{name}: {wrong:?}");
        }
        for name in NAMES {
            let wrong = read_from(&[(name, "1")], false).expect_err(name);
            assert!(wrong.iter().any(|why| why.contains("beside @approval")), "{name}: {wrong:?}");
        }
    }
}
