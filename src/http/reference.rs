//! The reference, served by the broker itself: the OpenAPI document, a page made from it, and a page for each problem. Made
//! once, at first use; no script, no third party, and a policy that would stop both.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Response};
use data_encoding::BASE64;
use serde_json::{Map, Value};

use crate::api::ProblemKind;
use crate::sys::sha256;

use super::caller::PathId;
use super::refusal::Refusal;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;\
background:#fff}code{font:.9em ui-monospace,monospace}h2{margin-top:3rem;border-bottom:1px solid #ccc}h3{margin-top:2rem}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;\
border-bottom:1px solid #ddd}@media(prefers-color-scheme:dark){body{color:#e8e8e8;background:#161616}a{color:#8ab4f8}}";

static DOCUMENT: LazyLock<String> = LazyLock::new(super::openapi_document);
static REFERENCE: LazyLock<String> = LazyLock::new(|| render(&serde_json::from_str(&DOCUMENT).unwrap_or_default()));
static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = BASE64.encode(sha256(STYLE).as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// Read the OpenAPI document
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "reference",
    responses((status = 200, description = "This document", body = Object)))]
pub(super) async fn openapi_json() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// Read the reference as a page
#[utoipa::path(get, path = "/docs", operation_id = "reference", tag = "reference",
    responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
pub(super) async fn docs() -> Response {
    page(REFERENCE.as_str())
}

/// Read what a problem means
///
/// The `type` of every problem is the address of such a page.
#[utoipa::path(get, path = "/problems/{slug}", operation_id = "read_problem", tag = "reference",
    params(("slug" = String, Path, description = "The problem's code")),
    responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
pub(super) async fn problem_page(PathId(slug): PathId) -> Result<Response, Refusal> {
    let kind = ProblemKind::ALL.iter().find(|kind| kind.slug() == slug).ok_or_else(Refusal::not_found)?;
    let body = format!("{}<p><a href=\"/docs\">Reference</a></p>", markdown(kind.page()));
    Ok(page(whole(kind.slug(), &body)))
}

fn page(html: impl Into<axum::body::Body>) -> Response {
    let mut response = Html(html.into()).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(CONTENT_SECURITY_POLICY.as_str()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn whole(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{title} - Hallpass</title><style>{STYLE}</style></head>\
         <body><main>{body}</main></body></html>"
    )
}

fn render(document: &Value) -> String {
    let mut body = format!("<h1>Hallpass API</h1><p>{}</p>", text(document.pointer("/info/description")));
    body.push_str("<p><a href=\"/openapi.json\">OpenAPI document</a></p>");
    for tag in document.get("tags").and_then(Value::as_array).into_iter().flatten() {
        let name = tag.get("name").and_then(Value::as_str).unwrap_or_default();
        let _ = write!(body, "<h2>{}</h2><p>{}.</p>", escape(name), text(tag.get("description")));
        for (path, item) in members(document.get("paths")) {
            let here = |operation: &Value| operation.pointer("/tags/0").and_then(Value::as_str) == Some(name);
            for (method, operation) in item.as_object().into_iter().flatten().filter(|(_, operation)| here(operation)) {
                render_operation(&mut body, path, method, operation);
            }
        }
    }
    body.push_str("<h2>Types</h2>");
    for (name, schema) in members(document.pointer("/components/schemas")) {
        render_type(&mut body, name, schema);
    }
    body.push_str("<h2>Problems</h2><table><tr><th>Code</th><th>Status</th><th>Meaning</th></tr>");
    for kind in ProblemKind::ALL {
        let (slug, title) = (kind.slug(), escape(kind.title()));
        let _ = write!(body, "<tr><td><a href=\"/problems/{slug}\"><code>{slug}</code></a></td>");
        let _ = write!(body, "<td>{}</td><td>{title}</td></tr>", kind.status());
    }
    body.push_str("</table>");
    whole("Reference", &body)
}

fn render_operation(body: &mut String, path: &str, method: &str, operation: &Value) {
    let callers: Vec<&str> = operation
        .get("security")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect();
    let callers = if callers.is_empty() { "anybody".to_owned() } else { callers.join(" or ") };
    let summary = text(operation.get("summary"));
    let _ = write!(body, "<h3><code>{} {}</code></h3>", method.to_uppercase(), escape(path));
    let _ = write!(body, "<p><strong>{summary}.</strong> {}</p>", text(operation.get("description")));
    let _ = write!(body, "<p>Callers: {}</p><table>", escape(&callers));
    for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        let (name, place) = (text(parameter.get("name")), text(parameter.get("in")));
        let description = text(parameter.get("description"));
        let _ = write!(body, "<tr><td><code>{name}</code></td><td>{place}</td><td>{description}</td></tr>");
    }
    for (_, media) in members(operation.pointer("/requestBody/content")) {
        let _ = write!(body, "<tr><td>body</td><td></td><td>{}</td></tr>", kind(media.get("schema")));
    }
    for (status, response) in members(operation.get("responses")) {
        let of =
            members(response.get("content")).map(|(_, media)| kind(media.get("schema"))).next().unwrap_or_default();
        let description = text(response.get("description"));
        let _ = write!(body, "<tr><td>{}</td><td>{of}</td><td>{description}</td></tr>", escape(status));
    }
    body.push_str("</table>");
}

