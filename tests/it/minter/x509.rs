//! Kind `x509`: it passes the suite, an authority that could not sign what servers accept is refused, and nothing is called gone
//! before servers can know.

use std::path::Path;

use hallpass::domain::{CatalogueEntry, MintPlan, Scope, Timestamp};
use hallpass::minter::{CredentialRef, MintError, MintOrder, Minted, Minter, Probe, Revoked};
use hallpass::sys::ExposeSecret as _;
use serde_json::json;

use super::{T0, World, agent, lease, order, over, plan_of, scope, suite};
use crate::support::openssh::write_private;
use crate::support::openssl::{AUTHORITY, make_authority, make_authority_below, openssl};

pub(super) const SETTINGS: &str =
    "name = 'web'\nkind = 'x509'\nca_certificate = 'ca.pem'\nca_key = { file = 'ca.key' }\nservers_poll_seconds = 30";
pub(super) const P256: &[&str] = &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// A world with an authority in its folder.
pub(super) struct Servers {
    pub(super) world: World,
    pub(super) folder: tempfile::TempDir,
}

impl Servers {
    pub(super) fn new() -> Self {
        Self::with_authority(P256)
    }

    pub(super) fn with_authority(key: &[&str]) -> Self {
        let (mut world, folder) = (World::new(), tempfile::tempdir().unwrap());
        make_authority(folder.path(), "ca", key, &AUTHORITY);
        folder.path().clone_into(&mut world.deps.folder);
        Self { world, folder }
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub(super) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn refusal(&self, settings: &str) -> String {
        let settings: hallpass::minter::BackendSettings = toml::from_str(settings).unwrap();
        hallpass::minter::Minters::build(&[settings], &self.world.deps).unwrap_err().to_string()
    }

    /// Whether OpenSSL takes a certificate for a TLS client's at that time, after it has seen the list if there is one.
    pub(super) fn verifies(&self, minted: &Minted, list: Option<&[u8]>, now: Timestamp) -> Result<String, String> {
        let at = now.as_secs().to_string();
        std::fs::write(self.folder.path().join("leaf.pem"), certificate(minted)).unwrap();
        let (leaf, authority, crl) = (self.path("leaf.pem"), self.path("ca.pem"), self.path("list.pem"));
        let mut arguments =
            vec!["verify", "-x509_strict", "-purpose", "sslclient", "-attime", &at, "-CAfile", &authority];
        arguments.extend(["-untrusted", &leaf]);
        if let Some(list) = list {
            std::fs::write(self.folder.path().join("list.der"), list).unwrap();
            openssl(&["crl", "-inform", "DER", "-in", &self.path("list.der"), "-out", &crl]).unwrap();
            arguments.extend(["-crl_check", "-CRLfile", &crl]);
        }
        arguments.push(&leaf);
        openssl(&arguments)
    }
}

pub(super) fn scopes() -> Vec<(Scope, CatalogueEntry)> {
    let effect = || {
        json!({ "common_name": "orders-{role}", "organization": "Acme", "organizational_unit": "Agents",
            "uris": ["spiffe://acme.example/agents/{role}"], "dns_names": ["{role}.agents.acme.example"],
            "emails": ["{role}@agents.acme.example"] })
    };
    vec![scope("web:orders:read(role=reader)", effect()), scope("web:orders:list(role=reader)", effect())]
}

fn plain() -> (Scope, CatalogueEntry) {
    scope("web:stock:read", json!({ "common_name": "stock" }))
}

pub(super) fn certificate(minted: &Minted) -> &str {
    minted.values["certificate"].expose_secret()
}

/// List these leases, publish, and give back the list.
pub(super) async fn publish(minter: &dyn Minter, plans: &[&MintPlan], now: Timestamp) -> Result<Vec<u8>, MintError> {
    let over = over(plans, now);
    let list = minter.revocation_list(&over, now).unwrap();
    minter.publish(&over, &list, now).await.map(|()| list.bytes)
}

#[tokio::test]
async fn the_x509_minter_passes_the_suite() {
    for key in [
        P256,
        &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["ED25519"],
        &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    ] {
        let servers = Servers::with_authority(key);
        suite::run(suite::Subject {
            minter: servers.world.minter(SETTINGS),
            clock: servers.world.clock.clone(),
            scopes: scopes(),
            elsewhere: plain(),
            accepts: &|minted, now: Timestamp| servers.verifies(minted, None, now).is_ok(),
        })
        .await;
    }
}

#[tokio::test]
async fn what_has_ended_is_refused_by_the_list_and_nothing_else_is() {
    let servers = Servers::new();
    let minter = servers.world.minter(SETTINGS);
    let plans: Vec<_> = (1..=40).map(|n| plan_of(&*minter, &scopes(), |order| order.lease = lease(n))).collect();
    let (first, last) = (minter.mint(&plans[0]).await.unwrap(), minter.mint(&plans[39]).await.unwrap());
    let none = publish(&*minter, &[], T0).await.unwrap();
    assert!(servers.verifies(&first, Some(&none), T0).is_ok());
    let many = publish(&*minter, &plans[..39].iter().collect::<Vec<_>>(), T0).await.unwrap();
    let refusal = servers.verifies(&first, Some(&many), T0).unwrap_err();
    assert!(refusal.contains("certificate revoked"), "{refusal}");
    servers.verifies(&last, Some(&many), T0).unwrap();
    // Made again it is another key of the same number, so that one entry ends both.
    let again = minter.mint(&plans[0]).await.unwrap();
    assert_ne!(certificate(&again), certificate(&first));
    assert!(servers.verifies(&again, Some(&many), T0).unwrap_err().contains("certificate revoked"));
    // Whoever has only an old list refuses everybody in the end, and a clock that is half a minute behind refuses nobody.
    let behind = T0.plus_millis(-29_000);
    servers.verifies(&last, Some(&many), behind).unwrap();
    let long = plan_of(&*minter, &scopes(), |order| {
        order.lease = lease(50);
        order.ends_at = T0.plus_millis(7_200_000);
    });
    let long = minter.mint(&long).await.unwrap();
    servers.verifies(&long, Some(&many), T0.plus_millis(3_599_000)).unwrap();
    let refusal = servers.verifies(&long, Some(&many), T0.plus_millis(3_601_000)).unwrap_err();
    assert!(refusal.contains("CRL has expired"), "{refusal}");
}

#[tokio::test]
async fn it_is_gone_only_when_servers_have_had_time_to_load_the_list() {
    let servers = Servers::new();
    let minter = servers.world.minter(SETTINGS);
    let plan = plan_of(&*minter, &scopes(), |_| ());
    let at = |seconds: i64| T0.plus_millis(seconds * 1000);
    let told = async |seconds: i64| {
        servers.world.clock.set(at(seconds));
        minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap()
    };
    assert_eq!(told(0).await, Revoked::EndsBy(at(35)));
    assert_eq!(told(100).await, Revoked::EndsBy(at(135)), "not on any list yet, however long ago it ended");
    publish(&*minter, &[&plan], at(101)).await.unwrap();
    assert_eq!(told(132).await, Revoked::EndsBy(at(133)));
    let Revoked::Gone(proof) = told(133).await else { panic!("servers know") };
    assert!(proof.contains("revocation list since") && proof.contains("servers fetch every 30 s"), "{proof}");
    assert_eq!(minter.probe(CredentialRef::of_plan(&plan)).await.unwrap(), Probe::Unknown);
    let restarted = servers.world.minter(SETTINGS);
    servers.world.clock.set(at(300));
    assert_eq!(restarted.revoke(CredentialRef::of_plan(&plan)).await.unwrap(), Revoked::EndsBy(at(335)));
}

#[tokio::test]
async fn what_another_authority_signed_is_never_called_gone_nor_listed() {
    let servers = Servers::new();
    let plan = plan_of(&*servers.world.minter(SETTINGS), &scopes(), |_| ());
    let next = Servers::new();
    let minter = next.world.minter(SETTINGS);
    publish(&*minter, &[&plan], T0).await.unwrap();
    next.world.clock.set(T0.plus_millis(300_000));
    let told = minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap();
    assert_eq!(told, Revoked::EndsBy(plan.native_end), "servers look it up in a list of its own authority");
    let bytes = publish(&*minter, &[&plan], T0).await.unwrap();
    std::fs::write(next.folder.path().join("list.der"), bytes).unwrap();
    let said = openssl(&["crl", "-inform", "DER", "-in", &next.path("list.der"), "-noout", "-text"]).unwrap();
    assert!(said.contains("No Revoked Certificates"), "{said}");
}

#[tokio::test]
async fn a_list_is_written_in_the_form_that_is_wanted_and_one_that_cannot_be_has_told_nobody() {
    let servers = Servers::with_authority(&["ED25519"]);
    for (form, arguments) in [("pem", &["crl"][..]), ("der", &["crl", "-inform", "DER"])] {
        let minter = servers.world.minter(&format!("{SETTINGS}\ncrl_file = 'lists/{form}.crl'\ncrl_form = '{form}'"));
        let plan = plan_of(&*minter, &scopes(), |_| ());
        let folder = servers.folder.path().join("lists");
        let _ = std::fs::remove_dir_all(&folder);
        let problems = minter.check().await.unwrap();
        assert!(problems.len() == 1 && problems[0].contains("lists"), "{problems:?}");
        let failed = publish(&*minter, &[&plan], T0).await;
        assert!(matches!(failed, Err(MintError::Unavailable(_))), "{failed:?}");
        servers.world.clock.set(T0.plus_millis(100_000));
        let told = minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap();
        assert_eq!(told, Revoked::EndsBy(T0.plus_millis(135_000)));
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(minter.check().await.unwrap(), Vec::<String>::new());
        let bytes = publish(&*minter, &[&plan], T0).await.unwrap();
        // Ed25519 and RSA sign the same twice; ECDSA does not.
        assert_eq!(publish(&*minter, &[&plan], T0).await.unwrap(), bytes);
        let file = folder.join(format!("{form}.crl")).display().to_string();
        let more = ["-in", &file, "-CAfile", &servers.path("ca.pem"), "-noout", "-text"];
        let said = openssl(&[arguments, &more].concat()).unwrap();
        assert!(said.contains("Signature Algorithm: ED25519") && said.contains("Serial Number:"), "{said}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left there");
    }
}

#[tokio::test]
async fn nothing_outlives_the_authority_and_the_doctor_says_so_in_time() {
    let servers = Servers::new();
    make_authority_below(servers.folder.path(), "short", None, "20260922000000Z", P256, &AUTHORITY);
    let minter = servers.world.minter(&SETTINGS.replace("'ca.", "'short."));
    let problems = minter.check().await.unwrap();
    assert!(problems.len() == 1 && problems[0].contains("valid until 2026-09-22"), "{problems:?}");
    let (agent, scopes) = (agent(), scopes());
    let until = |seconds: i64| MintOrder { ends_at: T0.plus_millis(seconds * 1000), ..order(&agent, &scopes) };
    minter.plan(&until(35_000)).unwrap();
    let Err(MintError::Unsupported(why)) = minter.plan(&until(36_000)) else { panic!("it would outlive it") };
    assert!(why.contains("ask for less time"), "{why}");
    let long = servers.world.minter(SETTINGS);
    assert_eq!(long.check().await.unwrap(), Vec::<String>::new());
    servers.world.clock.set(T0.plus_millis(-86_400_000));
    let problems = long.check().await.unwrap();
    assert!(problems.len() == 1 && problems[0].contains("valid from 2026-09-21"), "{problems:?}");
}

#[test]
fn an_authority_that_servers_would_not_accept_is_refused() {
    let servers = Servers::new();
    let folder = servers.folder.path();
    let ca = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "subjectKeyIdentifier=hash"];
    let usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    let server_only = ["-addext", "extendedKeyUsage=serverAuth"];
    for (name, more, why) in [
        ("leaf", &["-addext", "basicConstraints=critical,CA:FALSE"][..], "not that of an authority"),
        (
            "usage",
            &[&ca[..], &["-addext", "keyUsage=critical,keyCertSign"]].concat(),
            "keyUsage=critical,keyCertSign,cRLSign",
        ),
        ("no-usage", &ca[..], "may not sign certificates and revocation lists"),
        ("purpose", &[&ca[..], &usage, &server_only].concat(), "leaves out clients"),
        ("twice", &[&ca[..], &usage, &["-subj", "/DC=example/DC=acme/CN=ca"]].concat(), "has an attribute twice"),
        (
            "two-in-one",
            &[&ca[..], &usage, &["-subj", "/O=Acme/CN=ca+OU=x", "-multivalue-rdn"]].concat(),
            "`ca_certificate`",
        ),
    ] {
        make_authority(folder, name, P256, more);
        let refusal = servers.refusal(&SETTINGS.replace("'ca.", &format!("'{name}.")));
        assert!(refusal.contains(why) && refusal.contains("`web`"), "{name}: {refusal}");
    }
    make_authority(folder, "other", P256, &AUTHORITY);
    let refusal = servers.refusal(&SETTINGS.replace("'ca.key'", "'other.key'"));
    assert!(refusal.contains("`ca_key` is not the key of the certificate"), "{refusal}");
    for settings in [
        SETTINGS.replace("= 30", "= 0"),
        format!("{SETTINGS}\ncrl_valid_seconds = 179"),
        format!("{SETTINGS}\nserver_ca = 'ca.key'"),
        format!("{SETTINGS}\ncrl_form = 'text'"),
        SETTINGS.replace("'ca.pem'", "'nowhere.pem'"),
    ] {
        assert!(servers.refusal(&settings).contains("`web`"), "{settings}");
    }
}

