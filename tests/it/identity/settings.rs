//! Settings of issuers: what cannot be is refused, and says what to do.

use hallpass::identity::{IssuerSettings, Preset, Verifiers};
use hallpass::sys::HttpClient;

use crate::support::idp::{AUDIENCE, settings};

#[test]
fn settings_that_cannot_be_say_what_to_do() {
    let refuse = |toml: &str| {
        let sections: Vec<_> = toml.split("---").map(settings).collect();
        Verifiers::new(&sections, AUDIENCE, HttpClient::new(None).unwrap()).err().map(|error| error.to_string())
    };
    let cases = [
        ("name = \"a\"", "`issuer` is missing"),
        ("name = \"a\"\nissuer = \"http://idp.example\"", "must be an https URL"),
        ("name = \"a\"\nissuer = \"idp\"", "needs `jwks_file` or `jwks_url`"),
        ("name = \"a\"\npreset = \"spiffe\"\nissuer = \"https://td\"\njwks_file = \"x\"", "spiffe://TRUST-DOMAIN"),
        ("name = \"a\"\npreset = \"spiffe\"\nissuer = \"spiffe://td\"", "needs `jwks_file` or `jwks_url`"),
        ("name = \"a\"\npreset = \"github-actions\"\nfor = \"people\"", "only preset `oidc` can vouch for people"),
        ("name = \"a\"\nissuer = \"https://i\"\njwks_file = \"x\"\njwks_url = \"https://x/\"", "not both"),
        ("name = \"a\"\nissuer = \"https://i\"\nca_file = \"/nowhere\"", "/nowhere cannot be read"),
        ("name = \"a\"\nissuer = \"https://i\"\ncache_seconds = 601", "`cache_seconds` must be within"),
        (
            "name = \"a\"\nissuer = \"https://i\"---name = \"a\"\nissuer = \"https://j\"",
            "this name is configured twice",
        ),
        (
            "name = \"a\"\nissuer = \"https://i\"---name = \"b\"\nissuer = \"https://i\"",
            "this issuer is configured twice",
        ),
    ];
    for (toml, expected) in cases {
        let found = refuse(toml).unwrap_or_default();
        assert!(found.contains(expected), "{toml}: {found}");
    }
    assert_eq!(refuse("name = \"gh\"\npreset = \"github-actions\""), None);
    assert!(toml::from_str::<IssuerSettings>("name = \"a\"\nsubject_regex = \".*\"").is_err());
    let info = Verifiers::new(
        &[settings("name = \"gh\"\npreset = \"github-actions\"")],
        AUDIENCE,
        HttpClient::new(None).unwrap(),
    )
    .unwrap()
    .issuers();
    assert_eq!(
        (info[0].issuer.as_str(), info[0].preset),
        ("https://token.actions.githubusercontent.com", Preset::GithubActions)
    );
}