fn render_type(body: &mut String, name: &str, schema: &Value) {
    let name = escape(name);
    let _ = write!(body, "<h3 id=\"{name}\"><code>{name}</code></h3><p>{}</p>", text(schema.get("description")));
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    body.push_str("<table>");
    for (member, property) in members(schema.get("properties")) {
        let need = if required.iter().any(|one| one == member) { "required" } else { "" };
        let (of, description) = (kind(Some(property)), text(property.get("description")));
        let _ = write!(body, "<tr><td><code>{}</code></td><td>{of}</td><td>{need}</td>", escape(member));
        let _ = write!(body, "<td>{description}</td></tr>");
    }
    body.push_str("</table>");
    if let Some(example) = schema.get("example") {
        let _ = write!(body, "<pre><code>{}</code></pre>", escape(&format!("{example:#}")));
    }
}

/// A schema in a word: a link to a type, or the name of a JSON type.
fn kind(schema: Option<&Value>) -> String {
    let Some(schema) = schema else { return String::new() };
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
        let name = escape(name);
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    if let Some(items) = schema.get("items") {
        return format!("list of {}", kind(Some(items)));
    }
    if let Some(either) = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array) {
        let words: Vec<String> = either.iter().map(|one| kind(Some(one))).filter(|word| word != "null").collect();
        return words.join(" or ");
    }
    match schema.get("type") {
        Some(Value::String(word)) => escape(word),
        Some(Value::Array(words)) => words.first().and_then(Value::as_str).map(escape).unwrap_or_default(),
        _ => "any".to_owned(),
    }
}

/// The little Markdown that problem pages use: headings, paragraphs and code. Everything else stays as it is written.
fn markdown(source: &str) -> String {
    let block = |block: &str| match block.split_once(' ') {
        Some(("#", heading)) => format!("<h1>{}</h1>", code(heading)),
        Some(("##", heading)) => format!("<h2>{}</h2>", code(heading)),
        _ => format!("<p>{}</p>", code(block)),
    };
    source.trim().split("\n\n").map(block).collect()
}

fn code(text: &str) -> String {
    let part =
        |(index, part): (usize, &str)| if index % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() };
    escape(text).split('`').enumerate().map(part).collect()
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn text(value: Option<&Value>) -> String {
    escape(value.and_then(Value::as_str).unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_shows_every_route_and_every_problem() {
        for route in super::super::api_routes() {
            assert!(REFERENCE.contains(&format!("<code>{} {}</code>", route.method, route.path)), "{}", route.path);
        }
        for kind in ProblemKind::ALL {
            assert!(REFERENCE.contains(&format!("href=\"/problems/{}\"", kind.slug())));
        }
    }

    #[test]
    fn the_reference_has_no_script_and_asks_nobody_else_for_anything() {
        for word in ["<script", "<link", "<img", "src=", "http:", "https:", "//", "javascript", " style="] {
            assert!(!REFERENCE.contains(word), "{word}");
        }
        assert!(CONTENT_SECURITY_POLICY.starts_with("default-src 'none';"));
    }

    #[tokio::test]
    async fn every_problem_has_its_page_and_nothing_else_has() {
        for kind in ProblemKind::ALL {
            let response = problem_page(PathId(kind.slug().to_owned())).await.unwrap();
            assert!(response.headers().contains_key(header::CONTENT_SECURITY_POLICY));
            assert!(markdown(kind.page()).contains(&format!("<code>{}</code>", kind.slug())));
        }
        assert!(problem_page(PathId("nonsense".to_owned())).await.is_err());
    }

    #[test]
    fn markup_in_a_text_stays_text() {
        assert_eq!(markdown("# a <b>\n\n`c<d`"), "<h1>a &lt;b&gt;</h1><p><code>c&lt;d</code></p>");
    }
}
