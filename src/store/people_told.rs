//! Who is in a group, as far as issuers have said so lately: those who may be asked by mail.

use super::people_known::read;
use super::{KnownPerson, Store, StoreError, page};
use crate::domain::Timestamp;

/// Most rows have no such group; those that seem to are looked at exactly afterwards, for `LIKE` takes more than it should.
const LIST: &str = "-- people_told.list_in_group
    SELECT issuer, subject, person, email, person_groups, seen_at, recheck_at FROM person_known
    WHERE person_groups LIKE $1 ESCAPE '|' AND seen_at >= $2 AND email IS NOT NULL ORDER BY issuer, subject LIMIT $3";

impl Store {
    /// People with an address whose issuer said, not before `since`, that they are in this group; at most `limit` (and 1,000).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_people_in_group(
        &self,
        group: &str,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<KnownPerson>, StoreError> {
        let written = serde_json::to_string(group).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let literal = written.replace('|', "||").replace('%', "|%").replace('_', "|_");
        let query = sqlx::query(LIST).bind(format!("%{literal}%")).bind(since.as_millis()).bind(page(limit));
        let mut found = self.list(query, read).await?;
        found.retain(|known| known.groups.iter().any(|own| own == group));
        Ok(found)
    }
}
