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
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];
/// The files with profiles; an empty one takes their place.
const AWS_FILES: &[&str] = &["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"];

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
    pub(crate) hidden: &'static [&'static str],
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
        let mut made = Self { folder: folder.clone(), variables: BTreeMap::new(), hidden: &[] };
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
            made.variables.extend(named(&known, kind, member, variable));
        }
        if known.iter().any(|(credential, _)| credential.kind == "aws") {
            let empty = folder.join("aws-config");
            write_private(&empty, b"").map_err(why)?;
            let name = |variable: &&str| ((*variable).to_owned(), empty.display().to_string());
            made.variables.extend(AWS_FILES.iter().map(name));
            made.hidden = AWS_ELSEWHERE;
        }
        let other = |kind: &str| VARIABLES.iter().all(|(known, _, _)| *known != kind);
        for (credential, values) in known.iter().filter(|(credential, _)| other(&credential.kind)) {
            for member in values.keys() {
                let variable = format!("HALLPASS_{}_{}", upper(&credential.kind), upper(member));
                made.variables.extend(named(&known, &credential.kind, member, &variable));
            }
        }
        Ok(made)
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
mod tests {
    use super::*;
    use crate::api::RevocationView;
    use crate::domain::Timestamp;

    fn credential(id: &str, kind: &str, scope: &str, values: &[(&str, &str)]) -> Credential {
        let values = values.iter().map(|(member, value)| ((*member).to_owned(), (*value).to_owned()));
        Credential {
            id: id.to_owned(),
            request: "req_1".to_owned(),
            kind: kind.to_owned(),
            scopes: vec![scope.to_owned()],
            values: values.collect(),
            sealed: None,
            usable_until: Timestamp::from_secs(1),
            native_end: Timestamp::from_secs(1),
            revocation: RevocationView { how: String::new(), strength: String::new() },
        }
    }

    fn hand(name: &str, credentials: &[Credential]) -> Handed {
        Handed::write(&format!("test-{name}-{}", std::process::id()), "tsk_1", credentials, &[]).unwrap()
    }

    #[test]
    fn one_credential_of_a_kind_has_the_names_its_tools_look_for() {
        let credentials = [
            credential("lse_1", "jwt", "api:releases:read", &[("access_token", "J")]),
            credential("lse_2", "sandbox", "sandbox:releases:read", &[("token", "S")]),
            credential("lse_3", "postgres", "db:orders:read", &[("host", "h"), ("password", "P"), ("username", "u")]),
            credential("lse_4", "github", "gh:web:read", &[("token", "G")]),
            credential("lse_5", "oauth", "crm:contacts:read", &[("access_token", "O"), ("resource", "https://crm")]),
        ];
        let handed = hand("one", &credentials);
        let expected = [
            ("HALLPASS_ACCESS_TOKEN", "J"),
            ("SANDBOX_TOKEN", "S"),
            ("PGHOST", "h"),
            ("PGUSER", "u"),
            ("PGPASSWORD", "P"),
            ("GH_TOKEN", "G"),
            ("GITHUB_TOKEN", "G"),
            ("HALLPASS_OAUTH_ACCESS_TOKEN", "O"),
            ("HALLPASS_TASK", "tsk_1"),
        ];
        for (name, value) in expected {
            assert_eq!(handed.variables[name], value, "{name}");
        }
        assert_eq!(secrets(&credentials).collect::<Vec<_>>(), ["J", "S", "P", "G", "O"]);
    }

    #[test]
    fn several_credentials_of_a_kind_are_told_apart() {
        let credentials = [
            credential("lse_1", "jwt", "api:release-list:read", &[("access_token", "A")]),
            credential("lse_2", "jwt", "web:pages:write(prefix=a:b)", &[("access_token", "B")]),
        ];
        let variables = &hand("several", &credentials).variables;
        assert_eq!(variables["HALLPASS_ACCESS_TOKEN_API_RELEASE_LIST"], "A");
        assert_eq!(variables["HALLPASS_ACCESS_TOKEN_WEB_PAGES"], "B");
        assert!(!variables.contains_key("HALLPASS_ACCESS_TOKEN"), "which of the two would it be?");
    }

