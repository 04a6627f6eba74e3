//! Settings of a backend of this kind, and what must hold for them.

use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use super::names;
use crate::sys::{SecretRef, is_loopback_url};

/// An API server remembers for 10 s that it accepted a token, and learns within moments that a Secret is gone.
const MIN_CACHE_SECONDS: u32 = 12;
const MAX_CACHE_SECONDS: u32 = 600;
const MAX_NAMESPACES: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub url: Url,
    pub ca_file: Option<PathBuf>,
    pub token: SecretRef,
    /// Where it may mint.
    pub namespaces: Vec<String>,
    /// Whether leases may have service accounts of their own.
    #[serde(default)]
    pub own_accounts: bool,
    /// For how long whoever accepts the tokens may remember that it did.
    #[serde(default = "min_cache_seconds")]
    pub cache_seconds: u32,
}

const fn min_cache_seconds() -> u32 {
    MIN_CACHE_SECONDS
}

impl Settings {
    /// What is wrong with them.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        if !names::is_label_value(name) {
            return Err("its name is a label in the cluster, so it ends with a letter or a digit".to_owned());
        }
        let url = &self.url;
        let loopback = is_loopback_url(url);
        let scheme_fits = url.scheme() == "https" || (url.scheme() == "http" && loopback);
        let bare =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        if !scheme_fits || !bare {
            return Err("`url` is https (http on this machine only), without a user name, query or fragment".to_owned());
        }
        let namespaces = &self.namespaces;
        if namespaces.is_empty() || namespaces.len() > MAX_NAMESPACES || !namespaces.iter().all(|n| names::is_label(n))
        {
            return Err(format!("`namespaces` is 1 to {MAX_NAMESPACES} names of namespaces"));
        }
        if !(MIN_CACHE_SECONDS..=MAX_CACHE_SECONDS).contains(&self.cache_seconds) {
            return Err(format!("`cache_seconds` is {MIN_CACHE_SECONDS} to {MAX_CACHE_SECONDS}"));
        }
        Ok(())
    }
}
