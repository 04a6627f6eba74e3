//! Kind `ssh`: it passes the suite, `ssh-keygen` reads what it makes as it is meant, and nothing is called gone before hosts can
//! know.

use std::path::Path;

use hallpass::domain::{CatalogueEntry, MintPlan, Scope, Timestamp};
use hallpass::minter::{CredentialRef, MintError, MintOrder, Minted, Minter, Probe, Revoked};
use hallpass::sys::{ExposeSecret as _, PublicJwk};
use serde_json::json;
use ssh_key::{Certificate, HashAlg, PublicKey};

use super::{T0, World, agent, lease, order, over, plan_of, scope, suite};
use crate::support::openssh::{describe, is_revoked, make_key, ssh_keygen, write_private};

const SETTINGS: &str = "name = 'hosts'\nkind = 'ssh'\nca_key = { file = 'ca' }\nhosts_poll_seconds = 30";
/// The keys of RFC 8037 §A.2 and RFC 7515 §A.3.1, their public halves.
const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const P256: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

/// A world with an authority's key in its folder.
struct Hosts {
    world: World,
    folder: tempfile::TempDir,
}

impl Hosts {
    fn new() -> Self {
        Self::with_authority(&["ed25519"])
    }

    fn with_authority(kind: &[&str]) -> Self {
        let (mut world, folder) = (World::new(), tempfile::tempdir().unwrap());
        make_key(&folder.path().join("ca"), kind);
        folder.path().clone_into(&mut world.deps.folder);
        Self { world, folder }
    }

    fn authority(&self) -> PublicKey {
        PublicKey::read_openssh_file(&self.folder.path().join("ca.pub")).unwrap()
    }

    fn refusal(&self, settings: &str) -> String {
        let settings: hallpass::minter::BackendSettings = toml::from_str(settings).unwrap();
        hallpass::minter::Minters::build(&[settings], &self.world.deps).unwrap_err().to_string()
    }
}

fn scopes() -> Vec<(Scope, CatalogueEntry)> {
    let effect = |principals: serde_json::Value| {
        json!({ "principals": principals, "force_command": ["/usr/local/bin/deploy", "--all"],
            "source_address": ["10.0.0.0/8", "127.0.0.1"], "extensions": ["permit-pty"] })
    };
    vec![
        scope("hosts:web:deploy", effect(json!(["deploy"]))),
        scope("hosts:app:deploy(account=app-1)", effect(json!(["{account}", "app"]))),
    ]
}

fn shell() -> (Scope, CatalogueEntry) {
    scope("hosts:web:shell", json!({ "principals": ["deploy"] }))
}

fn certificate(minted: &Minted) -> &str {
    minted.values["certificate"].expose_secret()
}

#[tokio::test]
async fn the_ssh_minter_passes_the_suite() {
    for kind in [&["ed25519"][..], &["ecdsa", "-b", "256"]] {
        let hosts = Hosts::with_authority(kind);
        let trusted = hosts.authority().fingerprint(HashAlg::Sha256);
        suite::run(suite::Subject {
            minter: hosts.world.minter(SETTINGS),
            clock: hosts.world.clock.clone(),
            scopes: scopes(),
            elsewhere: shell(),
            accepts: &|minted, now: Timestamp| {
                let read = Certificate::from_openssh(certificate(minted)).unwrap();
                read.validate_at(now.as_secs().unsigned_abs(), [&trusted]).is_ok()
            },
        })
        .await;
    }
}

