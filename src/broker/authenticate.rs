//! From a bearer token to a caller. A stranger learns only that the token was not accepted; which check failed goes to the
//! audit, within a budget, so that rejected tokens cannot fill the disk.

use std::sync::Arc;

use super::facts::Record;
use super::{AgentCaller, Broker, BrokerError, Caller, OperatorCaller, ResourceServer};
use crate::domain::{Actor, AgentId, EventKind, Subjects, Timestamp};
use crate::identity::{Audience, IdentityError, PresentedToken, VerifiedIdentity};
use crate::policy::Recognition;
use crate::store::StoreError;

impl Broker {
    /// Accept or refuse the bearer token of an `Authorization` header (without the scheme). A single-use token is used up by
    /// this, durably, before anything else happens.
    ///
    /// # Errors
    /// `IdentityRefused`, `IssuerUnavailable`, `BindingRefused`, `AgentSuspended`, or what the store says.
    pub async fn authenticate(&self, bearer: &str, address: &str) -> Result<Caller, BrokerError> {
        let now = self.clock.now();
        let presented = match PresentedToken::parse(bearer) {
            Ok(presented) => presented,
            Err(error) => return Err(self.reject(error.word(), None, address).await),
        };
        let identity = match self.verifiers.verify(&presented, now).await {
            Ok(identity) => identity,
            Err(IdentityError::Unavailable { issuer }) => return Err(BrokerError::IssuerUnavailable(issuer)),
            Err(error) => return Err(self.reject(error.word(), None, address).await),
        };
        match identity.whom() {
            Audience::Agents => self.recognise(identity, address).await,
            Audience::People => {
                self.use_up(&identity, address, Actor::Unknown, None).await?;
                let operator = self.policy.current().operator(
                    identity.issuer(),
                    identity.subject(),
                    identity.email(),
                    identity.groups(),
                );
                if self.policy.current().is_disabled(&operator.person) {
                    return Err(self.reject("person_disabled", Some(operator.person.as_str()), address).await);
                }
                // Where it cannot be written now the groups that were known before count; who only reads is not kept out by that.
                if let Err(error) = self.note_stated(&operator, identity.issued_at().unwrap_or(now)).await {
                    tracing::warn!(person = %operator.person, %error, "what an issuer says of a person could not be noted");
                }
                Ok(Caller::Operator(OperatorCaller {
                    operator,
                    expires_at: identity.expires_at(),
                    sign_in: super::SignIn {
                        at: identity.claim("auth_time").and_then(|at| at.parse().ok()).map(Timestamp::from_secs),
                        acr: identity.claim("acr").map(str::to_owned),
                        session: None,
                    },
                }))
            }
        }
    }

    async fn recognise(&self, identity: VerifiedIdentity, address: &str) -> Result<Caller, BrokerError> {
        let bundle = self.policy.current();
        let recognition = bundle.recognise(identity.issuer(), identity.subject(), |name| identity.claim(name));
        let who = format!("{}#{}", identity.issuer(), identity.subject());
        let agent = match recognition {
            Recognition::Agent(agent) => agent,
            Recognition::ClaimDiffers { agent, claim } => {
                let reason = format!("{claim}_mismatch");
                self.note_rejection(&reason, Some(&who), Some(agent), address).await;
                return Err(BrokerError::BindingRefused { reason });
            }
            Recognition::Ambiguous => return Err(self.reject("ambiguous_binding", Some(&who), address).await),
            Recognition::Nobody => return Err(self.reject("no_binding", Some(&who), address).await),
        };
        self.use_up(&identity, address, Actor::Agent(agent.clone()), Some(&agent)).await?;
        if self.is_suspended(&agent) {
            return Err(BrokerError::AgentSuspended { agent: agent.to_string() });
        }
        Ok(Caller::Agent(AgentCaller {
            agent,
            issuer: Arc::from(identity.issuer()),
            subject: identity.subject().to_owned(),
            expires_at: identity.expires_at(),
        }))
    }

