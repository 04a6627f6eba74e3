//! One request: read by an approver, decided by a form. What was shown goes back with the verdict; if it is not what would be minted any
//! more, nothing is decided and the page comes anew with what changed said on top.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::super::caller::PathId;
use super::super::refusal::Refusal;
use super::super::{HttpState, answer, detached};
use super::page::{Note, Place, show_as};
use super::request_page::{RequestPage, TYPED, changed};
use super::see_other;
use super::session::Posted;
use super::visit::Visit;
use crate::api::{AssertionAsk, Narrow, ProblemKind, QuestionAsk, RequestView, ReviewAsk, VerdictAsk};

/// What the form of a verdict sends.
#[derive(Debug, Deserialize)]
pub(super) struct VerdictForm {
    verdict: String,
    request_digest: String,
    /// The fingerprint of what was shown.
    #[serde(default)]
    shown: String,
    /// Names the form, so that it counts once.
    #[serde(default)]
    once: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    typed: String,
    #[serde(default)]
    ttl_seconds: String,
    /// The passkey's answer as JSON, put there by the script.
    #[serde(default)]
    assertion: String,
    /// Whether scopes could be picked at all.
    picks: Option<String>,
    /// Which scopes are kept, by their text.
    #[serde(default)]
    keep: Vec<String>,
}

/// `GET /r/{id}`
pub(super) async fn read(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    PathId(id): PathId,
) -> Result<Response, Refusal> {
    page_of(&state, &visit, &id, StatusCode::OK, None).await
}

async fn page_of(
    state: &HttpState,
    visit: &Visit,
    id: &str,
    status: StatusCode,
    note: Option<Note>,
) -> Result<Response, Refusal> {
    let request = state.broker.read_request(&visit.caller, id).await?;
    let sign_in_again = request.terms.step_up == "sign_in" && !state.broker.proved_freshly(&visit.caller.sign_in);
    let page = visit.page(state, Place::Inbox, format!("{} asks", request.agent)).await?;
    let bundle = state.broker.bundle().digest().to_string();
    let once = state.broker.nonce();
    Ok(show_as(status, &RequestPage { page, note, request, bundle, once, sign_in_again }))
}

/// `POST /r/{id}/verdict`
pub(super) async fn decide(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    PathId(id): PathId,
    Posted(form): Posted<VerdictForm>,
) -> Result<Response, Refusal> {
    if form.verdict == "break_glass" {
        return Err(Refusal::invalid("Break the glass with its own form."));
    }
    settle(&state, &visit, &id, form).await
}

/// `POST /r/{id}/challenge`: what a passkey must sign for this verdict to count, for the script that asks the browser.
pub(super) async fn challenge(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    PathId(id): PathId,
    Posted(form): Posted<VerdictForm>,
) -> Result<Response, Refusal> {
    let request = state.broker.read_request(&visit.caller, &id).await?;
    let ask = ask_from(&form, &request).map_err(Refusal::invalid)?;
    Ok(answer(&state.broker.challenge_for_verdict(&visit.caller, &id, &ask).await?))
}

/// `POST /r/{id}/break-glass`
pub(super) async fn break_glass(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    PathId(id): PathId,
    Posted(form): Posted<VerdictForm>,
) -> Result<Response, Refusal> {
    settle(&state, &visit, &id, VerdictForm { verdict: "break_glass".to_owned(), ..form }).await
}

/// A question to the agent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuestionForm {
    text: String,
}

/// `POST /r/{id}/questions`
pub(super) async fn ask(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    PathId(id): PathId,
    Posted(form): Posted<QuestionForm>,
) -> Result<Response, Refusal> {
    let (broker, caller, of) = (state.broker.clone(), visit.caller.clone(), id.clone());
    let ask = QuestionAsk { text: form.text };
    match detached(&state, async move { broker.ask_question(&caller, &of, ask, None).await }).await {
        Ok(_) => Ok(see_other_request(&id)),
        Err(refusal) => {
            refusal.record();
            let note = Note::danger("The question was not sent").line(refusal.detail.clone());
            page_of(&state, &visit, &id, refusal.status(), Some(note)).await
        }
    }
}

/// What was found when somebody looked back at an emergency.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReviewForm {
    finding: String,
    note: String,
}

/// `POST /r/{id}/review`
pub(super) async fn review(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    PathId(id): PathId,
    Posted(form): Posted<ReviewForm>,
) -> Result<Response, Refusal> {
    let (broker, caller, of) = (state.broker.clone(), visit.caller.clone(), id.clone());
    let ask = ReviewAsk { verdict: form.finding, note: form.note };
    match detached(&state, async move { broker.review_request(&caller, &of, ask, None).await }).await {
        Ok(_) => Ok(see_other_request(&id)),
        Err(refusal) => {
            refusal.record();
            let note = Note::danger("Your review was not recorded").line(refusal.detail.clone());
            page_of(&state, &visit, &id, refusal.status(), Some(note)).await
        }
    }
}

