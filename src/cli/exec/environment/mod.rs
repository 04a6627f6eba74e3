//! How a child gets its credentials: in its environment, and as files that only this user can read and that are gone
//! afterwards.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use crate::api::Credential;
use crate::app::env::TASK;
use crate::cli::failure::{Exit, Failure};

/// The variable with the path of the credentials file.
const CREDENTIALS_FILE: &str = "HALLPASS_CREDENTIALS_FILE";

/// What tools look for: the type of a credential, one of its values or files, and the variable. The values of a type that is not
/// here are in variables such as `HALLPASS_REDIS_URL`.
const VARIABLES: &[(&str, &str, &str)] = &[
    ("jwt", "access_token", "HALLPASS_ACCESS_TOKEN"),
    ("oauth", "access_token", "HALLPASS_OAUTH_ACCESS_TOKEN"),
    ("sandbox", "token", "SANDBOX_TOKEN"),
    ("postgres", "host", "PGHOST"),
    ("postgres", "port", "PGPORT"),
    ("postgres", "database", "PGDATABASE"),
    ("postgres", "username", "PGUSER"),
    ("postgres", "password", "PGPASSWORD"),
    ("postgres", "sslmode", "PGSSLMODE"),
    ("github", "token", "GH_TOKEN"),
    ("github", "token", "GITHUB_TOKEN"),
    ("kubernetes_token", "kubeconfig", "KUBECONFIG"),
    ("aws", "endpoint", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ("aws", "endpoint_token", "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    ("aws", "region", "AWS_REGION"),
    ("aws", "region", "AWS_DEFAULT_REGION"),
    ("ssh", "identity", "HALLPASS_SSH_IDENTITY"),
    ("ssh", "certificate_file", "HALLPASS_SSH_CERTIFICATE"),
    ("x509", "certificate_file", "HALLPASS_TLS_CERTIFICATE"),
    ("x509", "key_file", "HALLPASS_TLS_KEY"),
    ("x509", "ca_file", "HALLPASS_TLS_CA"),
];
/// Values that are no secrets, so that a child may print them.
const PUBLIC: &[&str] = &[
    "access_key_id",
    "account_id",
    "audience",
    "certificate",
    "database",
    "expiration",
    "expires_at",
    "git_url",
    "host",
    "namespace",
    "port",
    "region",
    "repositories",
    "resource",
    "scope",
    "server",
    "server_ca",
    "sslmode",
    "username",
];

/// Where the SDKs of AWS would look for credentials before they come to a container's endpoint; some of them are also those that
/// [`VARIABLES`] sets anew.
const AWS_ELSEWHERE: &[&str] = &[
    "AMAZON_ACCESS_KEY_ID",
    "AMAZON_SECRET_ACCESS_KEY",
    "AMAZON_SESSION_TOKEN",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CREDENTIAL_FILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];
/// The files with profiles; an empty one takes their place.
const AWS_FILES: &[&str] = &["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG"];
/// By which libpq would go elsewhere, or as somebody else.
const POSTGRES_ELSEWHERE: &[&str] = &["PGHOSTADDR", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE"];

/// What must not be printed of some credentials.
pub(crate) fn secrets(credentials: &[Credential]) -> impl Iterator<Item = &str> {
    let values = credentials.iter().flat_map(|credential| &credential.values);
    values.filter(|(member, _)| !PUBLIC.contains(&member.as_str())).map(|(_, value)| value.as_str())
}

/// The files that a tool wants of a credential: the name by which [`VARIABLES`] has it, the file's name, and what is in it.
fn files_of(credential: &Credential) -> Vec<(&'static str, &'static str, String)> {
    let value = |member: &str| credential.values.get(member).cloned();
    let mut files = Vec::new();
    match credential.kind.as_str() {
        "ssh" => {
            // ssh looks for the certificate beside the key.
            files.extend(value("private_key").map(|key| ("identity", "id", key)));
            files.extend(value("certificate").map(|text| ("certificate_file", "id-cert.pub", text + "\n")));
        }
        "x509" => {
            files.extend(value("certificate").map(|text| ("certificate_file", "tls.crt", text)));
            files.extend(value("private_key").map(|key| ("key_file", "tls.key", key)));
            files.extend(value("server_ca").map(|text| ("ca_file", "ca.crt", text)));
        }
        "kubernetes_token" => {
            if let (Some(server), Some(token)) = (value("server"), value("token")) {
                files.push(("kubeconfig", "kubeconfig", kubeconfig(credential, &server, &token)));
            }
        }
        _ => {}
    }
    files
}

/// A kubeconfig with one context (Kubernetes client documentation, `v1 Config`); JSON is YAML.
fn kubeconfig(credential: &Credential, server: &str, token: &str) -> String {
    let mut cluster = json!({ "server": server });
    if let (Some(authority), Some(cluster)) = (credential.values.get("server_ca"), cluster.as_object_mut()) {
        let encoded = data_encoding::BASE64.encode(authority.as_bytes());
        cluster.insert("certificate-authority-data".to_owned(), encoded.into());
    }
    let mut context = json!({ "cluster": "hallpass", "user": "hallpass" });
    if let (Some(namespace), Some(context)) = (credential.values.get("namespace"), context.as_object_mut()) {
        context.insert("namespace".to_owned(), namespace.as_str().into());
    }
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "hallpass",
        "clusters": [{ "name": "hallpass", "cluster": cluster }],
        "contexts": [{ "name": "hallpass", "context": context }],
        "users": [{ "name": "hallpass", "user": { "token": token } }],
    })
    .to_string()
}

#[derive(Serialize)]
struct CredentialsFile<'a> {
    task: &'a str,
    credentials: &'a [Credential],
}

