//! A person on a page: signed in, with what policy lets them do, and the nonce of this answer. Every handler of a page starts here.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};

use super::super::HttpState;
use super::super::refusal::Refusal;
use super::dress::Nonce;
use super::page::{Page, Place};
use super::session::{NotSignedIn, SignedIn};
use crate::broker::{Caller, OperatorCaller, Rights};

/// More than this many waiting requests are not counted out on every page.
const MANY_WAIT: i64 = 999;

/// Whoever looks at a page.
pub(super) struct Visit {
    pub(super) caller: OperatorCaller,
    pub(super) rights: Rights,
    csrf: String,
    nonce: String,
}

impl FromRequestParts<Arc<HttpState>> for Visit {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, state: &Arc<HttpState>) -> Result<Self, Response> {
        let SignedIn { caller, csrf } =
            SignedIn::from_request_parts(parts, state).await.map_err(NotSignedIn::into_response)?;
        let nonce = Nonce::from_request_parts(parts, state).await.map_err(Refusal::into_response)?;
        let rights = state.broker.rights(&caller);
        Ok(Self { caller, rights, csrf: csrf.to_string(), nonce: nonce.0 })
    }
}

impl Visit {
    /// What the page has in common with every other.
    pub(super) async fn page(
        &self,
        state: &HttpState,
        place: Place,
        title: impl Into<String>,
    ) -> Result<Page, Refusal> {
        let pending = if self.rights.review { state.broker.waiting(&self.caller, None).await?.all } else { 0 };
        Ok(Page {
            title: title.into(),
            place,
            nonce: self.nonce.clone(),
            csrf: self.csrf.clone(),
            person: self.caller.operator.person.to_string(),
            rights: self.rights,
            now: state.broker.now(),
            pending: counted(pending),
            killed: state.broker.is_killed(),
        })
    }

    pub(super) fn as_caller(&self) -> Caller {
        Caller::Operator(self.caller.clone())
    }
}

/// A number for a badge; nothing for none.
pub(super) fn counted(n: i64) -> String {
    match n {
        ..=0 => String::new(),
        1..=MANY_WAIT => n.to_string(),
        _ => format!("{MANY_WAIT}+"),
    }
}
