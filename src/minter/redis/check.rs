//! What an operator must mend at a Redis server before users can be made and ended there. It only asks.

use std::collections::HashMap;

use redis::{RedisResult, Value, pipe};

use super::RedisMinter;
use super::server::{Session, failed};
use super::users::FENCE;
use crate::minter::MintError;

/// The oldest server that has selectors.
const OLDEST: &str = "7.0.0";
/// What the broker's user runs. `{}` is the key of a call.
const NEEDED: &[&str] = &[
    "acl|setuser x",
    "acl|getuser x",
    "acl|deluser x",
    "acl|users",
    "acl|save",
    "client|kill user x",
    "client|list",
    "config|get aclfile",
    "set {} 1 px 1",
    "del {}",
    "watch {}",
    "multi",
    "exec",
];
/// What it has no need for.
const TOO_MUCH: &[&str] = &["get hallpass", "set hallpass 1", "flushall", "config|set maxmemory 0", "eval x 0"];

impl RedisMinter {
    /// All there is to mend.
    pub(super) async fn findings(&self) -> Result<Vec<String>, MintError> {
        let mut first = pipe();
        first.cmd("HELLO").cmd("ACL").arg("WHOAMI");
        let (mut session, (hello, me)): (_, (HashMap<String, Value>, String)) = self.users.server.ask(&first).await?;
        let mut found = Vec::new();
        let told = |key: &str| hello.get(key).and_then(|value| redis::from_redis_value_ref::<String>(value).ok());
        let (version, mode, role) = (told("version"), told("mode"), told("role"));
        let version = version.unwrap_or_default();
        let number = |text: &str| text.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>();
        if number(&version) < number(OLDEST) {
            found.push(format!("the server is older than Redis 7 (it says `{version}`): upgrade it"));
            return Ok(found);
        }
        if mode.as_deref() != Some("standalone") || role.as_deref() != Some("master") {
            found.push(
                "the server is a replica, or one of several: users are in the memory of the one they are made at, so name a \
                server that stands alone"
                    .to_owned(),
            );
        }
        look_at_rights(&mut session, &me, &mut found).await?;
        let mut more = pipe();
        more.cmd("ACL").arg("GETUSER").arg("default").cmd("CONFIG").arg("GET").arg("aclfile").ignore_errors();
        let mut answers = session.ask::<Vec<RedisResult<Value>>>(&more).await?.into_iter();
        if let Some(Ok(answer)) = answers.next() {
            look_at_default(answer, &mut found);
        }
        if let Some(Ok(answer)) = answers.next() {
            let file: HashMap<String, String> = redis::from_redis_value(answer).unwrap_or_default();
            if file.values().all(String::is_empty) && !self.target.allow_volatile {
                found.push(
                    "the server keeps its users in no file, so they are gone after a restart, and after a CONFIG REWRITE it brings \
                    back whom it wrote there: set `aclfile` in redis.conf, or say `allow_volatile = true`"
                        .to_owned(),
                );
            }
        }
        session.keep();
        Ok(found)
    }
}

async fn look_at_rights(session: &mut Session<'_>, me: &str, found: &mut Vec<String>) -> Result<(), MintError> {
    let mut tries = pipe();
    for line in NEEDED.iter().chain(TOO_MUCH) {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let key = format!("{FENCE}x");
        let rest = rest.split(' ').filter(|word| !word.is_empty()).map(|word| if word == "{}" { &key } else { word });
        let words: Vec<&str> = command.split('|').chain(rest).collect();
        tries.cmd("ACL").arg("DRYRUN").arg(me).arg(words);
    }
    tries.ignore_errors();
    let answers: Vec<RedisResult<String>> = session.ask(&tries).await?;
    if let Some(Err(error)) = answers.first() {
        let why = failed(error);
        found.push(format!(
            "what the broker's user {me} may do cannot be seen: run `ACL SETUSER {me} +acl|dryrun` ({why})"
        ));
        return Ok(());
    }
    let permitted = |answer: &RedisResult<String>| answer.as_ref().is_ok_and(|answer| answer == "OK");
    let (needed, too_much) = answers.split_at(NEEDED.len().min(answers.len()));
    for (line, _) in NEEDED.iter().zip(needed).filter(|(_, answer)| !permitted(answer)) {
        let command = line.split(' ').next().unwrap_or_default();
        let key = if line.contains("{}") { format!(" ~{FENCE}*") } else { String::new() };
        found.push(format!("the broker's user {me} may not `{command}`: run `ACL SETUSER {me} +{command}{key}`"));
    }
    let many: Vec<&str> =
        TOO_MUCH.iter().zip(too_much).filter(|(_, answer)| permitted(answer)).map(|(line, _)| *line).collect();
    if !many.is_empty() {
        found.push(format!(
            "the broker's user {me} may do more than it needs ({}): give it the rights of docs/backends/redis.md alone",
            many.join(", ")
        ));
    }
    Ok(())
}

/// Whose connection has lost its user is nobody, and `default` is who is nobody.
fn look_at_default(answer: Value, found: &mut Vec<String>) {
    let user: HashMap<String, Value> = redis::from_redis_value(answer).unwrap_or_default();
    let flags: Vec<String> =
        user.get("flags").and_then(|flags| redis::from_redis_value_ref(flags).ok()).unwrap_or_default();
    let has = |flag: &str| flags.iter().any(|known| known == flag);
    if has("on") && has("nopass") {
        found.push(
            "whoever reaches the server is the user `default` without a password, whatever its own user may do: run `ACL SETUSER \
            default off`, or give it a password"
                .to_owned(),
        );
    }
}
