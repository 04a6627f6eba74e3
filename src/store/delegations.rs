//! Delegations: given, ended by compare-and-swap, found by who decides in whose place.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{Store, StoreError, Tx, page};
use crate::domain::{Delegation, DelegationId, Person, Timestamp};

const TABLE: &str = "delegation";
/// The most that hold at once for one person.
const MAX_OF_PERSON: i64 = 100;

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- delegations.insert
        INSERT INTO delegation (id, giver, receiver, reason, given_at, from_at, until_at)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, CAST(v.value->>4 AS BIGINT),
            CAST(v.value->>5 AS BIGINT), CAST(v.value->>6 AS BIGINT)
        FROM "
    ),
};

pub(super) const END: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- delegations.end
        UPDATE delegation SET ended_at = CAST(v.value->>1 AS BIGINT), ended_by = v.value->>2
        FROM ",
        " WHERE delegation.id = v.value->>0 AND delegation.ended_at IS NULL"
    ),
};

macro_rules! select {
    ($name:literal, $rest:literal) => {
        concat!(
            "-- ",
            $name,
            "
            SELECT id, giver, receiver, reason, given_at, from_at, until_at, ended_at, ended_by FROM delegation ",
            $rest
        )
    };
}

impl Tx {
    /// Add a delegation.
    pub fn insert_delegation(&mut self, given: &Delegation) {
        self.list.push(Change::DelegationInsert, |row| {
            row.show(given.id).text(given.giver.as_str()).text(given.receiver.as_str()).text(given.reason.as_str());
            row.time(given.given_at).time(given.from).time(given.until);
        });
    }

    /// End a delegation that has not been ended yet.
    pub fn end_delegation(&mut self, ended: &Delegation) {
        self.list.push(Change::DelegationEnd, |row| {
            row.show(ended.id).maybe_time(ended.ended.as_ref().map(|(at, _)| *at));
            row.maybe_text(ended.ended.as_ref().map(|(_, by)| by.as_str()));
        });
    }
}

impl Store {
    /// The delegation of that id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_delegation(&self, id: DelegationId) -> Result<Option<Delegation>, StoreError> {
        self.find(sqlx::query(select!("delegations.find", "WHERE id = $1")).bind(id.to_string()), read).await
    }

    /// The delegations by which a person may decide in somebody's place at `now`, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_delegations_to(&self, receiver: &Person, now: Timestamp) -> Result<Vec<Delegation>, StoreError> {
        let query = sqlx::query(select!(
            "delegations.list_to",
            "WHERE receiver = $1 AND until_at > $2 AND from_at <= $2 AND ended_at IS NULL ORDER BY id LIMIT $3"
        ))
        .bind(receiver.as_str().to_owned())
        .bind(now.as_millis())
        .bind(MAX_OF_PERSON);
        self.list(query, read).await
    }

    /// The delegations that hold or held after a time, of one person on either side if named, newest first, at most `limit` (and
    /// 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_delegations(
        &self,
        person: Option<&Person>,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<Delegation>, StoreError> {
        let sql = if person.is_some() {
            select!(
                "delegations.list_of_person",
                "WHERE (giver = $1 OR receiver = $1) AND until_at > $2 ORDER BY id DESC LIMIT $3"
            )
        } else {
            select!("delegations.list", "WHERE CAST($1 AS TEXT) IS NULL AND until_at > $2 ORDER BY id DESC LIMIT $3")
        };
        let query = sqlx::query(sql)
            .bind(person.map(|person| person.as_str().to_owned()))
            .bind(since.as_millis())
            .bind(page(limit));
        self.list(query, read).await
    }
}

fn read(row: &AnyRow) -> Result<Delegation, StoreError> {
    let row = Reader::new(TABLE, row);
    let ended = match (row.maybe_time("ended_at")?, row.maybe_text("ended_by")?) {
        (Some(at), Some(by)) => Some((at, Person::new(by))),
        (Some(_), None) => return Err(row.corrupt("ended_by", "nobody")),
        (None, _) => None,
    };
    Ok(Delegation {
        id: row.parse("id")?,
        giver: Person::new(row.text("giver")?),
        receiver: Person::new(row.text("receiver")?),
        reason: row.parse("reason")?,
        given_at: row.time("given_at")?,
        from: row.time("from_at")?,
        until: row.time("until_at")?,
        ended,
    })
}
