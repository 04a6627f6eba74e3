//! Decisions again, from their record: the stored input is judged by any bundle's policies, the one of then to check the
//! record, another to see what a change would do.

use super::bundle::{Bundle, Selection};
use super::engine::Judged;
use super::input::{ContextFacts, GRANT, Input, PrincipalFacts, ResourceFacts};
use crate::domain::{Outcome, Person, PolicyRef, Scope, Voter};

/// What a bundle says to a recorded question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The answer.
    pub outcome: Outcome,
    /// The policies that determined it, in order of id.
    pub determining: Vec<PolicyRef>,
}

/// A record that is not the input of a decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not the input of a decision: {0}")]
pub struct ReplayError(pub String);

impl Bundle {
    /// Judge a recorded question by this bundle. Principal, scope and context are those of the record; policies, rules and
    /// the list of scopes are this bundle's.
    ///
    /// # Errors
    /// [`ReplayError`] when the text is not the input of a decision about a scope.
    pub fn replay(&self, input: &str) -> Result<Replayed, ReplayError> {
        let refuse = |error: &dyn std::fmt::Display| ReplayError(error.to_string());
        let input: Input<'_, PrincipalFacts, ResourceFacts> =
            serde_json::from_str(input).map_err(|error| refuse(&error))?;
        if input.action != GRANT {
            return Err(ReplayError(format!("its action is `{}`, not `{GRANT}`", input.action)));
        }
        let scope = scope_of(&input.resource, &input.context).map_err(ReplayError)?;
        let voters: Vec<Voter> = input
            .voters
            .iter()
            .map(|voter| Voter {
                person: Person::new(voter.person.as_ref()),
                groups: voter.groups.iter().map(ToString::to_string).collect(),
                break_glass: voter.break_glass,
            })
            .collect();
        let judged = match self.ground(&input.principal, &input.resource, Selection::All) {
            Ok(_) if self.catalogue().check(&scope).is_err() => Judged::not_permitted(),
            Ok(ground) => self.engine.judge(&ground, &input.context, &voters),
            Err(error) => Judged::failed(error),
        };
        Ok(Replayed { outcome: judged.outcome, determining: judged.determining })
    }
}

fn scope_of(resource: &ResourceFacts, context: &ContextFacts<'_>) -> Result<Scope, String> {
    let entry = resource.name.parse().map_err(|error: crate::domain::ScopeError| error.to_string())?;
    let pairs = &context.request.params.0;
    let params = pairs.iter().map(|(name, value)| Ok((name.parse()?, value.to_string()))).collect::<Result<_, _>>();
    params.and_then(|params| Scope::new(entry, params)).map_err(|error| error.to_string())
}
