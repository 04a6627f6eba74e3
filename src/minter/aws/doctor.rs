//! What an operator must mend: keys that are not good, roles that cannot be assumed or last too short, rights that are missing,
//! clocks that differ. It assumes each role once, under a policy that allows nothing, for there is no other way to know that it can.

use super::policy::session_policy;
use super::settings::{ExternalId, Role, SESSION_SECONDS};
use super::sts::{Ask, assume_role, caller};
use super::{AwsMinter, in_policy};
use crate::minter::MintError;

/// How far the clocks may differ: a session's end is reckoned by both.
const MAX_SKEW_MILLIS: i64 = 10_000;

/// Ask what is missing.
///
/// # Errors
/// [`MintError`] when STS does not answer, or not to these credentials.
pub(super) async fn check(minter: &AwsMinter) -> Result<Vec<String>, MintError> {
    let (account, arn) = caller(&minter.sts).await?;
    let mut wrong = Vec::new();
    if arn.ends_with(":root") {
        wrong.push(
            "the broker has the keys of the account's root user: give it those of a user or a role of its own"
                .to_owned(),
        );
    }
    if let Some(ahead) = minter.connector.ahead_millis().filter(|ahead| ahead.abs() > MAX_SKEW_MILLIS) {
        let (seconds, way) = (ahead.abs() / 1000, if ahead > 0 { "ahead of" } else { "behind" });
        wrong.push(format!("AWS's clock is {seconds} s {way} ours: have ours follow the time (NTP)"));
    }
    for role in minter.roles.values().flatten() {
        if let Err(error) = assume(minter, role).await {
            wrong.push(format!(
                "{} cannot be assumed: {error}; see docs/backends/aws.md for its trust policy",
                role.arn
            ));
        }
        if minter.settings.deny_role_policy {
            wrong.extend(denial(minter, role, &account).await);
        }
    }
    Ok(wrong)
}

/// A session of the longest life that may be asked for, which may do nothing.
async fn assume(minter: &AwsMinter, role: &Role) -> Result<(), MintError> {
    let policy = session_policy(&[], &in_policy(minter.clock.now())).map_err(crate::minter::settings::without_form)?;
    let external_id = minter.external_id.as_ref().map(ExternalId::read).transpose();
    let external_id = external_id.map_err(MintError::Misconfigured)?;
    let seconds = minter.settings.max_session_seconds.max(*SESSION_SECONDS.start());
    let ask = Ask {
        role_arn: &role.arn,
        session: "hallpass-doctor",
        source_identity: "hallpass-doctor",
        policy: &policy,
        seconds: i32::try_from(seconds).unwrap_or(900),
        tags: &[("hallpass:deployment".to_owned(), minter.deployment.clone())],
        external_id: external_id.as_deref(),
    };
    assume_role(&minter.sts, &ask).await.map(|_| ())
}

/// What keeps a session of this role from being ended early.
async fn denial(minter: &AwsMinter, role: &Role, account: &str) -> Vec<String> {
    if role.account != account {
        return vec![format!(
            "`deny_role_policy`: {} is of another account than the broker's own credentials, {account}: give the broker a user or \
             role of that account, or leave it off",
            role.arn
        )];
    }
    let iam = &minter.denials.iam;
    let mut wrong = Vec::new();
    match iam.get_role(&role.name).await {
        Ok(described) if described.arn != role.arn => {
            wrong.push(format!("`{}` is called {} in the account", role.arn, described.arn));
        }
        Ok(described) => {
            let allowed = described.max_session_seconds.unwrap_or(minter.settings.max_session_seconds);
            if allowed < minter.settings.max_session_seconds {
                wrong.push(format!(
                    "{} lasts {allowed} s at most: lower `max_session_seconds` or raise its MaxSessionDuration",
                    role.arn
                ));
            }
        }
        Err(error) => wrong.push(format!("`deny_role_policy` needs iam:GetRole on {}: {error}", role.arn)),
    }
    if let Err(error) = iam.get_role_policy(&role.name, &minter.denials.policy).await {
        wrong.push(format!("`deny_role_policy` needs iam:GetRolePolicy on {}: {error}", role.arn));
    }
    wrong
}