async fn settle(state: &HttpState, visit: &Visit, id: &str, form: VerdictForm) -> Result<Response, Refusal> {
    let request = state.broker.read_request(&visit.caller, id).await?;
    let ask = match ask_from(&form, &request) {
        Ok(ask) => ask,
        Err(why) => {
            let note = Note::danger("Nothing was decided").line(why);
            return page_of(state, visit, id, StatusCode::BAD_REQUEST, Some(note)).await;
        }
    };
    let key = Some(form.once.clone()).filter(|once| !once.is_empty());
    let (broker, caller, of) = (state.broker.clone(), visit.caller.clone(), id.to_owned());
    match detached(state, async move { broker.decide_request_once(&caller, &of, ask, key).await }).await {
        Ok(_) => Ok(see_other_request(id)),
        Err(refusal) => {
            refusal.record();
            let note = refused(&refusal, &form, state, visit, id).await?;
            page_of(state, visit, id, refusal.status(), Some(note)).await
        }
    }
}

fn see_other_request(id: &str) -> Response {
    see_other(&format!("/r/{id}"))
}

/// Why nothing was decided, in words on top of the page as it is now.
async fn refused(
    refusal: &Refusal,
    form: &VerdictForm,
    state: &HttpState,
    visit: &Visit,
    id: &str,
) -> Result<Note, Refusal> {
    let note = Note::danger("Nothing was decided");
    if matches!(refusal.kind, ProblemKind::ApprovalMismatch | ProblemKind::ApprovalStale) {
        let now = state.broker.read_request(&visit.caller, id).await?;
        let bundle = state.broker.bundle().digest().to_string();
        let mut note = Note::danger("This is not what you were shown: nothing was decided");
        for line in changed(&form.shown, &now, &bundle) {
            note = note.line(line);
        }
        return Ok(note.line("Read it again below, and decide on what it is now."));
    }
    Ok(note.line(refusal.detail.clone()))
}

/// The verdict a form asks for, or what is wrong with it.
fn ask_from(form: &VerdictForm, request: &RequestView) -> Result<VerdictAsk, String> {
    let denies = form.verdict == "deny";
    let unseen = request.scope_details.iter().any(|scope| !scope.inspectable);
    if unseen && !denies && form.typed.trim() != TYPED {
        return Err(format!("It has a scope that cannot be inspected. Type “{TYPED}” to approve it nevertheless."));
    }
    let narrow = if denies { None } else { narrow(form, request)? };
    let verdict = match form.verdict.as_str() {
        "narrow" if narrow.is_none() => {
            return Err("Choose a shorter life or fewer scopes to approve less than was asked.".to_owned());
        }
        "narrow" => "approve",
        other => other,
    };
    let reason = Some(form.reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    let assertion = match form.assertion.as_str() {
        "" => None,
        json => Some(
            serde_json::from_str::<AssertionAsk>(json)
                .map_err(|_| "The passkey's answer could not be read. Try again.".to_owned())?,
        ),
    };
    let request_digest = form.request_digest.clone();
    Ok(VerdictAsk { verdict: verdict.to_owned(), request_digest, narrow, reason, assertion })
}

/// What was left out, if anything. Fields that say less always count, whichever button was pressed: nobody gets more than the form
/// showed when it was sent.
fn narrow(form: &VerdictForm, request: &RequestView) -> Result<Option<Narrow>, String> {
    let ttl_seconds = match form.ttl_seconds.as_str() {
        "" => None,
        secs => Some(secs.parse::<u32>().map_err(|_| "The life must be a number of seconds.".to_owned())?),
    };
    let ttl_seconds = ttl_seconds.filter(|secs| *secs < request.ttl_seconds);
    let drop_scopes: Vec<String> = if form.picks.is_some() {
        if let Some(other) = form.keep.iter().find(|scope| !request.scopes.contains(scope)) {
            return Err(format!("`{other}` is not one of the scopes that were asked for."));
        }
        request.scopes.iter().filter(|scope| !form.keep.contains(scope)).cloned().collect()
    } else {
        Vec::new()
    };
    if !drop_scopes.is_empty() && drop_scopes.len() == request.scopes.len() {
        return Err("Nothing would be left. Deny it instead.".to_owned());
    }
    let narrow = Narrow { ttl_seconds, drop_scopes };
    Ok((narrow != Narrow::default()).then_some(narrow))
}
