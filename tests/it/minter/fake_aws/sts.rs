//! STS: what it takes and what it refuses, by the API reference and botocore's model of it.

use std::collections::BTreeMap;

use hallpass::domain::Timestamp;
use serde_json::Value;

use super::ACCOUNT;
use super::evaluate::{Context, Verdict, says};
use super::world::{Caller, No, Role, World};

type Members = BTreeMap<String, String>;

fn invalid(what: impl Into<String>) -> No {
    No(400, "ValidationError", what.into())
}

fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c))
}

pub(super) fn answer(world: &mut World, caller: &Caller, action: &str, members: &Members) -> Result<String, No> {
    match (action, caller) {
        ("GetCallerIdentity", Caller::Broker) => Ok(identity(&format!("arn:aws:iam::{ACCOUNT}:user/hallpass"))),
        // Nobody can be denied that.
        ("GetCallerIdentity", Caller::Session(session)) => {
            Ok(identity(&format!("arn:aws:sts::{ACCOUNT}:assumed-role/{}/{}", session.role, session.name)))
        }
        ("AssumeRole", Caller::Broker | Caller::Session(_)) => assume(world, caller, members),
        ("AssumeRoleWithWebIdentity", Caller::Nobody) => web(world, members),
        _ => Err(No(403, "AccessDenied", format!("not authorized to perform: sts:{action}"))),
    }
}

fn identity(arn: &str) -> String {
    format!(
        "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{arn}</Arn><UserId>AIDA</UserId>\
         <Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
    )
}

fn tags(members: &Members) -> Result<BTreeMap<String, String>, No> {
    let mut tags = BTreeMap::new();
    for number in 1.. {
        let Some(key) = members.get(&format!("Tags.member.{number}.Key")) else { break };
        let value = members.get(&format!("Tags.member.{number}.Value")).ok_or_else(|| invalid("a tag has a Value"))?;
        let fits = |text: &str| text.chars().all(|c| c.is_alphanumeric() || " _.:/=+-@".contains(c));
        if key.is_empty()
            || key.len() > 128
            || value.len() > 256
            || !fits(key)
            || !fits(value)
            || key.starts_with("aws:")
        {
            return Err(invalid(format!("the tag {key}")));
        }
        if tags.insert(key.clone(), value.clone()).is_some() || number > 50 {
            return Err(invalid("duplicate tags, or more than 50"));
        }
    }
    Ok(tags)
}

/// A session policy that is valid JSON with statements we can evaluate.
fn policy(text: &str) -> Result<Value, No> {
    let malformed = |why: String| No(400, "MalformedPolicyDocument", why);
    if text.len() > 2048 || !text.chars().all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}')) {
        return Err(invalid("Value at 'policy' failed to satisfy constraint: length less than or equal to 2048"));
    }
    let read: Value = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let mut context = Context::new();
    context.insert("aws:CurrentTime".to_owned(), "2026-01-01T00:00:00Z".to_owned());
    says(&read, "s3:GetObject", "arn:aws:s3:::b/k", &context).map_err(malformed)?;
    Ok(read)
}

fn trusts(role: &Role, action: &str, principal: &str, members: &Members) -> bool {
    let mut context = Context::new();
    for (member, key) in [
        ("ExternalId", "sts:ExternalId"),
        ("RoleSessionName", "sts:RoleSessionName"),
        ("SourceIdentity", "sts:SourceIdentity"),
    ] {
        context.extend(members.get(member).map(|value| (key.to_owned(), value.clone())));
    }
    let named = role.trust["Statement"].as_array().unwrap().iter().any(|one| one["Principal"]["AWS"] == principal);
    named && says(&role.trust, action, "", &context).unwrap() == Verdict::Allowed
}

