//! What can be said of a configuration without starting anything: its secrets, its issuers, its policy bundle, its backends,
//! and whether they fit together. `config check`, `doctor` and `dev` ask the same questions here.

use std::path::Path;
use std::sync::Arc;

use crate::app::config::Config;
use crate::identity::Verifiers;
use crate::minter::{MinterDeps, Minters, SandboxBackend};
use crate::notify::{Channels, SenderDeps};
use crate::policy::Bundle;
use crate::sys::keys::KeyRing;
use crate::sys::{HttpClient, SystemClock, SystemEntropy};

/// The verifiers of the configured issuers; nothing is fetched yet.
///
/// # Errors
/// In words.
pub(crate) fn verifiers(config: &Config) -> Result<Verifiers, String> {
    let http = HttpClient::new(None).map_err(|error| error.to_string())?;
    Verifiers::new(&config.issuers, &config.public_url(), http).map_err(|error| error.to_string())
}

/// The policy bundle.
///
/// # Errors
/// Every problem of it.
pub(crate) fn bundle(config: &Config) -> Result<Bundle, Vec<String>> {
    Bundle::load(&config.policy.folder).map_err(|error| {
        let folder = config.policy.folder.display();
        error.problems.iter().map(|problem| format!("policy {folder}: {problem}")).collect()
    })
}

/// The minters of the configured backends, without keys: they can plan, and not mint.
///
/// # Errors
/// In words.
pub(crate) fn minters(config: &Config) -> Result<Minters, String> {
    let deps = MinterDeps {
        keyring: Arc::new(KeyRing::new(Vec::new())),
        issuer_url: config.public_url(),
        deployment: String::new(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy::default()),
        folder: config.folder(),
        sandbox: config.dev.then(|| Arc::new(SandboxBackend::default())),
    };
    Minters::build(&config.backends, &deps).map_err(|error| error.to_string())
}

/// The channels by which people are told; nothing is sent.
///
/// # Errors
/// In words.
pub(crate) fn channels(config: &Config) -> Result<Channels, String> {
    let http = HttpClient::new(None).map_err(|error| error.to_string())?;
    let deps = SenderDeps { http, folder: config.folder() };
    Channels::build(&config.notify, &deps).map_err(|error| error.to_string())
}

/// What no rule of the bundle could ever lead to: a channel for a group that decides nothing is told of nothing.
pub(crate) fn idle_groups(config: &Config, bundle: &Bundle) -> Vec<String> {
    let policies: Vec<&String> = bundle
        .files()
        .iter()
        .filter(|(path, _)| Path::new(path).extension().is_some_and(|ending| ending == "cedar"))
        .map(|f| f.1)
        .collect();
    let mut found = Vec::new();
    for channel in &config.notify {
        for group in channel.groups.iter().filter(|group| !policies.iter().any(|text| text.contains(group.as_str()))) {
            found.push(format!("channel `{}` is for the group `{group}`, which no policy names", channel.name));
        }
    }
    found
}

/// Issuers that agents are bound to but that nobody configured: those agents could never come in.
pub(crate) fn unknown_issuers(config: &Config, bundle: &Bundle, verifiers: &Verifiers) -> Vec<String> {
    let known = verifiers.issuers();
    let mut found = Vec::new();
    for agent in bundle.agents() {
        for binding in &agent.bindings {
            if !known.iter().any(|info| *info.issuer == *binding.issuer) {
                found.push(format!(
                    "agent `{}` is bound to the issuer {}, which {} does not have; add it to [[issuers]]",
                    agent.id,
                    binding.issuer,
                    config.path.display()
                ));
            }
        }
    }
    found
}

/// Everything that must be mended before the broker may start.
pub(crate) fn problems(config: &Config) -> Vec<String> {
    let mut found = config.secret_problems();
    let verifiers = verifiers(config).map_err(|why| found.push(why)).ok();
    let bundle = bundle(config).map_err(|problems| found.extend(problems)).ok();
    let minters = minters(config).map_err(|why| found.push(why)).ok();
    if let Err(why) = channels(config) {
        found.push(why);
    }
    if let (Some(bundle), Some(verifiers)) = (&bundle, &verifiers) {
        found.extend(unknown_issuers(config, bundle, verifiers));
    }
    if let (Some(bundle), Some(minters)) = (&bundle, &minters) {
        found.extend(minters.check_catalogue(bundle.catalogue()).iter().map(ToString::to_string));
    }
    found
}
