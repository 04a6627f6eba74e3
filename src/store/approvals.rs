//! Approvals: one verdict of one person on one access request, written once.

use sqlx::any::AnyRow;

use super::codec::{Columns, Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{MAX_PAGE_OF_TASK, Store, StoreError, Tx, page};
use crate::domain::{Approval, Digest, Person, RequestId};

const TABLE: &str = "approval";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::New,
    sql: grouped!(
        "-- approvals.insert
        INSERT INTO approval (request_id, person, id, person_groups, verdict, request_digest, reason, at, in_place_of,
            narrow, bundle, plan, proof, thought_millis, seal)
        SELECT v.value->>0, v.value->>1, v.value->>2, v.value->>3, v.value->>4, v.value->>5, v.value->>6,
            CAST(v.value->>7 AS BIGINT), v.value->>8, v.value->>9, v.value->>10, v.value->>11, v.value->>12,
            CAST(v.value->>13 AS BIGINT), v.value->>14
        FROM "
    ),
};

pub(super) const REPLACE: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- approvals.replace
        UPDATE approval SET id = v.value->>3, person_groups = v.value->>4, verdict = v.value->>5,
            request_digest = v.value->>6, reason = v.value->>7, at = CAST(v.value->>8 AS BIGINT),
            in_place_of = v.value->>9, narrow = v.value->>10, bundle = v.value->>11, plan = v.value->>12,
            proof = v.value->>13, thought_millis = CAST(v.value->>14 AS BIGINT), seal = v.value->>15
        FROM ",
        " WHERE approval.request_id = v.value->>0 AND approval.person = v.value->>1 AND approval.id = v.value->>2"
    ),
};

/// The columns of a verdict from its id on.
fn said(row: &mut Columns<'_>, approval: &Approval) {
    row.show(approval.id).json(&approval.groups);
    row.text(approval.verdict.as_str()).show(approval.request_digest).maybe_text(approval.reason.as_deref());
    row.time(approval.at).maybe_text(approval.in_place_of.as_ref().map(Person::as_str));
    match &approval.narrow {
        Some(narrow) => row.json(narrow),
        None => row.null(),
    };
    row.maybe_show(approval.bundle).maybe_show(approval.plan).maybe_text(approval.proof.as_deref());
    row.maybe_int(approval.thought_millis).maybe_text(approval.seal.as_deref());
}

impl Tx {
    /// Put a person's verdict in the place of an earlier one of theirs on the same request, which was about something else than is
    /// shown by now; if that is still there.
    pub fn replace_approval(&mut self, before: &Approval, after: &Approval) {
        self.list.push(Change::ApprovalReplace, |row| {
            row.show(before.request).text(before.person.as_str()).show(before.id);
            said(row, after);
        });
    }

    /// Add a verdict; a second one of the same person on the same request conflicts.
    pub fn insert_approval(&mut self, approval: &Approval) {
        self.list.push(Change::ApprovalInsert, |row| {
            row.show(approval.request).text(approval.person.as_str());
            said(row, approval);
        });
    }
}

impl Store {
    /// The verdicts on an access request, oldest first, at most 500.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_approvals(&self, request: RequestId) -> Result<Vec<Approval>, StoreError> {
        let query = sqlx::query(
            "-- approvals.list
            SELECT request_id, person, id, person_groups, verdict, request_digest, reason, at, in_place_of, narrow, bundle,
                plan, proof, thought_millis, seal
            FROM approval WHERE request_id = $1 ORDER BY id LIMIT $2",
        )
        .bind(request.to_string())
        .bind(MAX_PAGE_OF_TASK);
        self.list(query, read).await
    }

    /// Whether another access request than this one was shown under this digest: one that a verdict was given on, or one
    /// that waits.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn is_digest_of_another(&self, request: RequestId, digest: Digest) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "-- approvals.digest_of_another
            SELECT a.request_id AS request_id FROM approval AS a WHERE a.request_digest = $1 AND a.request_id <> $2
            UNION SELECT r.id AS request_id FROM access_request AS r
                WHERE r.due_at IS NOT NULL AND r.digest = $1 AND r.id <> $2
            LIMIT 1",
        )
        .bind(digest.to_string())
        .bind(request.to_string());
        Ok(self.find(query, |row| Reader::new(TABLE, row).parse::<RequestId>("request_id")).await?.is_some())
    }

    /// The verdicts on the access requests that wait for people and lapse first, of at most `limit` (and 1,000) requests, oldest
    /// first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_approvals_of_waiting(&self, limit: u32) -> Result<Vec<Approval>, StoreError> {
        let query = sqlx::query(
            "-- approvals.list_of_waiting
            SELECT request_id, person, id, person_groups, verdict, request_digest, reason, at, in_place_of, narrow, bundle,
                plan, proof, thought_millis, seal
            FROM approval WHERE request_id IN
                (SELECT r.id FROM access_request AS r WHERE r.due_at IS NOT NULL AND r.state = 'pending'
                ORDER BY r.due_at, r.id LIMIT $1)
            ORDER BY id LIMIT 50000",
        )
        .bind(page(limit));
        self.list(query, read).await
    }
}

fn read(row: &AnyRow) -> Result<Approval, StoreError> {
    let row = Reader::new(TABLE, row);
    Ok(Approval {
        id: row.parse("id")?,
        request: row.parse("request_id")?,
        person: Person::new(row.text("person")?),
        groups: row.json("person_groups")?,
        verdict: row.parse("verdict")?,
        request_digest: row.parse("request_digest")?,
        reason: row.maybe_text("reason")?.map(str::to_owned),
        at: row.time("at")?,
        in_place_of: row.maybe_text("in_place_of")?.map(Person::new),
        narrow: row.maybe_json("narrow")?,
        bundle: row.maybe_parse("bundle")?,
        plan: row.maybe_parse("plan")?,
        proof: row.maybe_text("proof")?.map(str::to_owned),
        thought_millis: row.maybe_int("thought_millis")?,
        seal: row.maybe_text("seal")?.map(str::to_owned),
    })
}
