//! Notices and how far each channel was told. They change no authority, so no audit event explains them: each follows from one that
//! is there already, and only that nobody could be told is an event of its own. A cursor moves in the commit that writes what
//! follows from the events it passes, by compare-and-swap, so replicas may read the same events and only one writes.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::events::StoredEvent;
use super::tx::{Change, Expect, Statement};
use super::{MAX_PAGE_OF_TASK, Store, StoreError, Tx, events, page};
use crate::domain::{Name, Notice, NoticeId, RequestId, Timestamp};

const TABLE: &str = "notice";
const CURSOR: &str = "notice_cursor";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    // Few groups have any, so these rows are no part of the statement that most groups are.
    expect: Expect::Each,
    sql: grouped!(
        "-- notices.insert
        INSERT INTO notice (id, channel, request_id, kind, recipient, follows, payload, state, attempts, fence, claimed_by,
            due_at, reference, created_at, settled_at, keep_until)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, v.value->>4, v.value->>5, v.value->>6, v.value->>7,
            CAST(v.value->>8 AS BIGINT), CAST(v.value->>9 AS BIGINT), v.value->>10, CAST(v.value->>11 AS BIGINT),
            v.value->>12, CAST(v.value->>13 AS BIGINT), CAST(v.value->>14 AS BIGINT), CAST(v.value->>15 AS BIGINT)
        FROM "
    ),
};

pub(super) const UPDATE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- notices.update
        UPDATE notice SET state = v.value->>2, attempts = CAST(v.value->>3 AS BIGINT), fence = CAST(v.value->>4 AS BIGINT),
            claimed_by = v.value->>5, due_at = CAST(v.value->>6 AS BIGINT), reference = v.value->>7,
            settled_at = CAST(v.value->>8 AS BIGINT)
        FROM ",
        " WHERE notice.id = v.value->>0 AND notice.state = 'due' AND notice.fence = CAST(v.value->>1 AS BIGINT)"
    ),
};

pub(super) const BEGIN_CURSOR: Statement = Statement {
    table: CURSOR,
    expect: Expect::Any,
    sql: grouped!(
        "-- notices.begin_cursor
        INSERT INTO notice_cursor (channel, seq) SELECT v.value->>0, CAST(v.value->>1 AS BIGINT) FROM ",
        " WHERE 1 = 1 ON CONFLICT (channel) DO NOTHING"
    ),
};

pub(super) const MOVE_CURSOR: Statement = Statement {
    table: CURSOR,
    expect: Expect::Each,
    sql: grouped!(
        "-- notices.move_cursor
        UPDATE notice_cursor SET seq = CAST(v.value->>2 AS BIGINT) FROM ",
        " WHERE notice_cursor.channel = v.value->>0 AND notice_cursor.seq = CAST(v.value->>1 AS BIGINT)"
    ),
};

/// Forget some of what was kept until `$1`; the outer condition repeats the guard.
pub(super) const FORGET: &str = "-- notices.forget
    DELETE FROM notice WHERE keep_until <= $1 AND id IN (SELECT id FROM notice WHERE keep_until <= $1 LIMIT $2)";

/// The events that people may have to be told of. How a request ended is one of them only if it waited for people before; the index
/// by task finds that.
const NOTABLE: &str = "-- notices.list_notable_events
    SELECT e.seq, e.id, e.at, e.kind, e.body FROM event AS e WHERE e.seq > $1 AND e.seq <= $2
    AND (e.kind IN ('approval.awaited', 'glass.broken', 'review.due')
        OR (e.kind IN ('access.granted', 'access.denied', 'access.withdrawn', 'access.lapsed')
            AND EXISTS (SELECT 1 FROM event AS a WHERE a.task_id = e.task_id AND a.request_id = e.request_id
                AND a.kind = 'approval.awaited' AND a.seq < e.seq)))
    ORDER BY e.seq LIMIT $3";

macro_rules! select {
    ($name:literal, $rest:literal) => {
        concat!(
            "-- ",
            $name,
            "
            SELECT id, channel, request_id, kind, recipient, follows, payload, state, attempts, fence, claimed_by, due_at,
                reference, created_at, settled_at, keep_until
            FROM notice ",
            $rest
        )
    };
}

/// What follows from some audit events for one channel, or from an attempt to send: written as a whole or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoticeChanges {
    /// Up to where a channel was told before, and now.
    pub cursor: Option<(Name, i64, i64)>,
    /// What is to be sent.
    pub insert: Vec<Notice>,
    /// What has changed, each before and after; one that somebody else changed since is a conflict.
    pub update: Vec<(Notice, Notice)>,
}

impl NoticeChanges {
    /// Whether there is nothing to write but how far was read.
    #[must_use]
    pub fn say_nothing(&self) -> bool {
        self.insert.is_empty() && self.update.is_empty()
    }
}

impl Tx {
    /// Change a notice that is due and that nobody has claimed since `before` was read.
    pub fn update_notice(&mut self, before: &Notice, after: &Notice) {
        self.list.push(Change::NoticeUpdate, |row| {
            row.show(before.id).int(before.fence).text(after.state.as_str()).int(i64::from(after.attempts));
            row.int(after.fence).maybe_text(after.claimed_by.as_deref()).maybe_time(after.due_at);
            row.maybe_text(after.reference.as_deref()).maybe_time(after.settled_at);
        });
    }