    /// Use a single-use token up. Its mark is kept until nobody would accept the token any more, leeway included, so that it
    /// cannot outlive the mark.
    async fn use_up(
        &self,
        identity: &VerifiedIdentity,
        address: &str,
        actor: Actor,
        agent: Option<&AgentId>,
    ) -> Result<(), BrokerError> {
        if !identity.single_use() {
            return Ok(());
        }
        let now = self.clock.now();
        let who = format!("{}#{}", identity.issuer(), identity.subject());
        if self.may_have_been_used(identity, now) {
            return Err(self.reject("issued_before_restore", Some(&who), address).await);
        }
        let mut record = Record::new(&self.ids, now, actor);
        let subjects = Subjects { agent: agent.cloned(), ..Subjects::default() };
        record.note(
            EventKind::IdentityVerified,
            subjects,
            [("identity", who.as_str().into()), ("token", identity.seen_key().to_string().into())],
        );
        let mut tx = self.store.begin("identity.use");
        tx.insert_token_seen(identity.seen_key(), now, identity.expires_at());
        match record.commit(tx).await {
            Ok(()) => Ok(()),
            Err(StoreError::Conflict { .. }) => Err(self.reject("token_replayed", Some(&who), address).await),
            Err(error) => Err(error.into()),
        }
    }

    /// Record a refusal and give the one answer strangers get.
    async fn reject(&self, why: &str, who: Option<&str>, address: &str) -> BrokerError {
        self.note_rejection(why, who, None, address).await;
        BrokerError::IdentityRefused
    }

    async fn note_rejection(&self, why: &str, who: Option<&str>, agent: Option<AgentId>, address: &str) {
        metrics::counter!("hallpass_identity_rejected_total", "reason" => why.to_owned()).increment(1);
        tracing::info!(reason = why, identity = who.unwrap_or(""), "identity token refused");
        if !self.limits.may_record_rejection() {
            return;
        }
        let mut record = Record::new(&self.ids, self.clock.now(), Actor::Unknown);
        let subjects = Subjects { agent, ..Subjects::default() };
        record.note(
            EventKind::IdentityRejected,
            subjects,
            [("address", address.into()), ("identity", who.unwrap_or("").into()), ("reason", why.into())],
        );
        if let Err(error) = record.commit(self.store.begin("identity.reject")).await {
            tracing::error!(%error, "a rejection could not be recorded");
        }
    }

    /// Accept or refuse a resource server's client id and secret (RFC 6749 §2.3.1), comparing digests in constant time.
    #[must_use]
    pub fn authenticate_resource_server(&self, id: &str, secret: &str) -> Option<ResourceServer> {
        use subtle::ConstantTimeEq as _;
        let presented = crate::sys::sha256(secret);
        self.resource_servers
            .iter()
            .find(|(server, digest)| server.id == id && bool::from(digest.as_bytes().ct_eq(presented.as_bytes())))
            .map(|(server, _)| server.clone())
    }

    /// Count a call against the caller's budget and its issuer's.
    ///
    /// # Errors
    /// [`BrokerError::RateLimited`].
    pub fn admit(&self, caller: &Caller) -> Result<(), BrokerError> {
        match caller {
            Caller::Agent(agent) => {
                self.limits.issuer(&agent.issuer)?;
                let rate =
                    self.policy.current().agent(&agent.agent).map_or(1, |known| known.limits.requests_per_minute);
                self.limits.agent(agent.agent.as_str(), rate)
            }
            Caller::Operator(person) => self.limits.operator(person.operator.person.as_str()),
        }
    }

    /// Count an unauthenticated call, or a refused one, against its address (IPv6 by /64).
    ///
    /// # Errors
    /// [`BrokerError::RateLimited`].
    pub fn admit_address(&self, address: std::net::IpAddr) -> Result<(), BrokerError> {
        self.limits.address(address)
    }
}
