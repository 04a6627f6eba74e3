//! A refusal on its way out. Handlers and extractors return it bare; the frame around every route writes the problem document
//! (RFC 9457), because only the frame knows the request's id. So no path can answer an error in another shape.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::{Problem, ProblemKind};

/// Why a request is not answered as it hoped.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    /// Which row of the table.
    pub(super) kind: ProblemKind,
    /// What happened this time and what to do next; safe to show to whoever called.
    pub(super) detail: Cow<'static, str>,
    /// When the same may be tried again.
    retry_after_secs: Option<u64>,
    /// The `WWW-Authenticate` challenge.
    challenge: Option<&'static str>,
    /// What few refusals have.
    pub(super) about: Box<About>,
}

/// What few refusals have.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    /// One word that says more.
    pub(super) reason: Option<String>,
    /// Why policy said no.
    pub(super) because: Vec<String>,
    /// The task it is about.
    pub(super) task: Option<String>,
    /// The decision it follows from.
    pub(super) decision: Option<String>,
    /// What only the log may know.
    log: Option<String>,
}

impl Refusal {
    pub(super) fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), retry_after_secs: None, challenge: None, about: Box::default() }
    }

    /// No token that is accepted; never says which check failed.
    pub(super) fn unauthenticated() -> Self {
        let detail = "The identity token is missing or was not accepted. Stop, and report this with the request id.";
        let mut refusal = Self::new(ProblemKind::InvalidToken, detail);
        refusal.challenge = Some("Bearer realm=\"hallpass\", error=\"invalid_token\"");
        refusal
    }

    pub(super) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemKind::InvalidRequest, detail)
    }

    pub(super) fn not_found() -> Self {
        Self::new(ProblemKind::NotFound, "There is nothing at this path.")
    }

    pub(super) fn internal(log: impl Into<String>) -> Self {
        let detail =
            "Something went wrong in the broker. Nothing was delivered; report the request id if it happens again.";
        Self::new(ProblemKind::Internal, detail).logging(log)
    }

    pub(super) fn because_of(mut self, reason: impl Into<String>) -> Self {
        self.about.reason = Some(reason.into());
        self
    }

    /// With a `WWW-Authenticate` challenge.
    pub(super) const fn challenging(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    pub(super) const fn after_secs(mut self, secs: u64) -> Self {
        self.retry_after_secs = Some(secs);
        self
    }

    pub(super) fn logging(mut self, text: impl Into<String>) -> Self {
        self.about.log = Some(text.into());
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(super) fn retry_after(&self) -> Option<HeaderValue> {
        self.retry_after_secs.map(HeaderValue::from)
    }

    /// Tell the log what the caller is not told; the frame's span carries the request's id.
    pub(super) fn record(&self) {
        let (code, detail) = (self.kind.slug(), self.about.log.as_deref().unwrap_or_default());
        if matches!(self.kind, ProblemKind::Internal | ProblemKind::IntegrityViolation) {
            tracing::error!(code, detail, "request failed");
        } else if self.about.log.is_some() {
            tracing::warn!(code, detail, "request could not be served");
        } else {
            tracing::debug!(code, "request refused");
        }
    }

    /// The problem document as a response.
    pub(super) fn render(&self, public_url: &str, request_id: &str) -> Response {
        let problem = Problem {
            kind: match self.kind.standard() {
                Some(urn) => urn.to_owned(),
                None => format!("{public_url}/problems/{}", self.kind.slug()),
            },
            code: self.kind.slug().to_owned(),
            title: self.kind.title().to_owned(),
            status: self.kind.status(),
            detail: self.detail.clone().into_owned(),
            request_id: request_id.to_owned(),
            agent_action: self.kind.agent_action(),
            reason: self.about.reason.clone(),
            because: self.about.because.clone(),
            task: self.about.task.clone(),
            decision: self.about.decision.clone(),
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        self.dress(Body::from(body), HeaderValue::from_static("application/problem+json"))
    }

    /// Its detail as a line of text, where a standard wants no document (AuthZEN §10.1).
    pub(super) fn render_text(&self) -> Response {
        let body = self.detail.clone().into_owned();
        self.dress(Body::from(body), HeaderValue::from_static("text/plain; charset=utf-8"))
    }

    fn dress(&self, body: Body, content_type: HeaderValue) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, content_type);
        if let Some(secs) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, secs);
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
