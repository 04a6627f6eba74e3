//! The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header §2.1): a structured-field string. Most clients send
//! it without quotes, so both forms are read, to the same key.

use axum::extract::FromRequestParts;
use axum::http::HeaderName;
use axum::http::request::Parts;

use super::refusal::Refusal;

const NAME: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest key.
const MAX_KEY_BYTES: usize = 255;

/// The key of this request, if it has one.
pub(super) struct IdempotencyKey(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let mut values = parts.headers.get_all(NAME).iter();
        let key = match (values.next(), values.next()) {
            (None, _) => return Ok(Self(None)),
            (Some(value), None) => value.to_str().ok().and_then(parse),
            (Some(_), Some(_)) => None,
        };
        match key {
            Some(key) => Ok(Self(Some(key))),
            None => Err(Refusal::invalid("Send one Idempotency-Key of 1 to 255 visible ASCII characters.")),
        }
    }
}

fn parse(value: &str) -> Option<String> {
    let key = match value.trim().strip_prefix('"') {
        Some(rest) => unquote(rest.strip_suffix('"')?)?,
        None => value.trim().to_owned(),
    };
    ((1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())).then_some(key)
}

/// RFC 9651 §4.2.5: only `"` and `\` may be escaped, and must be.
fn unquote(inner: &str) -> Option<String> {
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(|next| matches!(next, '"' | '\\'))?),
            '"' => return None,
            other => out.push(other),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_and_bare_keys_are_the_same_key() {
        assert_eq!(parse("8e03978e-40d5"), parse("\"8e03978e-40d5\""));
        assert_eq!(parse(r#""a\"b\\c""#).as_deref(), Some(r#"a"b\c"#));
        assert_eq!(parse(&"k".repeat(255)).map(|key| key.len()), Some(255));
    }

    #[test]
    fn keys_that_are_empty_too_long_or_invisible_are_refused() {
        for bad in ["", "\"\"", "\"", "a b", "\"a", r#""a\n""#, r#""a"b""#, &"k".repeat(256)] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
