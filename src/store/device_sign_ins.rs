//! Command lines that wait to be signed in: found by the SHA-256 of their codes, answered once, used once, and bounded in number
//! by whoever adds them.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{Store, StoreError, Tx};
use crate::domain::{DeviceSignIn, Digest};

const TABLE: &str = "device_sign_in";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- device_sign_ins.insert
        INSERT INTO device_sign_in (device_hash, user_hash, client, address, asked_at, expires_at, pause, polled_at, state,
            session_id)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, CAST(v.value->>4 AS BIGINT),
            CAST(v.value->>5 AS BIGINT), CAST(v.value->>6 AS BIGINT), CAST(v.value->>7 AS BIGINT), v.value->>8,
            v.value->>9
        FROM "
    ),
};

/// The row must still be as its caller saw it.
pub(super) const UPDATE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- device_sign_ins.update
        UPDATE device_sign_in SET state = v.value->>3, pause = CAST(v.value->>4 AS BIGINT),
            polled_at = CAST(v.value->>5 AS BIGINT), session_id = v.value->>6 FROM ",
        " WHERE device_sign_in.device_hash = v.value->>0 AND device_sign_in.state = v.value->>1
            AND device_sign_in.polled_at = CAST(v.value->>2 AS BIGINT)"
    ),
};

pub(super) const DELETE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- device_sign_ins.delete
        DELETE FROM device_sign_in WHERE device_hash IN (SELECT v.value->>0 FROM ",
        ")"
    ),
};

/// Forget some of those that expired until `$1`; the outer condition repeats the guard.
pub(super) const FORGET: &str = "-- device_sign_ins.forget
    DELETE FROM device_sign_in WHERE expires_at <= $1 AND device_hash IN
        (SELECT device_hash FROM device_sign_in WHERE expires_at <= $1 LIMIT $2)";

impl Tx {
    /// Change a device sign-in that still is as it was seen; its codes and facts stay as they are.
    pub fn update_device_sign_in(&mut self, before: &DeviceSignIn, after: &DeviceSignIn) {
        self.list.push(Change::DeviceUpdate, |row| {
            row.show(before.device_code).text(before.state.as_str()).time(before.polled_at).text(after.state.as_str());
            row.int(i64::from(after.pause_secs)).time(after.polled_at).maybe_show(after.answered_by);
        });
    }

    /// Use a device sign-in up; conflicts when somebody else has.
    pub fn delete_device_sign_in(&mut self, device_code: Digest) {
        self.list.push(Change::DeviceDelete, |row| {
            row.show(device_code);
        });
    }
}

impl Store {
    /// Keep a device sign-in that somebody asked for; conflicts when a code is taken.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::Unavailable`] or [`StoreError::Unknown`].
    pub async fn ask_device_sign_in(&self, asked: &DeviceSignIn) -> Result<(), StoreError> {
        let mut tx = self.begin("device_sign_in.ask");
        tx.list.push(Change::DeviceInsert, |row| {
            row.show(asked.device_code).show(asked.user_code).text(&asked.client).text(&asked.address);
            row.time(asked.asked_at).time(asked.expires_at).int(i64::from(asked.pause_secs)).time(asked.polled_at);
            row.text(asked.state.as_str()).maybe_show(asked.answered_by);
        });
        tx.commit_without_facts().await
    }

    /// Note that its command line polled.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not as it was seen, [`StoreError::Unavailable`] or [`StoreError::Unknown`].
    pub async fn note_device_poll(&self, before: &DeviceSignIn, after: &DeviceSignIn) -> Result<(), StoreError> {
        let mut tx = self.begin("device_sign_in.poll");
        tx.update_device_sign_in(before, after);
        tx.commit_without_facts().await
    }

    /// How many are kept, expired ones that are not forgotten yet included.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn count_device_sign_ins(&self) -> Result<i64, StoreError> {
        let query = sqlx::query(
            "-- device_sign_ins.count
            SELECT COUNT(*) AS kept FROM device_sign_in",
        );
        let count = self.find(query, |row| Reader::new(TABLE, row).int("kept")).await?;
        Ok(count.unwrap_or_default())
    }

    /// The one of the command line that holds this code.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_device_sign_in(&self, device_code: Digest) -> Result<Option<DeviceSignIn>, StoreError> {
        let query = sqlx::query(
            "-- device_sign_ins.find
            SELECT device_hash, user_hash, client, address, asked_at, expires_at, pause, polled_at, state, session_id
            FROM device_sign_in WHERE device_hash = $1",
        )
        .bind(device_code.to_string());
        self.find(query, read).await
    }

    /// The one whose code a person typed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_device_sign_in_by_user_code(
        &self,
        user_code: Digest,
    ) -> Result<Option<DeviceSignIn>, StoreError> {
        let query = sqlx::query(
            "-- device_sign_ins.find_by_user_code
            SELECT device_hash, user_hash, client, address, asked_at, expires_at, pause, polled_at, state, session_id
            FROM device_sign_in WHERE user_hash = $1",
        )
        .bind(user_code.to_string());
        self.find(query, read).await
    }
}

fn read(row: &AnyRow) -> Result<DeviceSignIn, StoreError> {
    let row = Reader::new(TABLE, row);
    let pause = row.int("pause")?;
    Ok(DeviceSignIn {
        device_code: row.parse("device_hash")?,
        user_code: row.parse("user_hash")?,
        client: row.text("client")?.to_owned(),
        address: row.text("address")?.to_owned(),
        asked_at: row.time("asked_at")?,
        expires_at: row.time("expires_at")?,
        pause_secs: u32::try_from(pause).map_err(|error| row.corrupt("pause", error))?,
        polled_at: row.time("polled_at")?,
        state: row.parse("state")?,
        answered_by: row.maybe_parse("session_id")?,
    })
}
