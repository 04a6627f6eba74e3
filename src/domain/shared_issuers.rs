//! Issuers that sign for everybody: a token of theirs proves that *somebody's* pipeline ran, not whose. A binding to one
//! must say whose, by subject and by a claim that names the owner for good; this table says which claim that is.

/// Issuer, and the claims that name the owner there. Where the list is empty the issuer states no owner apart from the
/// subject. Claims are the immutable ids: names can be given up and registered again by somebody else.
const SHARED: &[(&str, &[&str])] = &[
    ("https://token.actions.githubusercontent.com", &["repository_id", "repository_owner_id"]),
    ("https://vstoken.actions.githubusercontent.com", &["repository_id", "repository_owner_id"]),
    ("https://gitlab.com", &["namespace_id"]),
    ("https://app.terraform.io", &["terraform_organization_id"]),
    ("https://agent.buildkite.com", &["organization_id"]),
    ("https://oidc.vercel.com", &["owner_id"]),
    ("https://accounts.google.com", &[]),
    ("https://api.pulumi.com/oidc", &[]),
    ("https://oidc.codefresh.io", &[]),
    ("https://proidc.upbound.io", &[]),
    ("https://sandboxes.cloud", &[]),
    ("https://scalr.io", &[]),
    ("https://studio.datachain.ai/api", &[]),
    ("https://tokens.cloud.shisho.dev", &[]),
];

/// The claims a binding to this issuer must pin, if the issuer is one that many tenants share; a binding to it must name a
/// subject too. A trailing slash and the case of the host make no difference, so that no spelling escapes the table.
#[must_use]
pub fn required_pins(issuer: &str) -> Option<&'static [&'static str]> {
    let written = issuer.strip_suffix('/').unwrap_or(issuer);
    // Some of them give each enterprise an issuer below their own, e.g. `https://token.actions.githubusercontent.com/acme`.
    let is_at_or_below = |shared: &str| match written.split_at_checked(shared.len()) {
        Some((start, rest)) => start.eq_ignore_ascii_case(shared) && (rest.is_empty() || rest.starts_with('/')),
        None => false,
    };
    SHARED.iter().find(|(shared, _)| is_at_or_below(shared)).map(|(_, pins)| *pins)
}

#[cfg(test)]
mod tests {
    use super::required_pins;

    #[test]
    fn a_shared_issuer_is_known_however_it_is_spelled() {
        let pins = Some(&["repository_id", "repository_owner_id"][..]);
        assert_eq!(required_pins("https://token.actions.githubusercontent.com"), pins);
        assert_eq!(required_pins("https://token.actions.githubusercontent.com/acme"), pins);
        assert_eq!(required_pins("https://Token.Actions.GitHubUserContent.com/"), pins);
        assert_eq!(required_pins("https://gitlab.com"), Some(&["namespace_id"][..]));
        assert_eq!(required_pins("https://scalr.io"), Some(&[][..]));
    }

    #[test]
    fn an_issuer_of_ones_own_needs_no_pin() {
        assert_eq!(required_pins("https://gitlab.acme.example"), None);
        assert_eq!(required_pins("https://token.actions.githubusercontent.com.evil.example"), None);
    }
}
