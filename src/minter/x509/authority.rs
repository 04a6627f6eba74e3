//! The authority: the certificate that servers trust and the key that signs, read from the configuration and found to fit. What
//! could not sign what servers accept is refused here, before anything is minted.

use std::io::Read as _;
use std::path::Path;

use rcgen::{Issuer, KeyPair, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use super::certificate::{Facts, issue};
use crate::domain::Timestamp;
use crate::sys::{ExposeSecret as _, SecretString, sha256};

/// The most certificates of the authority and those above it.
const MAX_CHAIN: usize = 4;
/// The longest file of certificates, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// Who signs.
pub(super) struct Authority {
    /// Signs certificates and lists.
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// The identifier of its key, as its certificate has it.
    pub(super) key_id: Vec<u8>,
    /// Its name, for people.
    pub(super) subject: String,
    /// Tells it from every other authority: of its name and its key, which is what a list is valid for.
    pub(super) tag: String,
    /// Since when its certificate is valid, in Unix seconds.
    pub(super) not_before: i64,
    /// The last second in which it is, in Unix seconds.
    pub(super) not_after: i64,
    /// What a client sends after its own certificate: the authority's and those above it but the root, in PEM.
    pub(super) chain: String,
}

impl Authority {
    /// From its certificate, those above it, and its key.
    pub(super) fn read(certificates: &[u8], key: &SecretString) -> Result<Self, String> {
        let chain = parse_chain(certificates).map_err(|why| format!("`ca_certificate`: {why}"))?;
        let own = chain.first().ok_or("`ca_certificate`: it has no certificate")?;
        let parsed = parsed(own)?;
        let about = |why: String| format!("`ca_certificate`: {why}");
        may_sign(&parsed).map_err(about)?;
        let pair = read_key(key).map_err(|why| format!("`ca_key`: {why}"))?;
        if pair.subject_public_key_info() != parsed.public_key().raw {
            return Err("`ca_key` is not the key of the certificate in `ca_certificate`".to_owned());
        }
        let issuer = Issuer::from_ca_cert_der(own, pair).map_err(|error| about(error.to_string()))?;
        let name_and_key = [parsed.subject().as_raw(), parsed.public_key().raw].concat();
        let authority = Self {
            key_id: key_id(&parsed).unwrap_or_default(),
            subject: parsed.subject().to_string(),
            tag: sha256(&name_and_key).to_string().trim_start_matches("sha256:").chars().take(16).collect(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            chain: chain.iter().filter(|one| !is_root(one)).map(|one| pem("CERTIFICATE", one).to_string()).collect(),
            issuer,
        };
        if authority.key_id.is_empty() {
            return Err(about(
                "it has no subject key identifier: make it with `-addext subjectKeyIdentifier=hash`".to_owned(),
            ));
        }
        authority.signs_in_its_name(&parsed).map_err(about)?;
        Ok(authority)
    }

    /// Verifiers look for an issuer's certificate by its name, byte for byte. rcgen writes the name anew, and not every form
    /// comes out as it went in.
    fn signs_in_its_name(&self, own: &X509Certificate<'_>) -> Result<(), String> {
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let facts = Facts::of_nobody(self.not_before, self.not_after);
        let issued = issue(&facts, &key, self).map_err(|error| error.to_string())?;
        let (_, read) = X509Certificate::from_der(issued.der()).map_err(|error| error.to_string())?;
        if read.issuer().as_raw() != own.subject().as_raw() {
            return Err(format!(
                "its name, {}, has an attribute twice or in a form that cannot be written back; give the authority a name such \
                 as `/O=Acme/CN=Hallpass clients`",
                self.subject
            ));
        }
        read.verify_signature(Some(own.public_key())).map_err(|_| "its key does not verify what it signs".to_owned())
    }

    /// What an operator must mend of its life, when credentials may live for so many seconds.
    pub(super) fn check(&self, now: Timestamp, longest_seconds: i64) -> Option<String> {
        let what = "the certificate in `ca_certificate`";
        if now.as_secs() < self.not_before {
            let from = Timestamp::from_secs(self.not_before);
            return Some(format!("{what} is valid from {from} on only: look at the clock, or wait"));
        }
        let until = Timestamp::from_secs(self.not_after);
        (self.not_after < now.as_secs().saturating_add(longest_seconds)).then(|| {
            format!(
                "{what} is valid until {until} only, and nothing it signs can outlive it: renew it with the same key"
            )
        })
    }
}

/// The certificates of a file, which exists and is not too long.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let why = |error: std::io::Error| format!("the file {} cannot be read: {error}", path.display());
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(why)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(why)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_FILE) {
        Ok(bytes)
    } else {
        Err(format!("the file {} is longer than {MAX_FILE} bytes", path.display()))
    }
}

