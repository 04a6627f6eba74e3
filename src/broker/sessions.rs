//! Sessions of people: opened by a sign-in, recognised by the SHA-256 of their secret, and over at once when they are ended, when
//! their person is disabled, or when the database turns out to be another. Whose a session is, is asked of the bundle in force
//! each time, so that what people.toml says of a person counts from the moment it says so.

use super::facts::Record;
use super::{Broker, BrokerError, OperatorCaller, PageAsk, SignIn};
use crate::api::{SessionView, SessionsPage};
use crate::domain::{Actor, EventKind, Operator, Person, Session, SessionId, SessionKind, Subjects, Timestamp};
use crate::identity::VerifiedIdentity;
use crate::policy::OperatorAction;
use crate::store::{StoreError, Tx};
use crate::sys::{SecretString, sha256};

/// What a command line's bearer begins with, so that nobody takes it for a token of an issuer, and scanners of secrets find it.
pub(super) const CLI_PREFIX: &str = "hps_";
/// Characters of a secret after its prefix: 32 random bytes in base64url.
const SECRET_CHARS: usize = 43;
/// How often it is written that a session is used, at most, in milliseconds.
const SEEN_EVERY_MILLIS: i64 = 60_000;
/// How many sessions one person has at most; another one ends the oldest.
const MAX_SESSIONS: u32 = 20;
/// How many sessions are looked through at a time.
const BATCH: u32 = 1000;
/// Longest description of a browser, in characters.
const MAX_AGENT_CHARS: usize = 200;

/// Which sessions to list.
#[derive(Debug, Clone, Default)]
pub struct SessionsAsk {
    /// Of this person; the caller's own when absent.
    pub person: Option<String>,
    /// Of everybody.
    pub all: bool,
    /// The page.
    pub page: PageAsk,
}

/// From where a session is opened.
#[derive(Debug, Clone)]
pub struct OpenedFrom {
    /// What the browser or the command line calls itself.
    pub user_agent: String,
    /// The address.
    pub address: String,
}

/// A session that was just opened, with its secret, which is nowhere else.
pub struct OpenedSession {
    /// What to present from now on.
    pub secret: SecretString,
    /// The session.
    pub session: Session,
}

/// Why a session ended before its time, as the audit says it.
#[derive(Debug, Clone, Copy)]
pub(super) enum SessionEnd {
    /// The person signed out.
    SignedOut,
    /// Somebody ended it.
    Revoked,
    /// The person signed in anew in the same browser.
    Replaced,
    /// The person opened more than there may be.
    TooMany,
}

impl SessionEnd {
    const fn as_str(self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::Revoked => "revoked",
            Self::Replaced => "replaced",
            Self::TooMany => "too_many",
        }
    }
}

/// Who is behind a session to be opened: what an issuer said, or what another session of the same person knows.
pub(super) struct Behind {
    pub(super) operator: Operator,
    pub(super) auth_time: Option<Timestamp>,
    pub(super) acr: Option<String>,
}

impl Behind {
    /// A person as their issuer vouches for them.
    pub(super) fn identity(broker: &Broker, identity: &VerifiedIdentity) -> Self {
        let bundle = broker.policy.current();
        let operator = bundle.operator(identity.issuer(), identity.subject(), identity.email(), identity.groups());
        Self { operator, auth_time: identity.auth_time(), acr: identity.acr().map(str::to_owned) }
    }
}

impl Broker {
    /// Who holds this secret of a browser's session; notes that it is used.
    ///
    /// # Errors
    /// [`BrokerError::IdentityRefused`] when it opens none, or what the store says.
    pub async fn session_caller(&self, secret: &str) -> Result<OperatorCaller, BrokerError> {
        self.caller_by_secret(secret, SessionKind::Console).await
    }

