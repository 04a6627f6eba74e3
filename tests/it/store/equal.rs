//! Both databases say the same: equal schemas, equal answers to what databases like to treat differently, and no secret in what
//! either keeps.

use std::collections::BTreeMap;

use hallpass::domain::*;
use hallpass::store::{StoreError, TaskFilter};
use sqlx::{Executor as _, Row as _};

use super::fixture::*;
use crate::support::postgres;

async fn both() -> [Fixture; 2] {
    let folder = tempfile::tempdir().unwrap();
    let url = postgres::shared().url(&folder.path().display().to_string());
    [Fixture::on_a_file().await, Fixture::on(folder, url).await]
}

/// A table: each column with its type, whether it must be there, and its place in the primary key; then its indexes.
type Tables = BTreeMap<String, Vec<String>>;

async fn sqlite_catalogue(f: &Fixture) -> Tables {
    let mut back = f.behind_our_back().await;
    let sql = "SELECT m.name AS t, c.name AS c, c.type AS k, CAST(c.\"notnull\" AS TEXT) AS n, CAST(c.pk AS TEXT) AS p
        FROM sqlite_schema AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table' ORDER BY m.name, c.cid";
    let mut tables = read_columns(&mut back, sql).await;
    let sql =
        "SELECT tbl_name AS t, sql AS d FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name";
    for row in back.fetch_all(sql).await.unwrap() {
        tables.get_mut(&row.get::<String, _>("t")).unwrap().push(row.get("d"));
    }
    tables
}

async fn postgres_catalogue(f: &Fixture) -> Tables {
    let mut back = f.behind_our_back().await;
    let sql = "SELECT CAST(r.relname AS TEXT) AS t, CAST(a.attname AS TEXT) AS c, format_type(a.atttypid, NULL) AS k,
            CASE WHEN a.attnotnull THEN '1' ELSE '0' END AS n,
            CAST(COALESCE(array_position(string_to_array(CAST(i.indkey AS TEXT), ' '), CAST(a.attnum AS TEXT)), 0) AS TEXT) AS p
        FROM pg_class AS r JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0
        LEFT JOIN pg_index AS i ON i.indrelid = r.oid AND i.indisprimary
        WHERE r.relkind = 'r' AND r.relnamespace = CAST('public' AS regnamespace) ORDER BY r.relname, a.attnum";
    let mut tables = read_columns(&mut back, sql).await;
    let sql = "SELECT CAST(tablename AS TEXT) AS t, indexdef AS d FROM pg_indexes
        WHERE schemaname = 'public' AND indexname NOT LIKE '%_pkey' ORDER BY indexname";
    for row in back.fetch_all(sql).await.unwrap() {
        let said: String = row.get("d");
        let said = said.replace(" ON public.", " ON ").replace(" USING btree", "");
        let said = match said.split_once(" WHERE (") {
            Some((index, only)) => format!("{index} WHERE {}", only.trim_end_matches(')')),
            None => said,
        };
        tables.get_mut(&row.get::<String, _>("t")).unwrap().push(said);
    }
    tables
}

async fn read_columns(back: &mut sqlx::AnyConnection, sql: &'static str) -> Tables {
    let mut tables = Tables::new();
    for row in back.fetch_all(sql).await.unwrap() {
        let [table, column, kind, needed, key] = ["t", "c", "k", "n", "p"].map(|name| row.get::<String, _>(name));
        let kind = kind.to_lowercase().replace("bigint", "integer");
        tables.entry(table).or_default().push(format!("{column} {kind} needed={needed} key={key}"));
    }
    tables
}

#[tokio::test]
async fn both_databases_have_the_same_tables_columns_keys_and_indexes() {
    let [file, server] = both().await;
    let (sqlite, postgres) = (sqlite_catalogue(&file).await, postgres_catalogue(&server).await);
    assert!(sqlite.len() >= 15 && sqlite.values().flatten().any(|line| line.starts_with("CREATE INDEX")), "{sqlite:?}");
    for (table, said) in &sqlite {
        assert_eq!(Some(said), postgres.get(table), "{table}");
    }
    assert_eq!(sqlite.keys().collect::<Vec<_>>(), postgres.keys().collect::<Vec<_>>());
}

