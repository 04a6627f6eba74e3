//! A browser over real HTTP without scripts: it keeps cookies by origin, follows redirects, and sends the forms that a page has.

use std::collections::BTreeMap;

use hallpass::sys::{FetchLimits, HttpClient, Incoming, Outgoing};
use http::{HeaderMap, Method};
use url::{Url, form_urlencoded};

/// Most redirects in a row.
const MAX_HOPS: usize = 12;

/// The browser.
pub(crate) struct Walker {
    http: HttpClient,
    cookies: BTreeMap<(String, String), String>,
}

/// A page it came to.
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Page {
    /// The value of a hidden field.
    pub(crate) fn hidden(&self, name: &str) -> String {
        super::sign_in::hidden(&self.text, name)
    }

    /// Where its form goes.
    pub(crate) fn form(&self) -> Url {
        let action = self.text.split_once("action=\"").unwrap_or_else(|| panic!("no form: {}", self.text)).1;
        self.url.join(action.split('"').next().unwrap()).unwrap()
    }
}

impl Walker {
    pub(crate) fn new() -> Self {
        Self { http: HttpClient::new(None).unwrap(), cookies: BTreeMap::new() }
    }

    /// Forget the cookies of a site.
    pub(crate) fn forget(&mut self, site: &str) {
        self.cookies.retain(|(of, _), _| of != site);
    }

    /// Go there, wherever it leads.
    pub(crate) async fn go(&mut self, url: &str) -> Page {
        self.follow(Method::GET, Url::parse(url).unwrap(), Vec::new()).await
    }

    /// Send a form there, and go wherever that leads.
    pub(crate) async fn send(&mut self, to: Url, fields: &[(&str, &str)]) -> Page {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.follow(Method::POST, to, body.into_bytes()).await
    }

    async fn follow(&mut self, method: Method, url: Url, body: Vec<u8>) -> Page {
        let (mut method, mut url, mut body) = (method, url, body);
        for _ in 0..MAX_HOPS {
            let answer = self.ask(method, &url, std::mem::take(&mut body)).await;
            if !answer.status.is_redirection() {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                return Page { url, status: answer.status.as_u16(), text };
            }
            url = url.join(answer.headers["location"].to_str().unwrap()).unwrap();
            method = Method::GET;
        }
        panic!("redirected for ever, at last to {url}");
    }

    async fn ask(&mut self, method: Method, url: &Url, body: Vec<u8>) -> Incoming {
        let origin = url.origin().ascii_serialization();
        let mut headers = HeaderMap::new();
        let own = self.cookies.iter().filter(|((of, _), _)| *of == origin);
        let line: Vec<String> = own.map(|((_, name), value)| format!("{name}={value}")).collect();
        headers.insert("cookie", line.join("; ").parse().unwrap());
        if method == Method::POST {
            headers.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
            headers.insert("origin", origin.parse().unwrap());
        }
        let request = Outgoing { method, url: url.clone(), headers, body };
        let limits = FetchLimits { max_bytes: 1024 * 1024, allow_private: true };
        let answer = self.http.send(request, limits).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        for line in answer.headers.get_all("set-cookie") {
            let (name, rest) = line.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            let key = (origin.clone(), name.to_owned());
            let gone = value.is_empty() || rest.contains("Max-Age=0") || rest.contains("01 Jan 1970");
            if gone { drop(self.cookies.remove(&key)) } else { drop(self.cookies.insert(key, value.to_owned())) }
        }
        answer
    }
}
