//! What the configuration says of a Redis server, checked once: nothing is sent in the clear beyond this machine, and the broker
//! has a user of its own.

use std::path::{Path, PathBuf};

use redis::{Client, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, TlsCertificates};
use serde::Deserialize;
use url::Url;

use crate::minter::{BackendSettings, MintError, MinterDeps};
use crate::sys::{ExposeSecret as _, SecretRef, is_loopback_url, read_ca_file};

/// Redis' port.
const PORT: u16 = 6379;

/// A backend of kind `redis`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// How the broker reaches the server, without a password: `rediss://user@host:port`.
    url: String,
    /// Where the broker's password is.
    password: SecretRef,
    /// The authority that signed the server's certificate, a PEM file; otherwise those the system trusts.
    ca_file: Option<PathBuf>,
    /// Whether users may be gone after a restart of the server, because it keeps them in no ACL file.
    #[serde(default)]
    allow_volatile: bool,
}

/// A server.
pub(super) struct Target {
    /// How to connect to it.
    pub(super) client: Client,
    /// The host's name or address, as a URL has it.
    pub(super) host: String,
    /// Its port.
    pub(super) port: u16,
    /// Whether TLS is spoken there.
    pub(super) tls: bool,
    /// Whether users may be gone after a restart.
    pub(super) allow_volatile: bool,
}

impl Target {
    /// Read a backend's settings, and its password.
    pub(super) fn new(settings: &BackendSettings, deps: &MinterDeps) -> Result<Self, MintError> {
        let read: Settings = settings.read()?;
        Self::checked(read, &deps.folder)
            .map_err(|why| MintError::Misconfigured(format!("backend `{}` of kind `redis`: {why}", settings.name)))
    }

    fn checked(settings: Settings, folder: &Path) -> Result<Self, String> {
        let form = "`url` is `rediss://user@host:port`, without a password: say in `password` where it is";
        let url = Url::parse(&settings.url).map_err(|_| form)?;
        let tls = url.scheme() == "rediss";
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        let user = url.username();
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !(tls || url.scheme() == "redis") || !bare || url.password().is_some() || user.is_empty() {
            return Err(form.to_owned());
        }
        if !user.bytes().all(word) || user == "default" {
            return Err("`url` names a user of the broker's own, of letters, digits, `.`, `_` and `-`".to_owned());
        }
        if !tls && !is_loopback_url(&url) {
            return Err(
                "`url` leaves this machine, so it is `rediss://`: the password would go in the clear".to_owned()
            );
        }
        let (host, port) = (url.host_str().ok_or(form)?.to_owned(), url.port().unwrap_or(PORT));
        let password = settings.password.below(folder).read()?;
        let info = |text: String| -> redis::RedisResult<ConnectionInfo> {
            let info = text.into_connection_info()?;
            let login = info.redis_settings().clone().set_username(user).set_password(password.expose_secret());
            Ok(info.set_redis_settings(login.set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name()))
        };
        let info = info(format!("{}://{host}:{port}", url.scheme())).map_err(|error| format!("`url`: {error}"))?;
        let client = match &settings.ca_file {
            None => Client::open(info),
            Some(_) if !tls => return Err("`ca_file` is for a `rediss://` URL".to_owned()),
            Some(file) => {
                let pem = read_ca_file(&folder.join(file))?;
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(pem) })
            }
        };
        let client = client.map_err(|error| format!("`ca_file`: {error}"))?;
        Ok(Self { client, host, port, tls, allow_volatile: settings.allow_volatile })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(folder: &Path, url: &str, more: &str) -> Result<Target, String> {
        let settings = format!("url = '{url}'\npassword = {{ file = 'password' }}\n{more}");
        Target::checked(toml::from_str(&settings).unwrap(), folder)
    }

    #[test]
    fn red_01_nothing_goes_in_the_clear_beyond_this_machine_and_the_broker_has_a_user_of_its_own() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "secret").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        for url in
            ["rediss://b@cache.acme.example", "redis://b@127.0.0.1:7000", "redis://b@[::1]", "rediss://b@localhost/"]
        {
            let target = target(folder.path(), url, "").unwrap();
            assert_eq!(target.tls, url.starts_with("rediss"), "{url}");
        }
        for (url, more, why) in [
            ("redis://b@cache.acme.example", "", "in the clear"),
            ("redis://b@10.0.0.7", "", "in the clear"),
            ("redis://127.0.0.1", "", "`url` is"),
            ("redis://default@127.0.0.1", "", "of the broker's own"),
            ("redis://b:secret@127.0.0.1", "", "without a password"),
            ("redis://b@127.0.0.1/1", "", "`url` is"),
            ("redis://b@127.0.0.1?x=1", "", "`url` is"),
            ("http://b@127.0.0.1", "", "`url` is"),
            ("rediss://b@cache.acme.example", "ca_file = 'gone.pem'", "gone.pem"),
            ("redis://b@127.0.0.1", "ca_file = 'password'", "rediss"),
        ] {
            let error = target(folder.path(), url, more).err().unwrap_or_default();
            assert!(error.contains(why) && !error.contains("secret@"), "{url} {more}: {error}");
        }
        let gone = target(Path::new("/nowhere"), "rediss://b@cache.acme.example", "").err().unwrap_or_default();
        assert!(gone.contains("/nowhere/password"), "{gone}");
    }
}
