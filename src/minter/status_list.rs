//! Token Status Lists (draft-ietf-oauth-status-list): one bit for each credential, by which those who check signatures without
//! asking us still learn what has ended. Where a credential's bit stands is chosen before it is planned and is part of its handle,
//! so that any replica can make any list from the rows alone.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::json;

use super::{CredentialRef, MintError, RevocationList, Revoked};
use crate::domain::{Handle, LeaseId, Name, Timestamp};
use crate::sys::keys::SigningKey;
use crate::sys::{Entropy, ExposeSecret as _};

/// Credentials of one list: its 16 KiB of bits are a few hundred bytes compressed while few have ended.
const SIZE: u32 = 1 << 17;
/// From the end of a lease until no list is answered any more that does not say so, in milliseconds: the commit, which a database may
/// hold up for some seconds, the second for which a list is answered, and how far clocks may be apart.
const UNTIL_LISTED_MILLIS: i64 = 15_000;
/// Random bytes of a list's name.
const NAME_LEN: usize = 10;
/// Between the parts of a handle.
const SEPARATOR: char = '.';

/// The place of one credential in a Token Status List: the list's name and the credential's index in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusPlace {
    /// The list's name, 20 hexadecimal digits.
    pub list: String,
    /// Which of its bits, below 2¹⁷.
    pub index: u32,
}

impl StatusPlace {
    /// Whether a text can be the name of a list.
    #[must_use]
    pub fn is_list(name: &str) -> bool {
        name.len() == NAME_LEN * 2 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// The handle of a lease whose credential stands here.
    pub(super) fn handle(&self, lease: LeaseId) -> Handle {
        Handle::new(format!("{lease}{SEPARATOR}{}{SEPARATOR}{}", self.list, self.index))
    }

    /// Where the credential of a handle stands, if it does in a list.
    pub(super) fn of(handle: &Handle) -> Option<Self> {
        let mut parts = handle.as_str().split(SEPARATOR).skip(1);
        let (list, index) = (parts.next()?, parts.next()?.parse().ok()?);
        (Self::is_list(list) && index < SIZE && parts.next().is_none()).then(|| Self { list: list.to_owned(), index })
    }
}

/// Gives out places, each once: a process has lists of its own, so nobody has to be asked.
pub struct StatusPlaces {
    entropy: Arc<dyn Entropy>,
    current: Mutex<Current>,
}

/// The list that places are given out of.
#[derive(Default)]
struct Current {
    list: String,
    /// Odd, so that the multiples of it pass every index once.
    step: u32,
    given: u32,
}

impl StatusPlaces {
    /// With randomness for the names of lists and the order of indexes.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, current: Mutex::new(Current { given: SIZE, ..Current::default() }) }
    }

    /// A place that nobody has.
    #[must_use]
    pub fn next(&self) -> StatusPlace {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.given >= SIZE {
            let (mut name, mut step) = ([0_u8; NAME_LEN], [0_u8; 4]);
            self.entropy.fill(&mut name);
            self.entropy.fill(&mut step);
            *current = Current { list: HEXLOWER.encode(&name), step: u32::from_le_bytes(step) | 1, given: 0 };
        }
        current.given = current.given.saturating_add(1);
        // Neighbours in the list have nothing to do with each other; it is no secret.
        let index = current.given.wrapping_mul(current.step) % SIZE;
        StatusPlace { list: current.list.clone(), index }
    }
}

/// The lists of one backend.
pub(super) struct StatusLists<'a> {
    /// Our public URL.
    pub(super) issuer: &'a str,
    /// The backend.
    pub(super) backend: &'a Name,
    /// For how many seconds verifiers may keep a list.
    pub(super) seconds: u32,
}

impl StatusLists<'_> {
    /// Where a list is fetched from.
    pub(super) fn uri(&self, list: &str) -> String {
        format!("{}/v1/backends/{}/status-lists/{list}", self.issuer.trim_end_matches('/'), self.backend)
    }

    /// A list as a signed token (§5.1).
    pub(super) fn signed(
        &self,
        list: &str,
        over: &[CredentialRef<'_>],
        now: Timestamp,
        key: &SigningKey,
    ) -> Result<RevocationList, MintError> {
        let unavailable = |why: &dyn std::fmt::Display| MintError::Unavailable(format!("no status list: {why}"));
        let places = over.iter().filter_map(|credential| StatusPlace::of(credential.handle));
        let ended = places.filter(|place| place.list == list).map(|place| place.index);
        let claims = json!({
            // Whoever cannot fetch the next one honours nothing any more rather than what has ended since.
            "exp": now.as_secs().saturating_add(i64::from(self.seconds)).saturating_add(1),
            "iat": now.as_secs(),
            "iss": self.issuer,
            "status_list": { "bits": 1, "lst": render(ended).map_err(|error| unavailable(&error))? },
            "sub": self.uri(list),
            "ttl": self.seconds,
        });
        let signed = key.sign_compact("statuslist+jwt", &claims.to_string()).map_err(|error| unavailable(&error))?;
        let bytes = signed.expose_secret().as_bytes().to_vec();
        Ok(RevocationList { media_type: "application/statuslist+jwt", bytes })
    }

    /// Gone when no verifier can have a list any more that does not say so: those have expired.
    pub(super) fn until_listed(&self, credential: &CredentialRef<'_>, now: Timestamp) -> Revoked {
        let since = credential.ending_since.unwrap_or(now);
        let by = since.plus_millis(i64::from(self.seconds).saturating_mul(1000).saturating_add(UNTIL_LISTED_MILLIS));
        if by <= now && now < credential.native_end {
            Revoked::Gone(format!(
                "in the status list since {since}, which verifiers keep for {} s at most",
                self.seconds
            ))
        } else {
            Revoked::EndsBy(by.min(credential.native_end))
        }
    }
}

