//! From a presented token and an issuer's keys to a verified identity, in the order that gives a forger least: algorithm and
//! kind by the issuer's list, then the key, then the signature, and only then what the token says.

use std::sync::Arc;

use super::algorithm::Algorithm;
use super::claims::{self, Times};
use super::keys::{Found, KeySet};
use super::presented::CompactJws;
use super::settings::Rules;
use super::spiffe::SpiffeId;
use super::{Audience, PresentedToken, Preset, Reject, VerifiedIdentity};
use crate::domain::Digest;
use crate::sys::sha256;

/// The header's algorithm and kind, against the issuer's lists; no key has been looked at yet.
pub(super) fn check_header(jws: &CompactJws, rules: &Rules) -> Result<Algorithm, Reject> {
    let algorithm = Algorithm::from_alg(&jws.unverified_alg)
        .filter(|algorithm| rules.algorithms.contains(algorithm))
        .ok_or(Reject::AlgNotAllowed)?;
    let typ = bare_media_type(jws.unverified_typ.as_deref().unwrap_or_default());
    if !rules.typ.iter().any(|allowed| bare_media_type(allowed).eq_ignore_ascii_case(typ)) {
        return Err(Reject::TypNotAllowed);
    }
    // JWT-SVID §3: the key is found by its name.
    if rules.preset == Preset::Spiffe && jws.unverified_kid.is_none() {
        return Err(Reject::KeyUnknown);
    }
    Ok(algorithm)
}

/// RFC 7515 §4.1.9: `application/` may be left out of a media type, and case means nothing in it.
fn bare_media_type(typ: &str) -> &str {
    match typ.split_at_checked("application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        Some(_) | None => typ,
    }
}

/// The signature, by the key the token names.
pub(super) fn check_signature(jws: &CompactJws, algorithm: Algorithm, keys: &KeySet) -> Result<(), Reject> {
    match keys.find(jws.unverified_kid.as_deref(), algorithm) {
        Found::Unknown => Err(Reject::KeyUnknown),
        Found::Unfit => Err(Reject::AlgNotAllowed),
        Found::Key(verifier) => verifier.verify(jws.signed_part(), jws.signature()).map_err(|_| Reject::BadSignature),
    }
}

/// What a token says, once its signature is verified, apart from its times.
pub(super) fn read_claims(
    token: &PresentedToken,
    rules: &Rules,
    audience: &str,
) -> Result<(VerifiedIdentity, Times), Reject> {
    let verified = &token.unverified_claims;
    let times = Times::read(verified)?;
    claims::check_audience(verified, audience)?;
    let subject = claims::subject(verified)?;
    if rules.preset == Preset::Spiffe {
        check_svid(subject, rules)?;
    }
    let (groups, email, auth_time, acr) = match rules.whom {
        Audience::Agents => (Vec::new(), None, None, None),
        Audience::People => (
            claims::groups(verified, &rules.groups_claim)?,
            claims::email(verified),
            claims::auth_time(verified)?,
            claims::acr(verified)?,
        ),
    };
    let identity = VerifiedIdentity {
        issuer: Arc::clone(&rules.issuer),
        subject: subject.to_owned(),
        whom: rules.whom,
        issued_at: times.issued_at(),
        expires_at: times.ends_at(),
        single_use: rules.single_use,
        seen_key: seen_key(token, rules)?,
        claims: Arc::new(claims::flatten(verified)),
        groups,
        email,
        auth_time,
        acr,
    };
    Ok((identity, times))
}

/// JWT-SVID §3: the subject belongs to the trust domain whose key signed it.
fn check_svid(subject: &str, rules: &Rules) -> Result<(), Reject> {
    let ours = SpiffeId::parse(&rules.issuer).map(SpiffeId::trust_domain);
    match SpiffeId::parse(subject) {
        Some(id) if Some(id.trust_domain()) == ours && !id.path().is_empty() => Ok(()),
        Some(_) | None => Err(Reject::SvidInvalid),
    }
}

/// By `jti` where there is one. Otherwise by what was signed and not by the whole token: from one ECDSA signature anybody can
/// make a second that is just as good.
fn seen_key(token: &PresentedToken, rules: &Rules) -> Result<Digest, Reject> {
    let (kind, id): (&[u8], &[u8]) = match token.unverified_claims.get("jti") {
        Some(serde_json::Value::String(jti)) => (b"\0jti\0", jti.as_bytes()),
        Some(_) => return Err(Reject::Malformed),
        None => (b"\0jws\0", token.jws.signed_part()),
    };
    Ok(sha256([rules.issuer.as_bytes(), kind, id].concat()))
}
