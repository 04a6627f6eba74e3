//! Passkeys: registering and removing them, and what one signs when its person decides. What lasts needs a sign-in of the last
//! minutes, and each refusal is on record, because a refused signature is how an attack looks from here.

mod evidence;
mod options;
mod register;
mod verdict;

pub use verdict::PasskeyProof;
pub(super) use verdict::statement_of;

use data_encoding::BASE64URL_NOPAD;

use super::facts::Record;
use super::{Broker, BrokerError, OperatorCaller};
use crate::api::{AssertionAsk, ChallengeView, PasskeyNameAsk, PasskeyView, PasskeysPage};
use crate::domain::{
    Actor, ChallengeId, ChallengeKind, EventKind, Passkey, PasskeyChallenge, PasskeyFault, PasskeyName, Shown, Subjects,
};
use crate::identity::webauthn::{self, Asserted, AssertionResponse, KnownCredential, RelyingParty};
use crate::store::StoreError;
use crate::sys::sha256;

/// The most passkeys a person has.
const MAX_PASSKEYS: u32 = 10;
/// The most open challenges a person has.
const MAX_CHALLENGES: u32 = 20;
/// For how long a challenge may be answered.
const CHALLENGE_MILLIS: i64 = 120_000;
/// How often a place is looked for that another call took in the same moment.
const TRIES: usize = 3;

impl Broker {
    /// Whom passkeys are for here.
    ///
    /// # Errors
    /// [`BrokerError::NoPasskeysHere`].
    pub(super) fn party(&self) -> Result<&RelyingParty, BrokerError> {
        self.party.as_ref().map_err(|error| error.clone().into())
    }

