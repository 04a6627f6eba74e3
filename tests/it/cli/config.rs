//! `hallpass config check` and what else reads files: every problem, where it is, and what to do.

use std::path::Path;

use super::{hallpass, run};

/// A folder with a valid configuration and the shipped bundle.
pub(super) struct Folder(pub(super) tempfile::TempDir);

const GOOD: &str = r#"
[server]
insecure_loopback = true
[keys]
kek = { file = "kek" }
[[issuers]]
name = "agents"
issuer = "http://127.0.0.1:8601"
allow_private = true
[[issuers]]
name = "people"
issuer = "http://127.0.0.1:8601/people"
for = "people"
allow_private = true
[[backends]]
name = "api"
kind = "jwt"
"#;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Folder {
    pub(super) fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        copy(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies")), &folder.0.path().join("policies"));
        // Only what the `jwt` backend serves; the sandbox exists in `dev` alone.
        let catalogue = folder.0.path().join("policies/catalogue.toml");
        let text = std::fs::read_to_string(&catalogue).unwrap();
        let kept: Vec<&str> = text.split("\n[[scope]]").filter(|part| !part.contains("name = \"sandbox:")).collect();
        std::fs::write(&catalogue, kept.join("\n[[scope]]")).unwrap();
        let agents = folder.0.path().join("policies/agents.toml");
        let text = std::fs::read_to_string(&agents).unwrap();
        let text = text.replace("\"sandbox:releases:read\", ", "").replace("\"sandbox:releases:write\", ", "");
        std::fs::write(&agents, text).unwrap();
        let (code, _, err) = run(hallpass().args(["keys", "generate-kek"]).arg(folder.0.path().join("kek")));
        assert_eq!(code, 0, "{err}");
        folder
    }

    fn check(&self, config: &str) -> (i32, String) {
        std::fs::write(self.0.path().join("hallpass.toml"), config).unwrap();
        let (code, _, err) = run(hallpass().args(["config", "check"]).current_dir(self.0.path()));
        (code, err)
    }
}

#[test]
fn a_good_configuration_passes() {
    let (code, err) = Folder::new().check(GOOD);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn an_unknown_key_is_shown_with_its_line() {
    let folder = Folder::new();
    let (code, err) = folder.check(&GOOD.replace("insecure_loopback", "insecure_lopback"));
    assert_eq!(code, 1);
    assert!(err.contains("line 3") && err.contains("insecure_lopback") && err.contains("hallpass.toml"), "{err}");
}

#[test]
fn a_secret_in_the_configuration_is_refused_and_not_repeated_elsewhere() {
    let (code, err) = Folder::new().check(&GOOD.replace("{ file = \"kek\" }", "{ env = \"NO_SUCH_VARIABLE\" }"));
    assert_eq!(code, 1);
    assert!(err.contains("NO_SUCH_VARIABLE") && err.contains("generate-kek"), "{err}");
}

#[test]
fn plain_http_for_other_machines_is_refused() {
    let folder = Folder::new();
    for listen in ["0.0.0.0:8600", "[::]:8600", "192.0.2.1:8600"] {
        for insecure in ["true", "false"] {
            let server = format!("listen = \"{listen}\"\ninsecure_loopback = {insecure}");
            let (code, err) = folder.check(&GOOD.replace("insecure_loopback = true", &server));
            assert_eq!(code, 1);
            assert!(err.contains("other machines") && err.contains("server.tls"), "{err}");
        }
    }
    let (code, err) = folder.check(&GOOD.replace("insecure_loopback = true", ""));
    assert_eq!(code, 1);
    assert!(err.contains("insecure_loopback"), "{err}");
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    std::fs::set_permissions(folder.0.path().join("kek"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, err) = folder.check(GOOD);
    assert_eq!(code, 1);
    assert!(err.contains("0644") && err.contains("chmod 600"), "{err}");
}

#[test]
fn every_problem_is_printed_not_only_the_first() {
    let folder = Folder::new();
    let config = GOOD.replace("kind = \"jwt\"", "kind = \"jvt\"").replace("\"kek\"", "\"nokek\"");
    std::fs::write(folder.0.path().join("policies/agents.cedar"), "permit (principal, action").unwrap();
    let (code, err) = folder.check(&config);
    assert_eq!(code, 1);
    for what in ["nokek", "jvt", "agents.cedar"] {
        assert!(err.contains(what), "{what}: {err}");
    }
}

#[test]
fn tok_32_a_shared_issuer_without_a_constraint_on_its_owner_does_not_start() {
    let folder = Folder::new();
    let agents = folder.0.path().join("policies/agents.toml");
    let text = std::fs::read_to_string(&agents).unwrap();
    let github = "https://token.actions.githubusercontent.com";
    let binding = "issuer = \"http://127.0.0.1:8601\"\nsubject = \"triage-bot\"";
    assert!(text.contains(binding));
    let loose = text.replace(binding, &format!("issuer = \"{github}\"\nsubject_under = \"repo:acme\""));
    std::fs::write(&agents, loose).unwrap();
    let config = format!("{GOOD}\n[[issuers]]\nname = \"github\"\npreset = \"github-actions\"\n");
    let (code, err) = folder.check(&config);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("repository_owner_id"), "it names the missing constraint: {err}");
}

#[test]
fn a_malformed_store_url_is_not_repeated() {
    let folder = Folder::new();
    std::fs::write(folder.0.path().join("hallpass.toml"), GOOD).unwrap();
    for command in [&["serve"][..], &["config", "check"], &["doctor"]] {
        let url = "postgres://hallpass:sec-04-canary@db/hallpass?password=sec-04-canary";
        let (code, out, err) =
            run(hallpass().args(command).env("HALLPASS_STORE_URL", url).current_dir(folder.0.path()));
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("store.url"), "{err}");
        assert!(!(out + &err).contains("sec-04-canary"));
    }
}

