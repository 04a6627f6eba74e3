//! What is known of people: which groups their issuers last said they are in. It is written when it is new or different, never
//! with each call; and when somebody leaves a group, what lives on their yes is looked at again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::close_task::changed_in_between;
use super::end_lease::{Revocation, Telling};
use super::facts::Record;
use super::sweep::SweepReport;
use super::{Broker, BrokerError};
use crate::domain::{Actor, Approval, EndCause, EventKind, Operator, Person, Subjects, Timestamp};
use crate::store::KnownPerson;

/// The most identities that are remembered; beyond, everything is forgotten and asked of the store again.
const MAX_REMEMBERED: usize = 10_000;
/// The most grants that are looked at for one person at once.
const PAGE: u32 = 500;
/// People looked at in one run.
const BATCH: u32 = 100;

/// What this process last heard of each identity.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<HashMap<(String, String), KnownPerson>>);

impl Heard {
    fn of(&self, operator: &Operator) -> Option<KnownPerson> {
        let key = (operator.issuer.clone(), operator.subject.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    fn note(&self, known: KnownPerson) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= MAX_REMEMBERED {
            heard.clear();
        }
        heard.insert((known.issuer.clone(), known.subject.clone()), known);
    }
}

/// Whether an issuer says the same of a person as is known.
fn says_the_same(known: &KnownPerson, operator: &Operator) -> bool {
    known.person == operator.person && known.email == operator.email && is_same_set(&known.groups, &operator.groups)
}

fn is_same_set(one: &[String], two: &[String]) -> bool {
    is_within(one, two) && is_within(two, one)
}

fn is_within(one: &[String], two: &[String]) -> bool {
    one.iter().all(|group| two.contains(group))
}

/// Of these groups those in which a person is known to be.
pub(super) fn known_among(groups: &[String], known: &[KnownPerson]) -> Vec<String> {
    let is_known = |group: &&String| known.iter().any(|row| row.groups.contains(*group));
    groups.iter().filter(is_known).cloned().collect()
}

impl Broker {
    /// Take note of what an issuer says of a person who signs in now. What lived on their yes, and does no more, has ended when
    /// this returns, or is the sweep's to end.
    ///
    /// # Errors
    /// What the store says; then whoever signs in counts as in the groups that were known before.
    pub async fn note_membership(&self, operator: &Operator) -> Result<(), BrokerError> {
        self.note_stated(operator, self.clock.now()).await
    }

    /// The same for what an issuer said at that time; what it said later counts more.
    pub(super) async fn note_stated(&self, operator: &Operator, at: Timestamp) -> Result<(), BrokerError> {
        for _ in 0..super::open_task::MAX_TRIES {
            if let Some(mut heard) = self.heard.of(operator)
                && (heard.seen_at > at || says_the_same(&heard, operator))
            {
                if heard.seen_at < at {
                    heard.seen_at = at;
                    self.heard.note(heard);
                }
                return Ok(());
            }
            let before = self.store.find_known_person(&operator.issuer, &operator.subject).await?;
            if let Some(known) = before.as_ref().filter(|known| known.seen_at > at || says_the_same(known, operator)) {
                self.heard.note(known.clone());
                if known.seen_at > at || says_the_same(known, operator) {
                    return Ok(());
                }
            }
            match self.write_membership(before, operator, at).await {
                Err(BrokerError::Changed) => {}
                Err(error) => return Err(error),
                Ok(known) => {
                    self.heard.note(known.clone());
                    return self.recheck(&known).await;
                }
            }
        }
        Err(BrokerError::Changed)
    }

    async fn write_membership(
        &self,
        before: Option<KnownPerson>,
        operator: &Operator,
        at: Timestamp,
    ) -> Result<KnownPerson, BrokerError> {
        let now = self.clock.now();
        let was = before.as_ref().map(|known| known.groups.clone()).unwrap_or_default();
        let is_less = before.as_ref().is_some_and(|known| {
            known.recheck_at.is_some() || known.person != operator.person || !is_within(&known.groups, &operator.groups)
        });
        let after = KnownPerson {
            issuer: operator.issuer.clone(),
            subject: operator.subject.clone(),
            person: operator.person.clone(),
            email: operator.email.clone(),
            groups: operator.groups.clone(),
            seen_at: at,
            recheck_at: is_less.then_some(now),
        };
        let mut record = Record::new(&self.ids, now, Actor::Operator(operator.person.clone()));
        record.note(
            EventKind::PersonChanged,
            Subjects::default(),
            [
                ("groups", after.groups.clone().into()),
                ("identity", format!("{}#{}", operator.issuer, operator.subject).into()),
                ("person", operator.person.as_str().into()),
                ("was_in", was.into()),
            ],
        );
        let mut tx = self.store.begin("person.note");
        match &before {
            None => tx.insert_known_person(&after),
            Some(before) => tx.update_known_person(before, &after),
        }
        record.commit(tx).await.map_err(changed_in_between)?;
        Ok(after)
    }

    /// Of the groups an operator's issuer states those that are still known to be the operator's, as far as this process has
    /// heard: for what is shown. What is decided asks the store.
    pub(super) fn groups_heard(&self, operator: &Operator) -> Vec<String> {
        match self.heard.of(operator) {
            Some(heard) => known_among(&operator.groups, std::slice::from_ref(&heard)),
            None => operator.groups.clone(),
        }
    }

    /// The groups of a person, by everything that is known of the person.
    pub(super) async fn known(&self, person: &Person) -> Result<Vec<KnownPerson>, BrokerError> {
        Ok(self.store.list_known_person(person).await?)
    }

    /// Of the groups by which a verdict was given those that its giver, or the person in whose place it was given, is in now.
    pub(super) async fn groups_now(&self, approval: &Approval) -> Result<Vec<String>, BrokerError> {
        let whose = approval.in_place_of.as_ref().unwrap_or(&approval.person);
        Ok(known_among(&approval.groups, &self.known(whose).await?))
    }

    /// Look at what lives on a person's yes, if that is due; what may not live any more ends, with its leases.
    async fn recheck(&self, known: &KnownPerson) -> Result<(), BrokerError> {
        if known.recheck_at.is_none() {
            return Ok(());
        }
        for grant in self.endings.list_live_grants_approved_by(&known.person, PAGE).await? {
            if let Some(reason) = self.lost_its_approval(&grant).await? {
                let why = Revocation {
                    reason: Some(reason.as_str()),
                    ..Revocation::by_broker(EndCause::Unapproved, Telling::AtOnce)
                };
                self.end_grant(grant, &why).await?;
            }
        }
        Ok(self.endings.forget_recheck(known).await?)
    }

    /// What a process that died could not finish: look at what lives on the yes of people whose groups have changed.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sweep_people(&self) -> Result<SweepReport, BrokerError> {
        if self.quarantine().is_some() {
            return Ok(SweepReport::default());
        }
        let due = self.store.list_people_to_recheck(BATCH).await?;
        let done = due.len();
        for known in &due {
            self.recheck(known).await?;
        }
        Ok(SweepReport { done, more: u32::try_from(done).is_ok_and(|done| done >= BATCH) })
    }
}
