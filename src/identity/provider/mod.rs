//! The identity provider people sign in at, as its client sees it (OpenID Connect Core 1.0 §3.1, RFC 6749 §4.1, RFC 7636,
//! RFC 9207): where to send a browser, and what to make of the code it comes back with. URLs, PKCE and the exchange are the
//! `oauth2` crate's, over our own outgoing client; what the ID token says is for our own verifier alone.

mod metadata;
mod settings;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    StandardRevocableToken, StandardTokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Audience, IssuerSettings, SettingsError};
use crate::domain::Timestamp;
use crate::sys::{ExposeSecret as _, FetchError, FetchLimits, HttpClient, Outgoing, SecretString, read_ca_file};
use metadata::{MAX_DOCUMENT_BYTES, Metadata};

pub use settings::SignInSettings;

/// The longest answer of the token endpoint that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// Why nobody can be signed in by this provider now.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It does not answer; try again.
    #[error("the identity provider does not answer: {0}")]
    Unavailable(String),
    /// It says something that must not be relied on; an operator must look.
    #[error("the identity provider cannot be used: {0}")]
    Misconfigured(String),
    /// It does not take the code, or answered without an ID token: this sign-in is over.
    #[error("the identity provider refused the code: {0}")]
    Refused(String),
}

/// What a browser is sent to the provider with.
pub struct Asked<'a> {
    /// Ties the answer to the browser that asked.
    pub state: &'a str,
    /// Ties the ID token to the question.
    pub nonce: &'a str,
    /// Of which the provider is shown the S256 challenge.
    pub verifier: &'a str,
    /// Whether the person must prove anew who they are.
    pub step_up: bool,
    /// Whom the provider may suggest.
    pub login_hint: Option<&'a str>,
}

/// The identity provider people sign in at.
pub struct Provider {
    settings: SignInSettings,
    issuer: String,
    document: Url,
    secret: Option<SecretString>,
    redirect: RedirectUrl,
    http: HttpClient,
    allow_private: bool,
    metadata: ArcSwapOption<Metadata>,
}

/// What our exchange wants of the answer besides the usual.
#[derive(Debug, Serialize, Deserialize)]
struct WithIdToken {
    id_token: Option<String>,
}

impl ExtraTokenFields for WithIdToken {}

