//! SCRAM-SHA-256 (RFC 5802, RFC 7677): what a server keeps instead of a password. We work it out, so that the password itself is
//! neither sent to the server nor in any log of its.

use std::num::NonZeroU32;

use data_encoding::BASE64;
use ring::{digest, hmac, pbkdf2};

/// As many as PostgreSQL does. The password has 256 random bits, so more would only cost time.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();
/// Bytes of a salt, as PostgreSQL's own.
pub(super) const SALT_BYTES: usize = 16;

/// The verifier of a password of ASCII characters, as PostgreSQL keeps it in `pg_authid.rolpassword`.
pub(super) fn verifier(password: &str, salt: &[u8; SALT_BYTES]) -> String {
    let mut salted = [0_u8; digest::SHA256_OUTPUT_LEN];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, password.as_bytes(), &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let stored_key = digest::digest(&digest::SHA256, hmac::sign(&key, b"Client Key").as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        BASE64.encode(salt),
        BASE64.encode(stored_key.as_ref()),
        BASE64.encode(server_key.as_ref())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_verifies_the_exchange_of_rfc_7677() {
        let salt: [u8; SALT_BYTES] = BASE64.decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        let verifier = verifier("pencil", &salt);
        let keys = verifier.strip_prefix("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$").unwrap();
        let (stored, server) = keys.split_once(':').unwrap();
        let decode = |text: &str| BASE64.decode(text.as_bytes()).unwrap();
        // RFC 7677 §3.
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let sign = |key: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &decode(key)), message.as_bytes());
        assert_eq!(BASE64.encode(sign(server).as_ref()), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let proof = decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let client_key: Vec<u8> = proof.iter().zip(sign(stored).as_ref()).map(|(a, b)| a ^ b).collect();
        assert_eq!(digest::digest(&digest::SHA256, &client_key).as_ref(), decode(stored));
    }
}