/// What a child gets: its variables, and a folder of its own with files that they name, gone when this is dropped.
pub(crate) struct Handed {
    folder: PathBuf,
    /// What the child finds in its environment.
    pub(crate) variables: BTreeMap<String, String>,
    /// What it does not find there, whatever we have.
    pub(crate) hidden: Vec<&'static str>,
}

/// What is served to the child instead of written down: of this lease, this value.
pub(crate) type Served = (String, &'static str, String);

impl Handed {
    /// Write the files, for this user only. `unique` makes the folder's name one nobody can have guessed. A kind's variable is set
    /// when there is one credential of it; with several, each has a variable of its own that ends in backend and resource.
    ///
    /// # Errors
    /// [`Failure`] when something cannot be written.
    pub(crate) fn write(
        unique: &str,
        task: &str,
        credentials: &[Credential],
        served: &[Served],
    ) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("hallpass-{unique}"));
        let why = |error: std::io::Error| {
            Failure::new(
                Exit::Failure,
                format!("the credentials below {} cannot be written: {error}", folder.display()),
            )
            .fix("set TMPDIR to a folder you can write")
        };
        make_folder(&folder).map_err(why)?;
        let mut made = Self { folder: folder.clone(), variables: BTreeMap::new(), hidden: Vec::new() };
        let text =
            serde_json::to_vec(&CredentialsFile { task, credentials }).map_err(std::io::Error::from).map_err(why)?;
        let all = folder.join("credentials.json");
        write_private(&all, &text).map_err(why)?;
        let mut known = Vec::new();
        for (number, credential) in credentials.iter().enumerate() {
            let mut values = credential.values.clone();
            let own = folder.join(number.to_string());
            make_folder(&own).map_err(why)?;
            for (member, name, text) in files_of(credential) {
                write_private(&own.join(name), text.as_bytes()).map_err(why)?;
                values.insert(member.to_owned(), own.join(name).display().to_string());
            }
            let here = served.iter().filter(|(lease, ..)| *lease == credential.id);
            values.extend(here.map(|(_, member, value)| ((*member).to_owned(), value.clone())));
            known.push((credential, values));
        }
        made.variables.insert(TASK.to_owned(), task.to_owned());
        made.variables.insert(CREDENTIALS_FILE.to_owned(), all.display().to_string());
        for (kind, member, variable) in VARIABLES {
            made.name(&known, kind, member, variable)?;
        }
        if known.iter().any(|(credential, _)| credential.kind == "aws") {
            let empty = folder.join("aws-config");
            write_private(&empty, b"").map_err(why)?;
            let name = |variable: &&str| ((*variable).to_owned(), empty.display().to_string());
            made.variables.extend(AWS_FILES.iter().map(name));
            made.hidden.extend(AWS_ELSEWHERE);
        }
        if known.iter().any(|(credential, _)| credential.kind == "postgres") {
            made.hidden.extend(POSTGRES_ELSEWHERE);
        }
        // With several of a kind its plain names are not set; what stands there already is somebody else's.
        let plain = VARIABLES.iter().filter(|(kind, ..)| known.iter().any(|(credential, _)| credential.kind == *kind));
        made.hidden.extend(plain.map(|(_, _, variable)| *variable));
        let other = |kind: &str| VARIABLES.iter().all(|(known, _, _)| *known != kind);
        for (credential, values) in known.iter().filter(|(credential, _)| other(&credential.kind)) {
            for member in values.keys() {
                let variable = format!("HALLPASS_{}_{}", upper(&credential.kind), upper(member));
                made.name(&known, &credential.kind, member, &variable)?;
            }
        }
        Ok(made)
    }
}

impl Handed {
    /// Set the variables of one kind's value. The same name for two values would hand one of them to whoever asks for the other.
    fn name(
        &mut self,
        known: &[(&Credential, BTreeMap<String, String>)],
        kind: &str,
        member: &str,
        variable: &str,
    ) -> Result<(), Failure> {
        for (name, value) in named(known, kind, member, variable) {
            if self.variables.get(&name).is_some_and(|other| *other != value) {
                return Err(Failure::usage(format!("two credentials would be in the variable {name}"))
                    .fix("run one command for each, or read both from the file that HALLPASS_CREDENTIALS_FILE names"));
            }
            self.variables.insert(name, value);
        }
        Ok(())
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            crate::cli::output::say(&format!("warning: {} could not be removed: {error}", self.folder.display()));
        }
    }
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

fn write_private(path: &Path, text: &[u8]) -> std::io::Result<()> {
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text)
}

/// The variable of one kind's value, or several.
fn named(
    known: &[(&Credential, BTreeMap<String, String>)],
    kind: &str,
    member: &str,
    variable: &str,
) -> Vec<(String, String)> {
    let of_kind: Vec<(&Credential, &String)> = known
        .iter()
        .filter(|(credential, _)| credential.kind == kind)
        .filter_map(|(credential, values)| values.get(member).map(|value| (*credential, value)))
        .collect();
    match of_kind.as_slice() {
        [] => Vec::new(),
        [(_, value)] => vec![(variable.to_owned(), (*value).clone())],
        several => several
            .iter()
            .flat_map(|(credential, value)| {
                credential.scopes.iter().map(move |scope| (format!("{variable}_{}", suffix(scope)), (*value).clone()))
            })
            .collect(),
    }
}

/// `api:release-list:read(prefix=a)` → `API_RELEASE_LIST`.
fn suffix(scope: &str) -> String {
    let name = scope.split('(').next().unwrap_or(scope);
    let parts: Vec<&str> = name.split(':').take(2).collect();
    upper(&parts.join("_"))
}

/// As the name of a variable has it.
fn upper(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

#[cfg(test)]
mod tests;
