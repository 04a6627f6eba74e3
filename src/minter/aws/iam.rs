//! IAM, as much of it as the end of a session needs: the inline policies of a role. Four calls of its query API (version 2010-05-08),
//! signed by the SDK's signer and sent by our own client; a whole SDK for them would cost more than it saves.

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use url::{Url, form_urlencoded};

use super::connector::{Connector, system_time};
use super::own::Own;
use super::sts::of_code;
use crate::minter::MintError;
use crate::sys::{FetchError, Incoming, Outgoing};

const VERSION: &str = "2010-05-08";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// IAM of one partition.
pub(super) struct Iam {
    pub(super) endpoint: Url,
    pub(super) region: String,
    pub(super) connector: Connector,
    pub(super) own: Own,
}

/// A role as IAM has it.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) id: String,
    pub(super) arn: String,
    pub(super) max_session_seconds: Option<u32>,
}

/// Whether a policy could be put.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    Done,
    /// It does not fit beside the role's other inline policies.
    Full,
}

/// What IAM answers: the body, or its error.
struct Said {
    code: String,
    message: String,
    status: u16,
}

impl Said {
    fn into_error(self) -> MintError {
        of_code("IAM", &self.code, &self.message, self.status)
    }
}

impl Iam {
    /// What a role is.
    pub(super) async fn get_role(&self, role: &str) -> Result<Described, MintError> {
        let body = self.ask("GetRole", &[("RoleName", role)]).await?.map_err(Said::into_error)?;
        let missing = || MintError::Unavailable("IAM answered without the role".to_owned());
        Ok(Described {
            id: inside(&body, "RoleId").ok_or_else(missing)?.to_owned(),
            arn: inside(&body, "Arn").ok_or_else(missing)?.to_owned(),
            max_session_seconds: inside(&body, "MaxSessionDuration").and_then(|text| text.parse().ok()),
        })
    }

    /// The text of an inline policy of a role, if it is there.
    pub(super) async fn get_role_policy(&self, role: &str, policy: &str) -> Result<Option<String>, MintError> {
        match self.ask("GetRolePolicy", &[("RoleName", role), ("PolicyName", policy)]).await? {
            Ok(body) => {
                let document = inside(&body, "PolicyDocument")
                    .ok_or_else(|| MintError::Unavailable("IAM answered without the policy".to_owned()))?;
                Ok(Some(percent_decoded(document)))
            }
            Err(said) if said.code == "NoSuchEntity" => Ok(None),
            Err(said) => Err(said.into_error()),
        }
    }

    pub(super) async fn put_role_policy(&self, role: &str, policy: &str, document: &str) -> Result<Put, MintError> {
        let members = [("RoleName", role), ("PolicyName", policy), ("PolicyDocument", document)];
        match self.ask("PutRolePolicy", &members).await? {
            Ok(_) => Ok(Put::Done),
            Err(said) if said.code == "LimitExceeded" => Ok(Put::Full),
            Err(said) => Err(said.into_error()),
        }
    }

    pub(super) async fn delete_role_policy(&self, role: &str, policy: &str) -> Result<(), MintError> {
        match self.ask("DeleteRolePolicy", &[("RoleName", role), ("PolicyName", policy)]).await? {
            Ok(_) => Ok(()),
            Err(said) if said.code == "NoSuchEntity" => Ok(()),
            Err(said) => Err(said.into_error()),
        }
    }

    async fn ask(&self, action: &str, members: &[(&str, &str)]) -> Result<Result<String, Said>, MintError> {
        let body = form(action, members);
        let headers = self.signed(&body).await?;
        let outgoing = Outgoing { method: Method::POST, url: self.endpoint.clone(), headers, body };
        let Incoming { status, body, .. } =
            self.connector.http.send(outgoing, self.connector.limits()).await.map_err(unheard)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            return Ok(Ok(body));
        }
        let part = |name: &str| inside(&body, name).unwrap_or_default().to_owned();
        Ok(Err(Said { code: part("Code"), message: part("Message"), status: status.as_u16() }))
    }

    async fn signed(&self, body: &[u8]) -> Result<HeaderMap, MintError> {
        let unsigned = |why: String| MintError::Misconfigured(format!("IAM cannot be asked: {why}"));
        let identity = self.own.credentials().await.map_err(unsigned)?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("iam")
            .time(system_time(self.connector.clock.now()))
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsigned(error.to_string()))?
            .into();
        let request = SignableRequest::new(
            "POST",
            self.endpoint.as_str(),
            [("content-type", FORM)].into_iter(),
            SignableBody::Bytes(body),
        )
        .map_err(|error| unsigned(error.to_string()))?;
        let (instructions, _) = sign(request, &params).map_err(|error| unsigned(error.to_string()))?.into_parts();
        let mut signed = http::Request::new(());
        instructions.apply_to_request_http1x(&mut signed);
        let mut headers = std::mem::take(signed.headers_mut());
        for value in headers.values_mut() {
            value.set_sensitive(true);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
        Ok(headers)
    }
}

fn form(action: &str, members: &[(&str, &str)]) -> Vec<u8> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", action).append_pair("Version", VERSION).extend_pairs(members);
    form.finish().into_bytes()
}

/// What stands between the first tag of that name and its end. IAM's answers to our calls nest none of those that are asked for.
fn inside<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{tag}>"))?;
    rest.split_once(&format!("</{tag}>")).map(|(text, _)| text)
}

/// RFC 3986 §2.1, as IAM writes policies.
fn percent_decoded(text: &str) -> String {
    // A form has `+` for a space, which here stands for itself.
    let form = format!("x={}", text.replace('+', "%2B"));
    form_urlencoded::parse(form.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn unheard(error: FetchError) -> MintError {
    let why = format!("IAM: {error}");
    match error {
        FetchError::UrlNotAllowed | FetchError::AddressBlocked => MintError::Misconfigured(why),
        FetchError::Unreachable => MintError::Unreached(why),
        FetchError::TimedOut | FetchError::Broken | FetchError::TooLarge { .. } | FetchError::Status { .. } => {
            MintError::Unavailable(why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_it_was_put() {
        let body =
            "<R><PolicyDocument>%7B%22Version%22%3A%222012-10-17%22%2C%22a%22%3A%22b+c%26%22%7D</PolicyDocument></R>";
        let read = percent_decoded(inside(body, "PolicyDocument").unwrap());
        assert_eq!(read, r#"{"Version":"2012-10-17","a":"b+c&"}"#);
        assert_eq!(inside(body, "Nothing"), None);
    }
}
