//! STS: sessions of roles. The SDK asks, at most three times within seven seconds; what it says is read for what the caller can do.
//! A session is never asked for without a policy, whatever was said of the one that was sent.

use std::time::Duration;

use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::config::{BehaviorVersion, IdentityCache, ProvideCredentials, Region, StalledStreamProtectionConfig};
use aws_sdk_sts::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleOutput;
use aws_sdk_sts::primitives::DateTime;
use aws_sdk_sts::types::Tag;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use url::Url;

use super::connector::Connector;
use crate::domain::Timestamp;
use crate::minter::MintError;
use crate::sys::{FetchError, SecretString};

/// Tries of one call, all of them within the whole: less than what the broker waits for a mint.
const TRIES: u32 = 3;
const ONE_TRY: Duration = Duration::from_secs(2);
const ALL_TRIES: Duration = Duration::from_secs(7);
/// Waiting before the second try and at most, each times a random number up to one.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The longest piece of what AWS says that goes into an error, in characters.
const MAX_SAID: usize = 300;

/// A session to be asked for.
pub(super) struct Ask<'a> {
    pub(super) role_arn: &'a str,
    pub(super) session: &'a str,
    pub(super) source_identity: &'a str,
    pub(super) policy: &'a str,
    pub(super) seconds: i32,
    pub(super) tags: &'a [(String, String)],
    pub(super) external_id: Option<&'a str>,
}

/// A session.
pub(super) struct Session {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: SecretString,
    pub(super) token: SecretString,
    pub(super) expiration: Timestamp,
    /// The role's id: what is before the colon in the session's `aws:userid`.
    pub(super) role_id: String,
}

/// A client that signs with these credentials, or with none.
pub(super) fn client(
    connector: &Connector,
    region: &str,
    endpoint: Option<&Url>,
    own: Option<impl ProvideCredentials + 'static>,
) -> aws_sdk_sts::Client {
    let retry = RetryConfig::standard()
        .with_max_attempts(TRIES)
        .with_initial_backoff(FIRST_WAIT)
        .with_max_backoff(LONGEST_WAIT);
    let timeout = TimeoutConfig::builder().operation_attempt_timeout(ONE_TRY).operation_timeout(ALL_TRIES).build();
    let mut config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(connector.clone())
        .time_source(connector.clone())
        .identity_cache(IdentityCache::no_cache())
        .retry_config(retry)
        .timeout_config(timeout)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(url) = endpoint {
        config = config.endpoint_url(url.as_str().trim_end_matches('/'));
    }
    if let Some(own) = own {
        config = config.credentials_provider(own);
    }
    aws_sdk_sts::Client::from_conf(config.build())
}

/// Ask for a session.
pub(super) async fn assume_role(client: &aws_sdk_sts::Client, ask: &Ask<'_>) -> Result<Session, MintError> {
    let tag = |(key, value): &(String, String)| Tag::builder().key(key).value(value).build();
    let tags: Result<Vec<Tag>, _> = ask.tags.iter().map(tag).collect();
    let answer = client
        .assume_role()
        .role_arn(ask.role_arn)
        .role_session_name(ask.session)
        .source_identity(ask.source_identity)
        .policy(ask.policy)
        .duration_seconds(ask.seconds)
        .set_tags(Some(tags.map_err(|error| MintError::Unsupported(error.to_string()))?))
        .set_external_id(ask.external_id.map(str::to_owned))
        .send()
        .await
        .map_err(|error| classify(&error))?;
    read(&answer, ask.session).ok_or_else(|| MintError::Unavailable("STS answered without a session".to_owned()))
}

fn read(answer: &AssumeRoleOutput, session: &str) -> Option<Session> {
    let given = answer.credentials()?;
    let (role_id, named) = answer.assumed_role_user()?.assumed_role_id().split_once(':')?;
    (named == session).then(|| Session {
        access_key_id: given.access_key_id().to_owned(),
        secret_access_key: SecretString::from(given.secret_access_key()),
        token: SecretString::from(given.session_token()),
        expiration: time_of(given.expiration()),
        role_id: role_id.to_owned(),
    })
}

pub(super) fn time_of(at: &DateTime) -> Timestamp {
    Timestamp::from_millis(at.to_millis().unwrap_or(0))
}

/// The account and the ARN of whoever asks.
pub(super) async fn caller(client: &aws_sdk_sts::Client) -> Result<(String, String), MintError> {
    let answer = client.get_caller_identity().send().await.map_err(|error| classify(&error))?;
    Ok((answer.account().unwrap_or_default().to_owned(), answer.arn().unwrap_or_default().to_owned()))
}

/// What AWS says, fit to be shown to an operator.
pub(super) fn said(code: &str, message: &str) -> String {
    let message: String = message.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_SAID).collect();
    if message.is_empty() { code.to_owned() } else { format!("{code}: {message}") }
}

fn classify<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E, HttpResponse>) -> MintError {
    match error {
        SdkError::ConstructionFailure(_) => {
            MintError::Misconfigured(format!("STS cannot be asked: {}", DisplayErrorContext(error)))
        }
        SdkError::TimeoutError(_) => MintError::Unavailable("STS: no answer in time".to_owned()),
        SdkError::DispatchFailure(failure) => match failure.as_connector_error().and_then(|error| fetch_error(error)) {
            Some(why @ (FetchError::UrlNotAllowed | FetchError::AddressBlocked)) => {
                MintError::Misconfigured(format!("STS: {why}"))
            }
            Some(why) if why.never_sent() => MintError::Unreached(format!("STS: {why}")),
            Some(why) => MintError::Unavailable(format!("STS: {why}")),
            None => MintError::Misconfigured(format!("STS cannot be asked: {}", DisplayErrorContext(error))),
        },
        SdkError::ServiceError(answer) => {
            let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
            of_code("STS", code, message, answer.raw().status().as_u16())
        }
        SdkError::ResponseError(_) | _ => MintError::Unavailable("STS: its answer cannot be read".to_owned()),
    }
}

fn fetch_error(error: &(dyn std::error::Error + 'static)) -> Option<FetchError> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<FetchError>() {
            return Some(*found);
        }
        next = cause.source();
    }
    None
}

/// What an error of AWS means to whoever called.
pub(super) fn of_code(service: &str, code: &str, message: &str, status: u16) -> MintError {
    let said = format!("{service} says {}", said(code, message));
    match code {
        "PackedPolicyTooLarge" | "PackedPolicyTooLargeException" => MintError::Unsupported(format!(
            "{said}: what is asked does not fit into one session; ask for less, or for parts of it in requests of their own"
        )),
        "MalformedPolicyDocument" | "MalformedPolicyDocumentException" => {
            MintError::Misconfigured(format!("{said}: mend the catalogue entry's statements"))
        }
        "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException"
        | "RequestExpired"
        | "IncompleteSignature"
        | "RegionDisabledException"
        | "ValidationError" => MintError::Misconfigured(said),
        "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "SlowDown" => MintError::Unreached(said),
        _ if status >= 500 => MintError::Unavailable(said),
        _ => MintError::Refused(said),
    }
}
