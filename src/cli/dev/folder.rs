//! The folder of `hallpass dev`: a configuration, a policy bundle and throw-away secrets. What is there already is left as it
//! is, so that what somebody edited stays edited.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Ports;
use crate::cli::failure::{Exit, Failure};
use crate::sys::keys::Kek;
use crate::sys::{Ids, SystemEntropy};

/// The shipped policy bundle names the dev issuer by this address.
const SHIPPED_ISSUER: &str = "http://127.0.0.1:8601";

macro_rules! shipped {
    ($($path:literal),+ $(,)?) => {
        /// The shipped policy bundle.
        const BUNDLE: &[(&str, &str)] = &[$(($path, include_str!(concat!("../../../policies/", $path)))),+];
    };
}
shipped![
    "agents.cedar",
    "agents.toml",
    "catalogue.toml",
    "operators.cedar",
    "people.toml",
    "schema.cedarschema",
    "tests/agents.json",
    "tests/operators.json",
];

/// The id of the resource server that may introspect.
pub(super) const RESOURCE_SERVER: &str = "release-api";
/// Its secret's file.
pub(super) const RESOURCE_SERVER_SECRET: &str = "release-api.secret";
/// The audience of the release API's tokens, as the shipped catalogue says.
pub(super) const AUDIENCE: &str = "https://releases.hallpass.example";
/// The configuration's file.
pub(super) const CONFIG: &str = "hallpass.toml";

/// Make what is not there yet.
///
/// # Errors
/// [`Failure`] when the folder cannot be written, or others may use it.
pub(super) fn prepare(folder: &Path, ports: &Ports, ids: &Ids) -> Result<(), Failure> {
    let why = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failure, format!("{} cannot be made: {error}", path.display()))
            .fix("name a folder you can write with --dir")
    };
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| why(folder, &error))?;
    let mode = std::fs::metadata(folder).map_err(|error| why(folder, &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        let folder = folder.display();
        return Err(Failure::new(
            Exit::Failure,
            format!("others than you may use {folder} (mode {:04o})", mode & 0o777),
        )
        .fix(format!("run `chmod 700 {folder}`, or name a new folder with --dir")));
    }
    let kek = folder.join("kek");
    if !kek.exists() {
        Kek::generate_file(&kek, &SystemEntropy::default()).map_err(|error| why(&kek, &error))?;
    }
    let mut files = vec![
        (PathBuf::from(RESOURCE_SERVER_SECRET), format!("{}\n", ids.opaque())),
        (PathBuf::from(CONFIG), config_text(ports)),
    ];
    for (path, text) in BUNDLE {
        files.push((Path::new("policies").join(path), text.replace(SHIPPED_ISSUER, &ports.issuer_url())));
    }
    for (path, text) in files {
        let path = folder.join(path);
        write_new(&path, &text).map_err(|error| why(&path, &error))?;
    }
    Ok(())
}

/// Write a file for its owner only, unless it is there.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn config_text(ports: &Ports) -> String {
    let (broker, issuer) = (ports.broker, ports.issuer_url());
    format!(
        r#"# Made by `hallpass dev`: throw-away keys, and an issuer that vouches for whoever can read dev.json beside this
# file. `hallpass serve` refuses it. Edit it as you like; delete the folder to begin anew.
dev = true

[server]
listen = "{broker}"
public_url = "http://{broker}"
insecure_loopback = true

[keys]
kek = {{ file = "kek" }}

[policy]
folder = "policies"
watch_seconds = 1

[[issuers]]
name = "dev-agents"
issuer = "{issuer}"
for = "agents"
algorithms = ["ES256"]
allow_private = true
single_use = true

[[issuers]]
name = "dev-people"
issuer = "{issuer}/people"
for = "people"
algorithms = ["ES256"]
allow_private = true

# The console and `hallpass login` sign people in there; nobody has a password.
[sign_in]
issuer = "dev-people"
client_id = "hallpass-dev"

[[backends]]
name = "sandbox"
kind = "sandbox"

[[backends]]
name = "api"
kind = "jwt"

[[resource_servers]]
id = "{RESOURCE_SERVER}"
secret = {{ file = "{RESOURCE_SERVER_SECRET}" }}
audiences = ["{AUDIENCE}"]

# Somebody who tries things makes many mistakes.
[limits]
address_per_minute = 600
"#
    )
}
