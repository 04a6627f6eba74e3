//! The key-encryption key: the one secret an operator keeps outside the database. What is sealed with it says which key
//! sealed it, so that a wrong key is reported as a wrong key and not as corruption.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::KeyError;
use crate::sys::{Entropy, ExposeSecret as _, SecretString};

/// Bytes of the key.
const KEY_LEN: usize = 32;
/// Bytes of the check value.
const CHECK_LEN: usize = 8;
/// The one version of the sealed form: version, check value, nonce, ciphertext, tag.
const VERSION: u8 = 1;
/// Bytes before the ciphertext.
const HEAD_LEN: usize = 1 + CHECK_LEN + NONCE_LEN;
/// The longest file a key is read from, in bytes.
const MAX_FILE_BYTES: u64 = 1024;

/// The key under which signing keys and other small secrets are sealed at rest (AES-256-GCM).
pub struct Kek {
    bytes: Zeroizing<[u8; KEY_LEN]>,
    check: [u8; CHECK_LEN],
}

impl fmt::Debug for Kek {
    /// Its check value, never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kek({})", self.check_value())
    }
}

impl Kek {
    fn new(bytes: Zeroizing<[u8; KEY_LEN]>) -> Self {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &bytes[..]);
        let tag = ring::hmac::sign(&key, b"hallpass key-encryption key check v1");
        let mut check = [0; CHECK_LEN];
        check.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        Self { bytes, check }
    }

    /// From 32 bytes in base64 (standard alphabet), such as an environment variable holds; white space around it is ignored.
    ///
    /// # Errors
    /// [`KeyError::Refused`] when it is not that.
    pub fn from_base64(text: &SecretString) -> Result<Self, KeyError> {
        let refuse = || {
            KeyError::Refused(
                "a key-encryption key is 32 random bytes in base64 (44 characters); make one with `openssl rand -base64 32`"
                    .to_owned(),
            )
        };
        let text = text.expose_secret().trim().as_bytes();
        let decoded = data_encoding::BASE64.decode(text).map(Zeroizing::new).map_err(|_| refuse())?;
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        if decoded.len() != KEY_LEN {
            return Err(refuse());
        }
        bytes.copy_from_slice(&decoded);
        Ok(Self::new(bytes))
    }

    /// From a file that only its owner may read, holding the key in base64.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`] when it cannot be read; [`KeyError::Refused`] when others may read it or it holds no key.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let unavailable =
            |source| KeyError::Unavailable { what: format!("reading the key file {}", path.display()), source };
        let file = File::open(path).map_err(unavailable)?;
        // Asked of the open file, so that nobody can swap it in between.
        let meta = file.metadata().map_err(unavailable)?;
        if !meta.is_file() {
            return Err(KeyError::Refused(format!("{} is not a regular file", path.display())));
        }
        if meta.mode() & 0o077 != 0 {
            let (mode, path) = (meta.mode() & 0o777, path.display());
            return Err(KeyError::Refused(format!(
                "others than its owner may use {path} (mode {mode:04o}): run `chmod 600 {path}`, and if anybody may have \
                 read it, make a new key"
            )));
        }
        let mut text = Zeroizing::new(String::with_capacity(usize::try_from(MAX_FILE_BYTES).unwrap_or(0)));
        file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(unavailable)?;
        Self::from_base64(&SecretString::from(text.as_str())).map_err(|error| match error {
            KeyError::Refused(why) => KeyError::Refused(format!("{}: {why}", path.display())),
            other @ (KeyError::Unavailable { .. } | KeyError::WrongKek { .. } | KeyError::Corrupt { .. }) => other,
        })
    }

    /// Make a new key and write it to a file that must not exist yet, mode 0600, durable before this returns.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`] when the file exists or cannot be written.
    pub fn generate_file(path: &Path, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let unavailable =
            |source| KeyError::Unavailable { what: format!("writing the key file {}", path.display()), source };
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        entropy.fill(&mut bytes[..]);
        let mut text = Zeroizing::new(data_encoding::BASE64.encode(&bytes[..]));
        text.push('\n');
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(unavailable)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(unavailable)?;
        Ok(Self::new(bytes))
    }

    /// Sixteen hexadecimal digits by which the key is recognised; they give nothing of it away.
    #[must_use]
    pub fn check_value(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.check)
    }

    /// Another key made of this one, for one purpose. What strangers can have sealed again and again is sealed with one of its own,
    /// so that no amount of it uses this key's nonces up.
    #[must_use]
    pub fn derived(&self, purpose: &str) -> Self {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.bytes[..]);
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        let tag = ring::hmac::sign(&key, format!("hallpass derived key v1\0{purpose}").as_bytes());
        bytes.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        Self::new(bytes)
    }

    /// The key for one kind of MAC, derived by its label (HKDF, RFC 5869), so that no MAC passes for one of another kind.
    fn mac_key(&self, label: &str) -> Option<ring::hmac::Key> {
        let salt = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, b"hallpass mac v1");
        let derived = salt.extract(&self.bytes[..]);
        let label = [label.as_bytes()];
        derived.expand(&label, ring::hmac::HMAC_SHA256).ok().map(ring::hmac::Key::from)
    }

    /// A MAC over a text (HMAC-SHA256, in hexadecimal): only who has the key can make it, for exactly this text and label.
    ///
    /// # Errors
    /// [`KeyError::Refused`] when the label is too long to derive a key by.
    pub fn mac(&self, label: &str, text: &str) -> Result<String, KeyError> {
        let key = self.mac_key(label).ok_or_else(|| KeyError::Refused(format!("no key for {label}")))?;
        Ok(data_encoding::HEXLOWER.encode(ring::hmac::sign(&key, text.as_bytes()).as_ref()))
    }

    /// Whether that is the MAC over this text, compared in constant time.
    #[must_use]
    pub fn is_mac(&self, label: &str, text: &str, mac: &str) -> bool {
        let Ok(tag) = data_encoding::HEXLOWER.decode(mac.as_bytes()) else { return false };
        self.mac_key(label).is_some_and(|key| ring::hmac::verify(&key, text.as_bytes(), &tag).is_ok())
    }

    fn cipher(&self) -> Result<LessSafeKey, KeyError> {
        UnboundKey::new(&AES_256_GCM, &self.bytes[..])
            .map(LessSafeKey::new)
            .map_err(|_| KeyError::Refused("the key-encryption key has the wrong length".to_owned()))
    }

    /// Seal a small secret. `label` says what it is and is needed to unseal it, so that one sealed thing cannot be put in
    /// the place of another.
    ///
    /// # Errors
    /// [`KeyError::Refused`] when it is too long for the cipher (64 GiB).
    pub fn seal(&self, label: &str, secret: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, KeyError> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut body = Vec::with_capacity(secret.len().saturating_add(AES_256_GCM.tag_len()));
        body.extend_from_slice(secret);
        self.cipher()?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(label.as_bytes()), &mut body)
            .map_err(|_| KeyError::Refused(format!("{label} is too long to be sealed")))?;
        Ok([&[VERSION][..], &self.check[..], &nonce[..], &body[..]].concat())
    }

    /// Unseal what [`Self::seal`] made under the same label.
    ///
    /// # Errors
    /// [`KeyError::WrongKek`] when another key sealed it; [`KeyError::Corrupt`] when it was changed, is of another version,
    /// or was sealed under another label.
    pub fn unseal(&self, label: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let corrupt = |why| KeyError::Corrupt { what: label.replace('\0', " "), why };
        let (head, body) = sealed.split_first_chunk::<HEAD_LEN>().ok_or_else(|| corrupt("too short"))?;
        let (version, rest) = head.split_first().ok_or_else(|| corrupt("too short"))?;
        if *version != VERSION {
            return Err(corrupt("of a version this release does not know"));
        }
        let (check, nonce) = rest.split_at(CHECK_LEN);
        if check != self.check {
            let sealed_with = data_encoding::HEXLOWER.encode(check);
            return Err(KeyError::WrongKek { sealed_with, given: self.check_value() });
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| corrupt("too short"))?;
        let mut body = Zeroizing::new(body.to_vec());
        let opened = self
            .cipher()?
            .open_in_place(nonce, Aad::from(label.as_bytes()), &mut body)
            .map_err(|_| corrupt("it does not authenticate"))?
            .len();
        body.truncate(opened);
        Ok(body)
    }
}
