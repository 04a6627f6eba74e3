//! Signing a command line in (RFC 8628): it shows a short code, a person who is signed in types it in a browser, sees who asks, and
//! says yes or no. Codes are kept as digests, guesses are counted, and as many command lines may wait as fit into one table.

use super::facts::Record;
use super::sessions::{Behind, OpenedFrom, OpenedSession, described};
use super::{Broker, BrokerError, OperatorCaller};
use crate::api::DeviceAnswer;
use crate::domain::{
    Actor, DeviceSignIn, DeviceSignInState, Digest, EventKind, SessionKind, Subjects, Timestamp, forbidden_characters,
};
use crate::store::StoreError;
use crate::sys::{ExposeSecret as _, SecretString, sha256};

/// For how long a code may be typed, in seconds.
const GOOD_FOR_SECS: u32 = 600;
/// How long a command line waits between polls at first, and how much longer each time it does not, in seconds (§3.5).
const PAUSE_SECS: u32 = 5;
const LONGER_SECS: u32 = 5;
/// Command lines that may wait at a time.
const MAX_WAITING: i64 = 1000;
/// Letters of a code a person types, and how many: no vowels, so that it makes no words (§6.1). 34 bits, against five guesses
/// a minute of each person.
const ALPHABET: &[u8] = b"BCDFGHJKLMNPQRSTVWXZ";
const CODE_LETTERS: usize = 8;
/// Longest name of a command line, in characters.
const MAX_CLIENT_CHARS: usize = 80;

/// Why a command line has no session (yet), as RFC 8628 §3.5 and RFC 6749 §5.2 name it.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Nobody can sign in here.
    #[error("nobody can sign in here: the configuration has no [sign_in]")]
    NotConfigured,
    /// The person has not answered yet.
    #[error("nobody has answered yet; ask again after the interval")]
    Pending,
    /// Asked again too soon.
    #[error("wait five seconds longer from now on")]
    SlowDown,
    /// The person said no, or is not signed in any more.
    #[error("it was refused")]
    Denied,
    /// Nobody answered in time, or there is no such code.
    #[error("the code is over; begin anew")]
    Expired,
    /// Too many wait.
    #[error("too many wait to be signed in; try again in a minute")]
    TooMany,
    /// Anything else.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl From<StoreError> for DeviceError {
    fn from(error: StoreError) -> Self {
        Self::Broker(error.into())
    }
}

/// A command line that waits, as the person who typed its code sees it.
#[derive(Debug, Clone)]
pub struct DeviceShown {
    /// What it calls itself; nobody has verified it.
    pub client: String,
    /// Where it asked from.
    pub address: String,
    /// The code, as it should stand on its screen.
    pub user_code: String,
    /// When it asked.
    pub asked_at: Timestamp,
}

impl Broker {
    /// Let a command line wait to be signed in.
    ///
    /// # Errors
    /// [`DeviceError::NotConfigured`], [`DeviceError::TooMany`], or what the store says.
    pub async fn ask_device_sign_in(&self, client: &str, address: &str) -> Result<DeviceAnswer, DeviceError> {
        if self.provider.is_none() {
            return Err(DeviceError::NotConfigured);
        }
        if self.store.count_device_sign_ins().await? >= MAX_WAITING {
            return Err(DeviceError::TooMany);
        }
        let now = self.clock.now();
        let (device_code, user_code) = (self.ids.opaque(), self.user_code());
        let asked = DeviceSignIn {
            device_code: sha256(&device_code),
            user_code: user_code_digest(&user_code),
            client: client_name(client),
            address: address.to_owned(),
            asked_at: now,
            expires_at: now.plus_millis(super::sessions::millis(GOOD_FOR_SECS)),
            pause_secs: PAUSE_SECS,
            polled_at: now.plus_millis(-super::sessions::millis(PAUSE_SECS)),
            state: DeviceSignInState::Asked,
            answered_by: None,
        };
        match self.store.ask_device_sign_in(&asked).await {
            Ok(()) => {}
            // The same eight letters are on somebody else's screen; the next try gets others.
            Err(StoreError::Conflict { .. }) => return Err(DeviceError::TooMany),
            Err(error) => return Err(error.into()),
        }
        let verification_uri = format!("{}/device", self.public_url);
        Ok(DeviceAnswer {
            verification_uri_complete: format!("{verification_uri}?user_code={user_code}"),
            device_code,
            user_code,
            verification_uri,
            expires_in: GOOD_FOR_SECS,
            interval: PAUSE_SECS,
        })
    }