    /// Whether somebody's session still stands, without counting as use: for what stays open, such as a stream.
    ///
    /// # Errors
    /// What the store says.
    pub async fn session_stands(&self, caller: &OperatorCaller) -> Result<bool, BrokerError> {
        let Some(id) = caller.sign_in.session else { return Ok(self.clock.now() < caller.expires_at) };
        Ok(self.store.find_session(id).await?.and_then(|session| self.stands(&session)).is_some())
    }

    pub(super) async fn caller_by_secret(
        &self,
        secret: &str,
        kind: SessionKind,
    ) -> Result<OperatorCaller, BrokerError> {
        if secret.len() > SECRET_CHARS.saturating_add(CLI_PREFIX.len()) {
            return Err(BrokerError::IdentityRefused);
        }
        let session = self.store.find_session_by_token(sha256(secret)).await?;
        let mut session = session.filter(|session| session.kind == kind).ok_or(BrokerError::IdentityRefused)?;
        let operator = self.stands(&session).ok_or(BrokerError::IdentityRefused)?;
        let now = self.clock.now();
        if now.millis_since(session.seen_at) >= SEEN_EVERY_MILLIS {
            let lapses_at = self.lapse_of(kind, now, session.ends_at);
            match self.store.note_session_seen(session.id, now, lapses_at).await {
                Ok(()) => session.lapses_at = lapses_at,
                // Reading goes on where nothing can be written; it lapses as it would have.
                Err(error) => tracing::warn!(%error, "that a session is used could not be noted"),
            }
        }
        Ok(OperatorCaller {
            operator,
            expires_at: session.lapses_at,
            sign_in: SignIn { at: session.auth_time, acr: session.acr, session: Some(session.id) },
        })
    }

    /// Whose session it is now, if it stands.
    pub(super) fn stands(&self, session: &Session) -> Option<Operator> {
        // What was ended after a backup was made must not come back with it, so while nobody has said what became of a restored
        // database nobody is signed in.
        let restored = session.opened_at.as_millis() < self.standing.load().control.tokens_from_millis;
        if restored || self.quarantine().is_some() || session.is_over(self.clock.now()) {
            return None;
        }
        let bundle = self.policy.current();
        let operator = bundle.operator(&session.issuer, &session.subject, session.email.as_deref(), &session.groups);
        (!bundle.is_disabled(&operator.person)).then_some(operator)
    }

    fn lapse_of(&self, kind: SessionKind, now: Timestamp, ends_at: Timestamp) -> Timestamp {
        match (kind, &self.provider) {
            (SessionKind::Console, Some(provider)) => {
                now.plus_millis(millis(provider.settings().idle_seconds)).min(ends_at)
            }
            (SessionKind::Console, None) => now,
            (SessionKind::Cli, _) => ends_at,
        }
    }

    /// Open a session for somebody an issuer vouches for.
    ///
    /// # Errors
    /// [`BrokerError::IdentityRefused`] for a person who is disabled, or what the store says.
    pub async fn open_session(
        &self,
        identity: &VerifiedIdentity,
        kind: SessionKind,
        from: &OpenedFrom,
    ) -> Result<OpenedSession, BrokerError> {
        let tx = self.store.begin("session.open");
        self.open(Behind::identity(self, identity), kind, from, None, tx).await
    }