    /// The caller's passkeys.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list_passkeys(&self, caller: &OperatorCaller) -> Result<PasskeysPage, BrokerError> {
        let known = self.store.list_passkeys(&caller.operator.person).await?;
        Ok(PasskeysPage { items: known.iter().map(PasskeyView::from).collect() })
    }

    /// Give a passkey of the caller's another name.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`], or what is wrong with the name.
    pub async fn rename_passkey(
        &self,
        caller: &OperatorCaller,
        passkey: &str,
        ask: &PasskeyNameAsk,
    ) -> Result<PasskeyView, BrokerError> {
        let name: PasskeyName = ask.name.parse()?;
        let before = self.own_passkey(caller, passkey).await?;
        if before.name == name {
            return Ok(PasskeyView::from(&before));
        }
        let after = Passkey { name, ..before.clone() };
        self.change_passkey(caller, &before, after, EventKind::PasskeyRenamed).await
    }

    /// Remove a passkey of the caller's: it signs nothing any more that counts. Removing it again says the same.
    ///
    /// # Errors
    /// [`BrokerError::SignInAgain`] without a fresh sign-in, [`BrokerError::NotFound`].
    pub async fn end_passkey(&self, caller: &OperatorCaller, passkey: &str) -> Result<PasskeyView, BrokerError> {
        self.fresh_sign_in(caller)?;
        let before = self.own_passkey(caller, passkey).await?;
        if before.ended_at.is_some() {
            return Ok(PasskeyView::from(&before));
        }
        let after = Passkey { slot: None, ended_at: Some(self.clock.now()), ..before.clone() };
        self.change_passkey(caller, &before, after, EventKind::PasskeyRemoved).await
    }

    async fn own_passkey(&self, caller: &OperatorCaller, passkey: &str) -> Result<Passkey, BrokerError> {
        let id = passkey.parse().map_err(|_| BrokerError::NotFound("passkey"))?;
        let found = self.store.find_passkey(id).await?;
        found.filter(|passkey| passkey.person == caller.operator.person).ok_or(BrokerError::NotFound("passkey"))
    }

    async fn change_passkey(
        &self,
        caller: &OperatorCaller,
        before: &Passkey,
        after: Passkey,
        kind: EventKind,
    ) -> Result<PasskeyView, BrokerError> {
        let actor = Actor::Operator(caller.operator.person.clone());
        let mut record = Record::new(&self.ids, self.clock.now(), actor);
        let mut tx = self.store.begin("passkey.change");
        tx.update_passkey(before, &after);
        record.note(
            kind,
            Subjects::default(),
            [("name", after.name.as_str().into()), ("passkey", after.id.to_string().into())],
        );
        let expected = after.clone();
        let committed = record.commit(tx).await;
        self.read_back(committed, async move |store| Ok(store.find_passkey(expected.id).await? == Some(expected)))
            .await?;
        Ok(PasskeyView::from(&after))
    }

    /// Whether the caller signed in a moment ago, as far as the issuer says when.
    pub(super) fn fresh_sign_in(&self, caller: &OperatorCaller) -> Result<crate::domain::Timestamp, BrokerError> {
        caller.sign_in.at.filter(|_| self.proved_freshly(&caller.sign_in)).ok_or(BrokerError::SignInAgain(
            "this needs a sign-in of the last ten minutes; sign in again, then repeat it",
        ))
    }

    /// Refuse a passkey's answer: on record, with who and why.
    async fn refuse(&self, caller: &OperatorCaller, fault: PasskeyFault, passkey: Option<&Passkey>) -> BrokerError {
        metrics::counter!("hallpass_passkey_refused_total", "reason" => fault.as_str()).increment(1);
        let person = &caller.operator.person;
        tracing::info!(reason = fault.as_str(), operator = %person, "a passkey's answer was refused");
        let mut record = Record::new(&self.ids, self.clock.now(), Actor::Operator(person.clone()));
        let passkey = passkey.map(|passkey| passkey.id.to_string()).unwrap_or_default();
        let data = [("passkey", passkey.into()), ("reason", fault.as_str().into())];
        record.note(EventKind::PasskeyRefused, Subjects::default(), data);
        match record.commit(self.store.begin("passkey.refuse")).await {
            Ok(()) => BrokerError::PasskeyRefused(fault),
            Err(error) => error.into(),
        }
    }

    /// Make a challenge for the caller, and keep it.
    async fn challenge(
        &self,
        caller: &OperatorCaller,
        kind: ChallengeKind,
        statement: String,
        shown: Option<Shown>,
    ) -> Result<PasskeyChallenge, BrokerError> {
        let person = &caller.operator.person;
        for _ in 0..TRIES {
            let open = self.store.list_passkey_challenges(person).await?;
            let taken: Vec<u32> = open.iter().map(|challenge| challenge.slot).collect();
            let Some(slot) = free_slot(&taken, MAX_CHALLENGES) else {
                return Err(BrokerError::PasskeyRefused(PasskeyFault::TooMany));
            };
            let challenge = PasskeyChallenge {
                id: self.ids.challenge(),
                person: person.clone(),
                slot,
                kind,
                session: caller.sign_in.session,
                nonce: self.ids.opaque(),
                statement: statement.clone(),
                shown: shown.clone(),
                expires_at: self.clock.now().plus_millis(CHALLENGE_MILLIS),
            };
            match self.store.remember_passkey_challenge(&challenge).await {
                Ok(()) => return Ok(challenge),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(BrokerError::Changed)
    }

    /// A challenge the caller was given, for this, in this session, not long ago.
    async fn own_challenge(
        &self,
        caller: &OperatorCaller,
        challenge: &str,
        kind: ChallengeKind,
    ) -> Result<PasskeyChallenge, BrokerError> {
        let found = match challenge.parse::<ChallengeId>() {
            Ok(id) => self.store.find_passkey_challenge(id).await?,
            Err(_) => None,
        };
        let now = self.clock.now();
        let own = |found: &PasskeyChallenge| {
            found.person == caller.operator.person && found.kind == kind && now < found.expires_at
        };
        match found.filter(own) {
            None => Err(self.refuse(caller, PasskeyFault::UnknownChallenge, None).await),
            Some(found) if found.session != caller.sign_in.session => {
                Err(self.refuse(caller, PasskeyFault::OtherSession, None).await)
            }
            Some(found) => Ok(found),
        }
    }

    /// Check that a passkey of the caller's signed this challenge; the passkey as it is after that, to be written with what was
    /// signed.
    async fn signed_by_own(
        &self,
        caller: &OperatorCaller,
        challenge: &PasskeyChallenge,
        assertion: &AssertionAsk,
    ) -> Result<Passkey, BrokerError> {
        let found = self.store.find_passkey_of_credential(&assertion.credential).await?;
        // WebAuthn Level 3 §7.2 steps 5 and 6.
        let own = found.filter(|known| known.person == caller.operator.person && known.ended_at.is_none());
        let Some(known) = own else {
            return Err(self.refuse(caller, PasskeyFault::UnknownCredential, None).await);
        };
        match verify(self.party()?, challenge, &known, assertion) {
            Ok(asserted) => Ok(Passkey {
                sign_count: asserted.sign_count,
                backup: asserted.backup,
                last_used_at: Some(self.clock.now()),
                ..known
            }),
            Err(fault) => Err(self.refuse(caller, fault, Some(&known)).await),
        }
    }
}

/// What a conflict of a commit means that uses up a challenge and a passkey, if it is about one of them.
pub(super) fn conflict(error: &StoreError) -> Option<BrokerError> {
    match error {
        StoreError::Conflict { table: "passkey_challenge" } => {
            Some(BrokerError::PasskeyRefused(PasskeyFault::UnknownChallenge))
        }
        StoreError::Conflict { table: "passkey" } => Some(BrokerError::PasskeyRefused(PasskeyFault::CountWentBack)),
        _ => None,
    }
}

/// The bytes to sign: SHA-256 over the nonce and what is stated.
fn to_sign(challenge: &PasskeyChallenge) -> Result<[u8; 32], PasskeyFault> {
    let nonce = decoded(&challenge.nonce)?;
    Ok(*sha256([&*nonce, challenge.statement.as_bytes()].concat()).as_bytes())
}

fn decoded(text: &str) -> Result<Vec<u8>, PasskeyFault> {
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| PasskeyFault::Malformed)
}

