//! Signing a person in by OpenID Connect. What must be known again when the browser comes back is in a cookie that only we can
//! read, so that a stranger who begins costs no row; only an ID token of the issuer, for this very sign-in, opens a session, and
//! only one.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::sessions::{Behind, OpenedFrom, OpenedSession};
use super::{Broker, BrokerError, OperatorCaller, SignIn};
use crate::domain::{Digest, SessionKind, Timestamp};
use crate::identity::{
    Asked, ExpectedSignIn, IdentityError, PresentedToken, Provider, ProviderError, VerifiedIdentity,
};
use crate::store::StoreError;
use crate::sys::{ExposeSecret as _, SecretString, sha256};

/// For how long somebody may be at the identity provider, in seconds.
const FLOW_SECS: i64 = 600;
/// How far the issuer's clock may be behind ours where a fresh proof is asked for, in milliseconds.
const LEEWAY_MILLIS: i64 = 30_000;
/// What the cookie is sealed as.
const LABEL: &str = "sign-in flow v1";
/// How old a proof may be where nothing is configured, in seconds.
const USUAL_MAX_AGE_SECS: u32 = 600;
/// Longest text of an answer that is looked at, in bytes.
const MAX_ANSWER_BYTES: usize = 4096;

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// There is no `[sign_in]`.
    #[error("nobody can sign in here yet")]
    NotConfigured,
    /// The answer is not one to this browser's question, or the issuer does not vouch: begin anew. The word is for the log.
    #[error("the sign-in was refused: {0}")]
    Refused(&'static str),
    /// The identity provider cannot be used now.
    #[error("{0}")]
    Unavailable(String),
    /// Anything else.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl From<StoreError> for SignInError {
    fn from(error: StoreError) -> Self {
        Self::Broker(error.into())
    }
}

impl From<ProviderError> for SignInError {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Refused(why) => {
                tracing::info!(why, "the identity provider did not take a code");
                Self::Refused("code_refused")
            }
            error @ (ProviderError::Unavailable(_) | ProviderError::Misconfigured(_)) => {
                tracing::warn!(%error, "nobody can be signed in");
                Self::Unavailable(error.to_string())
            }
        }
    }
}

/// What somebody wants who begins to sign in.
#[derive(Debug, Clone, Default)]
pub struct SignInAsk {
    /// Where to go afterwards: a path of ours.
    pub next: String,
    /// Whether to prove anew who they are, though they may be signed in.
    pub step_up: bool,
    /// Whom the issuer may suggest.
    pub login_hint: Option<String>,
}

/// Where a browser goes, and what it must bring back.
pub struct BegunSignIn {
    /// The issuer's page.
    pub url: Url,
    /// The value of the flow's cookie.
    pub flow: SecretString,
    /// For how many seconds it is good.
    pub good_for_secs: i64,
}

/// What a browser brings back.
#[derive(Default)]
pub struct SignInAnswer<'a> {
    /// The flow's cookie.
    pub flow: Option<&'a str>,
    /// `state`.
    pub state: Option<&'a str>,
    /// `code`.
    pub code: Option<&'a str>,
    /// `iss` (RFC 9207).
    pub iss: Option<&'a str>,
    /// `error`.
    pub error: Option<&'a str>,
}

/// Somebody who is signed in now.
pub struct FinishedSignIn {
    /// The session.
    pub opened: OpenedSession,
    /// Where to go.
    pub next: String,
}

/// What the cookie holds.
#[derive(Serialize, Deserialize)]
struct Flow {
    state: String,
    nonce: String,
    verifier: String,
    next: String,
    step_up: bool,
    /// Whose session is to be renewed, as issuer and subject.
    whose: Option<(String, String)>,
    asked_at: Timestamp,
}

impl Broker {
    /// Whether people can sign in at all.
    #[must_use]
    pub fn has_sign_in(&self) -> bool {
        self.provider.is_some()
    }

