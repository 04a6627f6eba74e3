//! IAM: inline policies of roles, which work some time after they are put, and of which all together may be so long and no longer.

use std::collections::BTreeMap;

use super::world::{Caller, No, World};

const MAX_INLINE_CHARS: usize = 10_240;

pub(super) fn answer(
    world: &mut World,
    caller: &Caller,
    action: &str,
    members: &BTreeMap<String, String>,
) -> Result<String, No> {
    let text = |name: &str| members.get(name).map_or("", String::as_str);
    let allowed = match caller {
        Caller::Broker => !world.forbidden.iter().any(|one| one == action),
        // A session of a role may what the role may; ours are denied all of iam.
        Caller::Session(session) => session.role == "broker",
        Caller::Nobody => false,
    };
    if !allowed {
        return Err(No(403, "AccessDenied", format!("not authorized to perform: iam:{action}")));
    }
    let (now, delay) = (world.now(), world.delay_millis);
    let name = text("RoleName");
    let none = || No(404, "NoSuchEntity", format!("{name} cannot be found"));
    let role = world.roles.get_mut(name).ok_or_else(none)?;
    let policy = text("PolicyName").to_owned();
    let written =
        |inner: String| Ok(format!("<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>"));
    match action {
        "GetRole" => written(format!(
            "<Role><Path>/agents/</Path><Arn>{}</Arn><RoleName>{name}</RoleName><AssumeRolePolicyDocument>%7B%7D\
             </AssumeRolePolicyDocument><RoleId>{}</RoleId><MaxSessionDuration>{}</MaxSessionDuration></Role>",
            role.arn, role.id, role.max_session_seconds
        )),
        "GetRolePolicy" => {
            let last = role.inline.get(&policy).and_then(|inline| inline.last()).and_then(|(_, text)| text.clone());
            let document = last.ok_or_else(none)?;
            let encoded: String = document
                .bytes()
                .map(|b| {
                    if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
                        char::from(b).to_string()
                    } else {
                        format!("%{b:02X}")
                    }
                })
                .collect();
            written(format!(
                "<PolicyName>{policy}</PolicyName><RoleName>{name}</RoleName><PolicyDocument>{encoded}</PolicyDocument>"
            ))
        }
        "PutRolePolicy" => {
            let document = text("PolicyDocument").to_owned();
            if serde_json::from_str::<serde_json::Value>(&document).is_err() || policy.is_empty() || policy.len() > 128
            {
                return Err(No(400, "MalformedPolicyDocument", String::new()));
            }
            let chars = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
            let others: usize = role
                .inline
                .iter()
                .filter(|(other, _)| **other != policy)
                .filter_map(|(_, inline)| inline.last()?.1.as_deref().map(chars))
                .sum();
            if others + chars(&document) > MAX_INLINE_CHARS {
                return Err(No(409, "LimitExceeded", "Maximum policy size of 10240 bytes exceeded".to_owned()));
            }
            role.inline.entry(policy).or_default().push((now.plus_millis(delay), Some(document)));
            written(String::new())
        }
        "DeleteRolePolicy" => {
            let inline =
                role.inline.get_mut(&policy).filter(|inline| inline.last().is_some_and(|(_, text)| text.is_some()));
            inline.ok_or_else(none)?.push((now.plus_millis(delay), None));
            written(String::new())
        }
        _ => Err(No(400, "InvalidAction", action.to_owned())),
    }
}
