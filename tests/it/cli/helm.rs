//! What the chart makes of its values (helm/snapshots, which CI holds against what helm renders) is a configuration that Hallpass
//! starts with, and a bundle that lies where it looks for it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::config::Folder;
use super::{hallpass, run};

fn snapshot(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("helm/snapshots/{name}.yaml"));
    std::fs::read_to_string(&path).unwrap()
}

/// The `hallpass.toml` of each `ConfigMap` that has one: the broker's, then the migration's.
fn configurations(rendered: &str) -> Vec<String> {
    let block = |after: &str| -> String {
        let inside = after.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
        inside.map(|line| line.get(4..).unwrap_or_default().to_owned() + "\n").collect()
    };
    rendered.split("\n  hallpass.toml: |\n").skip(1).map(block).collect()
}

/// A file as Kubernetes would mount it for us.
fn mount(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o400)).unwrap();
}

/// What `hallpass config check` says of a configuration when everything that it names is there.
fn check(configuration: &str) -> (i32, String) {
    let folder = Folder::new();
    let root = folder.0.path();
    // The shipped bundle is bound to the issuers of `hallpass dev`.
    for file in ["agents.toml", "people.toml"] {
        let path = root.join("policies").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("http://127.0.0.1:8601/people", "https://login.acme.example");
        std::fs::write(&path, text.replace("http://127.0.0.1:8601", "https://ci.acme.example")).unwrap();
    }
    mount(&root.join("secrets/kek"), &std::fs::read_to_string(root.join("kek")).unwrap());
    for name in ["database-password", "sign-in", "resource-server-0", "resource-server-1"] {
        mount(&root.join("secrets").join(name), &"n".repeat(32));
    }
    for name in ["notify-0-secrets-0", "notify-0-secrets-1"] {
        mount(&root.join("secrets").join(name), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }
    for name in ["notify-1-token", "notify-1-signing_secret", "notify-2-password"] {
        mount(&root.join("secrets").join(name), "a secret");
    }
    crate::support::openssh::write_authority(&root.join("secrets/backend-1-ca_key"));
    mount(&root.join("files/mesh.json"), r#"{"keys":[]}"#);
    mount(&root.join("token/token"), "token");
    let authority = root.join("files/acme-ca.pem");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=acme"])
        .arg("-keyout")
        .arg(root.join("ca.key"))
        .arg("-out")
        .arg(&authority)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    mount(&root.join("database-ca/ca.crt"), &std::fs::read_to_string(&authority).unwrap());
    let here = root.to_str().unwrap();
    let text = configuration.replace("/etc/hallpass", here).replace("/var/run/hallpass", &format!("{here}/token"));
    let path = root.join("hallpass.toml");
    std::fs::write(&path, text).unwrap();
    let (code, _, err) = run(hallpass().args(["config", "check", "--config"]).arg(path));
    (code, err)
}

#[test]
fn what_the_chart_renders_can_be_started_with() {
    for name in ["minimal", "full"] {
        let configurations = configurations(&snapshot(name));
        assert_eq!(configurations.len(), 2, "{name}: one for the broker, one for the migration");
        for configuration in &configurations {
            let (code, err) = check(configuration);
            assert_eq!(code, 0, "{name}: {err}\n{configuration}");
        }
    }
    // Nothing is found out by a check that finds nothing.
    let broken = configurations(&snapshot("full"))[0].replace("resource-server-1", "resource-server-2");
    let (code, err) = check(&broken);
    assert!(code == 1 && err.contains("resource-server-2"), "{err}");
}

#[test]
fn only_the_role_differs_between_the_broker_and_its_migration() {
    let full = configurations(&snapshot("full"));
    assert!(full[0].contains("postgres://hallpass_app@") && full[1].contains("postgres://hallpass_owner@"));
    assert_eq!(full[0].replace("hallpass_app", "hallpass_owner"), full[1]);
    let minimal = configurations(&snapshot("minimal"));
    assert_eq!(minimal[0], minimal[1]);
}

#[test]
fn no_pod_of_the_chart_may_more_than_it_must() {
    for name in ["minimal", "full"] {
        let rendered = snapshot(name);
        let documents: Vec<&str> = rendered.split("\n---\n").collect();
        let pods: Vec<&&str> = documents.iter().filter(|document| document.contains("\n      containers:\n")).collect();
        assert_eq!(pods.len(), 2, "{name}: the Deployment and the Job");
        for pod in pods {
            for must in [
                "automountServiceAccountToken: false",
                "enableServiceLinks: false",
                "runAsNonRoot: true",
                "runAsUser: 65532",
                "type: RuntimeDefault",
                "allowPrivilegeEscalation: false",
                "readOnlyRootFilesystem: true",
                "drop: [ALL]",
                "- { name: tmp, mountPath: /tmp }",
                "emptyDir: { medium: Memory, sizeLimit: 16Mi }",
                "limits:",
            ] {
                assert_eq!(pod.matches(must).count(), 1, "{name}: `{must}` in\n{pod}");
            }
            for never in ["hostPath", "hostNetwork", "hostPID", "privileged: true", "secretKeyRef", "kind: Secret"] {
                assert!(!pod.contains(never), "{name}: {never}");
            }
        }
        assert!(!rendered.contains("\nkind: Secret\n"), "{name}: the chart makes no Secret");
        assert!(!rendered.contains("kind: Role"), "{name}: the pods need no rights");
    }
}

#[test]
fn a_bundle_with_folders_is_mounted_as_one() {
    let full = snapshot("full");
    for (key, path) in [("people__sre.toml", "people/sre.toml"), ("tests__agents.json", "tests/agents.json")] {
        assert!(full.contains(&format!("\n  \"{key}\": ")), "{key} is in the ConfigMap");
        let item = format!("- key: \"{key}\"\n                path: \"{path}\"\n");
        assert!(full.contains(&item), "{path} is where the bundle has it");
    }
}