type Ready = Client<
    BasicErrorResponse,
    StandardTokenResponse<WithIdToken, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl Provider {
    /// From the settings, those of the issuers, and where a browser comes back to; fetches nothing yet.
    ///
    /// # Errors
    /// [`SettingsError`] when it names no issuer of people, or the secret or the authorities cannot be read.
    pub fn new(
        settings: SignInSettings,
        issuers: &[IssuerSettings],
        redirect: &str,
        http: &HttpClient,
    ) -> Result<Self, SettingsError> {
        let error = |why: String| SettingsError { name: settings.issuer.clone(), why };
        let issuer = issuers.iter().find(|issuer| issuer.name == settings.issuer).ok_or_else(|| {
            error(
                "sign_in.issuer names no [[issuers]] entry; write the name of the one where people sign in".to_owned(),
            )
        })?;
        if issuer.whom != Audience::People {
            return Err(error("sign_in.issuer must be an issuer with `for = \"people\"`".to_owned()));
        }
        if let Some(why) = settings.problems().into_iter().next() {
            return Err(error(why));
        }
        let name = issuer.issuer.clone().unwrap_or_default();
        let document = issuer.discovery_document(&name)?;
        let http = match &issuer.ca_file {
            None => http.clone(),
            Some(file) => {
                let pem = read_ca_file(file).map_err(|why| error(format!("authorities: {why}")))?;
                http.with_ca(&pem).map_err(|why| error(format!("`ca_file`: {why}")))?
            }
        };
        let secret = settings.client_secret.as_ref().map(crate::sys::SecretRef::read).transpose();
        let secret = secret.map_err(|why| error(format!("sign_in.client_secret: {why}")))?;
        let redirect =
            RedirectUrl::new(redirect.to_owned()).map_err(|why| error(format!("server.public_url: {why}")))?;
        let (issuer, allow_private) = (name, issuer.allow_private);
        Ok(Self { issuer, document, secret, redirect, http, allow_private, metadata: ArcSwapOption::empty(), settings })
    }

    /// Its settings.
    #[must_use]
    pub const fn settings(&self) -> &SignInSettings {
        &self.settings
    }

    /// The issuer as its tokens name it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether it can be used: ask it what it says of itself.
    ///
    /// # Errors
    /// [`ProviderError::Unavailable`] or [`ProviderError::Misconfigured`].
    pub async fn check(&self, now: Timestamp) -> Result<(), ProviderError> {
        self.metadata(now).await.map(drop)
    }

    /// Where to send a browser.
    ///
    /// # Errors
    /// [`ProviderError::Unavailable`] or [`ProviderError::Misconfigured`].
    pub async fn authorization_url(&self, asked: &Asked<'_>, now: Timestamp) -> Result<Url, ProviderError> {
        let client = self.client(&*self.metadata(now).await?)?;
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(asked.verifier.to_owned()));
        let state = asked.state.to_owned();
        let mut request = client
            .authorize_url(move || CsrfToken::new(state))
            .set_pkce_challenge(challenge)
            .add_scopes(self.settings.scopes.iter().cloned().map(Scope::new))
            .add_extra_param("nonce", asked.nonce.to_owned());
        if asked.step_up {
            // Core §3.1.2.1: `max_age=0` makes the provider ask, and makes `auth_time` part of the ID token.
            request = request.add_extra_param("prompt", "login").add_extra_param("max_age", "0");
            if !self.settings.acr_values.is_empty() {
                request = request.add_extra_param("acr_values", self.settings.acr_values.join(" "));
            }
        }
        if let Some(hint) = asked.login_hint {
            request = request.add_extra_param("login_hint", hint.to_owned());
        }
        Ok(request.url().0)
    }

    /// RFC 9207 §2.4: whether the `iss` of an authorization response is the issuer's; it must be there where the provider says
    /// that it sends it, and be right wherever it is.
    ///
    /// # Errors
    /// [`ProviderError::Unavailable`] or [`ProviderError::Misconfigured`].
    pub async fn sent(&self, iss: Option<&str>, now: Timestamp) -> Result<bool, ProviderError> {
        match iss {
            Some(iss) => Ok(iss == self.issuer),
            None => Ok(!self.metadata(now).await?.names_issuer),
        }
    }

    /// Exchange a code for an ID token, which nobody has verified yet.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn exchange(&self, code: &str, verifier: &str, now: Timestamp) -> Result<SecretString, ProviderError> {
        let client = self.client(&*self.metadata(now).await?)?;
        let limits = FetchLimits { max_bytes: MAX_ANSWER_BYTES, allow_private: self.allow_private };
        let http = self.http.clone();
        let send = move |request: oauth2::HttpRequest| {
            let http = http.clone();
            async move { send(&http, request, limits).await }
        };
        let asked = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.to_owned()))
            .request_async(&send)
            .await;
        let answer = asked.map_err(|error| match error {
            // The answer's words are the provider's; only the error code is repeated, in the log.
            RequestTokenError::ServerResponse(refused) => ProviderError::Refused(refused.error().to_string()),
            RequestTokenError::Request(error) => ProviderError::Unavailable(error.to_string()),
            RequestTokenError::Parse(..) => {
                ProviderError::Misconfigured("its token endpoint does not answer as RFC 6749 says".to_owned())
            }
            RequestTokenError::Other(why) => ProviderError::Misconfigured(why),
        })?;
        let token = answer.extra_fields().id_token.as_deref().map(SecretString::from);
        token.ok_or_else(|| ProviderError::Refused("there is no ID token in the answer".to_owned()))
    }

    fn client(&self, metadata: &Metadata) -> Result<Ready, ProviderError> {
        let odd = |error: oauth2::url::ParseError| ProviderError::Misconfigured(error.to_string());
        let client = Client::new(ClientId::new(self.settings.client_id.clone()))
            .set_auth_uri(AuthUrl::new(metadata.authorization_endpoint.to_string()).map_err(odd)?)
            .set_token_uri(TokenUrl::new(metadata.token_endpoint.to_string()).map_err(odd)?)
            .set_redirect_uri(self.redirect.clone())
            .set_auth_type(if metadata.secret_in_body { AuthType::RequestBody } else { AuthType::BasicAuth });
        Ok(match &self.secret {
            Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned())),
            None => client,
        })
    }

    /// What it says of itself, fetched when what is known is too old. Several may fetch at once; the limiter at the door
    /// bounds how often strangers make us.
    async fn metadata(&self, now: Timestamp) -> Result<Arc<Metadata>, ProviderError> {
        if let Some(known) = self.metadata.load_full().filter(|known| known.is_fresh(now)) {
            return Ok(known);
        }
        let limits = FetchLimits { max_bytes: MAX_DOCUMENT_BYTES, allow_private: self.allow_private };
        let bytes = self.http.get_json_bytes(&self.document, limits).await;
        let bytes = bytes.map_err(|error| ProviderError::Unavailable(error.to_string()))?;
        let read = Metadata::read(&bytes, &self.document, &self.issuer, &self.settings.hosts, now);
        let fresh = Arc::new(read.map_err(|why| ProviderError::Misconfigured(why.to_owned()))?);
        self.metadata.store(Some(Arc::clone(&fresh)));
        Ok(fresh)
    }
}

/// One call of the `oauth2` crate, made by our own client.
async fn send(
    http: &HttpClient,
    request: oauth2::HttpRequest,
    limits: FetchLimits,
) -> Result<oauth2::HttpResponse, FetchError> {
    let (parts, body) = request.into_parts();
    let url = Url::parse(&parts.uri.to_string()).map_err(|_| FetchError::UrlNotAllowed)?;
    let answer = http.send(Outgoing { method: parts.method, url, headers: parts.headers, body }, limits).await?;
    let mut response = http::Response::new(answer.body);
    (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.headers);
    Ok(response)
}