    fn insert_notice(&mut self, notice: &Notice) {
        self.list.push(Change::NoticeInsert, |row| {
            row.show(notice.id).text(notice.channel.as_str()).show(notice.request).text(notice.kind.as_str());
            row.text(&notice.recipient).maybe_show(notice.follows).text(&notice.payload).text(notice.state.as_str());
            row.int(i64::from(notice.attempts)).int(notice.fence).maybe_text(notice.claimed_by.as_deref());
            row.maybe_time(notice.due_at).maybe_text(notice.reference.as_deref()).time(notice.created_at);
            row.maybe_time(notice.settled_at).time(notice.keep_until);
        });
    }
}

impl Store {
    /// Write changes of notices. Never authority, so it needs no events.
    ///
    /// # Errors
    /// Every [`StoreError`]; `Conflict` when the cursor was moved or a notice changed by somebody else: nothing was written.
    pub async fn record_notices(&self, changes: &NoticeChanges) -> Result<(), StoreError> {
        let mut tx = self.begin("notices.record");
        for notice in &changes.insert {
            tx.insert_notice(notice);
        }
        for (before, after) in &changes.update {
            tx.update_notice(before, after);
        }
        if let Some((channel, before, after)) = &changes.cursor {
            tx.list.push(Change::NoticeCursorMove, |row| {
                row.text(channel.as_str()).int(*before).int(*after);
            });
        }
        tx.commit_without_facts().await
    }

    /// Let a channel begin to be told after this place in the order of events, unless it has begun already.
    ///
    /// # Errors
    /// Every [`StoreError`].
    pub async fn begin_notices(&self, channel: &Name, seq: i64) -> Result<(), StoreError> {
        let mut tx = self.begin("notices.begin");
        tx.list.push(Change::NoticeCursorBegin, |row| {
            row.text(channel.as_str()).int(seq);
        });
        tx.commit_without_facts().await
    }

    /// Up to which audit event a channel has been told; `None` when it has not begun.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_notice_cursor(&self, channel: &Name) -> Result<Option<i64>, StoreError> {
        let query = sqlx::query(
            "-- notices.find_cursor
            SELECT seq FROM notice_cursor WHERE channel = $1",
        )
        .bind(channel.to_string());
        self.find(query, |row| Reader::new(CURSOR, row).int("seq")).await
    }

    /// The place of the newest audit event; 0 when there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_newest_event(&self) -> Result<i64, StoreError> {
        let query = sqlx::query(
            "-- notices.find_newest_event
            SELECT COALESCE(MAX(seq), 0) AS seq FROM event",
        );
        Ok(self.find(query, |row| Reader::new("event", row).int("seq")).await?.unwrap_or(0))
    }

    /// The events after one place and up to another that people may have to be told of, in the order of commits, at most `limit`
    /// (and 1,000). Groups take turns from before an event has its number until it can be read, so none comes later with a lower one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_notable_events(&self, after: i64, upto: i64, limit: u32) -> Result<Vec<StoredEvent>, StoreError> {
        self.list(sqlx::query(NOTABLE).bind(after).bind(upto).bind(page(limit)), events::read).await
    }

    /// The notice of that id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn find_notice(&self, id: NoticeId) -> Result<Option<Notice>, StoreError> {
        self.find(sqlx::query(select!("notices.find", "WHERE id = $1")).bind(id.to_string()), read).await
    }

    /// What a channel was asked to say about a request, oldest first, at most 500.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_notices_about(&self, request: RequestId, channel: &Name) -> Result<Vec<Notice>, StoreError> {
        let sql = select!("notices.list_about", "WHERE request_id = $1 AND channel = $2 ORDER BY id LIMIT $3");
        let query = sqlx::query(sql).bind(request.to_string()).bind(channel.to_string()).bind(MAX_PAGE_OF_TASK);
        self.list(query, read).await
    }

    /// What a channel is to send at `now`, what is due longest first, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_due_notices(
        &self,
        channel: &Name,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Notice>, StoreError> {
        let sql = select!("notices.list_due", "WHERE channel = $1 AND due_at <= $2 ORDER BY due_at, id LIMIT $3");
        let query = sqlx::query(sql).bind(channel.to_string()).bind(now.as_millis()).bind(page(limit));
        self.list(query, read).await
    }
}

fn read(row: &AnyRow) -> Result<Notice, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(Notice {
        id: row.parse("id")?,
        channel: row.parse("channel")?,
        request: row.parse("request_id")?,
        kind: row.parse("kind")?,
        recipient: row.text("recipient")?.to_owned(),
        follows: row.maybe_parse("follows")?,
        payload: row.text("payload")?.to_owned(),
        state: row.parse("state")?,
        attempts: u32::try_from(row.int("attempts")?).map_err(|error| row.corrupt("attempts", error))?,
        fence: row.int("fence")?,
        claimed_by: row.maybe_text("claimed_by")?.map(str::to_owned),
        due_at: row.maybe_time("due_at")?,
        reference: row.maybe_text("reference")?.map(str::to_owned),
        created_at: row.time("created_at")?,
        settled_at: row.maybe_time("settled_at")?,
        keep_until: row.time("keep_until")?,
    })
}
