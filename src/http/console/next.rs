//! Where somebody goes after signing in: a path of our own, or nowhere. Whatever a browser could take for another host is refused.

use url::form_urlencoded;

use crate::http::HttpState;

/// Longest path and query.
const MAX_BYTES: usize = 2048;

/// A path of our own, with its query.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Next(String);

impl Default for Next {
    fn default() -> Self {
        Self("/".to_owned())
    }
}

impl Next {
    /// A path that begins with one slash, has no backslash, no control character and nothing but visible ASCII: browsers take
    /// `//host`, `/\host` and `/<tab>/host` for another host (WHATWG URL §4.4). The sign-in's own pages lead nowhere.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let own = text.starts_with('/') && !path.contains("//");
        let loops = path == super::SIGN_IN || path.starts_with("/sign-in/") || path == "/sign-out";
        (own && visible && !loops && text.len() <= MAX_BYTES).then(|| Self(text.to_owned()))
    }

    /// The path.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The sign-in that leads there. In `hallpass dev` the one-time code of its greeting is handed on.
pub(super) fn sign_in_url(state: &HttpState, next: &Next) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let code = next.0.strip_prefix("/?code=").filter(|_| state.broker.passes_login_hints());
    match code {
        Some(code) => query.append_pair("next", "/").append_pair("login_hint", code),
        None => query.append_pair("next", &next.0),
    };
    format!("{}?{}", super::SIGN_IN, query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn con_04_after_signing_in_one_goes_to_own_paths_only() {
        for own in ["/", "/requests/req_1?x=1&y=%2F%2Fevil", "/device?user_code=BCDF-GHJK", "/a/b#c", "/sign-inx"] {
            assert_eq!(Next::parse(own).map(|next| next.0).as_deref(), Some(own));
        }
        for other in [
            "",
            "evil",
            "//evil",
            "///evil",
            "/\\evil",
            "\\/evil",
            "/%09/evil/../\t",
            "/\t/evil",
            "/\n/evil",
            "https://evil",
            "javascript:alert(1)",
            " /x",
            "/x y",
            "/é",
            "/a//b",
            "/sign-in?next=/x",
            "/sign-in/callback?code=1",
            "/sign-out",
            &format!("/{}", "a".repeat(MAX_BYTES)),
        ] {
            assert_eq!(Next::parse(other), None, "{other:?}");
        }
    }
}
