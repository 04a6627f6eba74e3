//! What somebody pressed, from a call that Slack signed (docs.slack.dev, "Verifying requests from Slack"). Who it was and what is meant
//! come from the signed bytes alone; all that can be meant is a no.

use ring::hmac;
use serde_json::{Map, Value};
use url::Url;

use super::super::SignedCall;
use super::blocks::DENY;
use crate::sys::parse_object;

/// How far the time of a call may be off, in seconds.
const TOLERANCE_SECS: i64 = 300;
/// How deep a call is nested at most; it holds the message it is about.
const MAX_DEPTH: usize = 32;

/// Why a call is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChatRefusal {
    /// The signature is not of these bytes, or too old.
    #[error("the call is not signed by the chat, or too old")]
    NotSigned,
    /// It is signed, and nothing that these messages can cause.
    #[error("the call is not about a button of ours")]
    NotOurs,
}

/// What somebody pressed in a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatAction {
    /// The issuer by which the bundle's register of people knows accounts of this chat.
    pub issuer: String,
    /// The account.
    pub subject: String,
    /// Which request to deny, by the digest it was shown with; `None` when only a link was opened.
    pub deny: Option<(String, String)>,
    /// Where to answer so that nobody else reads it.
    pub response_url: Url,
}

/// Verify and read a call.
pub(super) fn read(key: &hmac::Key, team: &str, call: &SignedCall<'_>) -> Result<ChatAction, ChatRefusal> {
    verify(key, call)?;
    action(team, call.body).ok_or(ChatRefusal::NotOurs)
}

fn verify(key: &hmac::Key, call: &SignedCall<'_>) -> Result<(), ChatRefusal> {
    let digits = call.timestamp.bytes().all(|b| b.is_ascii_digit()) && call.timestamp.len() <= 12;
    let secs: i64 = call.timestamp.parse().ok().filter(|_| digits).ok_or(ChatRefusal::NotSigned)?;
    if call.now.as_secs().saturating_sub(secs).saturating_abs() > TOLERANCE_SECS {
        return Err(ChatRefusal::NotSigned);
    }
    let tag = call.signature.strip_prefix("v0=").and_then(|hex| data_encoding::HEXLOWER.decode(hex.as_bytes()).ok());
    let signed = [b"v0:", call.timestamp.as_bytes(), b":", call.body].concat();
    // In constant time.
    hmac::verify(key, &signed, &tag.ok_or(ChatRefusal::NotSigned)?).map_err(|_| ChatRefusal::NotSigned)
}

fn action(team: &str, body: &[u8]) -> Option<ChatAction> {
    let mut payloads = url::form_urlencoded::parse(body).filter(|(name, _)| name == "payload");
    let (Some((_, payload)), None) = (payloads.next(), payloads.next()) else { return None };
    let payload = parse_object(payload.as_bytes(), MAX_DEPTH).ok()?;
    let text = |at: &str| pointer(&payload, at).and_then(Value::as_str);
    if text("type") != Some("block_actions") || text("team/id") != Some(team) {
        return None;
    }
    let user = text("user/id").filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()))?;
    let [pressed] = payload.get("actions")?.as_array()?.as_slice() else { return None };
    let deny = if pressed.get("action_id")?.as_str()? == DENY {
        let value = parse_object(pressed.get("value")?.as_str()?.as_bytes(), 2).ok()?;
        let member = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Some((member("request")?, member("digest")?))
    } else {
        None
    };
    Some(ChatAction {
        issuer: format!("https://slack.com/{team}"),
        subject: user.to_owned(),
        deny,
        response_url: text("response_url")?.parse().ok()?,
    })
}

/// A member of a member.
fn pointer<'v>(object: &'v Map<String, Value>, at: &str) -> Option<&'v Value> {
    match at.split_once('/') {
        None => object.get(at),
        Some((first, rest)) => pointer(object.get(first)?.as_object()?, rest),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::Timestamp;

    const NOW: Timestamp = Timestamp::from_secs(1_531_420_618);

    fn signed(key: &hmac::Key, secs: i64, body: &[u8]) -> String {
        let bytes = [format!("v0:{secs}:").as_bytes(), body].concat();
        format!("v0={}", data_encoding::HEXLOWER.encode(hmac::sign(key, &bytes).as_ref()))
    }

    #[test]
    fn the_example_of_slacks_documentation_verifies_and_nothing_near_it() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"8f742231b10e8888abcd99yyyzzz85a5");
        let body: &[u8] = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        let call = SignedCall { signature, timestamp: "1531420618", body, now: NOW };
        assert_eq!(verify(&key, &call), Ok(()));
        let other = hmac::Key::new(hmac::HMAC_SHA256, b"another");
        let upper = signature.to_uppercase();
        let longer = [body, b"&x=1"].concat();
        for refused in [
            verify(&other, &call),
            verify(&key, &SignedCall { body: &longer, ..call }),
            verify(&key, &SignedCall { timestamp: "1531420619", ..call }),
            verify(&key, &SignedCall { timestamp: "+1531420618", ..call }),
            verify(&key, &SignedCall { signature: "", ..call }),
            verify(&key, &SignedCall { signature: "v0=", ..call }),
            verify(&key, &SignedCall { signature: &upper, ..call }),
            verify(&key, &SignedCall { now: NOW.plus_millis(301_000), ..call }),
            verify(&key, &SignedCall { now: NOW.plus_millis(-301_000), ..call }),
        ] {
            assert_eq!(refused, Err(ChatRefusal::NotSigned));
        }
    }

    #[test]
    fn only_a_no_can_be_meant_whatever_the_call_says() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let payload = |change: fn(&mut Value)| {
            let mut payload = json!({
                "type": "block_actions", "team": { "id": "T1" }, "user": { "id": "U7" },
                "response_url": "https://hooks.slack.com/actions/T1/1/x",
                "actions": [{ "action_id": DENY, "value": "{\"digest\":\"sha256:0\",\"request\":\"req_1\"}" }],
            });
            change(&mut payload);
            let body: String = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("payload", &payload.to_string())
                .finish();
            let signature = signed(&key, NOW.as_secs(), body.as_bytes());
            let timestamp = NOW.as_secs().to_string();
            read(
                &key,
                "T1",
                &SignedCall { signature: &signature, timestamp: &timestamp, body: body.as_bytes(), now: NOW },
            )
        };
        let deny = payload(|_| {}).unwrap();
        assert_eq!((deny.issuer.as_str(), deny.subject.as_str()), ("https://slack.com/T1", "U7"));
        assert_eq!(deny.deny, Some(("req_1".to_owned(), "sha256:0".to_owned())));
        let verdict = payload(|p| p["verdict"] = json!("approve")).unwrap();
        assert_eq!(verdict.deny, deny.deny, "there is no verdict to choose");
        let approve = payload(|p| p["actions"][0]["action_id"] = json!("hallpass_approve")).unwrap();
        assert_eq!(approve.deny, None);
        for change in [
            (|p| p["team"]["id"] = json!("T2")) as fn(&mut Value),
            |p| p["type"] = json!("view_submission"),
            |p| p["user"]["id"] = json!("U7#x"),
            |p| p["actions"] = json!([]),
            |p| p["actions"] = json!([p["actions"][0], p["actions"][0]]),
            |p| p["actions"][0]["value"] = json!("req_1"),
            |p| p["response_url"] = json!("nowhere"),
        ] {
            assert_eq!(payload(change), Err(ChatRefusal::NotOurs));
        }
    }
}
