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
    settings_of(&url(folder), folder)
}

/// How to open any store; what is noted of a server's is in this folder.
pub(crate) fn settings_of(store: &str, folder: &Path) -> StoreSettings {
    let mark = store.starts_with("postgres:").then(|| folder.join("history-mark"));
    StoreSettings { mark, ..StoreSettings::new(store) }
}

/// Copy the store of a folder, which nobody has open, to that of another folder: as a backup, or as a fork.
pub(crate) fn copy(from: &Path, to: &Path) {
    if is_postgres() {
        postgres::shared().copy(&from.display().to_string(), &to.display().to_string());
    } else {
        drop(std::fs::remove_file(to.join("hallpass.db")));
        std::fs::copy(from.join("hallpass.db"), to.join("hallpass.db")).unwrap();
    }
}

/// What a store holds now, for [`put_back_in_place`].
pub(crate) fn remember(folder: &Path) -> Vec<u8> {
    if is_postgres() {
        let last = "select coalesce(max(seq), 0) from event";
        postgres::shared().query(&folder.display().to_string(), last).into_bytes()
    } else {
        std::fs::read(folder.join("hallpass.db")).unwrap()
    }
}

/// Make a store hold again what it held, where it is: what came after is gone from its history.
pub(crate) fn put_back_in_place(folder: &Path, held: &[u8]) {
    if is_postgres() {
        let last: u64 = String::from_utf8(held.to_vec()).unwrap().parse().unwrap();
        let behind = format!("set session_replication_role = replica; delete from event where seq > {last}");
        postgres::shared().query(&folder.display().to_string(), &behind);
    } else {
        std::fs::write(folder.join("hallpass.db"), held).unwrap();
    }
}

/// All bytes that the database of a folder keeps: its files, and what a dump of it says.
pub(crate) fn everything_kept(folder: &Path) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut folders = vec![folder.to_owned()];
    if is_postgres() {
        let (dump, files) = postgres::shared().everything_kept(&folder.display().to_string());
        kept.extend(dump);
        folders = files;
    }
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != "jwks.json" && name != "ssh-ca") {
                kept.extend(std::fs::read(path).unwrap_or_default());
            }
        }
    }
    kept
}
