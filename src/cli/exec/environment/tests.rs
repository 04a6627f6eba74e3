//! What a child finds in its environment, and what it does not.

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
    let handed = Handed::write(&format!("test-aws-{}", std::process::id()), "tsk_1", &credentials, &served).unwrap();
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
    assert!(!none.hidden.contains(&"AWS_PROFILE") && !none.variables.contains_key("AWS_CONFIG_FILE"));
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