/// The `lst` of a list in which these are INVALID (1) and all others VALID (0), one bit each (§4.1): the first in the lowest bit
/// of the first byte, compressed with DEFLATE in the ZLIB format, in base64url.
fn render(ended: impl Iterator<Item = u32>) -> std::io::Result<String> {
    let ended: Vec<usize> = ended.filter_map(|index| usize::try_from(index).ok()).collect();
    encode(ended, (SIZE / 8) as usize)
}

fn encode(ended: Vec<usize>, bytes: usize) -> std::io::Result<String> {
    let mut bits = vec![0_u8; bytes];
    for index in ended {
        if let Some(byte) = bits.get_mut(index / 8) {
            *byte |= 1 << (index % 8);
        }
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&bits)?;
    Ok(BASE64URL_NOPAD.encode(&encoder.finish()?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Read as _;

    use flate2::read::ZlibDecoder;
    use serde_json::Value;

    use super::*;
    use crate::sys::SystemEntropy;

    fn inflated(lst: &str) -> Vec<u8> {
        let mut bits = Vec::new();
        ZlibDecoder::new(&*BASE64URL_NOPAD.decode(lst.as_bytes()).unwrap()).read_to_end(&mut bits).unwrap();
        bits
    }

    #[test]
    fn lists_are_those_of_the_standards_vectors_bit_by_bit() {
        let vectors = include_str!("../../tests/vectors/token-status-list/status-list-vectors.json");
        let vectors: Vec<Value> = serde_json::from_str(vectors).unwrap();
        let mut seen = 0;
        for vector in vectors.iter().filter(|vector| vector["bits"] == 1) {
            let (ended, size): (Vec<usize>, usize) = if let Some(all) = vector["statuses"].as_array() {
                ((0..all.len()).filter(|index| all[*index] == 1).collect(), all.len())
            } else {
                let ended = vector["nonzero_statuses"].as_object().unwrap().keys();
                let size = vector["size"].as_u64().unwrap();
                (ended.map(|key| key.parse().unwrap()).collect(), size.try_into().unwrap())
            };
            let ours = encode(ended, size / 8).unwrap();
            let theirs = vector["status_list"]["lst"].as_str().unwrap();
            assert_eq!(inflated(&ours), inflated(theirs), "{}", vector["name"]);
            if let Some(hex) = vector["uncompressed_hex"].as_str() {
                assert_eq!(HEXLOWER.encode(&inflated(&ours)), hex);
            }
            seen += 1;
        }
        assert_eq!(seen, 2);
    }

    #[test]
    fn a_place_is_given_once_and_comes_back_from_its_handle() {
        let places = StatusPlaces::new(Arc::new(SystemEntropy::default()));
        let lease = LeaseId::new(Timestamp::from_millis(1_790_000_000_000), [1; 10]);
        let given: Vec<StatusPlace> = (0..=SIZE).map(|_| places.next()).collect();
        let distinct: BTreeSet<(&str, u32)> = given.iter().map(|place| (&*place.list, place.index)).collect();
        assert_eq!(distinct.len(), given.len(), "none twice");
        let lists: BTreeSet<&str> = given.iter().map(|place| &*place.list).collect();
        assert_eq!(lists.len(), 2, "a full list is followed by another");
        for place in given.iter().step_by(997) {
            assert_eq!(StatusPlace::of(&place.handle(lease)).as_ref(), Some(place));
        }
        for other in [lease.to_string(), format!("{lease}.x.1"), format!("{lease}.{}.131072", given[0].list)] {
            assert_eq!(StatusPlace::of(&Handle::new(other)), None);
        }
    }

    #[test]
    fn a_list_says_of_each_index_whether_it_ended() {
        let bits = inflated(&render([0, 9, SIZE - 1].into_iter()).unwrap());
        assert_eq!((bits.len(), bits[0], bits[1], bits[bits.len() - 1]), (16_384, 1, 2, 128));
        assert_eq!(bits.iter().map(|byte| byte.count_ones()).sum::<u32>(), 3);
    }
}