    #[test]
    fn keys_of_aws_are_fetched_from_one_place_and_found_in_no_other() {
        let keys =
            [("access_key_id", "ASIA1"), ("secret_access_key", "S"), ("session_token", "T"), ("region", "eu-west-1")];
        let credentials = [credential("lse_1", "aws", "aws:releases:read", &keys)];
        let served = [("lse_1", "endpoint", "http://127.0.0.1:1/credentials/0"), ("lse_1", "endpoint_token", "E")];
        let served = served.map(|(lease, member, value)| (lease.to_owned(), member, value.to_owned()));
        let handed =
            Handed::write(&format!("test-aws-{}", std::process::id()), "tsk_1", &credentials, &served).unwrap();
        let variables = &handed.variables;
        assert_eq!(variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"], "http://127.0.0.1:1/credentials/0");
        assert_eq!(variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"], "E");
        assert_eq!(
            (variables["AWS_REGION"].as_str(), variables["AWS_DEFAULT_REGION"].as_str()),
            ("eu-west-1", "eu-west-1")
        );
        assert!(!variables.values().any(|value| ["ASIA1", "S", "T"].contains(&value.as_str())));
        assert_eq!(std::fs::read(&variables["AWS_SHARED_CREDENTIALS_FILE"]).unwrap(), b"");
        assert!(handed.hidden.contains(&"AWS_ACCESS_KEY_ID") && handed.hidden.contains(&"AWS_PROFILE"));
        assert_eq!(secrets(&credentials).collect::<Vec<_>>(), ["S", "T"]);
        let none = hand("no-aws", &[credential("lse_2", "sandbox", "sandbox:releases:read", &[("token", "S")])]);
        assert!(none.hidden.is_empty() && !none.variables.contains_key("AWS_CONFIG_FILE"));
    }

    #[test]
    fn a_kind_that_no_tool_is_known_for_has_variables_by_its_own_words() {
        let credentials = [
            credential("lse_1", "some-kind", "a:b:read", &[("url", "U"), ("access_key", "K")]),
            credential("lse_2", "redis", "cache:orders:read", &[("url", "R"), ("username", "u")]),
            credential("lse_3", "redis", "other:orders:read", &[("url", "S"), ("username", "v")]),
        ];
        let variables = &hand("unknown", &credentials).variables;
        for (name, value) in [
            ("HALLPASS_SOME_KIND_URL", "U"),
            ("HALLPASS_SOME_KIND_ACCESS_KEY", "K"),
            ("HALLPASS_REDIS_URL_CACHE_ORDERS", "R"),
            ("HALLPASS_REDIS_URL_OTHER_ORDERS", "S"),
        ] {
            assert_eq!(variables[name], value, "{name}");
        }
        assert!(!variables.contains_key("HALLPASS_REDIS_URL"));
    }

    #[test]
    fn what_a_tool_reads_from_a_file_is_private_and_goes_away() {
        use std::os::unix::fs::PermissionsExt as _;
        let credentials = [
            credential("lse_1", "ssh", "hosts:web:login", &[("private_key", "K"), ("certificate", "C")]),
            credential(
                "lse_2",
                "kubernetes_token",
                "k8s:web:read",
                &[("server", "https://k"), ("server_ca", "PEM"), ("namespace", "web"), ("token", "T")],
            ),
            credential(
                "lse_3",
                "x509",
                "tls:web:call",
                &[("certificate", "CRT\n"), ("private_key", "KEY\n"), ("server_ca", "CA\n")],
            ),
        ];
        let handed = hand("files", &credentials);
        let read = |variable: &str| {
            let path = PathBuf::from(&handed.variables[variable]);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{variable}");
            assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
            (std::fs::read_to_string(&path).unwrap(), path)
        };
        let (key, path) = read("HALLPASS_SSH_IDENTITY");
        assert_eq!(
            (key.as_str(), std::fs::read_to_string(path.with_file_name("id-cert.pub")).unwrap().as_str()),
            ("K", "C\n")
        );
        let config: serde_json::Value = serde_json::from_str(&read("KUBECONFIG").0).unwrap();
        assert_eq!(config["users"][0]["user"]["token"], "T");
        assert_eq!(config["clusters"][0]["cluster"]["certificate-authority-data"], "UEVN");
        assert_eq!(config["contexts"][0]["context"]["namespace"], "web");
        for (variable, text) in
            [("HALLPASS_TLS_CERTIFICATE", "CRT\n"), ("HALLPASS_TLS_KEY", "KEY\n"), ("HALLPASS_TLS_CA", "CA\n")]
        {
            assert_eq!(read(variable).0, text);
        }
        assert_eq!(secrets(&credentials).collect::<Vec<_>>(), ["K", "T", "KEY\n"]);
        read("HALLPASS_CREDENTIALS_FILE");
        drop(handed);
        assert!(!path.parent().unwrap().parent().unwrap().exists());
    }
}