#[test]
fn a_database_elsewhere_is_reached_by_verified_tls_and_with_a_password_that_is_somewhere_else() {
    let folder = Folder::new();
    let check = |store: &str| folder.check(&format!("{GOOD}\n[store]\n{store}\n"));
    let refused = [
        ("url = 'postgres://hallpass@db.acme.example/hallpass'", "sslmode=verify-full"),
        ("url = 'postgres://hallpass@db.acme.example/hallpass?sslmode=require'", "sslmode=verify-full"),
        ("url = 'postgres://hallpass@10.0.0.7:5432/hallpass?sslmode=disable'", "sslmode=verify-full"),
        ("url = 'postgres://hallpass:sec-04-canary@127.0.0.1/hallpass'", "holds a password"),
        ("url = 'postgres://hallpass@127.0.0.1/hallpass?password=sec-04-canary'", "holds a password"),
        ("url = 'mysql://db/hallpass'", "store.url must be"),
        ("read_connections = 0", "store.read_connections"),
        ("password = { env = 'NOWHERE' }", "store.password is for PostgreSQL"),
        ("url = 'postgres://hallpass@127.0.0.1/hallpass'\npassword = { env = 'NOT_SET_ANYWHERE' }", "NOT_SET_ANYWHERE"),
    ];
    for (store, says) in refused {
        let (code, err) = check(store);
        assert_eq!(code, 1, "{store}: {err}");
        assert!(err.contains(says) && !err.contains("sec-04-canary"), "{store}: {err}");
    }
    for url in [
        "postgres://hallpass@db.acme.example/hallpass?sslmode=verify-full&sslrootcert=/etc/db-ca.pem",
        "postgres://hallpass@127.0.0.1:5432/hallpass",
        "postgres://hallpass@[::1]/hallpass?sslmode=disable",
        "postgres://hallpass@localhost/hallpass?host=/run/postgresql",
    ] {
        let (code, err) = check(&format!("url = '{url}'"));
        assert_eq!(code, 0, "{url}: {err}");
    }
}

#[test]
fn the_shipped_policies_pass_their_tests() {
    let root = env!("CARGO_MANIFEST_DIR");
    let (code, out, err) = run(hallpass().args(["policy", "test"]).current_dir(root));
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("passed") && out.contains("coverage"), "{out}");
    let (code, out, err) = run(hallpass().args(["policy", "check"]).current_dir(root));
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("sha256:"), "{out}");
}