    /// Eight letters, each as likely as any other.
    fn user_code(&self) -> String {
        let mut letters = String::with_capacity(CODE_LETTERS.saturating_add(1));
        while letters.len() < CODE_LETTERS.saturating_add(1) {
            if letters.len() == CODE_LETTERS / 2 {
                letters.push('-');
            }
            let mut byte = [0_u8; 1];
            self.entropy.fill(&mut byte);
            // 240 is the last multiple of twenty; what is above would favour some letters.
            let [byte] = byte;
            if byte < 240
                && let Some(letter) = ALPHABET.get(usize::from(byte) % ALPHABET.len())
            {
                letters.push(char::from(*letter));
            }
        }
        letters
    }

    /// The command line whose code a person typed. Each try counts.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`], [`BrokerError::RateLimited`], or what the store says.
    pub async fn device_sign_in(&self, caller: &OperatorCaller, user_code: &str) -> Result<DeviceShown, BrokerError> {
        self.limits.guess(caller.operator.person.as_str())?;
        let found = self.find_waiting(user_code).await?;
        Ok(DeviceShown {
            client: found.client,
            address: found.address,
            user_code: plain_code(user_code),
            asked_at: found.asked_at,
        })
    }

    async fn find_waiting(&self, user_code: &str) -> Result<DeviceSignIn, BrokerError> {
        let missing = || BrokerError::NotFound("code; it may be mistyped, over, or used");
        let found = self.store.find_device_sign_in_by_user_code(user_code_digest(user_code)).await?;
        let now = self.clock.now();
        found.filter(|found| found.state == DeviceSignInState::Asked && now < found.expires_at).ok_or_else(missing)
    }

