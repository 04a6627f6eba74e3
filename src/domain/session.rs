//! People who are signed in: a session of a browser or of a command line, and a command line that waits to be signed in. What
//! opens a session is a secret that is not here; how long it lives is decided when it is opened and when it is used.

use super::word::words;
use super::{Digest, Person, SessionId, Timestamp};

words! {
    /// What a session is used from.
    SessionKind as "session kind" {
        /// A browser: its secret is a cookie.
        Console = "console",
        /// A command line: its secret is a bearer token.
        Cli = "cli",
    }
}

/// A person's presence at the broker, in a browser or on a command line, from signing in until it is ended or lapses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id, which is no secret.
    pub id: SessionId,
    /// What it is used from.
    pub kind: SessionKind,
    /// The person, as registered when it was opened.
    pub person: Person,
    /// The issuer that signed the person in.
    pub issuer: String,
    /// The issuer's name for the person.
    pub subject: String,
    /// E-mail address as the issuer states it.
    pub email: Option<String>,
    /// Groups as the issuer stated them.
    pub groups: Vec<String>,
    /// When the person last proved to the issuer who they are, if that is known.
    pub auth_time: Option<Timestamp>,
    /// The authentication context class the issuer stated.
    pub acr: Option<String>,
    /// What the browser or the command line calls itself, at most 200 characters.
    pub user_agent: String,
    /// Where it was opened from.
    pub address: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was last used, to the minute.
    pub seen_at: Timestamp,
    /// When it ends, however much it is used.
    pub ends_at: Timestamp,
    /// When it ends unless it is used before; never later than `ends_at`.
    pub lapses_at: Timestamp,
}

impl Session {
    /// Whether its time is up.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.lapses_at || now >= self.ends_at
    }
}

words! {
    /// How far a device sign-in is.
    DeviceSignInState as "device sign-in state" {
        /// It waits for a person.
        Asked = "asked",
        /// A person said yes.
        Confirmed = "confirmed",
        /// A person said no.
        Refused = "refused",
    }
}

/// A command line that waits to be signed in by a person in a browser (RFC 8628).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSignIn {
    /// SHA-256 of the code the command line holds.
    pub device_code: Digest,
    /// SHA-256 of the code the person types.
    pub user_code: Digest,
    /// What the command line calls itself; nobody has verified it.
    pub client: String,
    /// Where it asked from.
    pub address: String,
    /// When it asked.
    pub asked_at: Timestamp,
    /// When it is too late.
    pub expires_at: Timestamp,
    /// How many seconds it must wait from one poll to the next.
    pub pause_secs: u32,
    /// When it last polled.
    pub polled_at: Timestamp,
    /// How far it is.
    pub state: DeviceSignInState,
    /// The session of the person who answered.
    pub answered_by: Option<SessionId>,
}
