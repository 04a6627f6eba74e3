//! Registering a passkey. The first one rests on a sign-in of the last minutes; each further one, besides, on a passkey the person
//! has, so that a stolen session cannot add a key. Nor can it make room for a first one: after a removal it takes another sign-in.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use super::{MAX_PASSKEYS, decoded, free_slot, options, to_sign, view};
use crate::api::{ChallengeView, PasskeyNameAsk, PasskeyView, RegistrationAsk};
use crate::broker::facts::Record;
use crate::broker::{Broker, BrokerError, OperatorCaller};
use crate::domain::{
    Actor, ChallengeKind, EventKind, Passkey, PasskeyChallenge, PasskeyFault, PasskeyName, RegistrationStatement,
    Subjects,
};
use crate::identity::webauthn::{self, NewCredential, RegistrationResponse};
use crate::store::StoreError;
use crate::sys::{sha256, sorted_json};

/// How a browser may reach an authenticator (WebAuthn Level 3 §5.8.4); others are left out.
const TRANSPORTS: [&str; 6] = ["ble", "hybrid", "internal", "nfc", "smart-card", "usb"];

impl Broker {
    /// Begin to register a passkey: what the browser must be asked for.
    ///
    /// # Errors
    /// [`BrokerError::SignInAgain`], [`BrokerError::PasskeyRefused`], [`BrokerError::NoPasskeysHere`].
    pub async fn begin_passkey(
        &self,
        caller: &OperatorCaller,
        ask: &PasskeyNameAsk,
    ) -> Result<ChallengeView, BrokerError> {
        self.out_of_quarantine()?;
        let party = self.party()?;
        let name: PasskeyName = ask.name.parse()?;
        let person = caller.operator.person.clone();
        let known = self.store.list_passkeys(&person).await?;
        self.may_register(caller, &known).await?;
        if usize::try_from(MAX_PASSKEYS).is_ok_and(|most| known.len() >= most) {
            return Err(BrokerError::PasskeyRefused(PasskeyFault::TooMany));
        }
        let before = match known.first() {
            Some(passkey) => Some(passkey.user_handle.clone()),
            None => self.store.find_last_ended_passkey(&person).await?.map(|passkey| passkey.user_handle),
        };
        let user_handle = before.unwrap_or_else(|| self.ids.opaque());
        let statement = RegistrationStatement { name: name.to_string(), person, user_handle, v: 1 };
        let text = sorted_json(&statement).map_err(|error| BrokerError::Internal(error.to_string()))?;
        let challenge = self.challenge(caller, ChallengeKind::Register, text, None).await?;
        let to_sign = to_sign(&challenge).map_err(BrokerError::PasskeyRefused)?;
        let get = (!known.is_empty()).then(|| options::get(party, &to_sign, &known));
        let create = options::create(party, &to_sign, &known, &statement);
        Ok(view(challenge, get, Some(create)))
    }

