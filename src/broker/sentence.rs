//! What a request is about in words of ours: built from the catalogue and the written scopes, which are of a closed alphabet, and
//! never from what the agent says of itself. The most dangerous scope comes first.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::api::ScopeDetail;
use crate::domain::{AgentId, Catalogue, ScopeSet, Ttl};

/// Scopes that are named in the sentence; the others are counted.
const NAMED: usize = 3;
/// What is said of a scope that cannot be inspected.
const UNINSPECTABLE: &str = "The catalogue in force does not know this scope, so nobody can say what it would do";

/// Each scope in words a person can use, the most dangerous first. What the catalogue in force does not know is as dangerous as can
/// be.
pub(super) fn details(catalogue: &Catalogue, scopes: &ScopeSet) -> Vec<ScopeDetail> {
    let mut details: Vec<ScopeDetail> = scopes
        .iter()
        .map(|scope| {
            let known = catalogue.check(scope).ok();
            let labels = known.map(|entry| entry.labels.iter().map(|(k, v)| (k.to_string(), v.clone())).collect());
            ScopeDetail {
                scope: scope.to_string(),
                action: scope.entry().action().to_string(),
                description: known.map_or_else(|| UNINSPECTABLE.to_owned(), |entry| entry.description.clone()),
                risk: known.map_or(100, |entry| entry.risk),
                params: scope.params().iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
                labels: labels.unwrap_or_default(),
                inspectable: known.is_some(),
            }
        })
        .collect();
    details.sort_by(|one, two| two.risk.cmp(&one.risk).then_with(|| one.scope.cmp(&two.scope)));
    details
}

/// The highest risk among them.
pub(super) fn risk(details: &[ScopeDetail]) -> u8 {
    details.first().map_or(100, |worst| worst.risk)
}

/// The risk in one word.
pub(super) const fn impact(risk: u8) -> &'static str {
    match risk {
        70.. => "high",
        40.. => "medium",
        _ => "low",
    }
}

/// The environments the scopes are labelled with, each once.
pub(super) fn environments(details: &[ScopeDetail]) -> Vec<String> {
    let labelled: BTreeSet<&String> = details.iter().filter_map(|detail| detail.labels.get("env")).collect();
    labelled.into_iter().cloned().collect()
}

/// `release-bot wants to WRITE sandbox:releases for 10 minutes: Upload, replace and delete releases in the sandbox`.
pub(super) fn sentence(agent: &AgentId, details: &[ScopeDetail], ttl: Ttl) -> String {
    let mut wants: Vec<String> = details.iter().take(NAMED).map(wish).collect();
    match details.len().saturating_sub(NAMED) {
        0 => {}
        1 => wants.push("1 more scope".to_owned()),
        more => wants.push(format!("{more} more scopes")),
    }
    let described: Vec<&str> =
        details.iter().take(NAMED).map(|detail| detail.description.trim_end_matches('.')).collect();
    format!("{agent} wants to {} for {}: {}", listed(&wants), life(ttl), described.join("; "))
}

/// `WRITE api:releases (prefix=v1)`.
fn wish(detail: &ScopeDetail) -> String {
    // A written scope is `backend:resource:action`, and its parameters in parentheses.
    let (entry, params) = detail.scope.split_once('(').map_or((detail.scope.as_str(), None), |(e, p)| (e, Some(p)));
    let target = entry.rsplit_once(':').map_or(entry, |(target, _)| target);
    let mut out = format!("{} {target}", detail.action.to_uppercase());
    if let Some(params) = params {
        // Writing to a string cannot fail.
        let _ = write!(out, " ({params}");
    }
    out
}

fn listed(parts: &[String]) -> String {
    match parts {
        [] => "hold nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A life in words: `10 minutes`, `1 hour`, `90 seconds`.
pub(super) fn life(ttl: Ttl) -> String {
    let secs = ttl.as_secs();
    let (count, unit) = match secs {
        secs if secs >= 3600 && secs % 3600 == 0 => (secs / 3600, "hour"),
        secs if secs >= 60 && secs % 60 == 0 => (secs / 60, "minute"),
        secs => (secs, "second"),
    };
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ttl(secs: i64) -> Ttl {
        Ttl::from_secs(secs).unwrap()
    }

    #[test]
    fn a_life_is_told_in_the_largest_unit_that_fits() {
        for (secs, words) in [
            (1, "1 second"),
            (90, "90 seconds"),
            (60, "1 minute"),
            (600, "10 minutes"),
            (3600, "1 hour"),
            (86_400, "24 hours"),
        ] {
            assert_eq!(life(ttl(secs)), words);
        }
    }

    #[test]
    fn apr_25_what_the_catalogue_does_not_know_comes_first_and_says_that_it_cannot_be_inspected() {
        let scopes = ScopeSet::new(["old:thing:purge(at=\"x y\")".parse().unwrap()]).unwrap();
        let details = details(&Catalogue::default(), &scopes);
        assert!(!details[0].inspectable);
        assert_eq!((risk(&details), impact(risk(&details))), (100, "high"));
        let said = sentence(&"bot".parse().unwrap(), &details, ttl(600));
        assert!(said.starts_with("bot wants to PURGE old:thing (at=\"x y\") for 10 minutes: The catalogue"), "{said}");
    }

    #[test]
    fn impact_has_three_words() {
        assert_eq!([0, 39, 40, 69, 70, 100].map(impact), ["low", "low", "medium", "medium", "high", "high"]);
    }
}
