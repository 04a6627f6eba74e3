//! Telling people: channels that carry notices out, each kind in a file of its own. What a notice says was put together before, by the
//! broker; here it is only rendered and sent. Nothing an agent wrote can format, link, mention anybody or add a header.

mod content;
mod registry;
mod settings;
mod slack;
mod smtp;
mod text;
mod web;
mod webhook;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::domain::{NoticeId, NoticeKind, Timestamp};
use crate::sys::HttpClient;

pub use content::Content;
pub use registry::{Channel, Channels, KINDS};
pub use settings::ChannelSettings;
pub use slack::{ChatAction, ChatRefusal};

/// What senders are built from besides their settings.
#[derive(Clone)]
pub struct SenderDeps {
    /// The outgoing HTTP client.
    pub http: HttpClient,
    /// The configuration's folder, which files in a channel's settings are relative to.
    pub folder: PathBuf,
}

/// A channel cannot be built from its settings; says which one and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misconfigured(pub String);

/// Why a notice was not taken. Nothing of what was sent is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct SendError {
    /// What went wrong, fit for a log.
    pub why: String,
    /// For how many seconds the other side wants to be left alone, if it says so.
    pub rest_secs: Option<u32>,
}

impl SendError {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), rest_secs: None }
    }
}

/// Who reads what a channel carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers<'a> {
    /// Whoever is in the channel: one notice does.
    Channel,
    /// People by their addresses: one notice for each. Besides the people that are known, these addresses by group.
    People(&'a BTreeMap<String, Vec<String>>),
}

/// What becomes of copies once a request is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowUp {
    /// The copy itself is changed, whether or not the channel wants to hear of outcomes: nothing may look open that is not.
    Change,
    /// Whoever has a copy gets another notice.
    Reply,
    /// Everything is told, also to whom had no copy.
    Always,
}

/// One notice on its way.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// Its id, the same at each attempt.
    pub id: NoticeId,
    /// To whom: an address, or nothing.
    pub recipient: &'a str,
    /// What it says.
    pub content: &'a Content,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The present.
    pub now: Timestamp,
    /// What it follows up: its id, and what the channel calls it.
    pub before: Option<(NoticeId, Option<&'a str>)>,
}

/// Sends notices by one kind of channel.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Who reads it.
    fn readers(&self) -> Readers<'_>;

    /// What becomes of copies once a request is settled.
    fn follow_up(&self) -> FollowUp;

    /// Send one; what the channel calls it, if it can be changed by that. May be called again for one that was sent before.
    ///
    /// # Errors
    /// [`SendError`]: not taken, or nobody knows.
    async fn send(&self, letter: &Letter<'_>) -> Result<Option<String>, SendError>;

    /// Ask, without sending anything, whether it could be sent to; what is wrong.
    ///
    /// # Errors
    /// What is wrong, in words.
    async fn check(&self) -> Result<String, String>;

    /// What somebody did in the chat, from a signed call; `None` for channels that have no such thing.
    fn chat_action(&self, call: &SignedCall<'_>) -> Option<Result<ChatAction, ChatRefusal>> {
        let _ = call;
        None
    }

    /// Tell whoever did something in the chat what came of it, and nobody else.
    async fn whisper(&self, to: &ChatAction, text: &str) -> Result<(), SendError> {
        let _ = (to, text);
        Err(SendError::new("this kind of channel has no chat"))
    }
}

/// A call from outside that is signed over its very bytes.
#[derive(Debug, Clone, Copy)]
pub struct SignedCall<'a> {
    /// The signature as sent.
    pub signature: &'a str,
    /// The time as sent, in seconds since 1970.
    pub timestamp: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
    /// The present.
    pub now: Timestamp,
}

/// The word for a kind of notice as those outside know it.
const fn event_word(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Awaited => "request.awaited",
        NoticeKind::Resolved => "request.resolved",
        NoticeKind::BreakGlass => "request.break_glass",
        NoticeKind::ReviewDue => "request.review_due",
    }
}
