//! The quorum: a tree of "N of group", decided by a pure function over people. A person with two accounts, or in two of the
//! groups, is one person and fills one place.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::Person;

/// Most people a rule may ask for, over all its parts.
const MAX_PEOPLE: u32 = 10;
/// Longest written rule, in bytes.
const MAX_LENGTH: usize = 512;
/// Deepest nesting of parentheses.
const MAX_DEPTH: u32 = 8;

/// Somebody who said yes, as the quorum counts: a person and the groups the person is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// The person.
    pub person: Person,
    /// The person's groups.
    pub groups: Vec<String>,
    /// Whether the person lets it pass alone, in an emergency. Such a voter counts for nothing else.
    pub break_glass: bool,
}

/// A rule that nobody should have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It cannot be read.
    #[error("`{0}` is not an approval rule: write `2 of sre-oncall`, joined by `and`, `or` and parentheses")]
    Shape(String),
    /// It would be satisfied by nobody.
    #[error("`{0}` needs nobody: each part of a rule asks for at least one person")]
    NeedsNobody(String),
    /// It is too large to be decided exactly.
    #[error("`{0}` is too large: at most 10 people, 512 bytes and 8 nested parentheses")]
    TooLarge(String),
}

/// Who must agree: so many of a group, all of several rules, or any of several rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovalRule {
    /// So many people of one group.
    Of {
        /// How many, at least one.
        count: u32,
        /// Of which group.
        group: String,
    },
    /// Every part, each by people of its own.
    All(Vec<ApprovalRule>),
    /// One of the parts.
    Any(Vec<ApprovalRule>),
}

impl ApprovalRule {
    /// Both rules, each by people of its own; a rule joined with itself stays itself.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == other {
            return self;
        }
        let parts_of = |rule: Self| match rule {
            Self::All(parts) => parts,
            rule @ (Self::Of { .. } | Self::Any(_)) => vec![rule],
        };
        let mut parts = parts_of(self);
        // Each part answers for one equal part of the other rule: `1 of a and 1 of a` asks for two people.
        let mut unmatched = parts.clone();
        let is_new = |rule: &Self| match unmatched.iter().position(|part| part == rule) {
            Some(index) => {
                unmatched.swap_remove(index);
                false
            }
            None => true,
        };
        let more: Vec<Self> = parts_of(other).into_iter().filter(is_new).collect();
        parts.extend(more);
        Self::All(parts)
    }

    /// The groups it names, each once.
    #[must_use]
    pub fn groups(&self) -> Vec<&str> {
        match self {
            Self::Of { group, .. } => vec![group],
            Self::All(parts) | Self::Any(parts) => {
                let mut groups: Vec<&str> = parts.iter().flat_map(Self::groups).collect();
                groups.sort_unstable();
                groups.dedup();
                groups
            }
        }
    }

    /// Whether this person alone satisfies it.
    #[must_use]
    pub fn is_satisfied_by_one(&self, voter: &Voter) -> bool {
        self.is_satisfied_by(std::slice::from_ref(voter))
    }

    /// Whether these people satisfy it. The same person twice counts once, and nobody fills two places.
    #[must_use]
    pub fn is_satisfied_by(&self, voters: &[Voter]) -> bool {
        let mut people: Vec<(Person, Vec<String>)> = Vec::new();
        for voter in voters {
            match people.iter_mut().find(|(person, _)| *person == voter.person) {
                Some((_, groups)) => groups.extend(voter.groups.iter().cloned()),
                None => people.push((voter.person.clone(), voter.groups.clone())),
            }
        }
        self.alternatives().iter().any(|places| can_fill(places, &people))
    }

    /// Every way to satisfy it, as the groups of the places to fill.
    fn alternatives(&self) -> Vec<Vec<&str>> {
        match self {
            Self::Of { count, group } => vec![(0..*count).map(|_| group.as_str()).collect()],
            Self::Any(parts) => parts.iter().flat_map(Self::alternatives).collect(),
            Self::All(parts) => parts.iter().fold(vec![Vec::new()], |ways, part| {
                let more = part.alternatives();
                ways.iter().flat_map(|way| more.iter().map(|next| [way.as_slice(), next.as_slice()].concat())).collect()
            }),
        }
    }

    fn people(&self) -> u32 {
        match self {
            Self::Of { count, .. } => *count,
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().fold(0_u32, |sum, part| sum.saturating_add(part.people()))
            }
        }
    }
}

