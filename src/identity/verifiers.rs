//! All the issuers we trust. A token is given to the one it names, or refused before anything is fetched.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use super::algorithm::Algorithm;
use super::claims::{self, Times};
use super::jwks::{Held, Keys};
use super::settings::Rules;
use super::spiffe::SpiffeId;
use super::{
    Audience, IdentityError, IssuerSettings, PresentedToken, Preset, Reject, SettingsError, VerifiedIdentity, jwt,
};
use crate::domain::{Digest, Timestamp, words};
use crate::sys::HttpClient;

/// How many verified tokens are remembered, and for how long; their times are checked whenever they are presented.
const MAX_PROVEN: u64 = 10_000;
const PROVEN_FOR: Duration = Duration::from_hours(1);

/// Checks presented tokens against the issuers of the settings and yields verified identities, or refuses.
pub struct Verifiers {
    issuers: Vec<Issuer>,
    by_issuer: HashMap<Arc<str>, usize>,
    proven: Cache<Digest, Arc<Proven>>,
}

struct Issuer {
    rules: Rules,
    keys: Keys,
}

/// A token whose signature was verified with the keys of one generation.
struct Proven {
    issuer: usize,
    generation: u64,
    identity: VerifiedIdentity,
    times: Times,
}

words! {
    /// How an issuer's keys are.
    IssuerState as "issuer state" {
        /// They are there and were fetched without trouble.
        Ok = "ok",
        /// The last fetch failed, or they are too old.
        Degraded = "degraded",
        /// Nobody has needed them yet.
        Unfetched = "unfetched",
    }
}

/// An issuer as the settings have it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct IssuerInfo {
    /// Its short name.
    pub name: String,
    /// The issuer as its tokens state it.
    pub issuer: String,
    /// Whom it vouches for.
    pub whom: Audience,
    /// Its kind.
    pub preset: Preset,
    /// Whether a token of it may be presented only once.
    pub single_use: bool,
}

/// How an issuer is at present.
#[derive(Debug, Clone, serde::Serialize)]
pub struct IssuerStatus {
    /// Its short name.
    pub name: String,
    /// How its keys are.
    pub state: IssuerState,
    /// What the trouble is, if there is any; never anything that was fetched.
    pub why: Option<String>,
    /// How many usable keys there are.
    pub keys: usize,
    /// How long ago they were fetched, in seconds.
    pub age_seconds: Option<i64>,
}

/// What the ID token of a sign-in must be.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedSignIn<'a> {
    /// Of which issuer.
    pub issuer: &'a str,
    /// For which client.
    pub client: &'a str,
    /// With which nonce.
    pub nonce: &'a str,
}

impl Issuer {
    async fn usable(&self, now: Timestamp) -> Result<Arc<Held>, IdentityError> {
        let unavailable = || IdentityError::Unavailable { issuer: self.rules.name.clone() };
        self.keys.usable(now).await.ok_or_else(unavailable)
    }

    /// The signature, by keys that are fetched anew when the token names one we do not have; the keys it was verified with.
    async fn check_signature(
        &self,
        token: &PresentedToken,
        algorithm: Algorithm,
        mut held: Arc<Held>,
        now: Timestamp,
    ) -> Result<Arc<Held>, IdentityError> {
        let mut checked = jwt::check_signature(&token.jws, algorithm, &held.set);
        if checked == Err(Reject::KeyUnknown) {
            self.keys.look_again(now).await;
            held = self.usable(now).await?;
            checked = jwt::check_signature(&token.jws, algorithm, &held.set);
        }
        checked?;
        Ok(held)
    }
}

