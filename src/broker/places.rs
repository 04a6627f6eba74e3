//! Who may decide a request, and in whose place: people who may act and are in the rule's groups, or who stand in for somebody that
//! is. A person has one verdict, so nobody fills two places; and a place is filled once, by whoever is there or stands in.

use super::count::is_own_request;
use super::{Broker, BrokerError, OperatorCaller};
use crate::domain::{AccessRequest, Agent, ApprovalTerms, Operator, Person, Task, Voter};
use crate::policy::{Bundle, OperatorAction};
use crate::store::KnownPerson;

/// What is to be decided.
#[derive(Clone, Copy)]
pub(super) struct Matter<'a> {
    pub bundle: &'a Bundle,
    pub agent: &'a Agent,
    pub task: &'a Task,
    pub request: &'a AccessRequest,
}

/// In whose place a verdict counts, and by which groups.
pub(super) struct Place {
    pub of: Option<Person>,
    pub groups: Vec<String>,
}

/// Somebody in whose place a person may decide, as their issuers know them.
pub(super) struct Absent {
    person: Person,
    known: Vec<KnownPerson>,
}

impl Absent {
    fn groups(&self) -> Vec<String> {
        self.known.iter().flat_map(|row| row.groups.iter().cloned()).collect()
    }

    /// Whether this person might decide it, by every name they are known by.
    fn may_decide(&self, matter: Matter<'_>) -> bool {
        let groups = self.groups();
        !self.known.is_empty() && self.known.iter().all(|row| check_voter(&operator(row), &groups, matter).is_ok())
    }
}

fn operator(known: &KnownPerson) -> Operator {
    Operator {
        person: known.person.clone(),
        issuer: known.issuer.clone(),
        subject: known.subject.clone(),
        email: known.email.clone(),
        groups: known.groups.clone(),
    }
}

/// Why somebody may not decide, in one word.
pub(super) fn in_one_word(refused: &BrokerError) -> String {
    if let BrokerError::NotInGroup { groups, .. } = refused {
        return format!("not_in_group:{}", groups.join(","));
    }
    let word = if matches!(refused, BrokerError::OwnRequest) {
        "own_request"
    } else if matches!(refused, BrokerError::Forbidden(_)) {
        "not_permitted"
    } else {
        "already_decided"
    };
    word.to_owned()
}

fn not_in_group(rule: &crate::domain::ApprovalRule) -> BrokerError {
    let groups = rule.groups().into_iter().map(str::to_owned).collect();
    BrokerError::NotInGroup { rule: rule.to_string(), groups }
}

fn check_person(operator: &Operator, matter: Matter<'_>, terms: &ApprovalTerms) -> Result<(), BrokerError> {
    if matter.bundle.is_disabled(&operator.person) {
        return Err(BrokerError::Forbidden("decide anything: you are registered as disabled".to_owned()));
    }
    if is_own_request(matter.bundle, matter.agent, matter.task, terms, operator) {
        return Err(BrokerError::OwnRequest);
    }
    Ok(())
}

/// Whose verdict counts: of people who may act, not the owner's or the beneficiary's unless policy includes them, and only of
/// people in the rule's groups.
fn check_voter(operator: &Operator, in_groups: &[String], matter: Matter<'_>) -> Result<(), BrokerError> {
    let (Some((rule, _)), Some(terms)) = (matter.request.pending(), matter.request.terms()) else {
        return Err(BrokerError::settled(matter.request.state.as_str()));
    };
    check_person(operator, matter, terms)?;
    if rule.groups().iter().any(|group| in_groups.iter().any(|own| own == group)) {
        Ok(())
    } else {
        Err(not_in_group(rule))
    }
}

/// The place from which a person may decide: their own where they have one, else that of somebody who is away, if possible one
/// that nobody fills yet.
pub(super) fn place(
    operator: &Operator,
    own: Vec<String>,
    absent: &[Absent],
    filled: &[Person],
    matter: Matter<'_>,
) -> Result<Place, BrokerError> {
    let refused = match check_voter(operator, &own, matter) {
        Ok(()) => return Ok(Place { of: None, groups: own }),
        Err(refused @ BrokerError::NotInGroup { .. }) => refused,
        Err(refused) => return Err(refused),
    };
    let mut possible: Vec<&Absent> = absent.iter().filter(|one| one.may_decide(matter)).collect();
    possible.sort_by_key(|one| filled.contains(&one.person));
    match possible.first() {
        Some(one) => Ok(Place { of: Some(one.person.clone()), groups: one.groups() }),
        None => Err(refused),
    }
}

/// Who may let it pass alone: whom policy names for that, never for what is their own, and only in their own place.
pub(super) fn place_of_breaker(
    operator: &Operator,
    own: Vec<String>,
    matter: Matter<'_>,
) -> Result<Place, BrokerError> {
    let Some(terms) = matter.request.terms() else { return Err(BrokerError::settled(matter.request.state.as_str())) };
    check_person(operator, matter, &ApprovalTerms::default())?;
    let Some(glass) = &terms.break_glass else {
        return Err(BrokerError::Forbidden("break glass here: no policy lets anybody let this pass alone".to_owned()));
    };
    let voter = Voter { person: operator.person.clone(), groups: own.clone(), break_glass: true };
    if glass.rule.is_satisfied_by_one(&voter) {
        Ok(Place { of: None, groups: own })
    } else {
        Err(not_in_group(&glass.rule))
    }
}

impl Broker {
    /// Those in whose place a person may decide now.
    pub(super) async fn absent_for(&self, person: &Person) -> Result<Vec<Absent>, BrokerError> {
        let mut absent = Vec::new();
        for delegation in self.store.list_delegations_to(person, self.clock.now()).await? {
            let known = self.known(&delegation.giver).await?;
            absent.push(Absent { person: delegation.giver, known });
        }
        Ok(absent)
    }

    /// The place from which the caller may decide.
    pub(super) async fn place_of(
        &self,
        caller: &OperatorCaller,
        own: Vec<String>,
        matter: Matter<'_>,
    ) -> Result<Place, BrokerError> {
        let absent = self.absent_for(&caller.operator.person).await?;
        let filled = if absent.is_empty() {
            Vec::new()
        } else {
            let verdicts = self.store.list_approvals(matter.request.id).await?;
            verdicts.into_iter().map(|verdict| verdict.in_place_of.unwrap_or(verdict.person)).collect()
        };
        place(&caller.operator, own, &absent, &filled, matter)
    }

    /// Why this person may not decide this request, in one word; `None` when they may.
    pub(super) fn cannot_decide(
        &self,
        caller: &OperatorCaller,
        absent: &[Absent],
        matter: Matter<'_>,
    ) -> Option<String> {
        match place(&caller.operator, self.groups_heard(&caller.operator), absent, &[], matter) {
            Ok(_) => {
                let may = self.may(caller, OperatorAction::Decide, Some(&matter.agent.id));
                may.err().map(|_| "not_permitted".to_owned())
            }
            Err(refused) => Some(in_one_word(&refused)),
        }
    }
}