    /// Whether whom to sign in may be suggested to the issuer: in `hallpass dev` only.
    #[must_use]
    pub fn passes_login_hints(&self) -> bool {
        self.dev
    }

    /// Begin: nothing is written but a cookie.
    ///
    /// # Errors
    /// [`SignInError::NotConfigured`] or [`SignInError::Unavailable`].
    pub async fn begin_sign_in(
        &self,
        ask: SignInAsk,
        present: Option<&OperatorCaller>,
    ) -> Result<BegunSignIn, SignInError> {
        let provider = self.provider.as_ref().ok_or(SignInError::NotConfigured)?;
        self.out_of_quarantine()?;
        let now = self.clock.now();
        let renewed = present.filter(|_| ask.step_up).map(|caller| &caller.operator);
        let flow = Flow {
            state: self.ids.opaque(),
            nonce: self.ids.opaque(),
            verifier: self.ids.opaque(),
            next: ask.next,
            step_up: ask.step_up,
            whose: renewed.map(|person| (person.issuer.clone(), person.subject.clone())),
            asked_at: now,
        };
        let asked = Asked {
            state: &flow.state,
            nonce: &flow.nonce,
            verifier: &flow.verifier,
            step_up: flow.step_up,
            login_hint: ask.login_hint.as_deref().filter(|_| self.dev),
        };
        let url = provider.authorization_url(&asked, now).await?;
        let written = serde_json::to_vec(&flow).map_err(|error| BrokerError::Internal(error.to_string()))?;
        let sealed = self.kek.derived(LABEL).seal(LABEL, &written, &*self.entropy).map_err(BrokerError::from)?;
        let flow = SecretString::from(data_encoding::BASE64URL_NOPAD.encode(&sealed));
        Ok(BegunSignIn { url, flow, good_for_secs: FLOW_SECS })
    }

