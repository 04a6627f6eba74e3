//! Who the broker itself is at AWS: keys that are read anew for each call, so that they can be replaced while it runs, or a token of
//! the platform it runs on, exchanged for keys that are kept until shortly before they expire.

use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use aws_sdk_sts::config::{Credentials, ProvideCredentials};
use tokio::sync::Mutex;

use super::connector::Connector;
use super::settings::{Role, Settings, partition};
use super::sts::{client, time_of};
use crate::domain::Timestamp;
use crate::minter::{MinterDeps, mark};
use crate::sys::{Clock, ExposeSecret as _, SecretRef, SecretString};

/// How long before they expire keys are no more used.
const BEFORE_EXPIRY_MILLIS: i64 = 300_000;

/// Where the broker's own credentials come from.
enum Source {
    Keys { id: SecretRef, secret: SecretRef, token: Option<SecretRef> },
    Web { token: SecretRef, role: String, session: String, client: Box<aws_sdk_sts::Client> },
}

struct Inner {
    source: Source,
    clock: Arc<dyn Clock>,
    kept: Mutex<Option<(Credentials, Timestamp)>>,
}

/// The broker's own credentials.
#[derive(Clone)]
pub(super) struct Own(Arc<Inner>);

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own")
    }
}

impl Own {
    /// Those that the settings name.
    pub(super) fn of(settings: &Settings, connector: &Connector, deps: &MinterDeps) -> Result<Self, String> {
        let below = |at: SecretRef| at.below(&deps.folder);
        let source = match (settings.web_identity.as_ref(), &settings.access_key_id, &settings.secret_access_key) {
            (Some(web), _, _) => Source::Web {
                token: below(web.token.clone()),
                role: Role::read(&web.role, partition(&settings.region))?.arn,
                session: format!("hallpass-{}", mark(&deps.issuer_url)),
                client: Box::new(client(connector, &settings.region, settings.sts_endpoint.as_ref(), None::<Own>)),
            },
            (None, Some(id), Some(secret)) => {
                let token = settings.session_token.clone().map(below);
                let (id, secret) = (below(id.clone()), below(secret.clone()));
                for (key, at) in [
                    ("access_key_id", Some(&id)),
                    ("secret_access_key", Some(&secret)),
                    ("session_token", token.as_ref()),
                ] {
                    at.map(SecretRef::read).transpose().map_err(|why| format!("`{key}`: {why}"))?;
                }
                Source::Keys { id, secret, token }
            }
            (None, _, _) => return Err("it has no credentials of its own".to_owned()),
        };
        Ok(Self(Arc::new(Inner { source, clock: Arc::clone(&deps.clock), kept: Mutex::default() })))
    }

    /// They as they are now; in words why there are none.
    pub(super) async fn credentials(&self) -> Result<Credentials, String> {
        match &self.0.source {
            Source::Keys { id, secret, token } => {
                let read = |of: &SecretRef| of.read().map(|text: SecretString| text.expose_secret().to_owned());
                let token = token.as_ref().map(read).transpose()?;
                Ok(Credentials::new(read(id)?, read(secret)?, token, None, "hallpass"))
            }
            Source::Web { token, role, session, client } => {
                let mut kept = self.0.kept.lock().await;
                let now = self.0.clock.now();
                if let Some((credentials, until)) = &*kept
                    && now < *until
                {
                    return Ok(credentials.clone());
                }
                let token = token.read()?.expose_secret().to_owned();
                let ask = client.assume_role_with_web_identity().role_arn(role).role_session_name(session);
                let answer = ask.web_identity_token(token).send().await.map_err(|error| {
                    let said = aws_sdk_sts::error::ProvideErrorMetadata::code(&error).unwrap_or("no answer").to_owned();
                    format!("STS gives no credentials for the web identity: {said}")
                })?;
                let given = answer.credentials().ok_or("STS answered without credentials")?;
                let session_token = Some(given.session_token().to_owned());
                let (id, secret) = (given.access_key_id(), given.secret_access_key());
                let credentials = Credentials::new(id, secret, session_token, None, "hallpass");
                let until = time_of(given.expiration()).plus_millis(-BEFORE_EXPIRY_MILLIS);
                *kept = Some((credentials.clone(), until));
                Ok(credentials)
            }
        }
    }
}

impl ProvideCredentials for Own {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move { self.credentials().await.map_err(CredentialsError::not_loaded) })
    }
}
