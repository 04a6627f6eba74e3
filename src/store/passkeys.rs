//! Passkeys and what they are asked to sign. A challenge is used up in the commit of what was signed with it; whoever comes second
//! finds a conflict. Removed passkeys keep their rows: what they signed stays verifiable.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{MAX_PAGE_OF_TASK, Store, StoreError, Tx};
use crate::domain::{ChallengeId, Passkey, PasskeyChallenge, PasskeyId, Person, Timestamp};

const TABLE: &str = "passkey";
const CHALLENGES: &str = "passkey_challenge";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    // Few groups have any, so these rows are no part of the statement that most groups are.
    expect: Expect::Each,
    sql: grouped!(
        "-- passkeys.insert
        INSERT INTO passkey (id, person, slot, credential, cose_key, sign_count, backup, aaguid, transports, name, user_handle,
            registered, registration, created_at, last_used_at, ended_at)
        SELECT v.value->>0, v.value->>1, CAST(v.value->>2 AS BIGINT), v.value->>3, v.value->>4, CAST(v.value->>5 AS BIGINT),
            v.value->>6, v.value->>7, v.value->>8, v.value->>9, v.value->>10, v.value->>11,
            v.value->>12, CAST(v.value->>13 AS BIGINT), CAST(v.value->>14 AS BIGINT), CAST(v.value->>15 AS BIGINT)
        FROM "
    ),
};

/// WebAuthn Level 3 §7.2 step 22, decided where it is written: of two answers the one with the lower count loses.
pub(super) const USE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- passkeys.use
        UPDATE passkey SET sign_count = CAST(v.value->>1 AS BIGINT), backup = v.value->>2,
            last_used_at = CAST(v.value->>3 AS BIGINT)
        FROM ",
        " WHERE passkey.id = v.value->>0 AND passkey.ended_at IS NULL AND (passkey.sign_count < CAST(v.value->>1 AS BIGINT)
            OR (passkey.sign_count = 0 AND CAST(v.value->>1 AS BIGINT) = 0))"
    ),
};

pub(super) const UPDATE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- passkeys.update
        UPDATE passkey SET name = v.value->>2, slot = CAST(v.value->>3 AS BIGINT), ended_at = CAST(v.value->>4 AS BIGINT)
        FROM ",
        " WHERE passkey.id = v.value->>0 AND passkey.name = v.value->>1 AND passkey.ended_at IS NULL"
    ),
};

pub(super) const INSERT_CHALLENGE: Statement = Statement {
    table: CHALLENGES,
    expect: Expect::Each,
    sql: grouped!(
        "-- passkeys.insert_challenge
        INSERT INTO passkey_challenge (id, person, slot, kind, session, nonce, statement, shown, expires_at)
        SELECT v.value->>0, v.value->>1, CAST(v.value->>2 AS BIGINT), v.value->>3, v.value->>4, v.value->>5, v.value->>6,
            v.value->>7, CAST(v.value->>8 AS BIGINT)
        FROM "
    ),
};

