//! A credential helper of Git (gitcredentials(7), git-credential(1)). It answers for one Git server, and where Git says which
//! repository it wants, for those that the credential is for; for all else it says nothing and mints nothing. When a credential is
//! refused, Git is told to stop rather than to look for another. `store` and `erase` do nothing: nothing is kept here, and that a
//! server did not like a credential is no reason to end what others hold.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read as _;

use clap::Args;
use url::Url;

use super::hold;
use super::{HoldArgs, end, expect_kind, value};
use crate::api::Credential;
use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::output::{self, say};
use crate::client::Client;

/// The longest question that is read, in bytes.
const MAX_INPUT_BYTES: usize = 64 * 1024;
/// The longest value in a question or an answer, in bytes.
const MAX_VALUE_BYTES: usize = 8 * 1024;
/// What Git LFS asks for, below a repository.
const LFS: &str = "/info/lfs";

/// `hallpass creds git`.
#[derive(Debug, Args)]
pub(crate) struct GitArgs {
    #[command(flatten)]
    hold: HoldArgs,
    /// The Git server to answer for; for others nothing is said and nothing minted
    #[arg(long, value_name = "URL", default_value = "https://github.com")]
    url: Url,
    /// What Git wants: `get`; it may say anything else, and nothing happens
    #[arg(value_name = "OPERATION")]
    operation: String,
}

/// Run it.
///
/// # Errors
/// [`Failure`]; Git has been told to stop then.
pub(super) async fn run(args: GitArgs, client: &Client) -> Outcome {
    let mut input = Vec::new();
    let limit = u64::try_from(MAX_INPUT_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    std::io::stdin().lock().take(limit).read_to_end(&mut input)?;
    if args.operation != "get" {
        return Ok(0);
    }
    let server = Server::of(&args.url).ok_or_else(|| {
        Failure::usage("--url is an https URL, or an http one of this machine").fix("write https://HOST")
    })?;
    let Some(wanted) = Wanted::read(&input)?.filter(|wanted| server == wanted.server) else { return Ok(0) };
    let answered = answer(client, &args.hold, &server, &wanted).await;
    if answered.is_err() {
        // Whoever was refused must not go on with another credential.
        output::print("quit=1")?;
    }
    answered
}

async fn answer(client: &Client, args: &HoldArgs, server: &Server, wanted: &Wanted) -> Outcome {
    let held = hold::obtain(client, args).await?;
    let text = match formatted(&held.credential, server, wanted) {
        Ok(Some(text)) => text,
        Ok(None) => {
            let path = wanted.path.as_deref().unwrap_or_default().escape_debug();
            say(&format!("note: the credential of {} is not for {path}; it was ended", args.scopes()));
            held.give_back(client).await;
            return Ok(0);
        }
        Err(failure) => {
            held.give_back(client).await;
            return Err(failure);
        }
    };
    super::hand_over(client, &held, Ok(text)).await
}

/// The answer; none when it is not for the repository.
fn formatted(credential: &Credential, server: &Server, wanted: &Wanted) -> Result<Option<String>, Failure> {
    expect_kind(credential, "Git", &["github"])?;
    let meant = value(credential, "git_url")?;
    if Url::parse(meant).ok().as_ref().and_then(Server::of).as_ref() != Some(server) {
        return Err(Failure::new(Exit::Failure, format!("the credential is for {meant}, which --url does not name"))
            .fix(format!("say --url {meant}, or another scope")));
    }
    let repositories = value(credential, "repositories")?;
    if let Some(path) = &wanted.path
        && !repositories.split(' ').any(|name| is_of(path, name))
    {
        return Ok(None);
    }
    let (username, password) = (value(credential, "username")?, value(credential, "token")?);
    let plain = |text: &str| !text.is_empty() && text.len() <= MAX_VALUE_BYTES && !text.contains(['\n', '\r', '\0']);
    if !plain(username) || !plain(password) || wanted.username.as_ref().is_some_and(|name| name != username) {
        return Err(Failure::new(Exit::Failure, "the credential cannot be written as Git reads it")
            .fix(format!("ask for the URL without a user, or as {}", username.escape_debug())));
    }
    let expiry = end(credential, "expires_at").as_secs();
    Ok(Some(format!("username={username}\npassword={password}\npassword_expiry_utc={expiry}")))
}

/// Whether a path of a URL is a repository, or what Git LFS has below it. GitHub's names know no case.
fn is_of(path: &str, repository: &str) -> bool {
    let path = path.trim_matches('/');
    let path = path.strip_suffix(LFS).unwrap_or(path);
    let path = path.strip_suffix(".git").unwrap_or(path);
    !repository.is_empty() && path.eq_ignore_ascii_case(repository)
}

/// A Git server.
#[derive(Debug, PartialEq, Eq)]
struct Server {
    protocol: String,
    /// As Git writes it: with a port if it is not the usual one.
    host: String,
}

impl Server {
    /// Of a URL; a password does not travel in the clear.
    fn of(url: &Url) -> Option<Self> {
        let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if !(url.scheme() == "https" || (url.scheme() == "http" && local)) {
            return None;
        }
        let host = url.host_str()?.to_ascii_lowercase();
        let host = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        Some(Self { protocol: url.scheme().to_owned(), host })
    }
}

/// What Git wants a credential for.
#[derive(Debug)]
struct Wanted {
    server: Server,
    /// Only with `credential.useHttpPath`.
    path: Option<String>,
    username: Option<String>,
}

impl Wanted {
    /// Read the question: lines `key=value` until an empty one. Keys that we do not know are for others; none for a question
    /// that names no server we could be.
    fn read(input: &[u8]) -> Result<Option<Self>, Failure> {
        let wrong = |why: &str| Failure::usage(format!("this is not what Git asks a credential helper: {why}"));
        if input.len() > MAX_INPUT_BYTES {
            return Err(wrong("it is larger than 64 KiB"));
        }
        let text = std::str::from_utf8(input).map_err(|_| wrong("it is not UTF-8"))?;
        if text.contains(['\0', '\r']) {
            return Err(wrong("it has a NUL or a carriage return"));
        }
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        for line in text.split('\n').take_while(|line| !line.is_empty()) {
            let (key, value) = line.split_once('=').ok_or_else(|| wrong("a line has no `=`"))?;
            if value.len() > MAX_VALUE_BYTES {
                return Err(wrong("a value is larger than 8 KiB"));
            }
            if ["protocol", "host", "path", "username"].contains(&key) && known.insert(key, value).is_some() {
                return Err(wrong("it says something twice"));
            }
        }
        let (Some(protocol), Some(host)) = (known.get("protocol"), known.get("host")) else { return Ok(None) };
        if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-_[]".contains(&byte)) {
            return Ok(None);
        }
        // Read as a URL, so that `github.com:443` is github.com and nothing that is no host can look like one.
        let url = Url::parse(&format!("{protocol}://{host}"));
        let bare = |url: &Url| url.username().is_empty() && url.password().is_none() && url.path() == "/";
        let Some(server) = url.ok().filter(bare).as_ref().and_then(Server::of) else { return Ok(None) };
        let owned = |key: &str| known.get(key).filter(|value| !value.is_empty()).map(|value| (*value).to_owned());
        Ok(Some(Self { server, path: owned("path"), username: owned("username") }))
    }
}