fn verify(
    party: &RelyingParty,
    challenge: &PasskeyChallenge,
    known: &Passkey,
    assertion: &AssertionAsk,
) -> Result<Asserted, PasskeyFault> {
    let key = decoded(&known.cose_key)?;
    let (client_data, auth_data) = (decoded(&assertion.client_data)?, decoded(&assertion.authenticator_data)?);
    let signature = decoded(&assertion.signature)?;
    let known = KnownCredential { cose_key: &key, sign_count: known.sign_count, backup: known.backup };
    let response = AssertionResponse { client_data: &client_data, auth_data: &auth_data, signature: &signature };
    webauthn::verify_assertion(party, &to_sign(challenge)?, &known, &response)
}

/// The lowest number under `limit` that is not taken.
fn free_slot(taken: &[u32], limit: u32) -> Option<u32> {
    (0..limit).find(|slot| !taken.contains(slot))
}

impl From<&Passkey> for PasskeyView {
    fn from(passkey: &Passkey) -> Self {
        Self {
            id: passkey.id.to_string(),
            name: passkey.name.to_string(),
            backup: passkey.backup.to_string(),
            transports: passkey.transports.clone(),
            aaguid: passkey.aaguid.clone(),
            registered_event: passkey.registered.to_string(),
            created_at: passkey.created_at,
            last_used_at: passkey.last_used_at,
            ended_at: passkey.ended_at,
        }
    }
}

/// A challenge as its person gets it.
fn view(
    challenge: PasskeyChallenge,
    get: Option<serde_json::Value>,
    create: Option<serde_json::Value>,
) -> ChallengeView {
    ChallengeView {
        id: challenge.id.to_string(),
        get,
        create,
        statement: challenge.statement,
        nonce: challenge.nonce,
        expires_at: challenge.expires_at,
    }
}
