//! The authenticator data: what the authenticator itself says, in a fixed form (WebAuthn Level 3 §6.1), all of it accounted for.

use ciborium::Value;

use super::{MAX_AUTH_DATA_BYTES, MAX_CREDENTIAL_BYTES, RelyingParty, cbor};
use crate::domain::{Backup, PasskeyFault};
use crate::sys::sha256;

/// The flags (§6.1).
const UP: u8 = 1;
const UV: u8 = 1 << 2;
const BE: u8 = 1 << 3;
const BS: u8 = 1 << 4;
const AT: u8 = 1 << 6;
const ED: u8 = 1 << 7;

/// What it is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ceremony {
    /// A registration: it hands over a credential.
    Registration,
    /// An assertion: it does not.
    Assertion,
}

/// The credential that is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attested {
    pub(super) aaguid: [u8; 16],
    pub(super) credential: Vec<u8>,
    /// The bytes of the COSE key as they were sent.
    pub(super) cose_key: Vec<u8>,
}

/// The authenticator data, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AuthData {
    rp_id_hash: [u8; 32],
    flags: u8,
    pub(super) sign_count: u32,
    pub(super) backup: Backup,
    pub(super) attested: Option<Attested>,
}

impl AuthData {
    pub(super) fn parse(bytes: &[u8], ceremony: Ceremony) -> Result<Self, PasskeyFault> {
        if ceremony == Ceremony::Assertion && bytes.len() > MAX_AUTH_DATA_BYTES {
            return Err(PasskeyFault::Malformed);
        }
        let mut rest = bytes;
        let rp_id_hash = take::<32>(&mut rest)?;
        let [flags] = take::<1>(&mut rest)?;
        let sign_count = u32::from_be_bytes(take::<4>(&mut rest)?);
        // §6.1: a credential is handed over when it is made, and never else.
        if (flags & AT != 0) != (ceremony == Ceremony::Registration) {
            return Err(PasskeyFault::Malformed);
        }
        let attested = if flags & AT == 0 { None } else { Some(Attested::parse(&mut rest)?) };
        if flags & ED != 0 {
            let (extensions, taken) = cbor::first(rest)?;
            // §9.5: a map from texts. None was asked for, so what it says is not looked at.
            let fits = extensions.as_map().is_some_and(|map| map.iter().all(|(name, _)| name.is_text()));
            rest = rest.get(taken..).filter(|_| fits).ok_or(PasskeyFault::Malformed)?;
        }
        if !rest.is_empty() {
            return Err(PasskeyFault::Malformed);
        }
        // §7.1 step 17, §7.2 step 18: not backed up without being eligible for it.
        let backup = Backup::from_flags(flags & BE != 0, flags & BS != 0).ok_or(PasskeyFault::BackupChanged)?;
        Ok(Self { rp_id_hash, flags, sign_count, backup, attested })
    }

    /// §7.1 steps 14 to 16, §7.2 steps 15 to 17: it is for us, somebody was there, and it knows who.
    pub(super) fn check(&self, party: &RelyingParty) -> Result<(), PasskeyFault> {
        if self.rp_id_hash != *sha256(party.id()).as_bytes() {
            return Err(PasskeyFault::OtherRelyingParty);
        }
        if self.flags & UP == 0 {
            return Err(PasskeyFault::NotPresent);
        }
        if self.flags & UV == 0 {
            return Err(PasskeyFault::NotVerified);
        }
        Ok(())
    }
}

impl Attested {
    /// §6.5.1: model, credential id behind its length, and the key.
    fn parse(rest: &mut &[u8]) -> Result<Self, PasskeyFault> {
        let aaguid = take::<16>(rest)?;
        let length = usize::from(u16::from_be_bytes(take::<2>(rest)?));
        // §7.1 step 25. One of no length would be everybody's.
        if !(1..=MAX_CREDENTIAL_BYTES).contains(&length) {
            return Err(PasskeyFault::Malformed);
        }
        let credential = split(rest, length)?.to_vec();
        let (key, taken) = cbor::first(rest)?;
        if !matches!(key, Value::Map(_)) {
            return Err(PasskeyFault::Malformed);
        }
        Ok(Self { aaguid, credential, cose_key: split(rest, taken)?.to_vec() })
    }
}

fn split<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], PasskeyFault> {
    let (head, tail) = rest.split_at_checked(count).ok_or(PasskeyFault::Malformed)?;
    *rest = tail;
    Ok(head)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], PasskeyFault> {
    split(rest, N)?.try_into().map_err(|_| PasskeyFault::Malformed)
}
