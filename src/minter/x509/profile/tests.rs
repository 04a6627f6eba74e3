//! What gets into a certificate: each place takes only what means there what it says, and no value adds a name to it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::super::authority::Authority;
use super::super::certificate::{Facts, issue};
use super::*;
use crate::domain::{Name, ParamType, Ttl};
use crate::sys::SecretString;

fn entry(effect: serde_json::Value) -> CatalogueEntry {
    let word = |name: &str| (name.parse::<Name>().unwrap(), ParamType::Word { max_length: 64 });
    CatalogueEntry {
        name: "web:orders:read".parse().unwrap(),
        description: "Reads.".to_owned(),
        risk: 10,
        owner: "maya".to_owned(),
        max_ttl: Ttl::EIGHT_HOURS,
        params: [word("app"), word("user")].into(),
        labels: BTreeMap::new(),
        effect,
    }
}

fn filled(effect: serde_json::Value, app: &str, user: &str) -> Result<Profile, String> {
    let params = [("app", app), ("user", user)].map(|(name, value)| (name.parse().unwrap(), value.to_owned())).into();
    Effect::read(&entry(effect)).unwrap().fill(&Values::Given(&params))
}

#[test]
fn values_stand_where_their_names_stood() {
    let effect = json!({ "common_name": "{user}", "organization": "Acme & Söhne (Labs)", "organizational_unit": "app-{app}",
        "uris": ["spiffe://acme.example/{app}/{user}", "urn:acme:{app}"], "dns_names": ["{app}.agents.acme.example"],
        "emails": ["{user}@agents.acme.example"] });
    let profile = filled(effect, "web", "ada.l").unwrap();
    assert_eq!(profile.subject().collect::<Vec<_>>(), ["CN=ada.l", "O=Acme & Söhne (Labs)", "OU=app-web"]);
    assert_eq!(
        profile.names().collect::<Vec<_>>(),
        [
            "URI:spiffe://acme.example/web/ada.l",
            "URI:urn:acme:web",
            "DNS:web.agents.acme.example",
            "email:ada.l@agents.acme.example"
        ]
    );
    assert!(profile.reason_in_subject);
}

#[test]
fn what_would_mean_something_else_cannot_be_expressed() {
    for value in ["", "a,O=root", "a/OU=root", "a+b", "a=b", "a\0b", "a\nb", "a b", "é", "a\u{202e}b", &"a".repeat(65)]
    {
        assert!(filled(json!({ "common_name": "{app}" }), value, "x").is_err(), "{value:?}");
        assert!(filled(json!({ "common_name": "x", "organization": "o-{app}" }), value, "x").is_err(), "{value:?}");
    }
    let uri = || json!({ "uris": ["spiffe://acme.example/agent/{app}"] });
    assert!(filled(uri(), "web.1_x-~", "x").is_ok());
    for value in ["", ".", "..", "a/b", "../admin", "%2e%2e", "a?b", "a#b", "a:b", "a@b", "a\0", "a\\b", "é"] {
        assert!(filled(uri(), value, "x").is_err(), "{value:?}");
    }
    for value in ["", "a.b", "-a", "A", "*", "a\0", "1.2.3.4", "a b", "é", &"a".repeat(64)] {
        assert!(filled(json!({ "dns_names": ["{app}.acme.example"] }), value, "x").is_err(), "{value:?}");
    }
    for value in ["", "a@evil.example", ".a", "a.", "a..b", "\"a\"", "a b", "a\0", "é"] {
        assert!(filled(json!({ "emails": ["{app}@acme.example"] }), value, "x").is_err(), "{value:?}");
    }
    assert!(filled(json!({ "emails": ["ada@{app}.example"] }), "evil.example", "x").is_err());
}

#[test]
fn a_catalogue_that_says_something_else_than_it_means_is_refused() {
    for (effect, why) in [
        (json!({}), "needs a `common_name`"),
        (json!({ "organization": "Acme" }), "needs a `common_name`"),
        (json!({ "common_name": "a", "uris": [] }), "`uris` has 1 to 16 items"),
        (json!({ "common_name": "{nobody}" }), "no parameter `nobody`"),
        (json!({ "common_name": "{app" }), "without `}`"),
        (json!({ "common_name": "app}" }), "without `{`"),
        (json!({ "common_name": " a" }), "between two words"),
        (json!({ "common_name": "a/b" }), "letters, digits, spaces"),
        (json!({ "uris": ["{app}://x/y"] }), "begins with its scheme"),
        (json!({ "uris": ["spiffe://Acme.example:8/../x"] }), "one normal form"),
        (json!({ "uris": ["https://Acme.example/x"] }), "https://acme.example/x"),
        (json!({ "uris": ["spiffe:///x"] }), "has a host"),
        (json!({ "uris": ["https://me@acme.example/"] }), "no user"),
        (json!({ "dns_names": ["*.acme.example"] }), "no wildcard"),
        (json!({ "dns_names": ["10.0.0.1"] }), "labels of small letters"),
        (json!({ "emails": ["acme.example"] }), "has an `@`"),
        (json!({ "common_name": "a", "ca": true }), "unknown field `ca`"),
    ] {
        let refusal = Effect::read(&entry(effect)).unwrap_err().to_string();
        assert!(refusal.contains(why) && refusal.contains("web:orders:read"), "{refusal}");
    }
}

