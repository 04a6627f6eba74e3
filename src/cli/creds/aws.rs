//! Keys of AWS in the two formats in which the AWS command line and SDKs take them: that of `credential_process` and that of the
//! container credentials endpoint. They differ in a version and in what the session token is called.

use serde::Serialize;
use serde_json::to_string;

use super::{end, expect_kind, value};
use crate::api::Credential;
use crate::cli::failure::{Exit, Failure};
use crate::domain::Timestamp;

/// Keys of one role session.
#[derive(Clone)]
pub(crate) struct AwsKeys {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    account_id: Option<String>,
    /// When a client should stop using them.
    pub(crate) ends_at: Timestamp,
}

/// AWS SDKs and Tools Reference Guide, "Process credential provider".
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Process<'k> {
    version: u8,
    access_key_id: &'k str,
    secret_access_key: &'k str,
    session_token: &'k str,
    expiration: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'k str>,
}

/// AWS SDKs and Tools Reference Guide, "Container credential provider".
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Container<'k> {
    access_key_id: &'k str,
    secret_access_key: &'k str,
    token: &'k str,
    expiration: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'k str>,
}

impl AwsKeys {
    /// Those of a credential.
    ///
    /// # Errors
    /// When it is of another kind, or lacks something.
    pub(crate) fn read(credential: &Credential) -> Result<Self, Failure> {
        expect_kind(credential, "the AWS command line", &["aws"])?;
        let of = |member| value(credential, member).map(str::to_owned);
        Ok(Self {
            access_key_id: of("access_key_id")?,
            secret_access_key: of("secret_access_key")?,
            session_token: of("session_token")?,
            account_id: of("account_id").ok(),
            ends_at: end(credential, "expiration"),
        })
    }

    /// For `credential_process`.
    ///
    /// # Errors
    /// Never, in fact.
    pub(crate) fn for_process(&self) -> Result<String, Failure> {
        let Self { access_key_id, secret_access_key, session_token, account_id, ends_at } = self;
        let (expiration, account_id) = (*ends_at, account_id.as_deref());
        to_string(&Process { version: 1, access_key_id, secret_access_key, session_token, expiration, account_id })
            .map_err(|error| Failure::new(Exit::Failure, error.to_string()))
    }

    /// For a container credentials endpoint.
    ///
    /// # Errors
    /// Never, in fact.
    pub(crate) fn for_container(&self) -> Result<String, Failure> {
        let Self { access_key_id, secret_access_key, session_token: token, account_id, ends_at } = self;
        let (expiration, account_id) = (*ends_at, account_id.as_deref());
        to_string(&Container { access_key_id, secret_access_key, token, expiration, account_id })
            .map_err(|error| Failure::new(Exit::Failure, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::credential;
    use super::*;
    use serde_json::{Value, json};

    const KEYS: &[(&str, &str)] = &[
        ("access_key_id", "ASIAEXAMPLE"),
        ("secret_access_key", "s/e+c\"ret"),
        ("session_token", "tok"),
        ("expiration", "2027-01-15T07:59:00Z"),
        ("region", "eu-central-1"),
    ];

    fn json_of(text: Result<String, Failure>) -> Value {
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    #[test]
    fn credential_process_gets_its_fields_and_nothing_else() {
        let keys = AwsKeys::read(&credential("aws", "aws-prod:releases:read", KEYS)).unwrap();
        let expected = json!({
            "Version": 1, "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "s/e+c\"ret", "SessionToken": "tok",
            "Expiration": "2027-01-15T07:59:00Z",
        });
        assert_eq!(json_of(keys.for_process()), expected);
        assert!(!keys.for_process().unwrap().contains('\n'));
    }

    #[test]
    fn a_container_calls_the_session_token_otherwise_and_has_no_version() {
        let values = [KEYS, &[("account_id", "123456789012")]].concat();
        let keys = AwsKeys::read(&credential("aws", "aws-prod:releases:read", &values)).unwrap();
        let expected = json!({
            "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "s/e+c\"ret", "Token": "tok",
            "Expiration": "2027-01-15T07:59:00Z", "AccountId": "123456789012",
        });
        assert_eq!(json_of(keys.for_container()), expected);
    }

    #[test]
    fn the_lease_ends_before_the_session_does_and_in_whole_seconds() {
        let later = [&KEYS[..3], &[("expiration", "2027-01-15T09:00:00Z")]].concat();
        for values in [&later, &KEYS[..3]] {
            let keys = AwsKeys::read(&credential("aws", "a:b:c", values)).unwrap();
            assert_eq!(json_of(keys.for_process())["Expiration"], "2027-01-15T08:00:00Z");
        }
    }

    #[test]
    fn what_are_no_keys_is_refused() {
        let failure = AwsKeys::read(&credential("jwt", "api:releases:read", &[("access_token", "T")])).err().unwrap();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.to_string().contains("type jwt") && !failure.to_string().contains(" T"), "{failure}");
        for missing in 0..3 {
            let mut values = KEYS.to_vec();
            values.remove(missing);
            assert!(AwsKeys::read(&credential("aws", "a:b:c", &values)).is_err(), "{missing}");
        }
    }
}
