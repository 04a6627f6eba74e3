//! What minters that speak HTTP have in common: what it means for a credential when there is no answer, and what time it is there.

use ::http::HeaderMap;
use ::http::header::DATE;

use super::MintError;
use crate::domain::Timestamp;
use crate::sys::FetchError;

/// What a missing answer of `who` means.
pub(super) fn unheard(who: &str, error: FetchError) -> MintError {
    let why = format!("{who}: {error}");
    match error {
        FetchError::UrlNotAllowed | FetchError::AddressBlocked => MintError::Misconfigured(why),
        FetchError::Unreachable => MintError::Unreached(why),
        FetchError::TimedOut | FetchError::Broken | FetchError::TooLarge { .. } | FetchError::Status { .. } => {
            MintError::Unavailable(why)
        }
    }
}

/// What the other side's clock shows (RFC 9110 §6.6.1), to the second.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::parse(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
}
