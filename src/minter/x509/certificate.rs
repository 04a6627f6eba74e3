//! The bytes: a client certificate by RFC 5280, and the revocation list that names the ended ones. Only what was planned gets in.

use rcgen::string::Ia5String;
use rcgen::{
    Certificate, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, DistinguishedName, DnType,
    Error, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose, PublicKeyData, RevocationReason,
    RevokedCertParams, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::authority::Authority;
use super::profile::Profile;
use crate::domain::{EndCause, Timestamp};
use crate::minter::Over;

/// `description` (X.520 §6.4.1): free text about whom the subject names.
const DESCRIPTION: &[u64] = &[2, 5, 4, 13];
/// Bytes of a serial number; RFC 5280 §4.1.2.2 allows 20.
pub(super) const SERIAL_BYTES: usize = 16;
/// How far back times are put, in seconds, for verifiers whose clocks are behind.
pub(super) const BACKDATED_SECS: i64 = 30;

/// What a certificate says.
pub(super) struct Facts<'a> {
    pub(super) serial: [u8; SERIAL_BYTES],
    pub(super) profile: Option<&'a Profile>,
    pub(super) reason: &'a str,
    /// Unix seconds.
    pub(super) not_before: i64,
    /// The last second in which it is valid, in Unix seconds.
    pub(super) not_after: i64,
    /// Where the revocation list is.
    pub(super) list_url: &'a str,
}

impl Facts<'_> {
    /// A certificate that is thrown away, to see what an authority makes.
    pub(super) const fn of_nobody(not_before: i64, not_after: i64) -> Self {
        Self {
            serial: [1; SERIAL_BYTES],
            profile: None,
            reason: "",
            not_before,
            not_after,
            list_url: "http://localhost/",
        }
    }
}

fn moment(seconds: i64) -> Result<OffsetDateTime, Error> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| Error::Time)
}

/// Sign a certificate for a key.
pub(super) fn issue(facts: &Facts<'_>, key: &impl PublicKeyData, authority: &Authority) -> Result<Certificate, Error> {
    let mut params = CertificateParams::default();
    params.not_before = moment(facts.not_before)?;
    params.not_after = moment(facts.not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(&facts.serial));
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![facts.list_url.to_owned()] }];
    params.use_authority_key_identifier_extension = true;
    if let Some(profile) = facts.profile {
        for (kind, value) in [
            (DnType::OrganizationName, &profile.organization),
            (DnType::OrganizationalUnitName, &profile.organizational_unit),
            (DnType::CommonName, &profile.common_name),
        ] {
            if let Some(value) = value {
                params.distinguished_name.push(kind, value.as_str());
            }
        }
        if profile.reason_in_subject {
            params.distinguished_name.push(DnType::CustomDnType(DESCRIPTION.to_vec()), facts.reason);
        }
        let ascii = |text: &String| Ia5String::try_from(text.as_str());
        for uri in &profile.uris {
            params.subject_alt_names.push(SanType::URI(ascii(uri)?));
        }
        for name in &profile.dns_names {
            params.subject_alt_names.push(SanType::DnsName(ascii(name)?));
        }
        for email in &profile.emails {
            params.subject_alt_names.push(SanType::Rfc822Name(ascii(email)?));
        }
    }
    params.signed_by(key, &authority.issuer)
}

/// Sign the list of what has ended, in DER (RFC 5280 §5). `seconds` later nobody may rely on it any more.
pub(super) fn list(
    over: &[(Over<'_>, [u8; SERIAL_BYTES])],
    now: Timestamp,
    seconds: u32,
    authority: &Authority,
) -> Result<Vec<u8>, Error> {
    let mut over: Vec<_> = over.iter().collect();
    over.sort_by_key(|(_, serial)| *serial);
    over.dedup_by_key(|(_, serial)| *serial);
    let revoked = |(over, serial): &&(Over<'_>, [u8; SERIAL_BYTES])| {
        Ok(RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            // Some verifiers take a revocation in their future for none.
            revocation_time: moment(over.since.min(now).as_secs().saturating_sub(BACKDATED_SECS))?,
            reason_code: reason(over.cause),
            invalidity_date: None,
        })
    };
    let list = CertificateRevocationListParams {
        // One from the future would have every certificate refused.
        this_update: moment(now.as_secs().saturating_sub(BACKDATED_SECS))?,
        next_update: moment(now.as_secs().saturating_add(i64::from(seconds)))?,
        crl_number: SerialNumber::from(now.as_millis().unsigned_abs()),
        issuing_distribution_point: None,
        revoked_certs: over.iter().map(revoked).collect::<Result<_, Error>>()?,
        key_identifier_method: KeyIdMethod::PreSpecified(authority.key_id.clone()),
    };
    Ok(list.signed_by(&authority.issuer)?.der().to_vec())
}

/// RFC 5280 §5.3.1. The reason `unspecified` is said by giving none.
const fn reason(cause: EndCause) -> Option<RevocationReason> {
    match cause {
        EndCause::Completed | EndCause::Cancelled | EndCause::Expired => Some(RevocationReason::CessationOfOperation),
        EndCause::Revoked
        | EndCause::KillSwitch
        | EndCause::PolicyChanged
        | EndCause::Denied
        | EndCause::Unapproved => Some(RevocationReason::PrivilegeWithdrawn),
        EndCause::HeartbeatMissed | EndCause::Undelivered | EndCause::Aborted | EndCause::Restored => None,
    }
}
