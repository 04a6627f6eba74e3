//! The life of one user at the server: made off, switched on, and deleted with its connections. What is to let
//! something work rests on a key that ends within seconds by the server's own clock, and that an end takes away at once: nothing
//! of a call that was given up lands later.

use std::collections::{BTreeSet, HashMap};

use redis::{Pipeline, RedisResult, Value, pipe};

use super::server::{Server, Session, failed};
use crate::minter::MintError;

/// How the names of the keys begin that a call rests on; the broker's user needs no other key.
pub(super) const FENCE: &str = "hallpass:fence:";
/// How long such a key lives, in milliseconds: longer than one answer takes, and much shorter than a call may be under way.
const FENCE_MILLIS: u32 = 3_000;

/// Users of a server.
pub(super) struct Users {
    /// The server.
    pub(super) server: Server,
}

/// A user that is there.
struct Found {
    is_on: bool,
    has_password: bool,
}

impl Users {
    /// Make it, off. Made again, it has the new password alone.
    pub(super) async fn create(&self, name: &str, hash: &str, selectors: &BTreeSet<String>) -> Result<(), MintError> {
        let mut rules = vec!["reset".to_owned(), "resetchannels".to_owned(), "off".to_owned(), format!("#{hash}")];
        rules.extend(selectors.iter().cloned());
        let (session, _) = self.begin(name).await?;
        self.set(session, name, &rules).await?.keep();
        Ok(())
    }

    /// Let it log in.
    pub(super) async fn enable(&self, name: &str) -> Result<(), MintError> {
        let (session, found) = self.begin(name).await?;
        if !found.is_some_and(|found| found.has_password) {
            return Err(MintError::Refused(format!("the server has no user {name}, or it has ended")));
        }
        let mut session = self.set(session, name, &["on".to_owned()]).await?;
        save(&mut session).await?;
        session.keep();
        Ok(())
    }

    /// Delete it and close its connections. How we know.
    pub(super) async fn remove(&self, name: &str) -> Result<String, MintError> {
        let mut look = pipe();
        // Where writing is refused, as by a replica, the key's own end has to do.
        look.cmd("DEL").arg(fence(name)).cmd("ACL").arg("GETUSER").arg(name).ignore_errors();
        let (mut session, mut answers): (_, Vec<RedisResult<Value>>) = self.server.ask(&look).await?;
        let found = read(answers.pop().transpose().map_err(|error| failed(&error))?.unwrap_or(Value::Nil))?;
        let mut how = "the server has no such user";
        if found.is_some() {
            // No transaction: a full server takes none. Whoever is connected has no right any more before anything else happens;
            // and what was under way since we looked is off again, then void, then deleted.
            let mut end = pipe();
            end.cmd("ACL").arg(&["SETUSER", name, "reset", "off"]).cmd("DEL").arg(fence(name));
            end.cmd("CLIENT").arg(&["KILL", "USER", name]).cmd("ACL").arg(&["DELUSER", name]).ignore_errors();
            let answers: Vec<RedisResult<Value>> = session.ask(&end).await?;
            let mut needed = answers.iter().enumerate().filter(|(at, _)| *at != 1);
            if let Some(error) = needed.find_map(|(_, answer)| answer.as_ref().err()) {
                return Err(failed(error));
            }
            how = "the server closed the user's connections and deleted it";
        }
        // Also for one that is gone already: it would come back with the file.
        let kept = save(&mut session).await?;
        session.keep();
        Ok(format!("{how}{kept}"))
    }

    /// Whether it can log in, or is logged in.
    pub(super) async fn works(&self, name: &str) -> Result<bool, MintError> {
        let (mut session, answer): (_, Vec<Value>) = self.server.ask(pipe().cmd("ACL").arg(&["GETUSER", name])).await?;
        let works = match read(answer.into_iter().next().unwrap_or(Value::Nil))? {
            // With a user the server closes its connections.
            None => false,
            Some(Found { is_on: true, has_password: true }) => true,
            Some(_) => {
                let (clients,): (String,) = session.ask(pipe().cmd("CLIENT").arg("LIST")).await?;
                let user = format!("user={name}");
                clients.lines().any(|line| line.split(' ').any(|word| word == user))
            }
        };
        session.keep();
        Ok(works)
    }

    /// The names that begin so.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<String>, MintError> {
        let (session, (names,)): (_, (Vec<String>,)) = self.server.ask(pipe().cmd("ACL").arg("USERS")).await?;
        session.keep();
        Ok(names.into_iter().filter(|name| name.starts_with(prefix)).collect())
    }

    /// Set up and watch the key that a change rests on, and look at the user as it is from then on.
    async fn begin(&self, name: &str) -> Result<(Session<'_>, Option<Found>), MintError> {
        let mut first = pipe();
        first.cmd("SET").arg(fence(name)).arg("1").arg("PX").arg(FENCE_MILLIS).ignore();
        first.cmd("WATCH").arg(fence(name)).ignore().cmd("ACL").arg("GETUSER").arg(name);
        let (session, (answer,)): (_, (Value,)) = self.server.ask(&first).await?;
        let found = read(answer)?;
        Ok((session, found))
    }

    /// Change it, if the key is still what it was.
    async fn set<'a>(&self, mut on: Session<'a>, name: &str, rules: &[String]) -> Result<Session<'a>, MintError> {
        let mut change: Pipeline = pipe();
        change.atomic().cmd("ACL").arg("SETUSER").arg(name).arg(rules).ignore();
        match on.ask::<Option<()>>(&change).await? {
            Some(()) => Ok(on),
            None => {
                Err(MintError::Unavailable("it took too long, or was ended meanwhile; nothing was done".to_owned()))
            }
        }
    }
}

fn fence(name: &str) -> String {
    format!("{FENCE}{name}")
}

/// What ACL GETUSER says.
fn read(answer: Value) -> Result<Option<Found>, MintError> {
    let unread = |_| MintError::Unavailable("it says of a user what cannot be read".to_owned());
    let told: Option<HashMap<String, Value>> = redis::from_redis_value(answer).map_err(unread)?;
    let Some(mut told) = told else { return Ok(None) };
    let mut words = |key| -> Result<Vec<String>, MintError> {
        redis::from_redis_value(told.remove(key).unwrap_or(Value::Nil)).map_err(unread)
    };
    let (flags, passwords) = (words("flags")?, words("passwords")?);
    let has = |flag: &str| flags.iter().any(|known| known == flag);
    Ok(Some(Found { is_on: has("on"), has_password: has("nopass") || !passwords.is_empty() }))
}

/// Have the server write its users into its file, where it has one: what was only in its memory is undone by a restart. What to
/// add to how an end is known.
async fn save(session: &mut Session<'_>) -> Result<&'static str, MintError> {
    let mut save = pipe();
    save.cmd("ACL").arg("SAVE").ignore_errors();
    match session.ask::<Vec<RedisResult<()>>>(&save).await?.pop() {
        Some(Ok(())) => Ok(", and wrote that into its ACL file"),
        Some(Err(error)) if error.to_string().contains("not configured to use an ACL file") => {
            Ok("; it has no ACL file")
        }
        // It is in the file as it was, so nothing is said to be done.
        Some(Err(error)) if error.code() == Some("NOPERM") => Err(failed(&error)),
        Some(Err(error)) => Err(MintError::Unavailable(format!("the server cannot write its ACL file: {error}"))),
        None => Err(MintError::Unavailable("no answer to ACL SAVE".to_owned())),
    }
}
