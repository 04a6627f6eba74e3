//! Deciding in somebody's place while they are away. What is passed on is the giver's own say, never one that was passed to the giver;
//! it fills the giver's place and no other, and it counts for as long as the delegation holds: at the click and at the mint.

use super::facts::Record;
use super::idempotency::Once;
use super::{Broker, BrokerError, OperatorCaller};
use crate::api::{DelegationAsk, DelegationView, Delegations};
use crate::domain::{Actor, Delegation, EventKind, Message, Person, Subjects, Timestamp};
use crate::policy::OperatorAction;
use crate::store::StoreError;

/// The most delegations that are listed.
const MAX_LISTED: u32 = 1000;
/// The most that one person may have given and that are not over.
const MAX_GIVEN: usize = 10;

fn view(delegation: &Delegation, now: Timestamp) -> DelegationView {
    DelegationView {
        id: delegation.id.to_string(),
        state: delegation.state(now).to_owned(),
        giver: delegation.giver.to_string(),
        receiver: delegation.receiver.to_string(),
        reason: delegation.reason.as_str().to_owned(),
        from: delegation.from,
        until: delegation.until,
        ended_by: delegation.ended.as_ref().map(|(_, by)| by.to_string()),
        ended_at: delegation.ended.as_ref().map(|(at, _)| *at),
    }
}

impl Broker {
    /// Let somebody decide in the caller's place for a while, once under a key.
    ///
    /// # Errors
    /// [`BrokerError::Invalid`] or [`BrokerError::Forbidden`].
    pub async fn give_delegation(
        &self,
        caller: &OperatorCaller,
        ask: DelegationAsk,
        idempotency_key: Option<String>,
    ) -> Result<DelegationView, BrokerError> {
        let once = Once::of_operator(caller, "POST /v1/delegations", &ask, idempotency_key)?;
        let known = async {
            let found = self.find_used(&once).await?.ok_or(BrokerError::InProgress)?;
            self.delegation_view(&found.subject).await
        };
        self.done_once(&once, self.give(caller, &ask, &once), known).await
    }

    async fn give(
        &self,
        caller: &OperatorCaller,
        ask: &DelegationAsk,
        once: &Once,
    ) -> Result<DelegationView, BrokerError> {
        self.may(caller, OperatorAction::Decide, None)?;
        self.out_of_quarantine()?;
        let (now, giver) = (self.clock.now(), caller.operator.person.clone());
        let reason: Message = ask.reason.parse()?;
        let from = ask.from.unwrap_or(now).max(now);
        check_times(from, ask.until, now)?;
        let receiver = self.known_person(&ask.to).await?;
        if receiver == giver {
            return Err(BrokerError::Invalid("`to` is yourself; name somebody else".to_owned()));
        }
        let mine = self.store.list_delegations(Some(&giver), now, MAX_LISTED).await?;
        if mine.iter().filter(|one| one.giver == giver && one.ended.is_none()).count() >= MAX_GIVEN {
            return Err(BrokerError::Invalid(format!("you have given {MAX_GIVEN} already; end one of them first")));
        }
        let id = self.ids.delegation();
        let given = Delegation { id, giver, receiver, reason, given_at: now, from, until: ask.until, ended: None };
        let mut record = Record::new(&self.ids, now, Actor::Operator(given.giver.clone()));
        record.note(
            EventKind::DelegationGiven,
            Subjects::default(),
            [
                ("delegation", given.id.to_string().into()),
                ("from", given.from.to_string().into()),
                ("reason", given.reason.as_str().into()),
                ("to", given.receiver.as_str().into()),
                ("until", given.until.to_string().into()),
            ],
        );
        let mut tx = self.store.begin("delegation.give");
        tx.insert_delegation(&given);
        once.record(&mut tx, || given.id.to_string(), now);
        record.commit(tx).await?;
        Ok(view(&given, now))
    }

    /// Who is meant by a name or an address: a registered person, or one who has signed in.
    async fn known_person(&self, text: &str) -> Result<Person, BrokerError> {
        if let Some(person) = self.policy.current().person_of_beneficiary(text) {
            return Ok(person);
        }
        let person = Person::new(text.trim());
        if self.store.list_known_person(&person).await?.is_empty() {
            return Err(BrokerError::Invalid(
                "`to` is nobody known here: name a registered person, or somebody who has signed in".to_owned(),
            ));
        }
        Ok(person)
    }

