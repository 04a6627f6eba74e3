//! What issuers last said of the people who signed in: who they are, and which groups they are in. A yes counts only for groups
//! its giver is in now, as far as we know.

use sqlx::any::AnyRow;

use super::codec::{Columns, Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{Store, StoreError, Tx, page};
use crate::domain::{Person, Timestamp};

const TABLE: &str = "person_known";
/// The most identities one person is known by that are read.
const MAX_IDENTITIES: i64 = 100;

/// Only new kinds that most groups have are joined into one statement; this is none of them.
pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- people_known.insert
        INSERT INTO person_known (issuer, subject, person, email, person_groups, seen_at, recheck_at)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, v.value->>4, CAST(v.value->>5 AS BIGINT),
            CAST(v.value->>6 AS BIGINT)
        FROM "
    ),
};

pub(super) const UPDATE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- people_known.update
        UPDATE person_known SET person = v.value->>3, email = v.value->>4, person_groups = v.value->>5,
            seen_at = CAST(v.value->>6 AS BIGINT), recheck_at = CAST(v.value->>7 AS BIGINT)
        FROM ",
        " WHERE person_known.issuer = v.value->>0 AND person_known.subject = v.value->>1
            AND person_known.seen_at = CAST(v.value->>2 AS BIGINT)"
    ),
};

macro_rules! select {
    ($name:literal, $rest:literal) => {
        concat!(
            "-- ",
            $name,
            "
            SELECT issuer, subject, person, email, person_groups, seen_at, recheck_at FROM person_known ",
            $rest
        )
    };
}

/// What an issuer last said of one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPerson {
    /// Who says so.
    pub issuer: String,
    /// Its name for the person.
    pub subject: String,
    /// The person, after aliases are collapsed.
    pub person: Person,
    /// The e-mail address it states.
    pub email: Option<String>,
    /// The groups it states.
    pub groups: Vec<String>,
    /// When it said so.
    pub seen_at: Timestamp,
    /// Since when what rests on this person's yes is to be looked at again, if it is.
    pub recheck_at: Option<Timestamp>,
}

fn rest(row: &mut Columns<'_>, known: &KnownPerson) {
    row.text(known.person.as_str()).maybe_text(known.email.as_deref()).json(&known.groups).time(known.seen_at);
    row.maybe_time(known.recheck_at);
}

impl Tx {
    /// Add what is known of a person who was never seen by this identity.
    pub fn insert_known_person(&mut self, known: &KnownPerson) {
        self.list.push(Change::PersonInsert, |row| {
            row.text(&known.issuer).text(&known.subject);
            rest(row, known);
        });
    }

    /// Change what is known of a person, if nobody heard of it later than `before`.
    pub fn update_known_person(&mut self, before: &KnownPerson, after: &KnownPerson) {
        self.list.push(Change::PersonUpdate, |row| {
            row.text(&before.issuer).text(&before.subject).time(before.seen_at);
            rest(row, after);
        });
    }
}

impl Store {
    /// What is known by this identity.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_known_person(&self, issuer: &str, subject: &str) -> Result<Option<KnownPerson>, StoreError> {
        let query = sqlx::query(select!("people_known.find", "WHERE issuer = $1 AND subject = $2"))
            .bind(issuer.to_owned())
            .bind(subject.to_owned());
        self.find(query, read).await
    }

    /// What is known of a person, one row for each identity, at most 100.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_known_person(&self, person: &Person) -> Result<Vec<KnownPerson>, StoreError> {
        let query = sqlx::query(select!("people_known.list", "WHERE person = $1 ORDER BY issuer, subject LIMIT $2"))
            .bind(person.as_str().to_owned())
            .bind(MAX_IDENTITIES);
        self.list(query, read).await
    }

    /// People whose yes is to be looked at again, longest first, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_people_to_recheck(&self, limit: u32) -> Result<Vec<KnownPerson>, StoreError> {
        let sql = select!("people_known.list_to_recheck", "WHERE recheck_at IS NOT NULL ORDER BY recheck_at LIMIT $1");
        self.list(sqlx::query(sql).bind(page(limit)), read).await
    }

    /// What rests on this person's yes was looked at, unless something else was heard of the person since. Not a change of
    /// authority.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Unknown`].
    pub async fn forget_recheck(&self, known: &KnownPerson) -> Result<(), StoreError> {
        let mut tx = self.begin("people_known.rechecked");
        tx.update_known_person(known, &KnownPerson { recheck_at: None, ..known.clone() });
        match tx.commit_without_facts().await {
            Ok(()) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

pub(super) fn read(row: &AnyRow) -> Result<KnownPerson, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(KnownPerson {
        issuer: row.text("issuer")?.to_owned(),
        subject: row.text("subject")?.to_owned(),
        person: Person::new(row.text("person")?),
        email: row.maybe_text("email")?.map(str::to_owned),
        groups: row.json("person_groups")?,
        seen_at: row.time("seen_at")?,
        recheck_at: row.maybe_time("recheck_at")?,
    })
}
