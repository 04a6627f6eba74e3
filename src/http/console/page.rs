//! What every page has: who looks, what they may do, where they are, and what time the server has. Templates are filled from types,
//! so that a page that lacks something does not compile.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};

use super::super::refusal::Refusal;
use super::assets;
use super::dress::Nonce;
use super::text::{self, Shown};
use crate::broker::Rights;
use crate::domain::Timestamp;

/// Which part of the console a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Inbox,
    Live,
    Tasks,
    Agents,
    Policies,
    Settings,
}

/// What every page has.
pub(super) struct Page {
    pub(super) title: String,
    pub(super) place: Place,
    pub(super) nonce: String,
    pub(super) csrf: String,
    /// Whoever looks, by name.
    pub(super) person: String,
    pub(super) rights: Rights,
    pub(super) now: Timestamp,
    /// How many requests wait for people; none is not shown.
    pub(super) pending: String,
    /// Whether the kill switch is thrown.
    pub(super) killed: bool,
}

/// One link of the navigation.
pub(super) struct Link {
    pub(super) place: Place,
    pub(super) href: &'static str,
    pub(super) name: &'static str,
}

impl Page {
    /// The parts of the console this person may see.
    pub(super) fn links(&self) -> Vec<Link> {
        let link = |place, href, name| Link { place, href, name };
        let mut links = vec![link(Place::Inbox, "/", "Inbox")];
        if self.rights.read {
            links.push(link(Place::Live, "/live", "Live"));
            links.push(link(Place::Tasks, "/tasks", "Tasks"));
            links.push(link(Place::Agents, "/agents", "Agents"));
            links.push(link(Place::Policies, "/policies", "Policies"));
        }
        links.push(link(Place::Settings, "/settings", "Settings"));
        links
    }

    #[expect(clippy::unused_self, reason = "templates call methods")]
    pub(super) fn asset(&self, name: &str) -> &'static str {
        assets::path(name)
    }

    pub(super) fn clock(&self) -> Shown {
        text::moment(self.now)
    }
}

/// Something to be said at the top of a page.
#[derive(Debug, Clone, Default)]
pub(super) struct Note {
    /// `danger`, `warn` or nothing.
    pub(super) kind: &'static str,
    pub(super) title: String,
    pub(super) lines: Vec<String>,
}

impl Note {
    pub(super) fn danger(title: impl Into<String>) -> Self {
        Self { kind: "danger", title: title.into(), lines: Vec::new() }
    }

    pub(super) fn plain(title: impl Into<String>) -> Self {
        Self { kind: "", title: title.into(), lines: Vec::new() }
    }

    pub(super) fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }
}

/// How every page shows the same kind of thing.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "templates pass their fields by reference")]
pub(super) trait Reading {
    /// A name that means something to a machine.
    fn exact(&self, text: &str) -> Shown {
        text::exact(text)
    }

    /// A text of somebody else's.
    fn said(&self, text: &str) -> Shown {
        text::reveal(text)
    }

    /// A point in time.
    fn at(&self, at: &Timestamp) -> Shown {
        text::moment(*at)
    }

    /// A point in time that is counted down to.
    fn until(&self, at: &Timestamp) -> Shown {
        text::until(*at)
    }

    /// A word of the wire.
    fn word(&self, word: &str) -> String {
        text::words(word)
    }

    /// A life.
    fn life_of(&self, secs: &u32) -> String {
        text::life(*secs)
    }
}

impl<T: Template> Reading for T {}

/// A filled template as an answer.
pub(super) fn show(template: &impl Template) -> Response {
    show_as(StatusCode::OK, template)
}

pub(super) fn show_as(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => Refusal::internal(format!("a page could not be filled: {error}")).into_response(),
    }
}

/// A refusal as a page of its own, for whoever came: it needs no session.
#[derive(Template)]
#[template(path = "console/problem.html")]
struct Problem<'a> {
    nonce: &'a str,
    status: u16,
    title: &'a str,
    detail: &'a str,
    code: &'a str,
    id: &'a str,
}

pub(super) fn problem_page(refusal: &Refusal, nonce: &Nonce, id: &str) -> Response {
    show(&Problem {
        nonce: &nonce.0,
        status: refusal.kind.status(),
        title: refusal.kind.title(),
        detail: &refusal.detail,
        code: refusal.kind.slug(),
        id,
    })
}