    /// The caller's delegations on either side; for those who may read the audit, everybody's.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list_delegations(&self, caller: &OperatorCaller) -> Result<Delegations, BrokerError> {
        let now = self.clock.now();
        let sees_all = self.may(caller, OperatorAction::Audit, None).is_ok();
        let person = (!sees_all).then_some(&caller.operator.person);
        let since = now.plus_millis(-Delegation::MAX_MILLIS);
        let rows = self.store.list_delegations(person, since, MAX_LISTED).await?;
        Ok(Delegations { items: rows.iter().map(|row| view(row, now)).collect() })
    }

    /// End a delegation early, once under a key: for its giver, its receiver, and those who look after agents. What rests on it
    /// counts no more from now on.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] or [`BrokerError::AlreadyDone`].
    pub async fn end_delegation(
        &self,
        caller: &OperatorCaller,
        delegation: &str,
        idempotency_key: Option<String>,
    ) -> Result<DelegationView, BrokerError> {
        let route = format!("POST /v1/delegations/{delegation}/end");
        let once = Once::of_operator(caller, &route, &(), idempotency_key)?;
        self.done_once(&once, self.end_one(caller, delegation, &once), self.delegation_view(delegation)).await
    }

    async fn end_one(
        &self,
        caller: &OperatorCaller,
        delegation: &str,
        once: &Once,
    ) -> Result<DelegationView, BrokerError> {
        let (person, now) = (&caller.operator.person, self.clock.now());
        let mut found = self.delegation(delegation).await?;
        let is_own = found.giver == *person || found.receiver == *person;
        if !is_own && self.may(caller, OperatorAction::ManageAgents, None).is_err() {
            return Err(BrokerError::NotFound("delegation"));
        }
        if found.ended.is_some() || found.until <= now {
            return Err(BrokerError::AlreadyDone("the delegation is over"));
        }
        found.ended = Some((now, person.clone()));
        let mut record = Record::new(&self.ids, now, Actor::Operator(person.clone()));
        record.note(
            EventKind::DelegationEnded,
            Subjects::default(),
            [
                ("delegation", found.id.to_string().into()),
                ("of", found.giver.as_str().into()),
                ("to", found.receiver.as_str().into()),
            ],
        );
        let mut tx = self.endings.begin("delegation.end");
        tx.end_delegation(&found);
        once.record(&mut tx, || found.id.to_string(), now);
        match record.commit(tx).await {
            Ok(()) => Ok(view(&found, now)),
            Err(StoreError::Conflict { table: "delegation" }) => {
                Err(BrokerError::AlreadyDone("the delegation is over"))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn delegation(&self, id: &str) -> Result<Delegation, BrokerError> {
        let id = id.parse().map_err(|_| BrokerError::NotFound("delegation"))?;
        self.store.find_delegation(id).await?.ok_or(BrokerError::NotFound("delegation"))
    }

    async fn delegation_view(&self, id: &str) -> Result<DelegationView, BrokerError> {
        Ok(view(&self.delegation(id).await?, self.clock.now()))
    }

    /// Whether a person may decide in another's place now.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn stands_in(&self, receiver: &Person, giver: &Person) -> Result<bool, BrokerError> {
        let held = self.store.list_delegations_to(receiver, self.clock.now()).await?;
        Ok(held.iter().any(|delegation| delegation.giver == *giver))
    }
}

fn check_times(from: Timestamp, until: Timestamp, now: Timestamp) -> Result<(), BrokerError> {
    let refuse = |why: &str| Err(BrokerError::Invalid(why.to_owned()));
    if from.millis_since(now) > Delegation::MAX_MILLIS {
        return refuse("`from` is more than 30 days away");
    }
    match until.millis_since(from) {
        ..=0 => refuse("`until` is not after `from`, or in the past"),
        life if life > Delegation::MAX_MILLIS => refuse("`until` is more than 30 days after `from`"),
        _ => Ok(()),
    }
}
