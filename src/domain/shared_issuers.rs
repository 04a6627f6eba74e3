//! Issuers that vouch for the workloads of many owners. Whoever trusts one of them without naming an owner trusts everybody
//! who can open an account there, so a binding must pin the claim that names the owner.

/// Issuer, and the claim by which it names whose workload it is. Ids where the issuer has them: names can be given up and
/// taken by somebody else.
const SHARED: &[(&str, &str)] = &[
    ("https://token.actions.githubusercontent.com", "repository_owner_id"),
    ("https://gitlab.com", "namespace_id"),
    ("https://app.terraform.io", "terraform_organization_id"),
    ("https://agent.buildkite.com", "organization_slug"),
    ("https://oidc.vercel.com", "owner_id"),
    ("https://accounts.google.com", "sub"),
];

/// The claim that a binding to a shared issuer must pin, or `None` where the issuer has one owner. `sub` means that the
/// subject must be pinned by equality. GitHub's issuers of one enterprise (`…githubusercontent.com/ENTERPRISE`) count as
/// shared, as an enterprise has many owners. `CircleCI` and Bitbucket have one issuer for each owner and are not here.
#[must_use]
pub fn shared_issuer(issuer: &str) -> Option<&'static str> {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    SHARED.iter().find(|(shared, _)| below(issuer, shared)).map(|(_, claim)| *claim)
}

/// Equal, or GitHub's form with an enterprise below.
fn below(issuer: &str, shared: &str) -> bool {
    issuer
        .strip_prefix(shared)
        .is_some_and(|rest| rest.is_empty() || (rest.starts_with('/') && shared.contains("github")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tok_32_a_shared_issuer_names_the_claim_that_names_the_owner() {
        assert_eq!(shared_issuer("https://token.actions.githubusercontent.com"), Some("repository_owner_id"));
        assert_eq!(shared_issuer("https://token.actions.githubusercontent.com/octo-inc"), Some("repository_owner_id"));
        assert_eq!(shared_issuer("https://gitlab.com/"), Some("namespace_id"));
        assert_eq!(shared_issuer("https://app.terraform.io"), Some("terraform_organization_id"));
        assert_eq!(shared_issuer("https://gitlab.com.example.org"), None);
        assert_eq!(shared_issuer("https://oidc.circleci.com/org/6f1b"), None);
        assert_eq!(shared_issuer("https://idp.example.org"), None);
    }
}
