//! Settings of a backend of this kind, and what must hold for them. Which roles there are is said here and nowhere else: a
//! catalogue entry names one by its key, and what an agent sends never becomes a part of an ARN of a role.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::deny::MAX_INLINE_CHARS;
use crate::domain::Name;
use crate::sys::{ExposeSecret as _, SecretRef, is_loopback_url};

/// The shortest session AWS gives, and the longest that a role may allow (API reference, `AssumeRole`).
pub(super) const SESSION_SECONDS: std::ops::RangeInclusive<u32> = 900..=43_200;
/// The longest that one who is a role itself may assume another for.
const MAX_CHAINED_SECONDS: u32 = 3_600;
const MAX_ROLES: usize = 64;
const MAX_ARNS: usize = 64;
const MIN_SETTLE_SECONDS: u32 = 1;
const MAX_SETTLE_SECONDS: u32 = 900;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The region whose STS is asked.
    pub region: String,
    /// The roles that may be assumed, by the key that catalogue entries use; several ARNs share their sessions.
    pub roles: BTreeMap<Name, Arns>,
    pub access_key_id: Option<SecretRef>,
    pub secret_access_key: Option<SecretRef>,
    pub session_token: Option<SecretRef>,
    /// Instead of keys: a token of the platform it runs on.
    pub web_identity: Option<WebIdentity>,
    /// What the trust policies of the roles want to see.
    pub external_id: Option<ExternalId>,
    /// The roles' `MaxSessionDuration`, the least of them.
    #[serde(default = "one_hour")]
    pub max_session_seconds: u32,
    /// Whether it may end sessions early by an inline policy of their role.
    #[serde(default)]
    pub deny_role_policy: bool,
    /// How much of a role's quota for inline policies is its own, in characters.
    #[serde(default = "max_inline_chars")]
    pub deny_policy_chars: usize,
    /// For how long a change in IAM may not have arrived everywhere.
    #[serde(default = "five_minutes")]
    pub settle_seconds: u32,
    /// Where STS is, if not where the region has it.
    pub sts_endpoint: Option<Url>,
    /// Where IAM is, if not where the partition has it.
    pub iam_endpoint: Option<Url>,
    /// Whether the endpoints may be private addresses.
    #[serde(default)]
    pub allow_private: bool,
    /// Certificate authorities to trust besides the web's.
    pub ca_file: Option<PathBuf>,
}

/// One ARN or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Arns {
    One(String),
    Many(Vec<String>),
}

/// A token in a file that whoever runs the process replaces before it expires, and the role it stands for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebIdentity {
    pub(super) token: SecretRef,
    pub(super) role: String,
}

/// An external id, or where it is: no secret to AWS, but it may be one to whoever chose it.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum ExternalId {
    Plain(String),
    Secret(SecretRef),
}

impl ExternalId {
    pub(super) fn below(self, folder: &Path) -> Self {
        match self {
            Self::Plain(text) => Self::Plain(text),
            Self::Secret(at) => Self::Secret(at.below(folder)),
        }
    }

    pub(super) fn read(&self) -> Result<String, String> {
        let text = match self {
            Self::Plain(text) => text.clone(),
            Self::Secret(at) => at.read().map_err(|why| format!("`external_id`: {why}"))?.expose_secret().to_owned(),
        };
        let word = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b);
        if (2..=1224).contains(&text.len()) && text.bytes().all(word) {
            Ok(text)
        } else {
            Err("`external_id` is 2 to 1224 letters, digits or `_+=,.@:/-`".to_owned())
        }
    }
}

const fn one_hour() -> u32 {
    MAX_CHAINED_SECONDS
}

const fn max_inline_chars() -> usize {
    MAX_INLINE_CHARS
}

const fn five_minutes() -> u32 {
    300
}

/// A role that may be assumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) partition: &'static str,
    pub(super) account: String,
    /// Its name without its path, as IAM's calls want it.
    pub(super) name: String,
}

impl Role {
    /// `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`.
    pub(super) fn read(arn: &str, partition: &'static str) -> Result<Self, String> {
        let wrong = || format!("`{arn}` is not the ARN of a role, e.g. arn:{partition}:iam::123456789012:role/name");
        let rest = arn.strip_prefix(&format!("arn:{partition}:iam::")).ok_or_else(wrong)?;
        let (account, path) = rest.split_once(":role/").ok_or_else(wrong)?;
        let name = path.rsplit('/').next().unwrap_or_default();
        let word = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
        let fits = is_account(account)
            && path.len() <= 576
            && (1..=64).contains(&name.len())
            && path.split('/').all(|part| !part.is_empty() && part.bytes().all(word));
        let role = || Self { arn: arn.to_owned(), partition, account: account.to_owned(), name: name.to_owned() };
        fits.then(role).ok_or_else(wrong)
    }
}

pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Which AWS a region is of.
pub(super) fn partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// Where IAM is in a partition, and the region its requests are signed for.
pub(super) fn iam_of(partition: &str) -> (&'static str, &'static str) {
    match partition {
        "aws-cn" => ("https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        "aws-us-gov" => ("https://iam.us-gov.amazonaws.com", "us-gov-west-1"),
        _ => ("https://iam.amazonaws.com", "us-east-1"),
    }
}

impl Settings {
    /// What is wrong with them.
    pub(super) fn check(&self) -> Result<(), String> {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(4..=32).contains(&self.region.len()) || !self.region.bytes().all(word) {
            return Err("`region` is one of AWS's, e.g. eu-central-1".to_owned());
        }
        let keys = [self.access_key_id.is_some(), self.secret_access_key.is_some()];
        match (&self.web_identity, keys) {
            (None, [true, true]) => {}
            (Some(_), [false, false]) if self.session_token.is_none() => {}
            (_, _) => {
                return Err(
                    "it needs `access_key_id` and `secret_access_key` (and `session_token` if they are temporary), \
                            or else `web_identity`"
                        .to_owned(),
                );
            }
        }
        if !SESSION_SECONDS.contains(&self.max_session_seconds) {
            return Err("`max_session_seconds` is 900 to 43200".to_owned());
        }
        if self.is_role_itself() && self.max_session_seconds > MAX_CHAINED_SECONDS {
            return Err(format!(
                "`max_session_seconds` is at most {MAX_CHAINED_SECONDS} here: the broker is a role itself, and AWS lets a role \
                 assume another for an hour at most"
            ));
        }
        if !(1024..=MAX_INLINE_CHARS).contains(&self.deny_policy_chars) {
            return Err(format!("`deny_policy_chars` is 1024 to {MAX_INLINE_CHARS}"));
        }
        if !(MIN_SETTLE_SECONDS..=MAX_SETTLE_SECONDS).contains(&self.settle_seconds) {
            return Err(format!("`settle_seconds` is {MIN_SETTLE_SECONDS} to {MAX_SETTLE_SECONDS}"));
        }
        for (name, url) in [("sts_endpoint", &self.sts_endpoint), ("iam_endpoint", &self.iam_endpoint)] {
            if let Some(url) = url {
                let scheme_fits =
                    url.scheme() == "https" || (url.scheme() == "http" && self.allow_private && is_loopback_url(url));
                let bare = url.username().is_empty() && url.password().is_none() && url.path() == "/";
                if !scheme_fits || !bare || url.query().is_some() || url.fragment().is_some() {
                    return Err(format!(
                        "`{name}` is an https URL without a path (http only to loopback, with `allow_private`)"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether the broker's own credentials are those of a role.
    pub(super) const fn is_role_itself(&self) -> bool {
        self.session_token.is_some() || self.web_identity.is_some()
    }

    /// The roles, by their key.
    pub(super) fn roles(&self) -> Result<BTreeMap<Name, Vec<Role>>, String> {
        let partition = partition(&self.region);
        let read = |(key, arns): (&Name, &Arns)| {
            let arns = match arns {
                Arns::One(arn) => std::slice::from_ref(arn),
                Arns::Many(arns) => arns.as_slice(),
            };
            if arns.is_empty() || arns.len() > MAX_ARNS {
                return Err(format!("`roles.{key}` is 1 to {MAX_ARNS} ARNs"));
            }
            let roles: Result<Vec<Role>, String> = arns.iter().map(|arn| Role::read(arn, partition)).collect();
            roles.map(|roles| (key.clone(), roles)).map_err(|why| format!("`roles.{key}`: {why}"))
        };
        if self.roles.is_empty() || self.roles.len() > MAX_ROLES {
            return Err(format!("`roles` names 1 to {MAX_ROLES} roles that may be assumed"));
        }
        self.roles.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sts_07_a_role_is_one_arn_of_the_own_partition_and_nothing_else() {
        let role = Role::read("arn:aws:iam::123456789012:role/agents/releases", "aws").unwrap();
        assert_eq!((role.account.as_str(), role.name.as_str()), ("123456789012", "releases"));
        for wrong in [
            "arn:aws:iam::999:role/Admin",
            "arn:aws-cn:iam::123456789012:role/x",
            "arn:aws:iam::123456789012:role/*",
            "arn:aws:iam::123456789012:role/x\n",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role//x",
            "arn:aws:iam::123456789012:user/x",
            "arn:aws:sts::123456789012:assumed-role/x/y",
            "*",
            "",
        ] {
            assert!(Role::read(wrong, "aws").is_err(), "{wrong:?}");
        }
    }
}