/// An authority that exists for one test.
fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).unwrap();
    Authority::read(certificate.pem().as_bytes(), &SecretString::from(key.serialize_pem())).unwrap()
}

/// What stands in the certificate of a profile: its attributes in order, and its alternative names.
fn read_back(profile: &Profile, authority: &Authority) -> (Vec<(String, String)>, Vec<String>) {
    let facts = Facts { profile: Some(profile), reason: "lse tsk bot", ..Facts::of_nobody(0, 1_000_000_000) };
    let issued = issue(&facts, authority.issuer.key(), authority).unwrap();
    let (rest, read) = X509Certificate::from_der(issued.der()).unwrap();
    assert!(rest.is_empty());
    let attributes = read.subject().iter_attributes().map(|one| {
        let text = std::str::from_utf8(one.attr_value().data).unwrap();
        (one.attr_type().to_id_string(), text.to_owned())
    });
    let names = read.subject_alternative_name().unwrap().map_or_else(Vec::new, |names| {
        let name = |name: &GeneralName<'_>| {
            if let GeneralName::URI(text) = name {
                format!("URI:{text}")
            } else if let GeneralName::DNSName(text) = name {
                format!("DNS:{text}")
            } else if let GeneralName::RFC822Name(text) = name {
                format!("email:{text}")
            } else {
                panic!("{name:?}")
            }
        };
        names.value.general_names.iter().map(name).collect()
    });
    (attributes.collect(), names)
}

/// Values that mean something to somebody: to a printer of subjects, a reader of URIs, C, or DNS.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,20}",
        "[-a-z0-9._@:~]{0,20}",
        "[a-z]{0,4}[,/+=#;<>\\\\\"\0\n\r*?%&@: ](O|CN|OU|DNS|URI)?[=:]?[a-z.]{0,8}",
        Just("a\0.evil.example".to_owned()),
        Just("..".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_value_adds_an_attribute_a_name_or_a_nul(app in hostile(), user in hostile()) {
        thread_local!(static AUTHORITY: Authority = authority());
        let effect = json!({ "common_name": "{user}", "organizational_unit": "u {app}", "uris": ["spiffe://acme.example/x/{app}/y"],
            "dns_names": ["d-{app}.acme.example"], "emails": ["{user}@acme.example"] });
        // One place alone takes more than all of them together.
        let keys = ["common_name", "organizational_unit", "uris", "dns_names", "emails"];
        let alone = keys.map(|key| json!({ "organization": "Acme", "common_name": "fixed", key: effect[key] }));
        for effect in alone.into_iter().chain([effect]) {
            let Ok(profile) = filled(effect.clone(), &app, &user) else { continue };
            let put = |text: &str| text.replace("{app}", &app).replace("{user}", &user);
            let text = |key: &str| effect[key].as_str().map(put);
            let names = |key: &str, kind: &str| {
                let all = effect[key].as_array().cloned().unwrap_or_default();
                all.iter().map(|one| format!("{kind}:{}", put(one.as_str().unwrap()))).collect::<Vec<_>>()
            };
            let (attributes, found) = AUTHORITY.with(|authority| read_back(&profile, authority));
            let wanted = [("2.5.4.10", text("organization")), ("2.5.4.11", text("organizational_unit")),
                ("2.5.4.3", text("common_name")), ("2.5.4.13", Some("lse tsk bot".to_owned()))];
            let wanted = wanted.into_iter().filter_map(|(oid, text)| text.map(|text| (oid.to_owned(), text)));
            prop_assert_eq!(&attributes, &wanted.collect::<Vec<_>>());
            prop_assert_eq!(&found, &[names("uris", "URI"), names("dns_names", "DNS"), names("emails", "email")].concat());
            let texts = attributes.iter().map(|(_, text)| text).chain(&found);
            for text in texts {
                prop_assert!(!text.contains(|c: char| c.is_control() || ",+\"\\<>;=#\u{202e}".contains(c)), "{}", text);
            }
        }
    }
}
