//! The narrower yes: less than was asked, never more. Several people's narrowings meet in what none of them left out.

use serde::{Deserialize, Serialize};

use super::{Scope, ScopeSet, Ttl};

/// Why a narrowing cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NarrowingRefusal {
    /// It says nothing.
    #[error("`narrow` leaves out nothing: name `ttl_seconds`, `drop_scopes` or both, or send no `narrow`")]
    Nothing,
    /// It would be longer than what was asked for.
    #[error("`narrow.ttl_seconds` of {asked} s is more than the {requested} s that were asked for")]
    Longer {
        /// What the person said.
        asked: u32,
        /// What the agent asked for.
        requested: u32,
    },
    /// A scope to leave out that nobody asked for.
    #[error("`{0}` in `narrow.drop_scopes` is not a scope of this request; write it exactly as the request shows it")]
    Foreign(String),
    /// Nothing would be left.
    #[error("`narrow.drop_scopes` leaves nothing of the request; deny it instead")]
    Everything,
}

/// What a person left out of a yes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Narrowing {
    /// Scopes of the request that are not allowed, each once, in canonical order.
    drop_scopes: Vec<Scope>,
    /// The longest life of a credential.
    #[serde(rename = "ttl_seconds", default, skip_serializing_if = "Option::is_none")]
    ttl: Option<Ttl>,
}

impl Narrowing {
    /// From what a person said about a request for these scopes and this life.
    ///
    /// # Errors
    /// [`NarrowingRefusal`] when it is no narrower yes to exactly that.
    pub fn new(
        ttl: Option<Ttl>,
        mut drop_scopes: Vec<Scope>,
        scopes: &ScopeSet,
        requested: Ttl,
    ) -> Result<Self, NarrowingRefusal> {
        drop_scopes.sort();
        drop_scopes.dedup();
        if let Some(foreign) = drop_scopes.iter().find(|scope| !scopes.iter().any(|asked| asked == *scope)) {
            return Err(NarrowingRefusal::Foreign(foreign.to_string()));
        }
        if drop_scopes.len() >= scopes.len() {
            return Err(NarrowingRefusal::Everything);
        }
        if let Some(longer) = ttl.filter(|ttl| *ttl > requested) {
            return Err(NarrowingRefusal::Longer { asked: longer.as_secs(), requested: requested.as_secs() });
        }
        if drop_scopes.is_empty() && ttl.is_none() {
            return Err(NarrowingRefusal::Nothing);
        }
        Ok(Self { drop_scopes, ttl })
    }

    /// The longest life of a credential, if it is to be shorter.
    #[must_use]
    pub const fn ttl(&self) -> Option<Ttl> {
        self.ttl
    }

    /// The scopes that are not allowed.
    #[must_use]
    pub fn drop_scopes(&self) -> &[Scope] {
        &self.drop_scopes
    }

    /// What is left of these scopes and this life once everybody's narrowing is heeded; `None` when nothing is.
    pub fn apply<'a>(
        narrowings: impl Iterator<Item = &'a Self>,
        scopes: &ScopeSet,
        ttl: Ttl,
    ) -> Option<(ScopeSet, Ttl)> {
        let (mut left, mut ttl) = (scopes.iter().cloned().collect::<Vec<_>>(), ttl);
        for narrowing in narrowings {
            left.retain(|scope| !narrowing.drop_scopes.contains(scope));
            ttl = narrowing.ttl.map_or(ttl, |shorter| shorter.min(ttl));
        }
        ScopeSet::new(left).ok().map(|scopes| (scopes, ttl))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked() -> (ScopeSet, Ttl) {
        let scopes = ["a:b:c", "a:b:d", "a:b:e", "a:b:f"].map(|scope| scope.parse().unwrap());
        (ScopeSet::new(scopes).unwrap(), Ttl::from_secs(600).unwrap())
    }

    fn scopes(of: &[&str]) -> Vec<Scope> {
        of.iter().map(|scope| scope.parse().unwrap()).collect()
    }

    #[test]
    fn only_less_than_was_asked_is_a_narrower_yes() {
        let (set, ttl) = asked();
        let new = |secs: Option<i64>, drop: &[&str]| {
            Narrowing::new(secs.map(|secs| Ttl::from_secs(secs).unwrap()), scopes(drop), &set, ttl)
        };
        assert!(new(Some(600), &[]).is_ok() && new(None, &["a:b:c"]).is_ok());
        assert_eq!(new(None, &["a:b:c", "a:b:c"]).unwrap().drop_scopes().len(), 1);
        assert_eq!(new(None, &[]), Err(NarrowingRefusal::Nothing));
        assert_eq!(new(Some(601), &[]), Err(NarrowingRefusal::Longer { asked: 601, requested: 600 }));
        assert_eq!(new(Some(1), &["a:b:x"]), Err(NarrowingRefusal::Foreign("a:b:x".to_owned())));
        assert_eq!(new(None, &["a:b:c", "a:b:d", "a:b:e", "a:b:f"]), Err(NarrowingRefusal::Everything));
    }

    proptest! {
        #[test]
        fn what_is_left_lies_within_what_was_asked_and_within_what_each_allows(
            given in proptest::collection::vec(
                (proptest::option::of(1..=600_i64), proptest::sample::subsequence(vec!["a:b:c", "a:b:d", "a:b:e", "a:b:f"], 0..4)),
                0..4,
            ),
        ) {
            let (set, ttl) = asked();
            let narrowings: Vec<Narrowing> = given
                .iter()
                .filter_map(|(secs, drop)| {
                    Narrowing::new(secs.map(|secs| Ttl::from_secs(secs).unwrap()), scopes(drop), &set, ttl).ok()
                })
                .collect();
            let Some((left, life)) = Narrowing::apply(narrowings.iter(), &set, ttl) else {
                prop_assert!(set.iter().all(|scope| narrowings.iter().any(|one| one.drop_scopes().contains(scope))));
                return Ok(());
            };
            prop_assert!(life <= ttl && left.iter().all(|scope| set.iter().any(|asked| asked == scope)));
            for narrowing in &narrowings {
                prop_assert!(narrowing.ttl().is_none_or(|most| life <= most));
                prop_assert!(left.iter().all(|scope| !narrowing.drop_scopes().contains(scope)));
            }
            let text = serde_json::to_string(&narrowings).unwrap();
            prop_assert_eq!(serde_json::from_str::<Vec<Narrowing>>(&text).unwrap(), narrowings);
        }
    }
}
