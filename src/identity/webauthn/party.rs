//! Whom a passkey is for: a domain, and the addresses of the pages that may use it. An authenticator never signs for another
//! domain than the one its browser is at, which is what makes a look-alike page useless.

use serde::Deserialize;
use url::{Host, Url};

use crate::sys::is_loopback;

/// The most origins there may be.
const MAX_ORIGINS: usize = 8;

/// Why passkeys cannot be used at an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PartyError(String);

/// Whom passkeys are for: a domain, and the origins of the pages that may use them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingParty {
    id: String,
    origins: Vec<String>,
}

impl RelyingParty {
    /// From a domain and the origins of pages: each `https://HOST[:PORT]` at that domain or below it; `http` for `localhost`
    /// only (WebAuthn Level 3 §13.4.9, §5.1.3 step 8).
    ///
    /// # Errors
    /// [`PartyError`], which says what to write instead.
    pub fn new(id: &str, origins: &[String]) -> Result<Self, PartyError> {
        if !is_domain(id) {
            return Err(PartyError(format!(
                "`{id}` is no domain in lower case: passkeys belong to a domain, such as hallpass.acme.example, or to localhost"
            )));
        }
        if origins.is_empty() || origins.len() > MAX_ORIGINS {
            return Err(PartyError(format!("name 1 to {MAX_ORIGINS} origins, e.g. \"https://{id}\"")));
        }
        let origins = origins.iter().map(|text| origin_at(id, text)).collect::<Result<_, _>>()?;
        Ok(Self { id: id.to_owned(), origins })
    }

    /// As it follows from the URL by which people reach us. A browser takes no address for a domain, so where that is an address
    /// of this very machine people open it as `localhost`.
    ///
    /// # Errors
    /// [`PartyError`] for any other address.
    pub fn of_url(url: &str) -> Result<Self, PartyError> {
        let parsed = Url::parse(url).map_err(|error| PartyError(format!("`{url}` is not a URL: {error}")))?;
        let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = match parsed.host() {
            Some(Host::Domain(host)) => host.to_owned(),
            Some(Host::Ipv4(address)) if address.is_loopback() => "localhost".to_owned(),
            Some(Host::Ipv6(address)) if address.is_loopback() => "localhost".to_owned(),
            Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => {
                return Err(PartyError(format!(
                    "passkeys need a domain, and {url} is an address: have people reach the broker by a name, and say so with \
                     server.public_url, or with [passkeys] rp_id and origins"
                )));
            }
        };
        Self::new(&host, &[format!("{}://{host}{port}", parsed.scheme())])
    }

    /// The domain (`rp.id`).
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The origins of the pages that may use them.
    #[must_use]
    pub fn origins(&self) -> &[String] {
        &self.origins
    }
}

/// `[passkeys]`: whom passkeys are for, where that does not follow from `server.public_url`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasskeySettings {
    /// The domain they belong to: that of `server.public_url`, or one above it. Passkeys of another one are of no use any more.
    pub rp_id: Option<String>,
    /// The addresses of the pages that may use them, e.g. `https://hallpass.acme.example`; when absent, that of
    /// `server.public_url`.
    pub origins: Vec<String>,
}

impl PasskeySettings {
    /// Whom passkeys are for, with what is absent taken from the URL by which people reach us.
    ///
    /// # Errors
    /// [`PartyError`].
    pub fn party(&self, public_url: &str) -> Result<RelyingParty, PartyError> {
        if self == &Self::default() {
            return RelyingParty::of_url(public_url);
        }
        let of_url = RelyingParty::of_url(public_url);
        let id = match &self.rp_id {
            Some(id) => id.clone(),
            None => of_url.clone()?.id,
        };
        let origins = if self.origins.is_empty() { of_url?.origins } else { self.origins.clone() };
        RelyingParty::new(&id, &origins)
    }
}

fn is_domain(text: &str) -> bool {
    let parsed = Url::parse(&format!("https://{text}/"));
    let is_name = parsed.is_ok_and(|url| matches!(url.host(), Some(Host::Domain(host)) if host == text));
    is_name && (text == "localhost" || text.contains('.')) && !text.ends_with('.')
}

/// An origin as browsers write it (RFC 6454 §6.2), if a page there may use passkeys of this domain.
fn origin_at(id: &str, text: &str) -> Result<String, PartyError> {
    let wrong = |why: &str| {
        PartyError(format!("`{text}` cannot be an origin for passkeys of `{id}`: {why}; write e.g. \"https://{id}\""))
    };
    let url = Url::parse(text).map_err(|_| wrong("it is not a URL"))?;
    let origin = url.origin().ascii_serialization();
    if origin != text.trim_end_matches('/') {
        return Err(wrong("it is not just scheme, host and port"));
    }
    let host = url.host_str().unwrap_or_default();
    if host != id && !host.strip_suffix(id).is_some_and(|below| below.ends_with('.')) {
        return Err(wrong("it is not at that domain"));
    }
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(host)) {
        return Err(wrong("browsers offer passkeys over https only, but for localhost"));
    }
    Ok(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_says_whom_passkeys_are_for() {
        for (url, id, origin) in [
            ("https://hallpass.acme.example", "hallpass.acme.example", "https://hallpass.acme.example"),
            (
                "https://hallpass.acme.example:8443/broker",
                "hallpass.acme.example",
                "https://hallpass.acme.example:8443",
            ),
            ("http://127.0.0.1:8600", "localhost", "http://localhost:8600"),
            ("http://[::1]:8600", "localhost", "http://localhost:8600"),
            ("http://localhost:8600", "localhost", "http://localhost:8600"),
        ] {
            let party = RelyingParty::of_url(url).unwrap();
            assert_eq!((party.id(), party.origins()), (id, &[origin.to_owned()][..]), "{url}");
        }
    }

    #[test]
    fn an_address_is_refused_with_what_to_do() {
        for url in ["https://192.0.2.7", "https://[2001:db8::1]:8443"] {
            let error = RelyingParty::of_url(url).unwrap_err().to_string();
            assert!(error.contains("passkeys need a domain") && error.contains("server.public_url"), "{error}");
        }
    }

    #[test]
    fn only_origins_of_the_domain_are_taken_and_only_over_https() {
        let new = |id: &str, origin: &str| RelyingParty::new(id, &[origin.to_owned()]);
        for (id, origin) in [
            ("acme.example", "https://acme.example"),
            ("acme.example", "https://hallpass.acme.example:8443"),
            ("localhost", "http://localhost:8600"),
        ] {
            assert!(new(id, origin).is_ok(), "{origin}");
        }
        for (id, origin) in [
            ("acme.example", "https://evilacme.example"),
            ("acme.example", "https://acme.example.evil.example"),
            ("acme.example", "http://acme.example"),
            ("acme.example", "https://acme.example/page"),
            ("acme.example", "https://user@acme.example"),
            ("acme.example", "https://ACME.example"),
            ("acme.example", "acme.example"),
            ("192.0.2.7", "https://192.0.2.7"),
            ("ACME.example", "https://acme.example"),
            ("example", "https://acme.example"),
            ("acme.example.", "https://acme.example."),
            ("", "https://acme.example"),
        ] {
            assert!(new(id, origin).is_err(), "{id} {origin}");
        }
        assert!(RelyingParty::new("acme.example", &[]).is_err());
    }
}