    /// Finish: the session is opened in the same change that uses the question up, in the place of the one the browser had.
    ///
    /// # Errors
    /// [`SignInError`]; nobody is signed in then, and whoever was still is.
    pub async fn finish_sign_in(
        &self,
        answer: &SignInAnswer<'_>,
        from: &OpenedFrom,
        present: Option<&OperatorCaller>,
    ) -> Result<FinishedSignIn, SignInError> {
        let provider = self.provider.as_ref().ok_or(SignInError::NotConfigured)?;
        let now = self.clock.now();
        let flow = self.check_answer(provider, answer, now).await?;
        let code = answer.code.filter(|code| !code.is_empty()).ok_or(SignInError::Refused("code_missing"))?;
        let token = provider.exchange(code, &flow.verifier, now).await?;
        let identity = self.check_token(provider, &token, &flow, now, &from.address).await?;
        let mut tx = self.store.begin("session.sign_in");
        // A question is answered once, whatever the provider makes of a code that comes twice.
        let key: Digest = sha256(format!("sign-in\0{}", flow.nonce));
        tx.insert_token_seen(key, now, flow.asked_at.plus_millis(FLOW_SECS.saturating_mul(1000)));
        let replaced = match present.and_then(|caller| caller.sign_in.session) {
            Some(id) => self.store.find_session(id).await?,
            None => None,
        };
        let behind = Behind::identity(self, &identity);
        match self.open(behind, SessionKind::Console, from, replaced, tx).await {
            Ok(opened) => Ok(FinishedSignIn { opened, next: flow.next }),
            Err(BrokerError::IdentityRefused) => Err(SignInError::Refused("person_disabled")),
            Err(BrokerError::Store(StoreError::Conflict { table: "token_seen" })) => {
                Err(SignInError::Refused("replayed"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the answer is to this browser's question and from the issuer that was asked. Nothing is sent anywhere before.
    async fn check_answer(
        &self,
        provider: &Provider,
        answer: &SignInAnswer<'_>,
        now: Timestamp,
    ) -> Result<Flow, SignInError> {
        let texts = [answer.flow, answer.state, answer.code, answer.iss, answer.error];
        if texts.into_iter().flatten().any(|text| text.len() > MAX_ANSWER_BYTES) {
            return Err(SignInError::Refused("too_long"));
        }
        let flow = answer.flow.and_then(|sealed| self.open_flow(sealed)).ok_or(SignInError::Refused("flow_missing"))?;
        let age = now.millis_since(flow.asked_at);
        if !(0..FLOW_SECS.saturating_mul(1000)).contains(&age) {
            return Err(SignInError::Refused("flow_expired"));
        }
        let state = answer.state.unwrap_or_default();
        if !bool::from(flow.state.as_bytes().ct_eq(state.as_bytes())) {
            return Err(SignInError::Refused("state_mismatch"));
        }
        // Also of an error: nobody else's word counts (RFC 9207 §2.4).
        if !provider.sent(answer.iss, now).await? {
            return Err(SignInError::Refused("iss_mismatch"));
        }
        if answer.error.is_some() {
            return Err(SignInError::Refused("refused_by_issuer"));
        }
        Ok(flow)
    }

    fn open_flow(&self, sealed: &str) -> Option<Flow> {
        let sealed = data_encoding::BASE64URL_NOPAD.decode(sealed.as_bytes()).ok()?;
        let opened = self.kek.derived(LABEL).unseal(LABEL, &sealed).ok()?;
        serde_json::from_slice(&opened).ok()
    }

    /// Whom the ID token is of, if it answers this sign-in, and proves anew where that was asked for.
    async fn check_token(
        &self,
        provider: &Provider,
        token: &SecretString,
        flow: &Flow,
        now: Timestamp,
        address: &str,
    ) -> Result<VerifiedIdentity, SignInError> {
        let (issuer, client) = (provider.issuer(), provider.settings().client_id.as_str());
        let expected = ExpectedSignIn { issuer, client, nonce: &flow.nonce };
        let verified = match PresentedToken::parse(token.expose_secret()) {
            Ok(presented) => self.verifiers.verify_sign_in(&presented, &expected, now).await,
            Err(error) => Err(error),
        };
        let identity = match verified {
            Ok(identity) => identity,
            Err(IdentityError::Unavailable { issuer }) => {
                return Err(SignInError::Unavailable(format!("the keys of issuer {issuer} cannot be had")));
            }
            Err(error) => {
                let _ = self.reject(error.word(), None, address).await;
                return Err(SignInError::Refused("token_refused"));
            }
        };
        if flow.step_up {
            // Core §3.1.2.1: whoever is asked for `max_age` says when. A proof from before we asked is none.
            let fresh = |at: Timestamp| at.millis_since(flow.asked_at) >= -LEEWAY_MILLIS;
            if !identity.auth_time().is_some_and(fresh) {
                return Err(SignInError::Refused("proof_is_old"));
            }
            let same =
                |(issuer, subject): &(String, String)| issuer == identity.issuer() && subject == identity.subject();
            if !flow.whose.as_ref().is_none_or(same) {
                return Err(SignInError::Refused("other_person"));
            }
        }
        Ok(identity)
    }

    /// Whether somebody has proved who they are lately enough, and well enough, for what policy asks a step-up for. When the
    /// issuer does not say when, nobody has: what a token is made from may be a sign-in of long ago.
    #[must_use]
    pub fn proved_freshly(&self, sign_in: &SignIn) -> bool {
        let settings = self.provider.as_ref().map(Provider::settings);
        let max_age = settings.map_or(USUAL_MAX_AGE_SECS, |settings| settings.step_up_max_age_seconds);
        let age = |at: Timestamp| self.clock.now().millis_since(at);
        let fresh = sign_in.at.is_some_and(|at| (-LEEWAY_MILLIS..=super::sessions::millis(max_age)).contains(&age(at)));
        let wanted = settings.map_or(&[][..], |settings| &settings.acr_values);
        let well = wanted.is_empty() || sign_in.acr.as_ref().is_some_and(|acr| wanted.contains(acr));
        fresh && well
    }
}
