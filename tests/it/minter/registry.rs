//! Settings and registry: what is not understood is refused with the name of the backend, and production has no sandbox.

use hallpass::domain::Catalogue;
use hallpass::minter::{BackendSettings, KINDS, MinterDeps, Minters};
use hallpass::sys::keys::KeyAlgorithm;
use serde_json::json;

use super::{World, scope};

fn build(text: &str, deps: &MinterDeps) -> Result<Minters, String> {
    #[derive(serde::Deserialize)]
    struct File {
        backend: Vec<BackendSettings>,
    }
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    Minters::build(&file.backend, deps).map_err(|error| error.to_string())
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let deps = World::new().deps;
    let known: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    let no_jot = format!("no kind `jot`; there are {}", known.join(", "));
    for (text, why) in [
        ("[[backend]]\nname = 'a'\nkind = 'jot'", no_jot.as_str()),
        ("[[backend]]\nname = 'a'\nkind = 'jwt'\nissuer = 'https://x'", "unknown field `issuer`"),
        ("[[backend]]\nname = 'a'\nkind = 'jwt'\nalgorithm = 'HS256'", "`HS256` is not a key algorithm"),
        ("[[backend]]\nname = 'a'\nkind = 'jwt'\nverifiers = 'nobody'", "unknown variant `nobody`"),
        ("[[backend]]\nname = 'a'\nkind = 'sandbox'\nx = 1", "unknown field `x`"),
        ("[[backend]]\nname = 'A*'\nkind = 'jwt'", "wildcard"),
        ("[[backend]]\nname = 'a'\nkind = 'jwt'\n[[backend]]\nname = 'a'\nkind = 'sandbox'", "`a` is there twice"),
    ] {
        let error = build(text, &deps).expect_err(text);
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn a_backend_says_which_signing_key_it_needs() {
    let text = "[[backend]]\nname = 'a'\nkind = 'jwt'\n[[backend]]\nname = 'b'\nkind = 'jwt'\nalgorithm = 'Ed25519'
        [[backend]]\nname = 'c'\nkind = 'sandbox'";
    let minters = build(text, &World::new().deps).unwrap();
    let needed: Vec<_> = minters.iter().map(|(_, minter)| minter.signs_with()).collect();
    assert_eq!(needed, [Some(KeyAlgorithm::Es256), Some(KeyAlgorithm::Ed25519), None]);
}

#[test]
fn production_has_no_sandbox() {
    let deps = MinterDeps { sandbox: None, ..World::new().deps };
    let error = build("[[backend]]\nname = 'demo'\nkind = 'sandbox'", &deps).unwrap_err();
    assert!(error.contains("`demo`") && error.contains("exists only in `hallpass dev`"), "{error}");
}

#[test]
fn a_catalogue_is_checked_entry_by_entry() {
    let minters = build(
        "[[backend]]\nname = 'api'\nkind = 'jwt'\n[[backend]]\nname = 'demo'\nkind = 'sandbox'",
        &World::new().deps,
    )
    .unwrap();
    assert_eq!(
        minters.iter().map(|(name, minter)| (name.as_str(), minter.kind())).collect::<Vec<_>>(),
        [("api", "jwt"), ("demo", "sandbox")]
    );
    let good = [scope("api:a:read", json!({ "audience": "https://a.example" })), scope("demo:a:read", json!({}))];
    assert!(minters.check_catalogue(&Catalogue::new(good.into_iter().map(|(_, entry)| entry))).is_empty());
    let bad = [scope("api:a:read", json!({})), scope("none:a:read", json!({}))];
    let problems = minters.check_catalogue(&Catalogue::new(bad.into_iter().map(|(_, entry)| entry)));
    assert_eq!(problems.len(), 2);
    assert!(problems[0].to_string().contains("audience"), "{problems:?}");
    assert!(problems[1].to_string().contains("no backend `none`"), "{problems:?}");
}