    /// Open a session in a change that may have other parts, in the place of another one if there is one.
    pub(super) async fn open(
        &self,
        behind: Behind,
        kind: SessionKind,
        from: &OpenedFrom,
        replaced: Option<Session>,
        mut tx: Tx,
    ) -> Result<OpenedSession, BrokerError> {
        let provider = self.provider.as_ref().ok_or_else(not_configured)?;
        self.out_of_quarantine()?;
        if self.policy.current().is_disabled(&behind.operator.person) {
            return Err(self.reject("person_disabled", Some(behind.operator.person.as_str()), &from.address).await);
        }
        if kind == SessionKind::Console {
            // The issuer has just said what groups the person is in; a command line's session only repeats what it said before.
            self.note_membership(&behind.operator).await?;
        }
        let now = self.clock.now();
        let life = match kind {
            SessionKind::Console => provider.settings().absolute_seconds,
            SessionKind::Cli => provider.settings().cli_absolute_seconds,
        };
        let ends_at = now.plus_millis(millis(life));
        let Operator { person, issuer, subject, email, groups } = behind.operator;
        let session = Session {
            id: self.ids.session(),
            kind,
            person,
            issuer,
            subject,
            email,
            groups,
            auth_time: behind.auth_time,
            acr: behind.acr,
            user_agent: described(&from.user_agent),
            address: from.address.clone(),
            opened_at: now,
            seen_at: now,
            ends_at,
            lapses_at: self.lapse_of(kind, now, ends_at),
        };
        let secret = match kind {
            SessionKind::Console => self.ids.opaque(),
            SessionKind::Cli => format!("{CLI_PREFIX}{}", self.ids.opaque()),
        };
        let mut record = Record::new(&self.ids, now, Actor::Operator(session.person.clone()));
        note_opened(&session, &mut record);
        let mut ended: Vec<(Session, SessionEnd)> =
            replaced.into_iter().map(|session| (session, SessionEnd::Replaced)).collect();
        let mine = self.store.list_sessions(Some(&session.person), None, BATCH).await?;
        let others = mine.into_iter().filter(|own| ended.iter().all(|(gone, _)| gone.id != own.id));
        let others: Vec<Session> = others.collect();
        let keep = usize::try_from(MAX_SESSIONS).unwrap_or(usize::MAX).saturating_sub(1);
        let above = others.len().saturating_sub(keep);
        ended.extend(others.into_iter().take(above).map(|session| (session, SessionEnd::TooMany)));
        for (gone, why) in &ended {
            tx.delete_session(gone.id);
            note_ended(gone, *why, &mut record);
        }
        tx.insert_session(&session, sha256(&secret));
        record.commit(tx).await?;
        Ok(OpenedSession { secret: SecretString::from(secret), session })
    }