fn assume(world: &mut World, caller: &Caller, members: &Members) -> Result<String, No> {
    let text = |name: &str| members.get(name).map_or("", String::as_str);
    let (name, source, external) = (text("RoleSessionName"), text("SourceIdentity"), text("ExternalId"));
    if !(2..=64).contains(&name.len()) || !is_word(name) {
        return Err(invalid("roleSessionName"));
    }
    if !source.is_empty() && (!(2..=64).contains(&source.len()) || !is_word(source) || source.starts_with("aws:")) {
        return Err(invalid("sourceIdentity"));
    }
    let is_external = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
    if members.contains_key("ExternalId")
        && (!(2..=1224).contains(&external.len()) || !external.chars().all(is_external))
    {
        return Err(invalid("externalId"));
    }
    let seconds: i64 = text("DurationSeconds").parse().unwrap_or(3600);
    if !(900..=43_200).contains(&seconds) {
        return Err(invalid("durationSeconds"));
    }
    let tags = tags(members)?;
    let policy_text = text("Policy").to_owned();
    let policy = if policy_text.is_empty() {
        // All that the role may.
        serde_json::json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] })
    } else {
        policy(&policy_text)?
    };
    let denied = |why: &str| No(403, "AccessDenied", format!("not authorized to perform: {why}"));
    let found = world.roles.iter().find(|(_, role)| role.arn == text("RoleArn"));
    let (role_name, role) = found.ok_or_else(|| denied("sts:AssumeRole"))?;
    let principal = match caller {
        Caller::Broker => format!("arn:aws:iam::{ACCOUNT}:user/hallpass"),
        Caller::Session(session) => {
            let now = world.now();
            let key = world.sessions.iter().find(|(_, one)| one.token == session.token).map(|(key, _)| key.clone());
            if !world.allows(&key.unwrap(), "sts:AssumeRole", &role.arn, now) {
                return Err(denied("sts:AssumeRole"));
            }
            if seconds > 3600 {
                return Err(invalid(
                    "DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
                ));
            }
            world.roles[&session.role].arn.clone()
        }
        Caller::Nobody => return Err(denied("sts:AssumeRole")),
    };
    let needs: [(&str, bool); 3] =
        [("sts:AssumeRole", true), ("sts:TagSession", !tags.is_empty()), ("sts:SetSourceIdentity", !source.is_empty())];
    for (action, _) in needs.iter().filter(|(_, needed)| *needed) {
        if !trusts(role, action, &principal, members) {
            return Err(denied(action));
        }
    }
    if seconds > role.max_session_seconds {
        return Err(invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."));
    }
    let tagged: usize = tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    let packed = (policy_text.len() + tagged) * world.packs_to / 2048;
    if packed > 100 {
        return Err(No(400, "PackedPolicyTooLarge", format!("Packed size of session tags and policy is {packed}%")));
    }
    let issued_at = Timestamp::from_secs(world.now().as_secs());
    let life = (issued_at, issued_at.plus_millis(seconds * 1000));
    let (role_name, role_id) = (role_name.clone(), role.id.clone());
    let mut session = World::session(&role_name, &role_id, name, policy, life);
    session.tags = tags;
    source.clone_into(&mut session.source_identity);
    let (key, secret, token) = world.give(session);
    Ok(given("AssumeRole", &(key, secret, token), life.1, &format!("{role_id}:{name}"), packed))
}

fn given(action: &str, keys: &(String, String, String), until: Timestamp, id: &str, packed: usize) -> String {
    let (key, secret, token) = keys;
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><AssumedRoleUser>\
         <AssumedRoleId>{id}</AssumedRoleId><Arn>arn:aws:sts::{}:assumed-role/x/y</Arn></AssumedRoleUser><Credentials>\
         <AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>\
         <Expiration>{until}</Expiration></Credentials><PackedPolicySize>{packed}</PackedPolicySize></{action}Result>\
         <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>",
        World::account()
    )
}

/// The platform's token stands for the role it is for; that it is good is not what is tested here.
fn web(world: &mut World, members: &Members) -> Result<String, No> {
    let text = |name: &str| members.get(name).map_or("", String::as_str);
    if text("WebIdentityToken") != "the platform's token" {
        return Err(No(400, "InvalidIdentityToken", "the token".to_owned()));
    }
    let found = world.roles.iter().find(|(_, role)| role.arn == text("RoleArn"));
    let (name, id) = found.map(|(name, role)| (name.clone(), role.id.clone())).ok_or_else(|| invalid("roleArn"))?;
    let all = serde_json::json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] });
    let life = (world.now(), world.now().plus_millis(3_600_000));
    let session = World::session(&name, &id, text("RoleSessionName"), all, life);
    let named = format!("{id}:{}", session.name);
    let keys = world.give(session);
    Ok(given("AssumeRoleWithWebIdentity", &keys, life.1, &named, 0))
}