/// What may come of a text: read back as it was, or refused.
async fn keep(f: &Fixture, text: &str) -> Result<Option<String>, &'static str> {
    let known = f.task(&agent("builder"));
    let task = Task::new(TaskRecord {
        id: known.id,
        agent: known.agent.clone(),
        identity: known.identity.clone(),
        purpose: known.purpose.clone(),
        kind: known.kind.clone(),
        beneficiary: Some(text.to_owned()),
        references: BTreeMap::from([("text".to_owned(), text.to_owned())]),
        message: known.message.clone(),
        ceiling: known.ceiling.clone(),
        opened_at: known.opened_at,
        ends_at: known.ends_at,
        heartbeat: known.heartbeat,
        heard_at: known.heard_at,
        state: known.state,
    })
    .unwrap();
    let mut tx = f.store.begin("keep");
    tx.insert_task(&task);
    match tx.commit(f.fact()).await {
        Ok(()) => {
            let back = f.store.find_task(task.id).await.unwrap().unwrap();
            assert_eq!(back.references, task.references);
            Ok(back.beneficiary.clone())
        }
        Err(StoreError::Corrupt(_)) => Err("refused"),
        Err(other) => panic!("{text:?}: {other:?}"),
    }
}

#[tokio::test]
async fn sto_09_both_databases_give_equal_answers() {
    let [file, server] = both().await;
    let corpus = [
        "",
        " ",
        "a\0b",
        "\0",
        "a\u{1d}b",
        "a\u{1e}b",
        "a\u{1f}b",
        "plain",
        "É",
        "E\u{301}",
        "İ",
        "ß",
        "SS",
        "%",
        "_",
        "\\",
        "a%b_c\\d",
        "'",
        "\"",
        "[]",
        "null",
        "\u{1}\u{1c}\u{7f}\u{80}",
        "\u{feff}",
        "\u{202e}",
        "🦀",
        "\u{10ffff}",
        "\r\n\t",
        "{\"a\":1}",
        "\\u0041",
        "1e400",
        "9223372036854775808",
    ];
    for text in corpus.iter().copied().chain([&*"long ".repeat(5_000)]) {
        let (one, other) = (keep(&file, text).await, keep(&server, text).await);
        assert_eq!(one, other, "{text:?}");
        let expected = if text.contains(['\0', '\u{1d}', '\u{1e}', '\u{1f}']) {
            Err("refused")
        } else {
            Ok(Some(text.to_owned()))
        };
        assert_eq!(one, expected, "{text:?}");
    }
    // Whoever is in one group with it is written all the same.
    for f in [&file, &server] {
        let write = |identity: &str| {
            let task = f.task(&agent("builder"));
            let mut tx = f.store.begin("group");
            tx.insert_task(&task);
            tx.insert_idempotency(&hallpass::store::IdempotencyRecord {
                owner: identity.to_owned(),
                key: task.id.to_string(),
                request: digest("request"),
                subject: task.id.to_string(),
                at: START,
                keep_until: START,
            });
            tx.commit(f.fact())
        };
        let (good, bad) = (write("agent:a"), write("agent:\0"));
        assert!(good.await.is_ok());
        assert!(matches!(bad.await, Err(StoreError::Corrupt(_))));
        assert!(write("agent:A").await.is_ok(), "case counts");
    }
}

#[tokio::test]
async fn sto_09_both_databases_count_and_sort_alike() {
    let [file, server] = both().await;
    let mut seen = Vec::new();
    for f in [&file, &server] {
        for at in [i64::MIN, -1, 0, 1, (1 << 53) + 1, i64::MAX] {
            let mut tx = f.store.begin("count");
            tx.insert_token_seen(digest(&at.to_string()), Timestamp::from_millis(at), Timestamp::from_millis(at));
            tx.commit(f.fact()).await.unwrap();
        }
        let mut back = f.behind_our_back().await;
        let rows = back.fetch_all("SELECT at FROM token_seen ORDER BY at").await.unwrap();
        let times: Vec<i64> = rows.iter().map(|row| row.get("at")).collect();
        for name in ["b", "B", "a-b", "ab", "a.b", "aa", "a_b", "Zz"] {
            let mut tx = f.store.begin("sort");
            tx.insert_idempotency(&hallpass::store::IdempotencyRecord {
                owner: name.to_owned(),
                key: "k".to_owned(),
                request: digest("request"),
                subject: "s".to_owned(),
                at: START,
                keep_until: START,
            });
            tx.commit(f.fact()).await.unwrap();
        }
        let rows = back.fetch_all("SELECT owner FROM idempotency ORDER BY owner").await.unwrap();
        let names: Vec<String> = rows.iter().map(|row| row.get("owner")).collect();
        seen.push((times, names, f.store.list_tasks(&TaskFilter::default(), None, 10).await.unwrap()));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].1.first().map(String::as_str), Some("B"), "by bytes");
}