#[tokio::test]
async fn ssh_01_a_certificate_says_what_was_planned_and_nothing_else() {
    let hosts = Hosts::new();
    let minter = hosts.world.minter(SETTINGS);
    let plan = plan_of(&*minter, &scopes(), |_| ());
    let minted = minter.mint(&plan).await.unwrap();
    let read = Certificate::from_openssh(certificate(&minted)).unwrap();
    assert_eq!(
        (read.valid_after(), read.valid_before()),
        (1_789_999_970, 1_790_000_600),
        "now - 30 s to the lease's end"
    );
    let said = describe(certificate(&minted));
    let authority = hosts.authority().fingerprint(HashAlg::Sha256).to_string();
    let task = hallpass::domain::TaskId::new(T0, [9; 10]);
    assert_eq!(said[1], "Type: ssh-ed25519-cert-v01@openssh.com user certificate");
    assert!(said[3].contains(&authority), "{said:?}");
    assert_eq!(said[4], format!("Key ID: \"{} {task} release-bot tested\"", lease(1)));
    assert_eq!(said[5], format!("Serial: {}", read.serial()));
    assert_eq!(said[7..10], ["Principals:", "app", "app-1"]);
    assert_eq!(
        said[10..],
        [
            "deploy",
            "Critical Options:",
            "force-command /usr/local/bin/deploy --all",
            "source-address 10.0.0.0/8,127.0.0.1",
            "Extensions:",
            "permit-pty"
        ]
    );
    // Made again it is another key of the same number, so that one entry of a list ends both.
    let again = Certificate::from_openssh(certificate(&minter.mint(&plan).await.unwrap())).unwrap();
    assert_eq!(again.serial(), read.serial());
    assert_ne!(again.public_key(), read.public_key());
    let other = minter.mint(&plan_of(&*minter, &scopes(), |order| order.lease = lease(2))).await.unwrap();
    assert_ne!(Certificate::from_openssh(certificate(&other)).unwrap().serial(), read.serial());
    assert_eq!(
        plan.summary,
        [
            "run `/usr/local/bin/deploy --all` as app or app-1 or deploy, and no other command",
            "have a terminal",
            "only from 10.0.0.0/8,127.0.0.1",
            "anybody who holds the private key that is delivered with it can use it",
            "certificate for hosts:web:deploy for 600 s",
            "certificate for hosts:app:deploy(account=app-1) for 600 s",
        ]
    );
}

#[tokio::test]
async fn ssh_01_nothing_that_was_not_asked_for_is_permitted() {
    let hosts = Hosts::new();
    let minter = hosts.world.minter(SETTINGS);
    let plan = plan_of(&*minter, &[shell()], |_| ());
    assert_eq!(plan.summary[..2], ["run any command as deploy", "from any address"]);
    let said = describe(certificate(&minter.mint(&plan).await.unwrap()));
    assert_eq!(said[7..], ["Principals:", "deploy", "Critical Options: (none)", "Extensions: (none)"]);
}

#[test]
fn ssh_02_a_scope_without_principals_cannot_be_in_a_catalogue() {
    let minter = Hosts::new().world.minter(SETTINGS);
    for effect in [json!({}), json!({ "principals": [] }), json!({ "principals": [""] })] {
        let scopes = [scope("hosts:web:shell", effect)];
        assert!(matches!(minter.bucket(&scopes[0].1), Err(MintError::Misconfigured(_))));
        let agent = agent();
        assert!(matches!(minter.plan(&order(&agent, &scopes)), Err(MintError::Misconfigured(_))));
    }
}

#[tokio::test]
async fn ssh_04_the_agents_key_is_certified_if_it_is_of_a_kind_we_know() {
    let hosts = Hosts::new();
    let minter = hosts.world.minter(SETTINGS);
    for (jwk, kind) in [(ED25519, "ssh-ed25519-cert-v01"), (P256, "ecdsa-sha2-nistp256-cert-v01")] {
        let plan = plan_of(&*minter, &scopes(), |order| order.confirmation_key = Some(jwk));
        let minted = minter.mint(&plan).await.unwrap();
        assert_eq!(minted.values.keys().collect::<Vec<_>>(), [&"certificate"], "no private key but the agent's own");
        let said = describe(certificate(&minted));
        assert!(said[1].contains(kind), "{said:?}");
        let key = Certificate::from_openssh(certificate(&minted)).unwrap().public_key().fingerprint(HashAlg::Sha256);
        assert!(said[2].contains(&key.to_string()) && plan.effect.contains(&key.to_string()), "{said:?}");
        assert!(plan.summary.contains(&format!("only the holder of the agent's key {key} can use it")));
        assert_ne!(plan.digest, plan_of(&*minter, &scopes(), |_| ()).digest);
    }
}