    /// End the session of whoever calls.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sign_out(&self, caller: &OperatorCaller) -> Result<(), BrokerError> {
        let Some(id) = caller.sign_in.session else { return Ok(()) };
        match self.endings.find_session(id).await? {
            Some(session) => self.end(caller, &session, SessionEnd::SignedOut).await.map(drop),
            None => Ok(()),
        }
    }

    /// The sessions of whoever asks; of somebody else, or of everybody, only to those who may revoke.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`], [`BrokerError::Invalid`], or what the store says.
    pub async fn list_sessions(&self, caller: &OperatorCaller, ask: SessionsAsk) -> Result<SessionsPage, BrokerError> {
        let person = ask.person.map(Person::new);
        let own = person.as_ref().is_none_or(|person| *person == caller.operator.person) && !ask.all;
        if !own {
            self.may(caller, OperatorAction::Revoke, None)?;
        }
        if ask.all && person.is_some() {
            return Err(BrokerError::Invalid("name a `person`, or ask for `all`, not both".to_owned()));
        }
        let (limit, after) = (ask.page.limit()?, ask.page.after::<SessionId>()?);
        let person = if ask.all { None } else { Some(person.unwrap_or_else(|| caller.operator.person.clone())) };
        let rows = self.store.list_sessions(person.as_ref(), after, limit).await?;
        let next_cursor = super::read::next_cursor(&rows, limit, |session| session.id.to_string());
        let live = rows.iter().filter(|session| self.stands(session).is_some());
        Ok(SessionsPage { items: live.map(|session| view(session, caller)).collect(), next_cursor })
    }

    /// End one session: one's own, or anybody's for those who may revoke.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`], also for a session the caller may not know of, or what the store says.
    pub async fn end_session(&self, caller: &OperatorCaller, session: &str) -> Result<SessionView, BrokerError> {
        let missing = || BrokerError::NotFound("session");
        let id: SessionId = session.parse().map_err(|_| missing())?;
        let session = self.endings.find_session(id).await?.ok_or_else(missing)?;
        if session.person != caller.operator.person {
            self.may(caller, OperatorAction::Revoke, None).map_err(|_| missing())?;
        }
        if self.end(caller, &session, SessionEnd::Revoked).await? { Ok(view(&session, caller)) } else { Err(missing()) }
    }

    /// End every session of a person: one's own, or anybody's for those who may revoke. How many.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`] or what the store says; sessions that were ended before that stay so.
    pub async fn end_sessions_of(&self, caller: &OperatorCaller, person: Option<&str>) -> Result<u32, BrokerError> {
        let person = person.map_or_else(|| caller.operator.person.clone(), Person::new);
        if person != caller.operator.person {
            self.may(caller, OperatorAction::Revoke, None)?;
        }
        let bundle = self.policy.current();
        let (mut ended, mut after) = (0_u32, None);
        // Through all of them: whoever was registered since has sessions under an older name.
        loop {
            let rows = self.endings.list_sessions(None, after, BATCH).await?;
            for session in &rows {
                let now = bundle.operator(&session.issuer, &session.subject, session.email.as_deref(), &[]).person;
                if (session.person == person || now == person) && self.end(caller, session, SessionEnd::Revoked).await?
                {
                    ended = ended.saturating_add(1);
                }
            }
            after = rows.last().map(|session| session.id);
            if u32::try_from(rows.len()).map_or(true, |count| count < BATCH) {
                return Ok(ended);
            }
        }
    }

    /// End a session; whether it was there.
    async fn end(&self, caller: &OperatorCaller, session: &Session, why: SessionEnd) -> Result<bool, BrokerError> {
        let mut record = Record::new(&self.ids, self.clock.now(), Actor::Operator(caller.operator.person.clone()));
        note_ended(session, why, &mut record);
        let mut tx = self.endings.begin("session.end");
        tx.delete_session(session.id);
        match record.commit(tx).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// There is no `[sign_in]`.
pub(super) fn not_configured() -> BrokerError {
    BrokerError::Invalid("nobody can sign in here: the configuration has no [sign_in]".to_owned())
}

pub(super) fn millis(secs: u32) -> i64 {
    i64::from(secs).saturating_mul(1000)
}

/// What a browser calls itself, short and visible.
pub(super) fn described(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(MAX_AGENT_CHARS).collect()
}

fn note_opened(session: &Session, record: &mut Record<'_>) {
    record.note(
        EventKind::SessionOpened,
        Subjects::default(),
        [
            ("acr", session.acr.clone().unwrap_or_default().into()),
            ("address", session.address.as_str().into()),
            ("auth_time", session.auth_time.map(|at| at.to_string()).unwrap_or_default().into()),
            ("ends_at", session.ends_at.to_string().into()),
            ("groups", session.groups.clone().into()),
            ("identity", format!("{}#{}", session.issuer, session.subject).into()),
            ("kind", session.kind.as_str().into()),
            ("session", session.id.to_string().into()),
            ("user_agent", session.user_agent.as_str().into()),
        ],
    );
}

fn note_ended(session: &Session, why: SessionEnd, record: &mut Record<'_>) {
    record.note(
        EventKind::SessionEnded,
        Subjects::default(),
        [
            ("kind", session.kind.as_str().into()),
            ("person", session.person.as_str().into()),
            ("reason", why.as_str().into()),
            ("session", session.id.to_string().into()),
        ],
    );
}

fn view(session: &Session, caller: &OperatorCaller) -> SessionView {
    SessionView {
        id: session.id.to_string(),
        kind: session.kind.as_str().to_owned(),
        person: session.person.as_str().to_owned(),
        issuer: session.issuer.clone(),
        subject: session.subject.clone(),
        user_agent: session.user_agent.clone(),
        address: session.address.clone(),
        auth_time: session.auth_time,
        acr: session.acr.clone(),
        opened_at: session.opened_at,
        seen_at: session.seen_at,
        ends_at: session.ends_at,
        lapses_at: session.lapses_at,
        current: caller.sign_in.session == Some(session.id),
    }
}