    /// Say yes or no to a command line.
    ///
    /// # Errors
    /// As [`Self::device_sign_in`]; [`BrokerError::Forbidden`] for somebody who has no session.
    pub async fn answer_device_sign_in(
        &self,
        caller: &OperatorCaller,
        user_code: &str,
        yes: bool,
    ) -> Result<(), BrokerError> {
        let session = caller.sign_in.session;
        let session =
            session.ok_or_else(|| BrokerError::Forbidden("sign a command line in without a session".to_owned()))?;
        self.limits.guess(caller.operator.person.as_str())?;
        // A poll may come in between, as often as it may.
        for _ in 0..super::open_task::MAX_TRIES {
            let found = self.find_waiting(user_code).await?;
            let state = if yes { DeviceSignInState::Confirmed } else { DeviceSignInState::Refused };
            let answered = DeviceSignIn { state, answered_by: Some(session), ..found.clone() };
            let actor = Actor::Operator(caller.operator.person.clone());
            let mut record = Record::new(&self.ids, self.clock.now(), actor);
            record.note(
                EventKind::SessionAnswered,
                Subjects::default(),
                [
                    ("address", found.address.as_str().into()),
                    ("answer", answered.state.as_str().into()),
                    ("client", found.client.as_str().into()),
                    ("session", session.to_string().into()),
                ],
            );
            let mut tx = self.store.begin("device_sign_in.answer");
            tx.update_device_sign_in(&found, &answered);
            match record.commit(tx).await {
                Ok(()) => return Ok(()),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(BrokerError::Changed)
    }

    /// A command line polls: its session, once the person said yes. It is opened once, in the change that uses the code up.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub async fn poll_device_sign_in(
        &self,
        device_code: &SecretString,
        from: &OpenedFrom,
    ) -> Result<OpenedSession, DeviceError> {
        let found = self.store.find_device_sign_in(sha256(device_code.expose_secret())).await?;
        let now = self.clock.now();
        let found = found.filter(|found| now < found.expires_at).ok_or(DeviceError::Expired)?;
        match found.state {
            DeviceSignInState::Asked => Err(self.note_poll(&found, now).await),
            DeviceSignInState::Refused => Err(DeviceError::Denied),
            DeviceSignInState::Confirmed => self.open_confirmed(&found, from).await,
        }
    }

    async fn note_poll(&self, found: &DeviceSignIn, now: Timestamp) -> DeviceError {
        let early = now.millis_since(found.polled_at) < super::sessions::millis(found.pause_secs);
        let pause_secs = if early { found.pause_secs.saturating_add(LONGER_SECS) } else { found.pause_secs };
        let polled = DeviceSignIn { pause_secs, polled_at: now, ..found.clone() };
        match self.store.note_device_poll(found, &polled).await {
            Ok(()) if early => DeviceError::SlowDown,
            // Another poll or the person was faster; the next poll sees.
            Ok(()) | Err(StoreError::Conflict { .. }) => DeviceError::Pending,
            Err(error) => error.into(),
        }
    }

    /// The session of the command line is the person's who said yes, as long as that person's own still stands.
    async fn open_confirmed(&self, found: &DeviceSignIn, from: &OpenedFrom) -> Result<OpenedSession, DeviceError> {
        let answered = match found.answered_by {
            Some(id) => self.store.find_session(id).await?,
            None => None,
        };
        let Some((answered, operator)) =
            answered.and_then(|session| self.stands(&session).map(|operator| (session, operator)))
        else {
            return Err(DeviceError::Denied);
        };
        let behind = Behind { operator, auth_time: answered.auth_time, acr: answered.acr };
        let from = OpenedFrom { user_agent: found.client.clone(), address: from.address.clone() };
        let mut tx = self.store.begin("device_sign_in.use");
        tx.delete_device_sign_in(found.device_code);
        match self.open(behind, SessionKind::Cli, &from, None, tx).await {
            Ok(opened) => Ok(opened),
            Err(BrokerError::Store(StoreError::Conflict { table: "device_sign_in" })) => Err(DeviceError::Expired),
            Err(error) => Err(error.into()),
        }
    }
}

/// The letters of a code however they were typed, with the hyphen.
fn plain_code(typed: &str) -> String {
    let letters = typed.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_uppercase());
    let letters: String = letters.take(CODE_LETTERS.saturating_add(1)).collect();
    match letters.split_at_checked(CODE_LETTERS / 2) {
        Some((first, rest)) => format!("{first}-{rest}"),
        None => letters,
    }
}

fn user_code_digest(typed: &str) -> Digest {
    sha256(format!("user code\0{}", plain_code(typed)))
}

/// What a command line calls itself, short, and without what a reader cannot see.
fn client_name(text: &str) -> String {
    let hidden = forbidden_characters(text);
    let name: String =
        text.chars().filter(|c| !hidden.contains(c) && !matches!(c, '\n' | '\t')).take(MAX_CLIENT_CHARS).collect();
    if name.trim().is_empty() { "a command line without a name".to_owned() } else { described(&name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_recognised_however_it_is_typed() {
        for typed in ["BCDF-GHJK", "bcdfghjk", " bcdf ghjk ", "bCdF–GhJk"] {
            assert_eq!(plain_code(typed), "BCDF-GHJK");
        }
        assert_ne!(plain_code("BCDF-GHJKL"), plain_code("BCDF-GHJK"));
        assert_eq!(plain_code("B"), "B");
    }

    #[test]
    fn a_command_line_cannot_call_itself_what_nobody_can_read() {
        assert_eq!(client_name("hallpass on \u{202e}host\n"), "hallpass on host");
        assert_eq!(client_name("\u{200b}\u{200b}"), "a command line without a name");
        assert_eq!(client_name(&"x".repeat(200)).len(), MAX_CLIENT_CHARS);
    }
}
