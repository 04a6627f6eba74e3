//! The credential plugin of kubectl and other clients of Kubernetes (client.authentication.k8s.io, `ExecCredential`): answered in
//! the version that is asked for, and never for another server than the one it was minted for, if the client names one.

use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{end, expect_kind, value};
use crate::api::Credential;
use crate::cli::failure::{Exit, Failure};

/// The versions that are spoken.
const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

/// What the client says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecInfo {
    api_version: String,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Spec {
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    server: Option<Url>,
}

/// What the client asks for.
#[derive(Debug)]
pub(super) struct Asked {
    version: &'static str,
    /// Where it is going to use it, if it says so (`provideClusterInfo`).
    server: Option<Url>,
}

impl Asked {
    /// Read `KUBERNETES_EXEC_INFO`; without it, somebody tries us by hand.
    ///
    /// # Errors
    /// When it cannot be read, or is of another version.
    pub(super) fn read(info: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = info else { return Ok(Self { version: VERSIONS[0], server: None }) };
        let wrong = |why: String| {
            Failure::usage(format!("KUBERNETES_EXEC_INFO cannot be used: {why}"))
                .fix(format!("set `apiVersion: {}` in the kubeconfig's `exec`", VERSIONS[0]))
        };
        let info: ExecInfo = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let version = VERSIONS.into_iter().find(|version| *version == info.api_version);
        let version = version.ok_or_else(|| wrong(format!("it asks for version `{}`", info.api_version)))?;
        Ok(Self { version, server: info.spec.cluster.and_then(|cluster| cluster.server) })
    }

    /// The credential in the format that was asked for.
    ///
    /// # Errors
    /// When it is of another kind, or for another server.
    pub(super) fn answer(&self, credential: &Credential) -> Result<String, Failure> {
        expect_kind(credential, "kubectl", &["kubernetes_token", "x509"])?;
        self.check_server(credential)?;
        let mut status = json!({ "expirationTimestamp": end(credential, "expires_at") });
        let members: &[(&str, &str)] = if credential.kind == "x509" {
            &[("clientCertificateData", "certificate"), ("clientKeyData", "private_key")]
        } else {
            &[("token", "token")]
        };
        for (member, from) in members {
            if let Some(status) = status.as_object_mut() {
                status.insert((*member).to_owned(), Value::from(value(credential, from)?));
            }
        }
        Ok(json!({ "apiVersion": self.version, "kind": "ExecCredential", "status": status }).to_string())
    }

    fn check_server(&self, credential: &Credential) -> Result<(), Failure> {
        let (Some(asked), Some(meant)) = (&self.server, credential.values.get("server")) else { return Ok(()) };
        let same = |meant: &Url| {
            asked.origin() == meant.origin() && asked.path().trim_end_matches('/') == meant.path().trim_end_matches('/')
        };
        if Url::parse(meant).as_ref().is_ok_and(same) {
            return Ok(());
        }
        Err(Failure::new(Exit::Failure, format!("the credential is for {meant}, and would have gone to {asked}"))
            .fix("name the scope of that cluster's backend in the kubeconfig's `exec.args`"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::credential;
    use super::*;

    const TOKEN: &[(&str, &str)] =
        &[("token", "T"), ("server", "https://k.example:6443"), ("expires_at", "2027-01-15T07:59:00.5Z")];

    fn asked(info: &Value) -> Asked {
        Asked::read(Some(&info.to_string())).unwrap()
    }

    fn answered(asked: &Asked, credential: &Credential) -> Value {
        serde_json::from_str(&asked.answer(credential).unwrap()).unwrap()
    }

    #[test]
    fn a_token_comes_in_the_version_that_is_asked_for() {
        let token = credential("kubernetes_token", "k8s:web:read", TOKEN);
        for version in VERSIONS {
            let info = json!({ "apiVersion": version, "kind": "ExecCredential", "spec": { "interactive": false } });
            let status = json!({ "token": "T", "expirationTimestamp": "2027-01-15T07:59:00Z" });
            let expected = json!({ "apiVersion": version, "kind": "ExecCredential", "status": status });
            assert_eq!(answered(&asked(&info), &token), expected);
        }
        assert_eq!(answered(&Asked::read(None).unwrap(), &token)["apiVersion"], VERSIONS[0]);
    }

    #[test]
    fn a_certificate_comes_with_its_key() {
        let certificate = credential("x509", "pki:web:read", &[("certificate", "C\n"), ("private_key", "K\n")]);
        let status = &answered(&Asked::read(None).unwrap(), &certificate)["status"];
        let expected = json!({
            "clientCertificateData": "C\n", "clientKeyData": "K\n", "expirationTimestamp": "2027-01-15T08:00:00Z",
        });
        assert_eq!(*status, expected);
    }

    #[test]
    fn another_version_or_none_is_refused_before_anything_is_asked_for() {
        for wrong in ["{}", "no JSON", r#"{"apiVersion":"client.authentication.k8s.io/v1alpha1","spec":{}}"#] {
            let failure = Asked::read(Some(wrong)).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_token_does_not_go_to_another_server() {
        let token = credential("kubernetes_token", "k8s:web:read", TOKEN);
        let at =
            |server: &str| asked(&json!({ "apiVersion": VERSIONS[0], "spec": { "cluster": { "server": server } } }));
        answered(&at("https://k.example:6443/"), &token);
        for other in
            ["https://k.example", "http://k.example:6443", "https://evil.example:6443", "https://k.example:6443/x"]
        {
            let failure = at(other).answer(&token).unwrap_err();
            assert!(!failure.to_string().contains("\"T\""), "{failure}");
        }
    }

    #[test]
    fn what_kubernetes_cannot_use_is_refused() {
        let ssh = credential("ssh", "hosts:web:login", &[("certificate", "C"), ("private_key", "K")]);
        assert_eq!(Asked::read(None).unwrap().answer(&ssh).unwrap_err().exit, Exit::Usage);
    }
}