    /// A sign-in of the last minutes, and one after the last removal where there is no passkey to ask.
    async fn may_register(&self, caller: &OperatorCaller, known: &[Passkey]) -> Result<(), BrokerError> {
        let signed_in = self.fresh_sign_in(caller)?;
        if !known.is_empty() {
            return Ok(());
        }
        let last = self.store.find_last_ended_passkey(&caller.operator.person).await?;
        match last.and_then(|passkey| passkey.ended_at) {
            Some(ended_at) if signed_in <= ended_at => Err(BrokerError::SignInAgain(
                "you removed your last passkey in this sign-in; sign in again, then register another one",
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Register the passkey that the browser made.
    ///
    /// # Errors
    /// As [`Broker::begin_passkey`].
    pub async fn finish_passkey(
        &self,
        caller: &OperatorCaller,
        ask: &RegistrationAsk,
    ) -> Result<PasskeyView, BrokerError> {
        self.out_of_quarantine()?;
        let known = self.store.list_passkeys(&caller.operator.person).await?;
        self.may_register(caller, &known).await?;
        let challenge = self.own_challenge(caller, &ask.challenge, ChallengeKind::Register).await?;
        let made = match self.check_new(&challenge, ask) {
            Ok(made) => made,
            Err(BrokerError::PasskeyRefused(fault)) => return Err(self.refuse(caller, fault, None).await),
            Err(error) => return Err(error),
        };
        let confirmed_by = match (&ask.confirmation, known.is_empty()) {
            (_, true) => None,
            (Some(assertion), false) => Some(self.signed_by_own(caller, &challenge, assertion).await?),
            (None, false) => return Err(self.refuse(caller, PasskeyFault::ConfirmationMissing, None).await),
        };
        let taken: Vec<u32> = known.iter().filter_map(|passkey| passkey.slot).collect();
        let Some(slot) = free_slot(&taken, MAX_PASSKEYS) else {
            return Err(BrokerError::PasskeyRefused(PasskeyFault::TooMany));
        };
        // WebAuthn Level 3 §7.1 step 26; the unique index of the store has the last word.
        if self.store.find_passkey_of_credential(&BASE64URL_NOPAD.encode(&made.id)).await?.is_some() {
            return Err(self.refuse(caller, PasskeyFault::KnownCredential, None).await);
        }
        self.record_passkey(caller, &challenge, &made, slot, ask, confirmed_by).await
    }

    fn check_new(&self, challenge: &PasskeyChallenge, ask: &RegistrationAsk) -> Result<NewCredential, BrokerError> {
        let party = self.party()?;
        let check = || {
            let (client_data, object) = (decoded(&ask.client_data)?, decoded(&ask.attestation_object)?);
            let response = RegistrationResponse { client_data: &client_data, attestation_object: &object };
            webauthn::verify_registration(party, &to_sign(challenge)?, &response)
        };
        check().map_err(BrokerError::PasskeyRefused)
    }

    /// The passkey becomes durable with its event, the challenge's end, and the use of the one that agreed.
    async fn record_passkey(
        &self,
        caller: &OperatorCaller,
        challenge: &PasskeyChallenge,
        made: &NewCredential,
        slot: u32,
        ask: &RegistrationAsk,
        confirmed_by: Option<Passkey>,
    ) -> Result<PasskeyView, BrokerError> {
        let statement: RegistrationStatement =
            serde_json::from_str(&challenge.statement).map_err(|error| BrokerError::Internal(error.to_string()))?;
        let now = self.clock.now();
        let id = self.ids.passkey();
        let mut record = Record::new(&self.ids, now, Actor::Operator(caller.operator.person.clone()));
        let confirmed = confirmed_by.as_ref().map(|passkey| passkey.id.to_string()).unwrap_or_default();
        let event = record.note_shown(
            EventKind::PasskeyRegistered,
            Subjects::default(),
            [
                ("aaguid", HEXLOWER.encode(&made.aaguid).into()),
                ("backup", made.backup.as_str().into()),
                ("confirmed_by", confirmed.into()),
                ("credential", sha256(&made.id).to_string().into()),
                ("key", sha256(&made.cose_key).to_string().into()),
                ("name", statement.name.as_str().into()),
                ("passkey", id.to_string().into()),
            ],
        );
        let passkey = Passkey {
            id,
            person: caller.operator.person.clone(),
            slot: Some(slot),
            credential: BASE64URL_NOPAD.encode(&made.id),
            cose_key: BASE64URL_NOPAD.encode(&made.cose_key),
            sign_count: made.sign_count,
            backup: made.backup,
            aaguid: HEXLOWER.encode(&made.aaguid),
            transports: transports(&ask.transports),
            name: statement.name.parse()?,
            user_handle: statement.user_handle,
            registered: event.id,
            registration: event.canonical(),
            created_at: now,
            last_used_at: None,
            ended_at: None,
        };
        let mut tx = self.store.begin("passkey.register");
        tx.delete_passkey_challenge(challenge.id);
        tx.insert_passkey(&passkey);
        if let Some(used) = &confirmed_by {
            tx.use_passkey(used);
        }
        let committed = record.commit(tx).await;
        match self.read_back(committed, async move |store| Ok(store.find_passkey(id).await?.is_some())).await {
            Ok(()) => Ok(PasskeyView::from(&passkey)),
            // Another registration took the slot or the credential, or another call used the challenge or the passkey.
            Err(StoreError::Conflict { table: "passkey" }) => Err(BrokerError::Changed),
            Err(error) => Err(super::conflict(&error).unwrap_or_else(|| error.into())),
        }
    }
}

/// The ways a browser named that there are, each once, in order.
fn transports(asked: &[String]) -> Vec<String> {
    TRANSPORTS.iter().filter(|known| asked.iter().any(|way| way == *known)).map(|known| (*known).to_owned()).collect()
}
