//! What is in a certificate and in its list, as OpenSSL and Python's cryptography read them: what was planned and nothing else, for
//! the agent's key or a new one, of an authority at the root or below others.

use hallpass::minter::{MintError, MintOrder, Minted};
use hallpass::sys::{ExposeSecret as _, PublicJwk};
use serde_json::{Value, json};

use super::x509::{P256, SETTINGS, Servers, certificate, publish, scopes};
use super::{T0, agent, lease, order, plan_of, scope};
use crate::support::openssl::{AUTHORITY, make_authority_below, openssl};

/// The keys of RFC 8037 §A.2 and RFC 7515 §A.3.1, their public halves.
const ED25519_JWK: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const P256_JWK: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

/// What cryptography reads.
fn read_by_python(servers: &Servers, minted: &Minted, root: &str, list: &[u8]) -> Value {
    let case = json!({ "certificate": certificate(minted), "authority": servers.read(root), "now": T0.as_secs(),
        "list": data_encoding::BASE64.encode(list) });
    let root = env!("CARGO_MANIFEST_DIR");
    let output = std::process::Command::new(format!("{root}/target/venv/bin/python"))
        .arg(format!("{root}/tests/foreign/x509_read.py"))
        .arg(case.to_string())
        .output()
        .expect("target/venv; see scripts/install.sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text_of(servers: &Servers, minted: &Minted) -> String {
    std::fs::write(servers.folder.path().join("leaf.pem"), certificate(minted)).unwrap();
    openssl(&["x509", "-in", &servers.path("leaf.pem"), "-noout", "-text", "-nameopt", "RFC2253"]).unwrap()
}

#[tokio::test]
async fn a_certificate_says_what_was_planned_and_nothing_else() {
    let servers = Servers::new();
    let minter = servers.world.minter(SETTINGS);
    let plan = plan_of(&*minter, &scopes(), |_| ());
    let minted = minter.mint(&plan).await.unwrap();
    let said = text_of(&servers, &minted);
    let task = hallpass::domain::TaskId::new(T0, [9; 10]);
    for part in [
        "Version: 3 (0x2)".to_owned(),
        "Issuer: CN=Hallpass ca,O=Acme".to_owned(),
        format!("Subject: description={} {task} release-bot tested,CN=orders-reader,OU=Agents,O=Acme", lease(1)),
        "Not Before: Sep 21 14:12:50 2026 GMT".to_owned(),
        "Not After : Sep 21 14:23:20 2026 GMT".to_owned(),
        "ASN1 OID: prime256v1".to_owned(),
        "email:reader@agents.acme.example".to_owned(),
        "X509v3 Key Usage: critical\n                Digital Signature\n".to_owned(),
        "X509v3 Extended Key Usage: \n                TLS Web Client Authentication\n".to_owned(),
        "X509v3 Basic Constraints: critical\n                CA:FALSE".to_owned(),
        "URI:https://hallpass.example/v1/backends/web/revocation-list".to_owned(),
        "X509v3 Subject Key Identifier".to_owned(),
        "X509v3 Authority Key Identifier".to_owned(),
    ] {
        assert!(said.contains(&part), "no `{part}` in {said}");
    }
    assert_eq!(said.split_once("X509v3 extensions:").unwrap().1.matches("X509v3 ").count(), 7, "{said}");
    // The handle is the serial number as servers log it, then whose it is.
    let serial = openssl(&["x509", "-in", &servers.path("leaf.pem"), "-noout", "-serial"]).unwrap();
    let (number, _) = plan.handle.as_str().split_once('.').unwrap();
    assert_eq!(serial, format!("serial={number}"));
    assert!(number.len() == 32 && ('4'..='7').contains(&number.chars().next().unwrap()), "{number}: positive");
    assert_eq!(
        plan.summary,
        [
            "be CN=orders-reader, O=Acme, OU=Agents to every server that trusts the authority",
            "be URI:spiffe://acme.example/agents/reader to every server that trusts the authority",
            "be DNS:reader.agents.acme.example to every server that trusts the authority",
            "be email:reader@agents.acme.example to every server that trusts the authority",
            "anybody who holds the private key that is delivered with it can use it",
            "certificate for web:orders:read(role=reader) for 600 s",
            "certificate for web:orders:list(role=reader) for 600 s",
        ]
    );
    assert!(!plan.effect.contains("lse_") && plan.effect.contains("CN=Hallpass ca"), "{}", plan.effect);
}

#[tokio::test]
async fn a_foreign_reader_finds_the_same_in_certificate_and_list() {
    let servers = Servers::new();
    let minter = servers.world.minter(SETTINGS);
    let plan = plan_of(&*minter, &scopes(), |_| ());
    let minted = minter.mint(&plan).await.unwrap();
    let other = plan_of(&*minter, &scopes(), |order| order.lease = lease(2));
    let before = read_by_python(&servers, &minted, "ca.pem", &publish(&*minter, &[&other], T0).await.unwrap());
    assert_eq!((&before["revoked"], &before["entries"]), (&Value::Null, &json!(1)), "{before}");
    let later = T0.plus_millis(5_001);
    let list = publish(&*minter, &[&other, &plan, &plan], later).await.unwrap();
    let read = read_by_python(&servers, &minted, "ca.pem", &list);
    let (number, _) = plan.handle.as_str().split_once('.').unwrap();
    assert_eq!((read["serial"].as_str(), &read["entries"]), (Some(number), &json!(2)), "{read}");
    let at = later.as_secs();
    assert_eq!(read["revoked"], json!([at - 30, "privilegeWithdrawn"]));
    assert_eq!((&read["this_update"], &read["next_update"]), (&json!(at - 30), &json!(at + 3600)));
    assert!(read["number"].as_u64() > before["number"].as_u64(), "numbers grow");
    assert_eq!((&read["not_before"], &read["not_after"]), (&json!(1_789_999_970), &json!(1_790_000_600)));
    let subject: Vec<_> = read["subject"].as_array().unwrap().iter().map(|one| one[0].as_str().unwrap()).collect();
    assert_eq!(subject, ["2.5.4.10", "2.5.4.11", "2.5.4.3", "2.5.4.13"]);
    assert_eq!(
        read["extensions"],
        json!({ "authorityKeyIdentifier": false, "subjectAltName": false, "keyUsage": true, "extendedKeyUsage": false,
            "cRLDistributionPoints": false, "subjectKeyIdentifier": false, "basicConstraints": true })
    );
}

#[tokio::test]
async fn a_subject_without_the_reason_is_the_same_for_every_lease() {
    let servers = Servers::new();
    let minter = servers.world.minter(SETTINGS);
    let exact = |effect| vec![scope("web:orders:read", effect)];
    for (effect, subject) in [
        (json!({ "common_name": "orders", "reason_in_subject": false }), "Subject: CN=orders\n"),
        (json!({ "uris": ["spiffe://acme.example/orders"], "reason_in_subject": false }), "Subject: \n"),
    ] {
        let plan = plan_of(&*minter, &exact(effect), |_| ());
        let minted = minter.mint(&plan).await.unwrap();
        let said = text_of(&servers, &minted);
        assert!(said.contains(subject) && !said.contains("lse_"), "{said}");
        servers.verifies(&minted, None, T0).unwrap();
    }
    // Without a subject the names are critical (RFC 5280 §4.1.2.6).
    let said = openssl(&["x509", "-in", &servers.path("leaf.pem"), "-noout", "-ext", "subjectAltName"]).unwrap();
    assert!(said.contains("X509v3 Subject Alternative Name: critical"), "{said}");
}

#[tokio::test]
async fn the_agents_key_is_certified_if_it_is_of_a_kind_we_know() {
    let servers = Servers::new();
    let minter = servers.world.minter(SETTINGS);
    for (jwk, kind) in [(ED25519_JWK, "Public Key Algorithm: ED25519"), (P256_JWK, "7f:cd:ce:27:70:f6:c4:5d")] {
        let plan = plan_of(&*minter, &scopes(), |order| order.confirmation_key = Some(jwk));
        let minted = minter.mint(&plan).await.unwrap();
        assert_eq!(minted.values.keys().collect::<Vec<_>>(), [&"certificate"], "no private key but the agent's own");
        let said = text_of(&servers, &minted);
        assert!(said.contains(kind), "{said}");
        let thumbprint = PublicJwk::parse(jwk).unwrap().thumbprint();
        assert!(plan.effect.contains(&thumbprint));
        assert!(plan.summary.contains(&format!("only the holder of the agent's key {thumbprint} can use it")));
        assert_ne!(plan.digest, plan_of(&*minter, &scopes(), |_| ()).digest);
        servers.verifies(&minted, None, T0).unwrap();
    }
}

#[test]
fn no_other_key_is_certified_and_the_authoritys_own_never() {
    let servers = Servers::with_authority(&["ED25519"]);
    let minter = servers.world.minter(SETTINGS);
    let der = openssl(&["pkey", "-in", &servers.path("ca.key"), "-pubout"]).unwrap();
    let der = data_encoding::BASE64.decode(der.lines().nth(1).unwrap().as_bytes()).unwrap();
    let number = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let own = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, number(&der[der.len() - 32..]));
    let rsa = format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, number(&[0xff; 256]));
    let (agent, scopes) = (agent(), scopes());
    for (sent, why) in [
        (own.as_str(), "the authority's own"),
        (&rsa, "only Ed25519 and P-256"),
        ("-----BEGIN CERTIFICATE REQUEST-----", "not a public JWK"),
        (&ED25519_JWK.replace('}', r#","d":"AA"}"#), "private member"),
        (&P256_JWK.replace("f83O", "f83P"), "not a point on P-256"),
    ] {
        let refused = minter.plan(&MintOrder { confirmation_key: Some(sent), ..order(&agent, &scopes) });
        let Err(MintError::Unsupported(refusal)) = refused else { panic!("{sent}: {refused:?}") };
        assert!(refusal.contains(why), "{refusal}");
    }
}

/// An authority below so many others; `chain.pem` has its certificate and theirs.
fn chain(servers: &Servers, above: usize) {
    let folder = servers.folder.path();
    let options = |pathlen: usize| {
        let constraints = format!("basicConstraints=critical,CA:TRUE,pathlen:{pathlen}");
        ["-addext", &constraints]
            .into_iter()
            .chain(AUTHORITY[2..].iter().copied())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut text = String::new();
    for level in 0..=above {
        let options = options(above - level);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let signer = level.checked_sub(1).map(|above| format!("level-{above}"));
        let name = format!("level-{level}");
        make_authority_below(folder, &name, signer.as_deref(), "21260921000000Z", P256, &options);
        text = servers.read(&format!("level-{level}.pem")) + &text;
    }
    std::fs::write(folder.join("chain.pem"), text).unwrap();
}

#[tokio::test]
async fn an_authority_below_others_sends_them_along_but_the_root() {
    let servers = Servers::new();
    chain(&servers, 2);
    let root = servers.read("level-0.pem");
    let settings = SETTINGS.replace("'ca.pem'", "'chain.pem'").replace("'ca.key'", "'level-2.key'");
    let minter = servers.world.minter(&format!("{settings}\nserver_ca = 'level-0.pem'"));
    let plan = plan_of(&*minter, &scopes(), |_| ());
    let minted = minter.mint(&plan).await.unwrap();
    assert_eq!(certificate(&minted).matches("BEGIN CERTIFICATE").count(), 3, "its own, and two above it");
    assert_eq!(minted.values["server_ca"].expose_secret().trim(), root.trim());
    std::fs::write(servers.folder.path().join("ca.pem"), root).unwrap();
    let list = publish(&*minter, &[&plan], T0).await.unwrap();
    servers.verifies(&minted, None, T0).unwrap();
    assert!(servers.verifies(&minted, Some(&list), T0).unwrap_err().contains("certificate revoked"));
    let read = read_by_python(&servers, &minted, "level-0.pem", &list);
    assert!(read["revoked"].is_array(), "{read}");
}

#[test]
fn a_chain_that_does_not_hold_or_is_too_long_is_refused() {
    let servers = Servers::new();
    chain(&servers, 4);
    let refusal = |text: &str, key: &str| {
        std::fs::write(servers.folder.path().join("chain.pem"), text).unwrap();
        let settings = SETTINGS.replace("'ca.pem'", "'chain.pem'").replace("'ca.key'", &format!("'{key}.key'"));
        let settings: hallpass::minter::BackendSettings = toml::from_str(&settings).unwrap();
        hallpass::minter::Minters::build(&[settings], &servers.world.deps).map(|_| ()).unwrap_err().to_string()
    };
    let level = |number: usize| servers.read(&format!("level-{number}.pem"));
    let five: String = (0..=4).rev().map(level).collect();
    assert!(refusal(&five, "level-4").contains("it has 5 certificates"), "four are the most");
    assert!(refusal("", "level-4").contains("it has 0 certificates"));
    let gap = [level(4), level(2)].concat();
    assert!(refusal(&gap, "level-4").contains("is not signed by the one that follows it"));
    let backwards = [level(3), level(4)].concat();
    assert!(refusal(&backwards, "level-4").contains("is not signed by the one that follows it"));
    assert!(refusal(&level(3), "level-4").contains("`ca_key` is not the key"));
    assert!(refusal(&"x".repeat(70_000), "level-4").contains("longer than 65536 bytes"));
    let cut = level(4).replace("MII", "AAA");
    assert!(refusal(&cut, "level-4").contains("`ca_certificate`"));
}