/// All certificates of a PEM text.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| format!("not certificates in PEM: {error}"))?;
    all.iter().try_for_each(|one| parsed(one).map(|_| ()))?;
    Ok(all)
}

fn parse_chain(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = certificates(bytes)?;
    if chain.is_empty() || chain.len() > MAX_CHAIN {
        return Err(format!(
            "it has {} certificates; it has the authority's own, then those above it, {MAX_CHAIN} at most",
            chain.len()
        ));
    }
    for (below, above) in chain.iter().zip(chain.iter().skip(1)) {
        let (below, above) = (parsed(below)?, parsed(above)?);
        let signed = below.issuer().as_raw() == above.subject().as_raw()
            && below.verify_signature(Some(above.public_key())).is_ok();
        if !signed {
            return Err(format!("{} is not signed by the one that follows it, {}", below.subject(), above.subject()));
        }
    }
    Ok(chain)
}

fn parsed<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err("something follows a certificate inside its PEM".to_owned()),
        Err(error) => Err(format!("not an X.509 certificate: {error}")),
    }
}

fn is_root(der: &CertificateDer<'_>) -> bool {
    parsed(der).is_ok_and(|one| one.subject().as_raw() == one.issuer().as_raw())
}

fn may_sign(own: &X509Certificate<'_>) -> Result<(), String> {
    if !own.is_ca() {
        return Err(
            "it is not that of an authority: make it with `-addext basicConstraints=critical,CA:TRUE`".to_owned()
        );
    }
    let usage = own.key_usage().ok().flatten();
    if !usage.is_some_and(|usage| usage.value.key_cert_sign() && usage.value.crl_sign()) {
        let how = "make it with `-addext keyUsage=critical,keyCertSign,cRLSign`";
        return Err(format!("its key may not sign certificates and revocation lists: {how}"));
    }
    let purposes = own.extended_key_usage().map_err(|error| error.to_string())?;
    if purposes.is_some_and(|purposes| !purposes.value.client_auth && !purposes.value.any) {
        return Err("its extended key usage leaves out clients: make it without one".to_owned());
    }
    Ok(())
}

fn key_id(own: &X509Certificate<'_>) -> Option<Vec<u8>> {
    own.iter_extensions().find_map(|extension| {
        let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() else { return None };
        Some(id.0.to_vec())
    })
}

/// The key that signs, as `openssl genpkey` writes it.
fn read_key(text: &SecretString) -> Result<KeyPair, String> {
    let text = text.expose_secret();
    for (label, why) in [
        (
            "BEGIN ENCRYPTED PRIVATE KEY",
            "it has a passphrase, which nobody could enter; `openssl pkcs8 -topk8 -nocrypt` takes it off",
        ),
        ("BEGIN EC PRIVATE KEY", "it is in an old format; `openssl pkcs8 -topk8 -nocrypt` writes it as PKCS#8"),
        ("BEGIN RSA PRIVATE KEY", "it is in an old format; `openssl pkcs8 -topk8 -nocrypt` writes it as PKCS#8"),
    ] {
        if text.contains(label) {
            return Err(why.to_owned());
        }
    }
    let kinds = "EC P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits";
    // What the parser says of a key it cannot read is left out: it could say what it read.
    KeyPair::from_pem(text).map_err(|_| format!("not a private key in PEM (PKCS#8) of a kind that signs here: {kinds}"))
}

/// The PEM form (RFC 7468) of something; wiped afterwards, as it may be a private key.
pub(super) fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(data_encoding::BASE64.encode(der));
    // With room for everything, so that no half of it is left where it does not fit any more.
    let mut text = Zeroizing::new(String::with_capacity(base64.len().saturating_mul(2).saturating_add(128)));
    text.extend(["-----BEGIN ", label, "-----\n"]);
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.extend([line, "\n"]);
        rest = more;
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}
