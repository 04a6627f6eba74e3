//! Signature version 4, verified and made, by the text of its specification and with no code of the SDK.

use std::collections::BTreeMap;

use hallpass::domain::Timestamp;
use hallpass::sys::sha256;
use ring::hmac;

/// Who signed what for which service.
pub(crate) struct Signed {
    pub(crate) key: String,
    pub(crate) service: String,
    pub(crate) region: String,
    pub(crate) at: Timestamp,
    scope: String,
    names: Vec<String>,
    signature: String,
    stamp: String,
}

pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a BTreeMap<String, String>,
    pub(crate) body: &'a [u8],
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn when(stamp: &str) -> Option<Timestamp> {
    let (day, time) = stamp.strip_suffix('Z')?.split_once('T')?;
    let part = |text: &str, from: usize, to: usize| text.get(from..to).map(str::to_owned);
    let written = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(day, 0, 4)?,
        part(day, 4, 6)?,
        part(day, 6, 8)?,
        part(time, 0, 2)?,
        part(time, 2, 4)?,
        part(time, 4, 6)?
    );
    written.parse().ok()
}

impl Signed {
    pub(crate) fn read(headers: &BTreeMap<String, String>) -> Option<Self> {
        let rest = headers.get("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let members: BTreeMap<&str, &str> = rest.split(',').filter_map(|one| one.trim().split_once('=')).collect();
        let (key, scope) = members.get("Credential")?.split_once('/')?;
        let parts: Vec<&str> = scope.split('/').collect();
        let [_, region, service, "aws4_request"] = parts.as_slice() else { return None };
        let stamp = headers.get("x-amz-date")?.clone();
        Some(Self {
            key: key.to_owned(),
            service: (*service).to_owned(),
            region: (*region).to_owned(),
            at: when(&stamp)?,
            scope: scope.to_owned(),
            names: members.get("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: (*members.get("Signature")?).to_owned(),
            stamp,
        })
    }

    /// Whether it was signed with this secret; host and date and, of temporary keys, the token must be under the signature.
    pub(crate) fn is_by(&self, secret: &str, request: &Request<'_>) -> bool {
        let must: &[&str] = if request.headers.contains_key("x-amz-security-token") {
            &["host", "x-amz-date", "x-amz-security-token"]
        } else {
            &["host", "x-amz-date"]
        };
        must.iter().all(|name| self.names.iter().any(|signed| signed == name))
            && self.made_with(secret, request) == self.signature
    }

    fn made_with(&self, secret: &str, request: &Request<'_>) -> String {
        let value = |name: &String| request.headers.get(name).map_or("", |value| value.trim());
        let headers: Vec<String> = self.names.iter().map(|name| format!("{name}:{}\n", value(name))).collect();
        let headers = headers.concat();
        let mut query: Vec<&str> = request.query.split('&').filter(|one| !one.is_empty()).collect();
        query.sort_unstable();
        let payload = request.headers.get("x-amz-content-sha256").cloned().unwrap_or_else(|| digest(request.body));
        let canonical = format!(
            "{}\n{}\n{}\n{headers}\n{}\n{payload}",
            request.method,
            request.path,
            query.join("&"),
            self.names.join(";")
        );
        let day = self.scope.split('/').next().unwrap_or_default();
        let mut key = mac(format!("AWS4{secret}").as_bytes(), day);
        for part in [self.region.as_str(), self.service.as_str(), "aws4_request"] {
            key = mac(&key, part);
        }
        let text = format!("AWS4-HMAC-SHA256\n{}\n{}\n{}", self.stamp, self.scope, digest(canonical.as_bytes()));
        hex(&mac(&key, &text))
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// What a bearer of temporary keys is recognised by.
pub(crate) fn short(text: &str) -> String {
    data_encoding::BASE32_NOPAD.encode(sha256(text).as_bytes()).chars().take(16).collect()
}

#[test]
fn a_signature_of_the_specification_is_verified() {
    // docs.aws.amazon.com, "Create a signed AWS API request", the example of IAM ListUsers.
    let headers: BTreeMap<String, String> = [
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("host", "iam.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    let request = Request {
        method: "GET",
        path: "/",
        query: "Action=ListUsers&Version=2010-05-08",
        headers: &headers,
        body: b"",
    };
    let signed = Signed::read(&headers).unwrap();
    assert!(signed.is_by("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", &request));
    assert!(!signed.is_by("another", &request));
}