impl Verifiers {
    /// From the settings; fetches nothing yet.
    ///
    /// # Errors
    /// [`SettingsError`] for the first section that cannot be.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the caller hands its client over; each issuer holds a part of it"
    )]
    pub fn new(settings: &[IssuerSettings], default_audience: &str, http: HttpClient) -> Result<Self, SettingsError> {
        let mut issuers: Vec<Issuer> = Vec::new();
        let mut by_issuer = HashMap::new();
        for section in settings {
            let rules = section.rules(default_audience)?;
            let twice =
                |what: &str| SettingsError { name: section.name.clone(), why: format!("{what} is configured twice") };
            if issuers.iter().any(|issuer| issuer.rules.name == rules.name) {
                return Err(twice("this name"));
            }
            if by_issuer.insert(Arc::clone(&rules.issuer), issuers.len()).is_some() {
                return Err(twice("this issuer"));
            }
            let keys = Keys::new(section, &rules, &http)?;
            issuers.push(Issuer { rules, keys });
        }
        let proven = Cache::builder().max_capacity(MAX_PROVEN).time_to_live(PROVEN_FOR).build();
        Ok(Self { issuers, by_issuer, proven })
    }

    /// Verify a token at a point in time.
    ///
    /// # Errors
    /// [`IdentityError::Refused`] when the token is no good, [`IdentityError::Unavailable`] when its issuer's keys cannot be
    /// had.
    pub async fn verify(&self, token: &PresentedToken, now: Timestamp) -> Result<VerifiedIdentity, IdentityError> {
        let (index, issuer) = self.issuer_of(token).ok_or(Reject::UnknownIssuer)?;
        let algorithm = jwt::check_header(&token.jws, &issuer.rules)?;
        let held = issuer.usable(now).await?;
        if let Some(proven) = self.recall(token, index, &held) {
            proven.times.check(&issuer.rules, now)?;
            return Ok(proven.identity.clone());
        }
        let held = issuer.check_signature(token, algorithm, held, now).await?;
        let (identity, times) = jwt::read_claims(token, &issuer.rules, &issuer.rules.audience)?;
        times.check(&issuer.rules, now)?;
        if !issuer.rules.single_use {
            let proven = Proven { issuer: index, generation: held.generation, identity: identity.clone(), times };
            self.proven.insert(token.digest(), Arc::new(proven));
        }
        Ok(identity)
    }

    /// Verify the ID token of a sign-in: of this very issuer, for this client and no other, and with the nonce that was asked
    /// for. It is not remembered, as it is looked at once.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub async fn verify_sign_in(
        &self,
        token: &PresentedToken,
        expected: &ExpectedSignIn<'_>,
        now: Timestamp,
    ) -> Result<VerifiedIdentity, IdentityError> {
        let (_, issuer) = self.issuer_of(token).ok_or(Reject::UnknownIssuer)?;
        if *issuer.rules.issuer != *expected.issuer || issuer.rules.whom != Audience::People {
            return Err(Reject::UnknownIssuer.into());
        }
        let algorithm = jwt::check_header(&token.jws, &issuer.rules)?;
        issuer.check_signature(token, algorithm, issuer.usable(now).await?, now).await?;
        let (identity, times) = jwt::read_claims(token, &issuer.rules, expected.client)?;
        times.check(&issuer.rules, now)?;
        claims::check_sign_in(&token.unverified_claims, expected.client, expected.nonce)?;
        Ok(identity)
    }

    /// The issuers, in the order of the settings.
    #[must_use]
    pub fn issuers(&self) -> Vec<IssuerInfo> {
        let info = |Issuer { rules, .. }: &Issuer| IssuerInfo {
            name: rules.name.clone(),
            issuer: rules.issuer.to_string(),
            whom: rules.whom,
            preset: rules.preset,
            single_use: rules.single_use,
        };
        self.issuers.iter().map(info).collect()
    }

    /// How the issuers are, in the order of the settings.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Vec<IssuerStatus> {
        let status = |issuer: &Issuer| {
            let health = issuer.keys.health(now);
            let state = match (&health.trouble, health.keys) {
                (Some(_), _) => IssuerState::Degraded,
                (None, Some(_)) => IssuerState::Ok,
                (None, None) => IssuerState::Unfetched,
            };
            IssuerStatus {
                name: issuer.rules.name.clone(),
                state,
                why: health.trouble,
                keys: health.keys.unwrap_or_default(),
                age_seconds: health.age_secs,
            }
        };
        self.issuers.iter().map(status).collect()
    }

    /// Fetch the keys that are halfway through their fresh time or were never fetched, all issuers side by side; at most
    /// eight seconds.
    pub async fn refresh(&self, now: Timestamp) {
        futures_util::future::join_all(self.issuers.iter().map(|issuer| issuer.keys.refresh(now))).await;
    }

    /// The issuer a token names. A JWT-SVID need not name one: there the trust domain of its subject says whose keys count.
    fn issuer_of(&self, token: &PresentedToken) -> Option<(usize, &Issuer)> {
        let named = token.unverified_issuer().and_then(|issuer| self.by_issuer.get(issuer));
        let index = named.or_else(|| {
            let id = SpiffeId::parse(token.unverified_subject()?)?;
            self.by_issuer.get(format!("spiffe://{}", id.trust_domain()).as_str())
        })?;
        Some((*index, self.issuers.get(*index)?))
    }

    /// A token that was verified before, by the very keys that are in use.
    fn recall(&self, token: &PresentedToken, issuer: usize, held: &Held) -> Option<Arc<Proven>> {
        let proven = self.proven.get(&token.digest())?;
        (proven.issuer == issuer && proven.generation == held.generation).then_some(proven)
    }
}