#[test]
fn a_key_that_cannot_sign_is_refused_with_what_to_do() {
    let servers = Servers::new();
    let (key, other) = (servers.path("ca.key"), servers.path("other.key"));
    let settings = SETTINGS.replace("'ca.key'", "'other.key'");
    openssl(&["pkcs8", "-topk8", "-in", &key, "-passout", "pass:x", "-out", &other]).unwrap();
    set_mode(&other, 0o600);
    assert!(servers.refusal(&settings).contains("it has a passphrase"));
    openssl(&["pkey", "-in", &key, "-traditional", "-out", &other]).unwrap();
    assert!(servers.refusal(&settings).contains("`openssl pkcs8 -topk8 -nocrypt` writes it as PKCS#8"));
    write_private(Path::new(&other), &servers.read("ca.pem"));
    assert!(servers.refusal(&settings).contains("not a private key in PEM"));
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", &other]).unwrap();
    set_mode(&other, 0o600);
    assert!(servers.refusal(&settings).contains("RSA of 2048 to 4096 bits"));
    set_mode(&key, 0o644);
    assert!(servers.refusal(SETTINGS).contains("chmod 600"));
}

fn set_mode(path: &str, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn one_certificate_names_one_holder() {
    let minter = Servers::new().world.minter(SETTINGS);
    let effect = json!({ "common_name": "{app}" });
    let both = [scope("web:orders:read(app=a)", effect.clone()), scope("web:orders:read(app=b)", effect)];
    let agent = agent();
    let refused = minter.plan(&order(&agent, &both));
    assert!(matches!(refused, Err(MintError::Unsupported(_))), "{refused:?}");
    assert!(minter.plan(&order(&agent, &both[..1])).unwrap().effect.contains(r#""common_name":"a""#));
    for ends_at in [T0, T0.plus_millis(1)] {
        let refused = minter.plan(&MintOrder { ends_at, ..order(&agent, &both[..1]) });
        assert!(matches!(refused, Err(MintError::Unsupported(_))), "{ends_at}: {refused:?}");
    }
}