pub(super) const DELETE_CHALLENGE: Statement = Statement {
    table: CHALLENGES,
    expect: Expect::Each,
    sql: grouped!(
        "-- passkeys.delete_challenge
        DELETE FROM passkey_challenge WHERE id IN (SELECT v.value->>0 FROM ",
        ")"
    ),
};

/// Forget some of what was to be signed until `$1`; the outer condition repeats the guard.
pub(super) const FORGET: &str = "-- passkeys.forget_challenges
    DELETE FROM passkey_challenge WHERE expires_at <= $1 AND id IN
        (SELECT id FROM passkey_challenge WHERE expires_at <= $1 LIMIT $2)";

macro_rules! select {
    ($name:literal, $which:literal) => {
        concat!(
            "-- ",
            $name,
            "
            SELECT id, person, slot, credential, cose_key, sign_count, backup, aaguid, transports, name, user_handle, registered,
                registration, created_at, last_used_at, ended_at
            FROM passkey WHERE ",
            $which
        )
    };
}

macro_rules! select_challenge {
    ($name:literal, $which:literal) => {
        concat!(
            "-- ",
            $name,
            "
            SELECT id, person, slot, kind, session, nonce, statement, shown, expires_at FROM passkey_challenge WHERE ",
            $which
        )
    };
}

impl Tx {
    /// Add a passkey; its credential must be nobody's yet, and its slot free.
    pub fn insert_passkey(&mut self, passkey: &Passkey) {
        self.list.push(Change::PasskeyInsert, |row| {
            row.show(passkey.id).text(passkey.person.as_str()).maybe_int(passkey.slot.map(i64::from));
            row.text(&passkey.credential).text(&passkey.cose_key).int(i64::from(passkey.sign_count));
            row.text(passkey.backup.as_str()).text(&passkey.aaguid).json(&passkey.transports);
            row.text(passkey.name.as_str()).text(&passkey.user_handle).show(passkey.registered);
            row.text(&passkey.registration);
            row.time(passkey.created_at).maybe_time(passkey.last_used_at).maybe_time(passkey.ended_at);
        });
    }

    /// Note that a passkey signed; conflicts when it has ended or its count did not grow.
    pub fn use_passkey(&mut self, after: &Passkey) {
        self.list.push(Change::PasskeyUse, |row| {
            row.show(after.id).int(i64::from(after.sign_count)).text(after.backup.as_str());
            row.maybe_time(after.last_used_at);
        });
    }

    /// Give a passkey another name, or end it; conflicts when somebody did so first.
    pub fn update_passkey(&mut self, before: &Passkey, after: &Passkey) {
        self.list.push(Change::PasskeyUpdate, |row| {
            row.show(before.id).text(before.name.as_str()).text(after.name.as_str());
            row.maybe_int(after.slot.map(i64::from)).maybe_time(after.ended_at);
        });
    }

    /// Use a challenge up; conflicts when it was used up before.
    pub fn delete_passkey_challenge(&mut self, id: ChallengeId) {
        self.list.push(Change::ChallengeDelete, |row| {
            row.show(id);
        });
    }
}

impl Store {
    /// Keep a challenge until it is used up or forgotten. It is no authority, so it needs no events.
    ///
    /// # Errors
    /// Every [`StoreError`]; `Conflict` when its slot is taken.
    pub async fn remember_passkey_challenge(&self, challenge: &PasskeyChallenge) -> Result<(), StoreError> {
        let mut tx = self.begin("passkeys.remember_challenge");
        tx.list.push(Change::ChallengeInsert, |row| {
            row.show(challenge.id).text(challenge.person.as_str()).int(i64::from(challenge.slot));
            row.text(challenge.kind.as_str()).maybe_show(challenge.session).text(&challenge.nonce);
            row.text(&challenge.statement);
            match &challenge.shown {
                Some(shown) => row.json(shown),
                None => row.null(),
            };
            row.time(challenge.expires_at);
        });
        tx.commit_without_facts().await
    }

    /// A challenge that was not used up.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_passkey_challenge(&self, id: ChallengeId) -> Result<Option<PasskeyChallenge>, StoreError> {
        let query = sqlx::query(select_challenge!("passkeys.find_challenge", "id = $1")).bind(id.to_string());
        self.find(query, read_challenge).await
    }

    /// A person's open challenges, by slot, at most 500.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_passkey_challenges(&self, person: &Person) -> Result<Vec<PasskeyChallenge>, StoreError> {
        let query = sqlx::query(select_challenge!("passkeys.list_challenges", "person = $1 ORDER BY slot LIMIT $2"))
            .bind(person.as_str().to_owned())
            .bind(MAX_PAGE_OF_TASK);
        self.list(query, read_challenge).await
    }

    /// A passkey by its id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_passkey(&self, id: PasskeyId) -> Result<Option<Passkey>, StoreError> {
        let query = sqlx::query(select!("passkeys.find", "id = $1")).bind(id.to_string());
        self.find(query, read).await
    }

    /// A passkey by its credential's id, in base64url.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_passkey_of_credential(&self, credential: &str) -> Result<Option<Passkey>, StoreError> {
        let query = sqlx::query(select!("passkeys.find_of_credential", "credential = $1")).bind(credential.to_owned());
        self.find(query, read).await
    }

    /// A person's passkeys: those that live, by slot.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_passkeys(&self, person: &Person) -> Result<Vec<Passkey>, StoreError> {
        let query = sqlx::query(select!("passkeys.list", "person = $1 AND slot >= 0 ORDER BY slot LIMIT $2"))
            .bind(person.as_str().to_owned())
            .bind(MAX_PAGE_OF_TASK);
        self.list(query, read).await
    }

    /// The passkey that a person removed last.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_last_ended_passkey(&self, person: &Person) -> Result<Option<Passkey>, StoreError> {
        let query = sqlx::query(select!(
            "passkeys.find_last_ended",
            "person = $1 AND slot IS NULL AND ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT 1"
        ))
        .bind(person.as_str().to_owned());
        self.find(query, read).await
    }
}

fn read_challenge(row: &AnyRow) -> Result<PasskeyChallenge, StoreError> {
    let row = Reader::new(CHALLENGES, row);
    Ok(PasskeyChallenge {
        id: row.parse("id")?,
        person: Person::new(row.text("person")?),
        slot: number(&row, "slot", row.int("slot")?)?,
        kind: row.parse("kind")?,
        session: row.maybe_parse("session")?,
        nonce: row.text("nonce")?.to_owned(),
        statement: row.text("statement")?.to_owned(),
        shown: row.maybe_text("shown")?.map(|_| row.json("shown")).transpose()?,
        expires_at: row.time("expires_at")?,
    })
}

fn read(row: &AnyRow) -> Result<Passkey, StoreError> {
    let row = Reader::new(TABLE, row);
    let ended_at: Option<Timestamp> = row.maybe_time("ended_at")?;
    let slot = row.maybe_int("slot")?.map(|slot| number(&row, "slot", slot)).transpose()?;
    if slot.is_some() == ended_at.is_some() {
        return Err(row.corrupt("slot", "a passkey has one exactly while it has not ended"));
    }
    Ok(Passkey {
        id: row.parse("id")?,
        person: Person::new(row.text("person")?),
        slot,
        credential: row.text("credential")?.to_owned(),
        cose_key: row.text("cose_key")?.to_owned(),
        sign_count: number(&row, "sign_count", row.int("sign_count")?)?,
        backup: row.parse("backup")?,
        aaguid: row.text("aaguid")?.to_owned(),
        transports: row.json("transports")?,
        name: row.parse("name")?,
        user_handle: row.text("user_handle")?.to_owned(),
        registered: row.parse("registered")?,
        registration: row.text("registration")?.to_owned(),
        created_at: row.time("created_at")?,
        last_used_at: row.maybe_time("last_used_at")?,
        ended_at,
    })
}

fn number(row: &Reader<'_>, column: &str, value: i64) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|error| row.corrupt(column, error))
}
