//! What a configuration must not be. Each problem says what to do instead; all are found at once, so that nobody mends a file
//! one start at a time.

use std::collections::BTreeSet;

use url::Url;

use super::Config;
use crate::sys::is_loopback_url;

/// The fewest characters of a resource server's secret.
const MIN_SECRET_CHARS: usize = 32;
/// The longest that a server that was told to stop still serves.
const MAX_DRAIN_SECONDS: u32 = 60;

impl Config {
    /// Everything about it that must be mended before it may be used; empty when nothing is.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.check_listener(&mut found);
        self.check_public_url(&mut found);
        self.check_keys(&mut found);
        self.check_resource_servers(&mut found);
        self.check_callback_hosts(&mut found);
        self.check_limits(&mut found);
        self.check_intervals(&mut found);
        self.check_passkeys(&mut found);
        if self.issuers.is_empty() {
            found.push(
                "there is no [[issuers]]: nobody could ever call; name the issuer of your workloads' identity tokens"
                    .to_owned(),
            );
        }
        self.check_sign_in(&mut found);
        self.check_store(&mut found);
        found
    }

    /// Where nothing is said and passkeys cannot be had, whoever asks for one is told why.
    fn check_passkeys(&self, found: &mut Vec<String>) {
        if self.passkeys == crate::identity::webauthn::PasskeySettings::default() {
            return;
        }
        if let Err(error) = self.passkeys.party(&self.public_url()) {
            found.push(format!("[passkeys]: {error}"));
        }
    }

    fn check_listener(&self, found: &mut Vec<String>) {
        let server = &self.server;
        let loopback = server.listen.ip().is_loopback();
        match (&server.tls, server.insecure_loopback, loopback) {
            (Some(_), true, _) => found.push(
                "server.insecure_loopback = true contradicts [server.tls]; remove one of the two".to_owned(),
            ),
            (Some(_), false, _) | (None, true, true) => {}
            (None, true, false) => found.push(format!(
                "server.listen = \"{}\" is reachable from other machines, and insecure_loopback does not make that safe; \
                 set server.tls = {{ cert_file = …, key_file = … }}, or listen on 127.0.0.1",
                server.listen
            )),
            (None, false, false) => found.push(format!(
                "server.listen = \"{}\" is reachable from other machines, so it needs \
                 server.tls = {{ cert_file = …, key_file = … }}",
                server.listen
            )),
            (None, false, true) => found.push(
                "there is no server.tls; set it, or say server.insecure_loopback = true to serve plain HTTP on this \
                 machine only (e.g. behind a proxy that ends TLS here)"
                    .to_owned(),
            ),
        }
        if let Some(metrics) = server.metrics_listen
            && metrics == server.listen
        {
            found.push("server.metrics_listen is the API's own address; give it another port".to_owned());
        }
        if server.drain_seconds > MAX_DRAIN_SECONDS {
            found.push(format!(
                "server.drain_seconds = {} is more than {MAX_DRAIN_SECONDS}; 5 is usual",
                server.drain_seconds
            ));
        }
        if let Some(wide) = server.trusted_proxies.iter().find(|network| network.prefix_len() == 0) {
            found.push(format!(
                "server.trusted_proxies has {wide}, which is everybody, so anybody could forge an address; name your \
                 proxies' network"
            ));
        }
    }

    fn check_public_url(&self, found: &mut Vec<String>) {
        let Some(text) = &self.server.public_url else {
            if self.server.listen.ip().is_unspecified() {
                found.push(
                    "server.public_url is needed when server.listen is a wildcard: it is what tokens name".to_owned(),
                );
            }
            return;
        };
        let fits = Url::parse(text).is_ok_and(|url| {
            (url.scheme() == "https" || (url.scheme() == "http" && is_loopback_url(&url)))
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        });
        if !fits {
            found.push(
                "server.public_url must be an https URL without query, fragment or credentials, e.g. \
                 \"https://hallpass.acme.example\" (http only for a loopback address)"
                    .to_owned(),
            );
        }
    }

    fn check_sign_in(&self, found: &mut Vec<String>) {
        let Some(sign_in) = &self.sign_in else { return };
        found.extend(sign_in.problems());
        let issuer = self.issuers.iter().find(|issuer| issuer.name == sign_in.issuer);
        if issuer.is_none_or(|issuer| issuer.whom != crate::identity::Audience::People) {
            found.push(format!(
                "sign_in.issuer = \"{}\" is not the name of an [[issuers]] entry with for = \"people\"",
                sign_in.issuer.escape_debug()
            ));
        }
    }

    /// The URL itself is never repeated: one that should not hold a password may.
    fn check_store(&self, found: &mut Vec<String>) {
        let store = &self.store;
        if !(1..=64).contains(&store.read_connections) {
            found.push(format!("store.read_connections = {} is not within 1 to 64", store.read_connections));
        }
        if !store.is_shared() {
            if !store.url.starts_with("sqlite:") || store.url.contains(['?', '#', '%', '@']) {
                found.push(
                    "store.url must be `sqlite:` and the path of a file without `?`, `#`, `%` or `@`, e.g. \
                     \"sqlite:hallpass.db\", or `postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full`"
                        .to_owned(),
                );
            }
            if store.password.is_some() {
                found.push("store.password is for PostgreSQL; remove it, a file is protected by its mode".to_owned());
            }
            return;
        }
        let Ok(url) = Url::parse(&store.url) else {
            found.push(
                "store.url is not a URL; write `postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full`".to_owned(),
            );
            return;
        };
        let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let asked = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        if url.password().is_some() || asked("password").is_some() {
            found.push(
                "store.url holds a password, and URLs end up in logs; take it out and say where it is with \
                 store.password = { file = … } or { env = … }"
                    .to_owned(),
            );
        }
        let here = asked("host").is_some_and(|host| host.starts_with('/')) || is_loopback_url(&url);
        if !here && asked("sslmode") != Some("verify-full") {
            found.push(
                "store.url leads to another machine, so it needs sslmode=verify-full (and sslrootcert=FILE unless the \
                 machine's certificate authorities vouch for the database)"
                    .to_owned(),
            );
        }
    }

    fn check_keys(&self, found: &mut Vec<String>) {
        if !(1..=365).contains(&self.keys.rotate_after_days) {
            found.push(format!("keys.rotate_after_days = {} is not within 1 to 365", self.keys.rotate_after_days));
        }
    }

    fn check_resource_servers(&self, found: &mut Vec<String>) {
        let mut ids = BTreeSet::new();
        for server in &self.resource_servers {
            let id = server.id.escape_debug();
            if server.id.is_empty() || server.id.contains(':') || !server.id.bytes().all(|b| b.is_ascii_graphic()) {
                found.push(format!("resource server `{id}`: its id must be visible ASCII without `:`"));
            }
            if !ids.insert(&server.id) {
                found.push(format!("resource server `{id}` is there twice"));
            }
            if server.audiences.is_empty() {
                found.push(format!("resource server `{id}`: name at least one audience it may ask about"));
            }
        }
    }

    fn check_callback_hosts(&self, found: &mut Vec<String>) {
        let settings = &self.access_requests;
        for (name, entries) in
            [("callback_hosts", &settings.callback_hosts), ("private_callback_hosts", &settings.private_callback_hosts)]
        {
            for entry in entries {
                // As a URL has it: nothing but a host, and perhaps a port.
                let fits = Url::parse(&format!("https://{entry}/")).is_ok_and(|url| {
                    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
                    let host = url.host_str().is_some_and(|host| entry.to_ascii_lowercase().starts_with(host));
                    bare && host && url.username().is_empty() && !entry.ends_with('/')
                });
                if !fits {
                    found.push(format!(
                        "access_requests.{name} has `{}`, which is no host; write it like \"agents.acme.example\" or \
                         \"10.0.5.7:8443\"",
                        entry.escape_debug()
                    ));
                }
            }
        }
    }

    fn check_limits(&self, found: &mut Vec<String>) {
        let limits = &self.limits;
        for (name, value) in [
            ("address_per_minute", limits.address_per_minute),
            ("issuer_per_minute", limits.issuer_per_minute),
            ("operator_per_minute", limits.operator_per_minute),
        ] {
            if !(1..=1_000_000).contains(&value) {
                found.push(format!("limits.{name} = {value} is not within 1 to 1000000"));
            }
        }
    }

    fn check_intervals(&self, found: &mut Vec<String>) {
        let intervals = &self.intervals;
        for (name, value) in [
            ("intervals.ending_seconds", intervals.ending_seconds),
            ("intervals.upkeep_seconds", intervals.upkeep_seconds),
            ("intervals.reconcile_seconds", intervals.reconcile_seconds),
            ("intervals.finish_seconds", intervals.finish_seconds),
            ("keys.jwks_max_age_seconds", self.keys.jwks_max_age_seconds),
        ] {
            if !(1..=3600).contains(&value) {
                found.push(format!("{name} = {value} is not within 1 to 3600"));
            }
        }
    }

    /// Like [`Self::problems`], for what the configuration points to: secrets that are there, private and long enough.
    #[must_use]
    pub fn secret_problems(&self) -> Vec<String> {
        use crate::sys::ExposeSecret as _;
        let mut found = Vec::new();
        if let Err(why) = self.keys.kek.read() {
            found.push(format!("keys.kek: {why}; make one with `hallpass keys generate-kek FILE`"));
        }
        if let Some(Err(why)) = self.store.password.as_ref().map(super::SecretRef::read) {
            found.push(format!("store.password: {why}"));
        }
        let client = self.sign_in.as_ref().and_then(|sign_in| sign_in.client_secret.as_ref());
        if let Some(Err(why)) = client.map(super::SecretRef::read) {
            found.push(format!("sign_in.client_secret: {why}"));
        }
        for server in &self.resource_servers {
            let id = server.id.escape_debug();
            match server.secret.read() {
                Err(why) => found.push(format!("resource server `{id}`: {why}")),
                Ok(secret) if secret.expose_secret().chars().count() < MIN_SECRET_CHARS => found.push(format!(
                    "resource server `{id}`: its secret is shorter than {MIN_SECRET_CHARS} characters; make one with \
                     `openssl rand -base64 32`"
                )),
                Ok(_) => {}
            }
        }
        found
    }
}