/// Whether each place can be filled by a different person of its group: bipartite matching by augmenting paths.
fn can_fill(places: &[&str], people: &[(Person, Vec<String>)]) -> bool {
    let mut seat_of: Vec<Option<usize>> = vec![None; people.len()];
    (0..places.len()).all(|place| seat(place, places, people, &mut seat_of, &mut vec![false; people.len()]))
}

fn seat(
    place: usize,
    places: &[&str],
    people: &[(Person, Vec<String>)],
    seat_of: &mut Vec<Option<usize>>,
    tried: &mut Vec<bool>,
) -> bool {
    let Some(group) = places.get(place) else { return false };
    for (index, (_, groups)) in people.iter().enumerate() {
        let fresh = tried.get(index).is_some_and(|done| !done);
        if !fresh || !groups.iter().any(|member| member == group) {
            continue;
        }
        if let Some(mark) = tried.get_mut(index) {
            *mark = true;
        }
        let free = match seat_of.get(index).copied().flatten() {
            None => true,
            Some(other) => seat(other, places, people, seat_of, tried),
        };
        if free {
            if let Some(slot) = seat_of.get_mut(index) {
                *slot = Some(place);
            }
            return true;
        }
    }
    false
}

impl fmt::Display for ApprovalRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, joint) = match self {
            Self::Of { count, group } => return write!(f, "{count} of {group}"),
            Self::All(parts) => (parts, " and "),
            Self::Any(parts) => (parts, " or "),
        };
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                f.write_str(joint)?;
            }
            match part {
                Self::Of { .. } => write!(f, "{part}")?,
                Self::All(_) | Self::Any(_) => write!(f, "({part})")?,
            }
        }
        Ok(())
    }
}

impl FromStr for ApprovalRule {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let shape = || RuleError::Shape(text.chars().take(80).collect());
        if text.len() > MAX_LENGTH {
            return Err(RuleError::TooLarge(text.chars().take(80).collect()));
        }
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let mut words = spaced.split_whitespace().peekable();
        let rule = parse_any(&mut words, 0).ok_or_else(shape)?;
        if words.next().is_some() {
            return Err(shape());
        }
        if rule.needs_nobody() {
            return Err(RuleError::NeedsNobody(text.to_owned()));
        }
        if rule.people() > MAX_PEOPLE {
            return Err(RuleError::TooLarge(text.to_owned()));
        }
        Ok(rule)
    }
}

impl ApprovalRule {
    fn needs_nobody(&self) -> bool {
        match self {
            Self::Of { count, .. } => *count == 0,
            Self::All(parts) | Self::Any(parts) => parts.is_empty() || parts.iter().any(Self::needs_nobody),
        }
    }
}

type Words<'a, 'b> = &'a mut std::iter::Peekable<std::str::SplitWhitespace<'b>>;

fn parse_any(words: Words<'_, '_>, depth: u32) -> Option<ApprovalRule> {
    let mut parts = vec![parse_all(words, depth)?];
    while words.next_if_eq(&"or").is_some() {
        parts.push(parse_all(words, depth)?);
    }
    if parts.len() == 1 { parts.pop() } else { Some(ApprovalRule::Any(parts)) }
}

fn parse_all(words: Words<'_, '_>, depth: u32) -> Option<ApprovalRule> {
    let mut parts = vec![parse_part(words, depth)?];
    while words.next_if_eq(&"and").is_some() {
        parts.push(parse_part(words, depth)?);
    }
    if parts.len() == 1 { parts.pop() } else { Some(ApprovalRule::All(parts)) }
}

fn parse_part(words: Words<'_, '_>, depth: u32) -> Option<ApprovalRule> {
    if words.next_if_eq(&"(").is_some() {
        let inner = if depth < MAX_DEPTH { parse_any(words, depth.saturating_add(1))? } else { return None };
        return words.next_if_eq(&")").map(|_| inner);
    }
    let count = words.next()?.parse().ok()?;
    words.next_if_eq(&"of")?;
    let group = words.next().filter(|word| !matches!(*word, "(" | ")" | "and" | "or" | "of"))?;
    Some(ApprovalRule::Of { count, group: group.to_owned() })
}

impl Serialize for ApprovalRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ApprovalRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
