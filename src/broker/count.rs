//! Counting: which verdicts count for a request as it stands, for whom, and what they left out. A yes counts while its seal
//! fits, its digest is the present one, and its giver may decide and is still in the group.

use super::evaluate::Asking;
use super::seals::Seal;
use super::{Broker, BrokerError};
use crate::domain::{
    AccessRequest, Agent, Approval, ApprovalTerms, Digest, Narrowing, Operator, Person, PlanDigest, Task, Unpermitted,
    Verdict, Voter,
};
use crate::policy::Bundle;
use crate::store::KnownPerson;

/// What a yes must be about to count.
pub(super) struct Counting<'a> {
    pub bundle: &'a Bundle,
    pub agent: &'a Agent,
    pub task: &'a Task,
    /// What policy says of who may be among them.
    pub terms: &'a ApprovalTerms,
    /// The digest of all that was asked.
    pub digest: Digest,
    /// The plan of all that was asked.
    pub plan: PlanDigest,
}

/// What the verdicts on a request come to.
#[derive(Default)]
pub(super) struct Count {
    /// Whose yes counts, with the groups it counts for.
    pub voters: Vec<Voter>,
    /// What they left out.
    pub narrowings: Vec<Narrowing>,
    /// Why others do not count, in the order they were given.
    pub dropped: Vec<Unpermitted>,
    /// The verdicts that do not fit their seals.
    pub broken: Vec<String>,
}

impl Count {
    /// The gravest reason for which it falls short.
    pub(super) fn why_not(&self) -> Unpermitted {
        if !self.broken.is_empty() {
            return Unpermitted::Tampered;
        }
        self.dropped.iter().copied().min().unwrap_or(Unpermitted::ApprovalsMissing)
    }
}

impl<'a> Counting<'a> {
    /// For a question as it is put now.
    pub(super) fn of(asking: &Asking<'a>, terms: &'a ApprovalTerms, digest: Digest, plan: PlanDigest) -> Self {
        Self { bundle: asking.bundle, agent: asking.agent, task: asking.task, terms, digest, plan }
    }

    /// What keeps a yes from being about what stands now.
    fn differs(&self, approval: &Approval) -> Option<Unpermitted> {
        if approval.request_digest == self.digest {
            None
        } else if approval.bundle != Some(self.bundle.digest()) {
            Some(Unpermitted::PolicyChanged)
        } else if approval.plan != Some(self.plan) {
            Some(Unpermitted::PlanChanged)
        } else {
            Some(Unpermitted::RequestChanged)
        }
    }

    /// What keeps a person from deciding this at all.
    fn bars(&self, person: &Person, known: &[KnownPerson], verdict: Verdict) -> Option<Unpermitted> {
        // Nobody lets pass alone what is their own, whatever policy says of a yes.
        let strictest = ApprovalTerms::default();
        let terms = if verdict == Verdict::BreakGlass { &strictest } else { self.terms };
        let addresses = known.iter().filter_map(|row| row.email.as_deref());
        if self.bundle.is_disabled(person) {
            Some(Unpermitted::ApproverDisabled)
        } else if is_own(self.bundle, self.agent, self.task, terms, person, addresses) {
            Some(Unpermitted::ApproverExcluded)
        } else {
            None
        }
    }
}

/// Whether a request is a person's own: of an agent the person owns, or asked on the person's behalf, and policy does not
/// include them. Whoever is not registered is known by what the issuer says: the name `issuer#subject`, the address.
fn is_own<'a>(
    bundle: &Bundle,
    agent: &Agent,
    task: &Task,
    terms: &ApprovalTerms,
    person: &Person,
    mut addresses: impl Iterator<Item = &'a str>,
) -> bool {
    if *person == agent.owner && !terms.includes_owner {
        return true;
    }
    let Some(beneficiary) = task.beneficiary.as_deref().map(str::trim).filter(|_| !terms.includes_beneficiary) else {
        return false;
    };
    beneficiary == person.as_str()
        || bundle.person_of_beneficiary(beneficiary).as_ref() == Some(person)
        || addresses.any(|address| beneficiary.eq_ignore_ascii_case(address.trim()))
}

/// Whether a request of this task is the operator's own.
pub(super) fn is_own_request(
    bundle: &Bundle,
    agent: &Agent,
    task: &Task,
    terms: &ApprovalTerms,
    operator: &Operator,
) -> bool {
    is_own(bundle, agent, task, terms, &operator.person, operator.email.as_deref().into_iter())
}

impl Broker {
    /// Count the verdicts on a request.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn count(&self, of: &Counting<'_>, approvals: &[Approval]) -> Result<Count, BrokerError> {
        let mut count = Count::default();
        for approval in approvals {
            match self.seal_of(approval) {
                Seal::Fits => {}
                Seal::Absent => continue,
                Seal::Broken => {
                    count.broken.push(approval.id.to_string());
                    continue;
                }
            }
            if approval.verdict == Verdict::Deny {
                continue;
            }
            if let Some(why) = of.differs(approval) {
                count.dropped.push(why);
                continue;
            }
            let mut barred = None;
            for person in std::iter::once(&approval.person).chain(&approval.in_place_of) {
                barred = barred.or(of.bars(person, &self.known(person).await?, approval.verdict));
            }
            if let Some(why) = barred {
                count.dropped.push(why);
                continue;
            }
            if let Some(giver) = &approval.in_place_of
                && !self.stands_in(&approval.person, giver).await?
            {
                count.dropped.push(Unpermitted::DelegationEnded);
                continue;
            }
            let groups = self.groups_now(approval).await?;
            if groups.len() < approval.groups.len() {
                count.dropped.push(Unpermitted::ApproverNotInGroup);
            }
            if groups.is_empty() {
                continue;
            }
            // One place is filled once: by whoever is there, or by whoever stands in.
            let person = approval.in_place_of.as_ref().unwrap_or(&approval.person).clone();
            let break_glass = approval.verdict == Verdict::BreakGlass;
            count.narrowings.extend(approval.narrow.clone());
            let same = |voter: &&mut Voter| voter.person == person && voter.break_glass == break_glass;
            match count.voters.iter_mut().find(same) {
                Some(voter) => voter.groups.extend(groups),
                None => count.voters.push(Voter { person, groups, break_glass }),
            }
        }
        Ok(count)
    }

    /// What verdicts on a request come to as things stand, for people to see; nothing where it cannot even be asked for now.
    pub(super) async fn count_shown(
        &self,
        asking: &Asking<'_>,
        request: &AccessRequest,
        (plan, digest): (Digest, Digest),
    ) -> Result<Count, BrokerError> {
        let approvals = self.store.list_approvals(request.id).await?;
        let terms = request.terms().cloned().unwrap_or_default();
        self.count(&Counting::of(asking, &terms, digest, plan), &approvals).await
    }
}
