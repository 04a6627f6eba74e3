//! What is over and not yet at its native end, as revocation lists are made from it: read page by page, in one order for every
//! replica.

use sqlx::any::AnyRow;

use super::codec::Reader;
use super::{Store, StoreError, page};
use crate::domain::{EndCause, Handle, LeaseId, Name, Timestamp};

/// A credential whose end was put on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverRow {
    /// Its lease.
    pub lease: LeaseId,
    /// The name by which its backend knows it.
    pub handle: Handle,
    /// When its backend stops honouring it by itself.
    pub native_end: Timestamp,
    /// Since when it is over: since its end was put on record, or since it has ended.
    pub since: Timestamp,
    /// Why.
    pub cause: EndCause,
}

impl Store {
    /// The credentials of a backend whose end was put on record and whose native end is later than the first moment, or that come
    /// after a lease of that native end; in order of native end and lease, at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_ended_before_native_end(
        &self,
        backend: &Name,
        after: (Timestamp, Option<LeaseId>),
        limit: u32,
    ) -> Result<Vec<OverRow>, StoreError> {
        let (native_end, lease) = after;
        let query = sqlx::query(
            "-- leases.list_over
            SELECT id, handle, native_end, since, cause FROM lease
            WHERE cause IS NOT NULL AND backend = $1 AND native_end >= $2 AND (native_end > $2 OR id > $3)
            ORDER BY native_end, id LIMIT $4",
        )
        .bind(backend.to_string())
        .bind(native_end.as_millis())
        // No id is greater than this.
        .bind(lease.map_or_else(|| "~".to_owned(), |id| id.to_string()))
        .bind(page(limit));
        self.list(query, read_over).await
    }
}

fn read_over(row: &AnyRow) -> Result<OverRow, StoreError> {
    let row = Reader::new("lease", row);
    Ok(OverRow {
        lease: row.parse("id")?,
        handle: Handle::new(row.text("handle")?),
        native_end: row.time("native_end")?,
        since: row.time("since")?,
        cause: row.parse("cause")?,
    })
}