#[test]
fn ssh_04_no_other_key_is_certified_and_the_authoritys_own_never() {
    for kind in [&["ed25519"][..], &["ecdsa", "-b", "256"]] {
        let hosts = Hosts::with_authority(kind);
        let minter = hosts.world.minter(SETTINGS);
        let number = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
        let key = hosts.authority();
        let own = match (key.key_data().ed25519(), key.key_data().ecdsa()) {
            (Some(key), _) => format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, number(&key.0)),
            (_, Some(key)) => {
                let point = key.as_sec1_bytes();
                let (x, y) = (number(&point[1..33]), number(&point[33..]));
                format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#)
            }
            (None, None) => panic!("{key:?}"),
        };
        let rsa = |bytes: usize| format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, number(&vec![0xff; bytes]));
        let agent = agent();
        for (sent, why) in [
            (own.as_str(), "the authority's own"),
            (&rsa(128), "1024 bits"),
            (&rsa(256), "only Ed25519 and P-256"),
            (r#"{"kty":"DSA","y":"AA"}"#, "`DSA` is not accepted"),
            ("ssh-dss AAAAB3NzaC1kc3MAAACB", "not a public JWK"),
            ("ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29t", "not a public JWK"),
            (&format!("{ED25519} permit-pty"), "not a public JWK"),
            (&ED25519.replace('}', r#","options":"permit-pty"}"#), "unknown field"),
            (&ED25519.replace('}', r#","d":"AA"}"#), "private member"),
            (&format!("{ED25519}{}", " ".repeat(1024 * 1024)), "bytes are more than"),
        ] {
            let scopes = scopes();
            let refused = minter.plan(&MintOrder { confirmation_key: Some(sent), ..order(&agent, &scopes) });
            let Err(MintError::Unsupported(refusal)) = refused else { panic!("{sent}: {refused:?}") };
            assert!(refusal.contains(why), "{refusal}");
        }
        assert!(PublicJwk::parse(&own).is_ok(), "it is refused for whose it is, not for what it is");
    }
}

#[test]
fn one_certificate_has_one_command() {
    let minter = Hosts::new().world.minter(SETTINGS);
    let effect = json!({ "principals": ["deploy"], "force_command": ["deploy", "{app}"] });
    let both = [scope("hosts:web:deploy(app=a)", effect.clone()), scope("hosts:web:deploy(app=b)", effect)];
    let agent = agent();
    let refused = minter.plan(&order(&agent, &both));
    assert!(matches!(refused, Err(MintError::Unsupported(_))), "{refused:?}");
    assert!(minter.plan(&order(&agent, &both[..1])).unwrap().effect.contains(r#""force_command":"deploy a""#));
}

/// List these leases, publish, and give back the list.
async fn publish(minter: &dyn Minter, plans: &[&MintPlan], now: Timestamp) -> Result<Vec<u8>, MintError> {
    let over = over(plans, now);
    let list = minter.revocation_list(&over, now).unwrap();
    minter.publish(&over, &list, now).await.map(|()| list.bytes)
}

#[tokio::test]
async fn ssh_06_the_list_names_what_has_ended_and_nothing_else() {
    let hosts = Hosts::new();
    let minter = hosts.world.minter(SETTINGS);
    let plans: Vec<_> = (1..=40).map(|n| plan_of(&*minter, &scopes(), |order| order.lease = lease(n))).collect();
    let mut certificates = Vec::new();
    for plan in &plans {
        certificates.push(certificate(&minter.mint(plan).await.unwrap()).to_owned());
    }
    let none = publish(&*minter, &[], T0).await.unwrap();
    assert!(!is_revoked(&none, &certificates[0]));
    let one = publish(&*minter, &[&plans[0]], T0).await.unwrap();
    assert!(is_revoked(&one, &certificates[0]) && !is_revoked(&one, &certificates[1]));
    let many = publish(&*minter, &plans[..39].iter().collect::<Vec<_>>(), T0).await.unwrap();
    assert!(certificates[..39].iter().all(|certificate| is_revoked(&many, certificate)));
    assert!(!is_revoked(&many, &certificates[39]));
    // Another authority takes over: what the first one signed stays refused.
    let next = Hosts::new();
    let taken_over = publish(&*next.world.minter(SETTINGS), &[&plans[0]], T0).await.unwrap();
    assert!(is_revoked(&taken_over, &certificates[0]));
}

#[tokio::test]
async fn ssh_06_it_is_gone_only_when_hosts_have_had_time_to_fetch_the_list() {
    let hosts = Hosts::new();
    let minter = hosts.world.minter(SETTINGS);
    let plan = plan_of(&*minter, &scopes(), |_| ());
    let at = |seconds: i64| T0.plus_millis(seconds * 1000);
    let told = async |seconds: i64| {
        hosts.world.clock.set(at(seconds));
        minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap()
    };
    assert_eq!(told(0).await, Revoked::EndsBy(at(35)));
    assert_eq!(told(100).await, Revoked::EndsBy(at(135)), "not on any list yet, however long ago it ended");
    publish(&*minter, &[&plan], at(101)).await.unwrap();
    assert_eq!(told(102).await, Revoked::EndsBy(at(133)));
    publish(&*minter, &[&plan], at(120)).await.unwrap();
    assert_eq!(told(132).await, Revoked::EndsBy(at(133)));
    let Revoked::Gone(proof) = told(133).await else { panic!("hosts know") };
    assert!(proof.contains("revocation list since") && proof.contains("every 30 s"), "{proof}");
    assert_eq!(minter.probe(CredentialRef::of_plan(&plan)).await.unwrap(), Probe::Unknown);
    assert_eq!(told(599).await, Revoked::Gone(proof));
    let late = plan_of(&*minter, &scopes(), |order| order.lease = lease(9));
    hosts.world.clock.set(at(590));
    let by = minter.revoke(CredentialRef::of_plan(&late)).await.unwrap();
    assert_eq!(by, Revoked::EndsBy(late.native_end), "by itself before hosts would know");
    // Another process knows of no list that hosts could have: it begins anew.
    let restarted = hosts.world.minter(SETTINGS);
    hosts.world.clock.set(at(300));
    assert_eq!(restarted.revoke(CredentialRef::of_plan(&plan)).await.unwrap(), Revoked::EndsBy(at(335)));
}

#[tokio::test]
async fn a_list_that_cannot_be_written_has_told_nobody() {
    let hosts = Hosts::new();
    let minter = hosts.world.minter(&format!("{SETTINGS}\nkrl_file = 'lists/hosts.krl'"));
    let plan = plan_of(&*minter, &scopes(), |_| ());
    let problems = minter.check().await.unwrap();
    assert!(problems.len() == 1 && problems[0].contains("lists"), "{problems:?}");
    let failed = publish(&*minter, &[&plan], T0).await;
    assert!(matches!(failed, Err(MintError::Unavailable(_))), "{failed:?}");
    let later = T0.plus_millis(100_000);
    hosts.world.clock.set(later);
    let told = minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap();
    assert_eq!(told, Revoked::EndsBy(later.plus_millis(35_000)));
    let folder = hosts.folder.path().join("lists");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(minter.check().await.unwrap(), Vec::<String>::new());
    let bytes = publish(&*minter, &[&plan], later).await.unwrap();
    assert_eq!(std::fs::read(folder.join("hosts.krl")).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left there");
    hosts.world.clock.set(later.plus_millis(32_000));
    let told = minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap();
    assert!(matches!(told, Revoked::Gone(_)), "{told:?}");
}

#[test]
fn an_authority_that_nobody_should_trust_is_refused() {
    let hosts = Hosts::new();
    let path = hosts.folder.path().join("other");
    let settings = SETTINGS.replace("'ca'", "'other'");
    for (kind, why) in [(&["rsa", "-b", "2048"][..], "type ssh-rsa"), (&["ecdsa", "-b", "384"], "nistp384")] {
        make_key(&path, kind);
        let refusal = hosts.refusal(&settings);
        assert!(refusal.contains(why) && refusal.contains("`hosts`") && refusal.contains("use ed25519"), "{refusal}");
        std::fs::remove_file(&path).unwrap();
    }
    let name = path.to_str().unwrap();
    assert!(ssh_keygen(&["-q", "-N", "a passphrase", "-t", "ed25519", "-f", name]).status.success());
    assert!(hosts.refusal(&settings).contains("it has a passphrase"));
    let public = std::fs::read_to_string(hosts.folder.path().join("ca.pub")).unwrap();
    write_private(&path, &public);
    assert!(hosts.refusal(&settings).contains("not a private key as `ssh-keygen -t ed25519` makes it"));
    readable_by_others(&hosts.folder.path().join("ca"));
    assert!(hosts.refusal(SETTINGS).contains("chmod 600"));
    assert!(hosts.refusal(&SETTINGS.replace("= 30", "= 0")).contains("`hosts_poll_seconds` is 1 to 3600"));
}

fn readable_by_others(path: &Path) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
}

#[test]
fn how_fast_it_ends_is_told_before() {
    let strength = |settings: &str| Hosts::new().world.minter(settings).revocability().strength;
    assert_eq!(strength(SETTINGS), "within_seconds");
    assert_eq!(strength(&SETTINGS.replace("hosts_poll_seconds = 30", "")), "within_minutes");
}
