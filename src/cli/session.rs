//! Which server a command calls and as whom. A token never stands on a command line, where every process could read it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::dev::DevState;
use super::failure::{Exit, Failure};
use super::output::Format;
use super::saved::SavedSessions;
use crate::app::env;
use crate::client::{Client, ClientSettings, TokenSource};
use crate::sys::{Clock as _, Ids, SecretString, SystemClock, SystemEntropy};

/// The server a command calls when nobody says.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8600";

/// Options of every command that calls a server.
#[derive(Debug, Clone, Args)]
pub(crate) struct Session {
    /// The server's address [default: <http://127.0.0.1:8600>]
    #[arg(long, env = env::SERVER, global = true, value_name = "URL", help_heading = "Connection")]
    pub(crate) server: Option<String>,
    /// A file with your identity token, read again for each call
    #[arg(long, env = env::TOKEN_FILE, global = true, value_name = "FILE", help_heading = "Connection")]
    pub(crate) token_file: Option<PathBuf>,
    /// A file of CA certificates to trust instead of the machine's
    #[arg(long, env = env::CA_FILE, global = true, value_name = "FILE", help_heading = "Connection")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Call as one of `hallpass dev`'s sample agents or people, with a fresh identity token for each call
    #[arg(long = "as", global = true, value_name = "NAME", help_heading = "Connection")]
    pub(crate) dev_name: Option<String>,
    /// The folder of `hallpass dev`
    #[arg(long, global = true, value_name = "FOLDER", default_value = "hallpass-dev", help_heading = "Connection")]
    pub(crate) dev_dir: PathBuf,
    /// The shape of data on standard output
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "SHAPE")]
    pub(crate) output: Format,
}

/// Ids from the machine's clock and randomness.
pub(super) fn system_ids() -> Ids {
    Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy::default()))
}

impl Session {
    /// A client for the server.
    ///
    /// # Errors
    /// When the address, the token or the dev folder cannot be used.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let Some(name) = &self.dev_name else {
            let nobody = self.client_of(TokenSource::Nobody)?;
            let tokens = self.tokens(nobody.server())?;
            return Ok(nobody.with_tokens(tokens));
        };
        let dev = DevState::load(&self.dev_dir)?;
        let server = self.server.clone().unwrap_or_else(|| dev.server.clone());
        self.client_at(server, dev.tokens(name)?)
    }

    /// A client for the server that calls as whoever these tokens are of.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub(crate) fn client_of(&self, tokens: TokenSource) -> Result<Client, Failure> {
        self.client_at(self.server.clone().unwrap_or_else(|| DEFAULT_SERVER.to_owned()), tokens)
    }

    fn client_at(&self, server: String, tokens: TokenSource) -> Result<Client, Failure> {
        let settings = ClientSettings { server, tokens, ca_file: self.ca_file.clone(), ids: system_ids() };
        Ok(Client::new(settings)?)
    }

    /// What was given for this call, else the session at this server.
    fn tokens(&self, server: &str) -> Result<TokenSource, Failure> {
        if let Some(path) = &self.token_file {
            return Ok(TokenSource::File(path.clone()));
        }
        if let Some(token) = env::read(env::TOKEN) {
            return Ok(TokenSource::Fixed(SecretString::from(token.trim())));
        }
        let kept = match SavedSessions::of_this_person() {
            Some(saved) => saved.find(server)?,
            None => None,
        };
        match kept {
            Some(kept) if kept.ends_at <= SystemClock.now() => {
                Err(Failure::new(Exit::Unauthenticated, format!("your session at {server} ended at {}", kept.ends_at))
                    .fix("run `hallpass login`"))
            }
            Some(kept) => Ok(TokenSource::Fixed(kept.token())),
            None => Ok(TokenSource::Nobody),
        }
    }
}
