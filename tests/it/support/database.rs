//! Which database the tests run on: a file in the test's folder, or, with `TEST_DATABASE=postgres`, a database of the test's own
//! on a server that the tests start.

use std::path::Path;
use std::sync::OnceLock;

use hallpass::store::StoreSettings;

use super::postgres;

/// Whether this run is on PostgreSQL.
pub(crate) fn is_postgres() -> bool {
    static CHOSEN: OnceLock<bool> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "which database to test is for whoever runs the tests to say")]
    let chosen = || match std::env::var("TEST_DATABASE").as_deref() {
        Err(_) | Ok("sqlite") => false,
        Ok("postgres") => true,
        Ok(other) => panic!("TEST_DATABASE is sqlite or postgres, not `{other}`"),
    };
    *CHOSEN.get_or_init(chosen)
}

/// The URL of the store that belongs to a folder.
pub(crate) fn url(folder: &Path) -> String {
    if is_postgres() {
        postgres::shared().url(&folder.display().to_string())
    } else {
        format!("sqlite:{}", folder.join("hallpass.db").display())
    }
}

/// How to open the store that belongs to a folder.
pub(crate) fn settings(folder: &Path) -> StoreSettings {
    StoreSettings::new(url(folder))
}
