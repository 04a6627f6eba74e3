//! Audit events as CSV, for whoever works in a spreadsheet. Every cell is quoted, and none can pass for a formula.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::Value;

use super::super::HttpState;
use super::super::body::Params;
use super::super::refusal::Refusal;
use super::text::cell;
use super::visit::Visit;
use crate::broker::{EventsAsk, PageAsk};
use crate::domain::Timestamp;

/// Rows of one file; the header `Link` says where to go on.
const MAX_ROWS: usize = 10_000;
/// Rows that are read at once.
const PAGE: u32 = 200;
/// The members of an event that have a column.
const COLUMNS: [&str; 9] = ["at", "kind", "agent", "task", "request", "decision", "grant", "lease", "id"];

/// Which events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CsvParams {
    agent: Option<String>,
    task: Option<String>,
    request: Option<String>,
    lease: Option<String>,
    kind: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    cursor: Option<String>,
}

/// `GET /events.csv`
pub(super) async fn read(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    Params(params): Params<CsvParams>,
) -> Result<Response, Refusal> {
    let mut csv = String::from("seq,actor,at,kind,agent,task,request,decision,grant,lease,id,data\r\n");
    let (mut cursor, mut rows) = (params.cursor, 0_usize);
    loop {
        let ask = EventsAsk {
            agent: params.agent.clone(),
            task: params.task.clone(),
            request: params.request.clone(),
            lease: params.lease.clone(),
            kind: params.kind.clone(),
            from: params.from,
            to: params.to,
            newest_first: false,
            page: PageAsk { limit: Some(PAGE), cursor },
        };
        let found = state.broker.list_events(&visit.caller, ask).await?;
        rows = rows.saturating_add(found.items.len());
        for event in &found.items {
            csv.push_str(&line(event.seq, &event.event));
        }
        cursor = found.next_cursor;
        if cursor.is_none() || rows >= MAX_ROWS {
            break;
        }
    }
    let mut response = csv.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
    headers
        .insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"hallpass-events.csv\""));
    if let Some(next) =
        cursor.and_then(|seq| HeaderValue::try_from(format!("</events.csv?cursor={seq}>; rel=\"next\"")).ok())
    {
        headers.insert(header::LINK, next);
    }
    Ok(response)
}

/// One event as a line (RFC 4180 §2).
fn line(seq: i64, event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, name) = (text("/actor/kind"), text("/actor/name"));
    let actor = if name.is_empty() { kind } else { format!("{kind}:{name}") };
    let mut line = format!("{seq},{}", cell(&actor));
    for column in COLUMNS {
        let _ = write!(line, ",{}", cell(&text(&format!("/{column}"))));
    }
    let data = event.get("data").map(ToString::to_string).unwrap_or_default();
    let _ = write!(line, ",{}\r\n", cell(&data));
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn con_12_no_cell_of_an_event_is_a_formula() {
        let event = json!({
            "at": "2026-11-22T00:00:00Z", "kind": "approval.recorded", "id": "evt_1",
            "actor": { "kind": "operator", "name": "=HYPERLINK(\"x\")" }, "agent": "@sum", "task": "+1", "lease": "-2",
            "data": { "reason": "=cmd|' /C calc'!A0" },
        });
        let line = line(7, &event);
        assert!(line.starts_with("7,\"operator:=HYPERLINK(\"\"x\"\")\","));
        for cell in ["\"'@sum\"", "\"'+1\"", "\"'-2\""] {
            assert!(line.contains(cell), "{line}");
        }
        assert!(line.ends_with(",\"{\"\"reason\"\":\"\"=cmd|' /C calc'!A0\"\"}\"\r\n"));
        assert_eq!(line.matches("\r\n").count(), 1);
    }
}
