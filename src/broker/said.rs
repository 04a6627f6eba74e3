//! What a person said about a request, as it comes over the wire: read once, refused in one sentence where it cannot be.

use super::BrokerError;
use super::passkeys::statement_of;
use crate::api::{AssertionAsk, VerdictAsk};
use crate::domain::{
    AccessRequest, Digest, Message, Narrowing, NarrowingRefusal, Person, RequestId, Scope, Ttl, Verdict,
    VerdictStatement,
};

/// What a person said, read once.
pub(super) struct Said {
    pub verdict: Verdict,
    pub shown: Digest,
    pub reason: Option<String>,
    ttl: Option<Ttl>,
    drop_scopes: Vec<Scope>,
    narrows: bool,
    pub assertion: Option<AssertionAsk>,
    /// As it came: what a passkey signs.
    as_sent: VerdictAsk,
}

impl Said {
    /// From the wire.
    pub(super) fn read(ask: VerdictAsk) -> Result<Self, BrokerError> {
        let as_sent = ask.clone();
        let invalid = |why: &str| BrokerError::Invalid(why.to_owned());
        let verdict: Verdict =
            ask.verdict.parse().map_err(|_| invalid("`verdict` is `approve`, `deny` or `break_glass`"))?;
        let shown = ask
            .request_digest
            .parse()
            .map_err(|_| invalid("`request_digest` is the digest the request was shown with"))?;
        let reason = ask.reason.as_deref().map(str::parse::<Message>).transpose()?;
        if ask.narrow.is_some() && verdict != Verdict::Approve {
            return Err(invalid("`narrow` goes with `approve` only"));
        }
        let narrows = ask.narrow.is_some();
        let narrow = ask.narrow.unwrap_or_default();
        let ttl = narrow.ttl_seconds.map(|secs| {
            Ttl::from_secs(i64::from(secs))
                .map_err(|error| BrokerError::Invalid(format!("`narrow.ttl_seconds`: {error}")))
        });
        let foreign = |scope: &String| BrokerError::from(NarrowingRefusal::Foreign(scope.chars().take(200).collect()));
        let drop_scopes = narrow.drop_scopes.iter().map(|scope| scope.parse().map_err(|_| foreign(scope)));
        Ok(Self {
            verdict,
            shown,
            reason: reason.map(|text| text.as_str().to_owned()),
            ttl: ttl.transpose()?,
            drop_scopes: drop_scopes.collect::<Result<_, _>>()?,
            narrows,
            assertion: ask.assertion,
            as_sent,
        })
    }

    /// What it leaves out of this request, if anything.
    pub(super) fn narrowing(&self, request: &AccessRequest) -> Result<Option<Narrowing>, NarrowingRefusal> {
        let narrowing = || Narrowing::new(self.ttl, self.drop_scopes.clone(), &request.scopes, request.ttl);
        self.narrows.then(narrowing).transpose()
    }

    /// What a passkey of this person's signs of it.
    pub(super) fn statement(&self, person: &Person, request: RequestId) -> Result<VerdictStatement, BrokerError> {
        statement_of(person, request, &self.as_sent)
    }
}
