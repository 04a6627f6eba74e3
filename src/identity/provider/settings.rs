//! The `[sign_in]` section of the configuration: where people sign in, and for how long that is good.

use serde::Deserialize;

use crate::sys::SecretRef;

/// Where people sign in, and for how long that is good.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInSettings {
    /// The name of the `[[issuers]]` entry, one with `for = "people"`, at which people sign in.
    pub issuer: String,
    /// The client id by which the issuer knows the broker.
    pub client_id: String,
    /// Where the client's secret is; none for a public client.
    #[serde(default)]
    pub client_secret: Option<SecretRef>,
    /// The scopes to ask for; `openid` must be one of them.
    #[serde(default = "usual_scopes")]
    pub scopes: Vec<String>,
    /// The authentication context classes to ask for when somebody must prove once more who they are.
    #[serde(default)]
    pub acr_values: Vec<String>,
    /// Hosts (`host` or `host:port`), other than the issuer's own, where discovery may find the endpoints.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// After how many seconds without use a browser's session ends: 60 to 86400.
    #[serde(default = "quarter_of_an_hour")]
    pub idle_seconds: u32,
    /// After how many seconds a browser's session ends in any case: 60 to 86400.
    #[serde(default = "eight_hours")]
    pub absolute_seconds: u32,
    /// After how many seconds a command line's session ends: 60 to 604800.
    #[serde(default = "eight_hours")]
    pub cli_absolute_seconds: u32,
    /// For how many seconds a proof of who somebody is counts as fresh where policy asks for one: 30 to 86400.
    #[serde(default = "ten_minutes")]
    pub step_up_max_age_seconds: u32,
}

fn usual_scopes() -> Vec<String> {
    ["openid", "email", "profile"].map(str::to_owned).into()
}

const fn quarter_of_an_hour() -> u32 {
    900
}

const fn eight_hours() -> u32 {
    28_800
}

const fn ten_minutes() -> u32 {
    600
}

impl SignInSettings {
    /// What is wrong with it, each with what to do; empty when nothing is.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.client_id.is_empty() || self.client_id.len() > 512 {
            found
                .push("sign_in.client_id is empty or too long; register a client at the issuer and name it".to_owned());
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            found.push("sign_in.scopes must have `openid`; without it there is no ID token".to_owned());
        }
        let odd = |word: &String| word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic());
        if self.scopes.iter().chain(&self.acr_values).any(odd) {
            found.push("sign_in.scopes and sign_in.acr_values are words without spaces".to_owned());
        }
        for (key, value, least, most) in [
            ("idle_seconds", self.idle_seconds, 60, 86_400),
            ("absolute_seconds", self.absolute_seconds, 60, 86_400),
            ("cli_absolute_seconds", self.cli_absolute_seconds, 60, 604_800),
            ("step_up_max_age_seconds", self.step_up_max_age_seconds, 30, 86_400),
        ] {
            if !(least..=most).contains(&value) {
                found.push(format!("sign_in.{key} = {value} is not within {least} to {most}"));
            }
        }
        found
    }
}
