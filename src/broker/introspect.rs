//! Introspection (RFC 7662): is this credential to be relied on, now? The answer comes from the lease's row and from what
//! stands at this moment, so that it says inactive from the commit that ends the authority on.

use std::collections::BTreeMap;

use super::{Broker, BrokerError, ResourceServer};
use crate::api::Introspection;
use crate::domain::{LeaseId, LeaseState};
use crate::sys::fingerprint;

/// Longest token looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

fn inactive() -> Introspection {
    Introspection::default()
}

/// The claims of a compact JWT, not yet proven to be anything.
fn unverified_claims(token: &str) -> Option<BTreeMap<String, serde_json::Value>> {
    let mut parts = token.split('.');
    let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    let bytes = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?;
    serde_json::from_slice(&bytes).ok()
}

impl Broker {
    /// What a resource server may know of a token. Unknown, ended, foreign and other servers' tokens all look the same.
    ///
    /// # Errors
    /// Only what the store says: an answer that cannot be given is not a yes.
    pub async fn introspect(&self, server: &ResourceServer, token: &str) -> Result<Introspection, BrokerError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Ok(inactive());
        }
        let Some(unverified) = unverified_claims(token) else { return Ok(inactive()) };
        let id = unverified.get("jti").and_then(|jti| jti.as_str()).and_then(|jti| jti.parse::<LeaseId>().ok());
        let Some(id) = id else { return Ok(inactive()) };
        let Some(lease) = self.store.find_lease(id).await? else { return Ok(inactive()) };
        // The fingerprint on record is of the very token we minted: a token with this digest is that token, and its claims are
        // ours. No signature proves more.
        let minted_here = match &lease.state {
            LeaseState::Live { fingerprint: recorded, .. } => *recorded == fingerprint(token),
            LeaseState::Minting | LeaseState::Ending { .. } | LeaseState::Ended { .. } => false,
        };
        let standing = self.standing.load();
        let for_this_server = unverified
            .get("aud")
            .and_then(|aud| aud.as_str())
            .is_some_and(|aud| server.audiences.iter().any(|own| own == aud));
        let active = minted_here
            && for_this_server
            && lease.is_active(self.clock.now())
            && !standing.control.killed
            // Whether it was ended after the backup is not known.
            && self.quarantine().is_none()
            && !standing.suspended.contains_key(&lease.agent);
        if !active {
            return Ok(inactive());
        }
        let mut claims = unverified;
        let token_type = if claims.contains_key("cnf") { "DPoP" } else { "Bearer" };
        claims.insert("token_type".to_owned(), token_type.into());
        Ok(Introspection { active, claims })
    }
}
