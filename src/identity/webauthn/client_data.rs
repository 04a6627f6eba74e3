//! The client data: what the browser says was asked, by whom and where. It is under the signature only by its hash, so it is
//! read as strictly as a token is.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::{MAX_CLIENT_DATA_BYTES, RelyingParty};
use crate::domain::PasskeyFault;
use crate::sys::parse_object;

/// Deepest nesting; the standard's own members have one level.
const MAX_DEPTH: usize = 4;

/// §7.1 steps 5 to 11, §7.2 steps 8 to 14. Members we do not know are passed over, as §5.8.1 says they must be.
pub(super) fn check(json: &[u8], kind: &str, challenge: &[u8], party: &RelyingParty) -> Result<(), PasskeyFault> {
    if json.len() > MAX_CLIENT_DATA_BYTES {
        return Err(PasskeyFault::Malformed);
    }
    // Steps 5 and 6 (8 and 9): strict JSON; no client writes a byte order mark (§5.8.1.1), so none is stripped.
    let data = parse_object(json, MAX_DEPTH).map_err(|_| PasskeyFault::Malformed)?;
    let text = |name: &str| data.get(name).and_then(Value::as_str).ok_or(PasskeyFault::Malformed);
    // Step 7 (10): what kind of question it answers.
    if text("type")? != kind {
        return Err(PasskeyFault::WrongType);
    }
    // Step 8 (11): which question. The challenge is no secret, so comparing it may take any time.
    if text("challenge")? != BASE64URL_NOPAD.encode(challenge) {
        return Err(PasskeyFault::OtherChallenge);
    }
    // Step 9 (12): where it was asked, byte for byte.
    let origin = text("origin")?;
    if !party.origins().iter().any(|known| known == origin) {
        return Err(PasskeyFault::WrongOrigin);
    }
    // Step 10 (13): not inside a page of somebody else's.
    match data.get("crossOrigin") {
        None | Some(Value::Bool(false)) => {}
        Some(Value::Bool(true)) => return Err(PasskeyFault::CrossOrigin),
        Some(_) => return Err(PasskeyFault::Malformed),
    }
    // Step 11 (14): nobody frames us, so there is no top origin we would expect.
    if data.contains_key("topOrigin") {
        return Err(PasskeyFault::CrossOrigin);
    }
    Ok(())
}
