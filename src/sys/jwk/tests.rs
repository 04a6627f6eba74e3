//! Keys that agents send: what is accepted, what is refused and why, and the thumbprint of RFC 7638.

use super::{JwkError, PublicJwk};

/// The key of RFC 7638 §3.1, with its informative members.
const RFC7638: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
/// The public part of the key of RFC 7515 §A.3.1.
const P256: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
/// The public part of the key of RFC 8037 §A.2.
const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

#[test]
fn the_thumbprint_is_the_one_of_rfc_7638() {
    assert_eq!(PublicJwk::parse(RFC7638).unwrap().thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn the_thumbprint_of_an_ed25519_key_is_the_one_of_rfc_8037() {
    assert_eq!(PublicJwk::parse(ED25519).unwrap().thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn one_key_has_one_canonical_text_however_it_was_sent() {
    let same =
        P256.replace(r#""kty":"EC","#, "").replace('}', r#", "kty":"EC","kid":"a","ext":true,"key_ops":["verify"]}"#);
    assert_eq!(PublicJwk::parse(P256).unwrap(), PublicJwk::parse(&same).unwrap());
    assert!(PublicJwk::parse(P256).unwrap().canonical().starts_with(r#"{"crv":"P-256","kty":"EC","x":"f83O"#));
}

#[test]
fn every_private_member_is_refused_by_name() {
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        let sent = P256.replace('}', &format!(r#","{name}":"AQAB"}}"#));
        assert_eq!(PublicJwk::parse(&sent), Err(JwkError::Private(name)));
    }
}

#[test]
fn what_is_no_key_of_ours_is_refused() {
    let twice = P256.replace(r#""kty":"EC","#, r#""kty":"EC","kty":"EC","#);
    let off_curve = P256.replace("x_FEzRu9", "x_FEzRu8");
    let padded = P256.replace("RVEU\"", "RVEU=\"");
    let spare_bits = P256.replace("RVEU\"", "RVEV\"");
    let extra = P256.replace('}', r#","x5u":"https://evil.example/"}"#);
    let small = format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, data_encoding::BASE64URL_NOPAD.encode(&[0xff; 128]));
    let long = format!("{P256}{}", " ".repeat(5000));
    let one = RFC7638.replace("AQAB", "AQ");
    for (sent, refusal) in [
        (twice.as_str(), "duplicate field"),
        (off_curve.as_str(), "not a point"),
        (padded.as_str(), "base64url"),
        (spare_bits.as_str(), "base64url"),
        (extra.as_str(), "unknown field"),
        (small.as_str(), "1024 bits"),
        (long.as_str(), "more than the 4096"),
        (one.as_str(), "65537"),
        (r#"{"kty":"oct","k":"AAAA"}"#, "private member `k`"),
        (r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#, "secp256k1"),
        (r#"{"kty":"OKP","crv":"X25519","x":"AA"}"#, "X25519"),
        (r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#, "32 bytes"),
        (r#"{"kty":"EC","crv":"P-256","x":"AA"}"#, "members are missing"),
        (r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#, "32 bytes each"),
        ("[]", "not a public JWK"),
        ("", "not a public JWK"),
    ] {
        let error = PublicJwk::parse(sent).expect_err(sent).to_string();
        assert!(error.contains(refusal), "{sent}: {error}");
    }
}
