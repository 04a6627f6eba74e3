//! Sessions: found by the SHA-256 of their secret, written when they are opened, and gone when they are ended. That one is used
//! is written at most once a minute, and only while it is there.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{Store, StoreError, Tx, page};
use crate::domain::{Digest, Person, Session, SessionId, Timestamp};

const TABLE: &str = "session";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    // Few groups have any, so these rows are no part of the statement that most groups are.
    expect: Expect::Each,
    sql: grouped!(
        "-- sessions.insert
        INSERT INTO session (id, token_hash, kind, person, issuer, subject, email, person_groups, auth_time, acr,
            user_agent, address, opened_at, seen_at, ends_at, lapses_at)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, v.value->>4, v.value->>5, v.value->>6, v.value->>7,
            CAST(v.value->>8 AS BIGINT), v.value->>9, v.value->>10, v.value->>11, CAST(v.value->>12 AS BIGINT),
            CAST(v.value->>13 AS BIGINT), CAST(v.value->>14 AS BIGINT), CAST(v.value->>15 AS BIGINT)
        FROM "
    ),
};

pub(super) const SEEN: Statement = Statement {
    table: TABLE,
    // Whoever ended it meanwhile was right.
    expect: Expect::Any,
    sql: grouped!(
        "-- sessions.seen
        UPDATE session SET seen_at = CAST(v.value->>1 AS BIGINT), lapses_at = CAST(v.value->>2 AS BIGINT) FROM ",
        " WHERE session.id = v.value->>0 AND session.seen_at < CAST(v.value->>1 AS BIGINT)"
    ),
};

pub(super) const DELETE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- sessions.delete
        DELETE FROM session WHERE id IN (SELECT v.value->>0 FROM ",
        ")"
    ),
};

/// Forget some of those that lapsed until `$1`; the outer condition repeats the guard.
pub(super) const FORGET: &str = "-- sessions.forget
    DELETE FROM session WHERE lapses_at <= $1 AND id IN
        (SELECT id FROM session WHERE lapses_at <= $1 LIMIT $2)";

macro_rules! columns {
    () => {
        "id, kind, person, issuer, subject, email, person_groups, auth_time, acr, user_agent, address, opened_at, seen_at,
            ends_at, lapses_at"
    };
}

impl Tx {
    /// Open a session, found by the SHA-256 of its secret.
    pub fn insert_session(&mut self, session: &Session, token: Digest) {
        self.list.push(Change::SessionInsert, |row| {
            row.show(session.id).show(token).text(session.kind.as_str()).text(session.person.as_str());
            row.text(&session.issuer).text(&session.subject).maybe_text(session.email.as_deref()).json(&session.groups);
            row.maybe_time(session.auth_time).maybe_text(session.acr.as_deref()).text(&session.user_agent);
            row.text(&session.address).time(session.opened_at).time(session.seen_at).time(session.ends_at);
            row.time(session.lapses_at);
        });
    }

    /// End a session; conflicts when it is not there any more.
    pub fn delete_session(&mut self, session: SessionId) {
        self.list.push(Change::SessionDelete, |row| {
            row.show(session);
        });
    }
}

impl Store {
    /// The session whose secret has this SHA-256.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_session_by_token(&self, token: Digest) -> Result<Option<Session>, StoreError> {
        let query = sqlx::query(concat!(
            "-- sessions.find_by_token
            SELECT ",
            columns!(),
            " FROM session WHERE token_hash = $1"
        ))
        .bind(token.to_string());
        self.find(query, read).await
    }

    /// A session by its id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_session(&self, session: SessionId) -> Result<Option<Session>, StoreError> {
        let query = sqlx::query(concat!(
            "-- sessions.find
            SELECT ",
            columns!(),
            " FROM session WHERE id = $1"
        ))
        .bind(session.to_string());
        self.find(query, read).await
    }

    /// Sessions in order of their ids, of one person where one is named, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_sessions(
        &self,
        person: Option<&Person>,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<Session>, StoreError> {
        let query = sqlx::query(concat!(
            "-- sessions.list
            SELECT ",
            columns!(),
            " FROM session WHERE ($1 = '' OR person = $1) AND id > $2 ORDER BY id LIMIT $3"
        ))
        .bind(person.map_or_else(String::new, |person| person.as_str().to_owned()))
        .bind(after.map_or_else(String::new, |id| id.to_string()))
        .bind(page(limit));
        self.list(query, read).await
    }

    /// Note that a session is used, so that it lapses later; nothing when it was ended meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Unknown`].
    pub async fn note_session_seen(
        &self,
        session: SessionId,
        seen_at: Timestamp,
        lapses_at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin("session.seen");
        tx.list.push(Change::SessionSeen, |row| {
            row.show(session).time(seen_at).time(lapses_at);
        });
        tx.commit_without_facts().await
    }
}

fn read(row: &AnyRow) -> Result<Session, StoreError> {
    let row = Reader::new(TABLE, row);
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Ok(Session {
        id: row.parse("id")?,
        kind: row.parse("kind")?,
        person: Person::new(row.text("person")?),
        issuer: row.text("issuer")?.to_owned(),
        subject: row.text("subject")?.to_owned(),
        email: owned(row.maybe_text("email")?),
        groups: row.json("person_groups")?,
        auth_time: row.maybe_time("auth_time")?,
        acr: owned(row.maybe_text("acr")?),
        user_agent: row.text("user_agent")?.to_owned(),
        address: row.text("address")?.to_owned(),
        opened_at: row.time("opened_at")?,
        seen_at: row.time("seen_at")?,
        ends_at: row.time("ends_at")?,
        lapses_at: row.time("lapses_at")?,
    })
}