#[test]
fn a_key_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let kek = folder.path().join("kek");
    assert_eq!(run(hallpass().args(["keys", "generate-kek"]).arg(&kek)).0, 0);
    let before = std::fs::read(&kek).unwrap();
    let (code, _, err) = run(hallpass().args(["keys", "generate-kek"]).arg(&kek));
    assert_eq!(code, 1, "{err}");
    assert!(!err.contains(String::from_utf8(before.clone()).unwrap().trim()));
    assert_eq!(std::fs::read(&kek).unwrap(), before);
}

#[test]
fn what_the_broker_says_about_itself_is_complete() {
    let (code, out, _) = run(hallpass().arg("--print-routes"));
    assert_eq!(code, 0);
    assert!(out.lines().any(|line| line.starts_with("POST") && line.contains("/v1/tasks ")), "{out}");
    let (code, out, _) = run(hallpass().arg("openapi"));
    assert_eq!(code, 0);
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for (arguments, expected) in
        [(&["help", "errors", "policy-denied"][..], "agent_action"), (&["version"], env!("CARGO_PKG_VERSION"))]
    {
        let (code, out, _) = run(hallpass().args(arguments));
        assert_eq!(code, 0);
        assert!(out.contains(expected), "{out}");
    }
}

#[test]
fn every_interval_may_be_a_second_and_none_may_be_nothing() {
    let folder = Folder::new();
    let second = "\n[intervals]\nending_seconds = 1\nreconcile_seconds = 1\nupkeep_seconds = 1\nfinish_seconds = 1\n";
    let short = GOOD.replace("kek = ", "jwks_max_age_seconds = 1\nkek = ").replace(
        "allow_private = true",
        "allow_private = true\ncache_seconds = 1\npause_seconds = 1\nstale_seconds = 1",
    );
    let (code, err) = folder.check(&format!("{short}{second}"));
    assert_eq!(code, 0, "{err}");
    let (code, err) = folder.check(&format!("{GOOD}{}", second.replace("= 1", "= 0")));
    assert_eq!(code, 1);
    for name in ["ending_seconds", "reconcile_seconds", "upkeep_seconds", "finish_seconds"] {
        assert!(err.contains(&format!("intervals.{name} = 0 is not within 1 to 3600")), "{err}");
    }
}

#[cfg(debug_assertions)]
#[test]
fn a_debug_build_lists_its_kill_points_and_refuses_one_that_is_none() {
    let (code, out, _) = run(hallpass().arg("--list-killpoints"));
    assert_eq!(code, 0);
    let names: Vec<&str> = out.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let known: Vec<&str> = hallpass::sys::killpoint::KillPoint::ALL.iter().map(|point| point.as_str()).collect();
    assert_eq!(names, known);
    let folder = Folder::new();
    std::fs::write(folder.0.path().join("hallpass.toml"), GOOD).unwrap();
    let (code, _, err) =
        run(hallpass().arg("serve").env("HALLPASS_KILLPOINT", "mint.never=abort").current_dir(folder.0.path()));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("mint.never") && err.contains("--list-killpoints"), "{err}");
}

/// The public fields of the structs of a source file, as TOML names them.
fn keys_of(source: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(source)).unwrap();
    let fields = text.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "));
    fields
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect()
}

#[test]
fn every_key_is_described_and_the_example_can_be_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    let keys = [keys_of("src/app/config/settings.rs"), keys_of("src/identity/settings.rs")].concat();
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys.iter().filter(|key| !["path", "whom", "why"].contains(&key.as_str())) {
        let described = [format!("`{key}`"), format!("`[{key}]`"), format!("`[[{key}]]`")];
        assert!(described.iter().any(|name| page.contains(name)), "docs/configuration.md does not describe `{key}`");
    }
    let example = root.join("examples/hallpass.toml");
    let (code, _, err) = run(hallpass().args(["--config"]).arg(example).args(["config", "check"]));
    assert_eq!(code, 1, "its files are not here");
    assert!(!err.contains("must not be used") && err.contains("/etc/hallpass/kek"), "but it is well formed: {err}");
}

#[test]
fn every_command_is_described() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md")).unwrap();
    let (_, out, _) = run(hallpass().arg("help"));
    let commands = out.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 18, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("`{name}")), "docs/cli.md does not describe `{name}`");
    }
}
