//! Where a parameter becomes a part of a policy, and the only place. A pattern is what the catalogue says with `{name}` in it; what
//! takes the place of `{name}` is matched by AWS as it stands, or it is refused: none of it is a wildcard, a policy variable or a
//! separator that would move the pattern to another account.

use serde::Deserialize;

use crate::domain::{Name, ParamType, Scope};
use crate::minter::MintError;

const MAX_BYTES: usize = 1_024;
/// `arn:partition:service:region:account:` before what is called the resource.
const COLONS_BEFORE_RESOURCE: usize = 5;

/// A text with parameters in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Parameter(Name),
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // `$` begins a policy variable, whose value would be AWS's to say and not the approver's to see.
        let plain = |b: u8| (b.is_ascii_graphic() || b == b' ') && !b"$\"\\{}".contains(&b);
        if text.is_empty() || text.len() > MAX_BYTES {
            return Err(format!("a text of 1 to {MAX_BYTES} bytes is wanted"));
        }
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (literal, after) = rest.split_once('{').map_or((rest, None), |(one, two)| (one, Some(two)));
            if !literal.bytes().all(plain) {
                return Err(format!("`{text}` has a character that is not visible ASCII, or one of `$\"\\{{}}`"));
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let Some(after) = after else { break };
            let (name, after) = after.split_once('}').ok_or_else(|| format!("`{text}`: a `{{` is not closed"))?;
            parts.push(Part::Parameter(name.parse().map_err(|error| format!("`{text}`: {error}"))?));
            rest = after;
        }
        Ok(Self(parts))
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(text),
            Part::Parameter(name) => write!(f, "{{{name}}}"),
        })
    }
}

impl Template {
    pub(super) fn uses(&self, name: &Name) -> bool {
        self.parameters().any(|used| used == name)
    }

    pub(super) fn parameters(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Parameter(name) => Some(name),
        })
    }

    /// With the parameters of a scope in their places.
    pub(super) fn fill(&self, scope: &Scope) -> Result<String, MintError> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => filled.push_str(text),
                Part::Parameter(name) => {
                    let value = scope.params().get(name).map_or("", String::as_str);
                    let in_head = filled.starts_with("arn:") && filled.matches(':').count() < COLONS_BEFORE_RESOURCE;
                    if !is_literal(value) || (in_head && value.contains([':', '/'])) {
                        return Err(MintError::Unsupported(format!(
                            "`{scope}`: the value of `{name}` cannot stand in a policy as it is"
                        )));
                    }
                    filled.push_str(value);
                }
            }
        }
        Ok(filled)
    }
}

/// Whether every value that a parameter may have can be written; the values of a list are known before they are sent.
pub(super) fn check_values(kind: &ParamType) -> Result<(), String> {
    match kind {
        ParamType::OneOf { values } => match values.iter().find(|value| !is_literal(value)) {
            Some(value) => Err(format!("the value `{value}` cannot stand in a policy as it is")),
            None => Ok(()),
        },
        ParamType::Word { .. } | ParamType::Path { .. } | ParamType::Integer { .. } => Ok(()),
    }
}

/// Whether AWS matches a text as it stands wherever a value may be in a policy: no `*` and `?`, which match anything, and no `$`,
/// `{` or `}`, which are of policy variables.
fn is_literal(value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/@+=:, ".contains(&b);
    (1..=256).contains(&value.len()) && value.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::minter::aws::policy::tests::glob;

    fn template(text: &str) -> Result<Template, String> {
        Template::try_from(text.to_owned())
    }

    #[test]
    fn a_template_is_text_with_names_in_it() {
        let read = template("arn:aws:s3:::releases/{prefix}/*").unwrap();
        assert_eq!(read.to_string(), "arn:aws:s3:::releases/{prefix}/*");
        assert!(read.uses(&"prefix".parse().unwrap()));
        for wrong in ["", "a{", "a}b", "{}", "${aws:username}", "{a b}", "a\"b", "a\nb", "é"] {
            assert!(template(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        /// Whatever is sent, the filled pattern matches that text in that place and no other.
        #[test]
        fn a_parameter_stands_for_itself_or_is_refused(value in ".{0,40}", other in "[ -~]{0,40}") {
            let Ok(scope) = format!("aws:bucket:read(prefix={value})").parse::<Scope>() else { return Ok(()) };
            let sent = scope.params().values().next().cloned().unwrap_or_default();
            let pattern = template("arn:aws:s3:::releases/{prefix}").unwrap();
            if let Ok(filled) = pattern.fill(&scope) {
                let object = |name: &str| format!("arn:aws:s3:::releases/{name}");
                prop_assert!(glob(&filled, &object(&sent)));
                prop_assert_eq!(glob(&filled, &object(&other)), other == sent);
            }
        }

        /// Nor does a value reach out of the field it stands in, to another account.
        #[test]
        fn a_parameter_stays_in_its_field(value in "[a-c:/@. ]{1,6}") {
            let scope = Scope::new("aws:queue:read".parse().unwrap(), [("r".parse().unwrap(), value)].into());
            let Ok(scope) = scope else { return Ok(()) };
            if let Ok(filled) = template("arn:aws:sqs:{r}:123456789012:jobs").unwrap().fill(&scope) {
                prop_assert_eq!(filled.split(':').nth(4), Some("123456789012"));
            }
        }
    }
}
