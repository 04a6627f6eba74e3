//! Which server a command calls and as whom. A token never stands on a command line, where every process could read it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::dev::DevState;
use super::failure::Failure;
use super::output::Format;
use crate::app::env;
use crate::client::{Client, ClientSettings, TokenSource};
use crate::sys::{Ids, SecretString, SystemClock, SystemEntropy};

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
        let (server, tokens) = match &self.dev_name {
            Some(name) => {
                let dev = DevState::load(&self.dev_dir)?;
                (self.server.clone().unwrap_or_else(|| dev.server.clone()), dev.tokens(name)?)
            }
            None => (self.server.clone().unwrap_or_else(|| DEFAULT_SERVER.to_owned()), self.tokens()),
        };
        let settings = ClientSettings { server, tokens, ca_file: self.ca_file.clone(), ids: system_ids() };
        Ok(Client::new(settings)?)
    }

    fn tokens(&self) -> TokenSource {
        if let Some(path) = &self.token_file {
            return TokenSource::File(path.clone());
        }
        env::read(env::TOKEN).map_or(TokenSource::Nobody, |token| TokenSource::Fixed(SecretString::from(token.trim())))
    }
}
