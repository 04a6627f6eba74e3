//! Kind `aws`: how one session is ended before its hard stop, what that leaves alone, and what is said when it cannot be.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use hallpass::domain::{EndCause, Handle, LeaseId, MintPlan, Timestamp, Ttl};
use hallpass::minter::{CredentialRef, MintError, Minter, Over, Probe, Revoked};
use hallpass::sys::Clock as _;
use serde_json::Value;

use super::aws::{Cloud, READ, minted, scopes, value};
use super::fake_aws::{Fault, role_arn};
use super::{T0, lease, plan_of};

const DENYING: &str = "deny_role_policy = true\nsettle_seconds = 60";
const KEY: &str = "releases/v1.4.2/a";

fn after(seconds: i64) -> Timestamp {
    T0.plus_millis(seconds * 1000)
}

/// One turn of the chore that puts lists where they are found.
async fn publish(minter: &dyn Minter, over: &[&MintPlan]) -> Result<(), MintError> {
    publish_over(minter, &super::over(over, T0)).await
}

async fn publish_over(minter: &dyn Minter, over: &[Over<'_>]) -> Result<(), MintError> {
    let list = minter.revocation_list(over, T0).expect("there is a list");
    minter.publish(over, &list, T0).await
}

/// The sessions that the role's policy denies.
fn denied(cloud: &Cloud) -> BTreeSet<String> {
    let policies = cloud.aws.inline("releases");
    let listed =
        policies.values().map(|policy| policy["Statement"][0]["Condition"]["StringEquals"]["aws:userid"].clone());
    listed
        .flat_map(|listed| listed.as_array().cloned().unwrap_or_else(|| vec![listed]))
        .map(|id| id.as_str().unwrap().split_once(':').unwrap().1.to_owned())
        .collect()
}

#[tokio::test]
async fn sts_09_one_session_ends_and_its_sibling_does_not() {
    let cloud = Cloud::start().await;
    cloud.aws.world().delay_millis = 40_000;
    let minter = cloud.minter(DENYING);
    let ((ended, holder), (_, sibling)) = (minted(minter.as_ref(), 1).await, minted(minter.as_ref(), 2).await);
    let credential = CredentialRef::of_plan(&ended);
    assert_eq!(minter.revocability().strength, "within_minutes");
    assert_eq!(
        minter.revoke(credential).await.unwrap(),
        Revoked::EndsBy(after(65)),
        "once it is put, and IAM had its time"
    );
    publish(minter.as_ref(), &[&ended]).await.unwrap();
    assert_eq!(denied(&cloud), [format!("jit-{}", lease(1))].into());

    cloud.world.clock.set(after(20));
    assert!(cloud.may(&holder, READ, KEY, after(20)), "IAM has not passed it on yet");
    assert_eq!(minter.probe(credential).await.unwrap(), Probe::Unknown);
    assert!(matches!(minter.revoke(credential).await.unwrap(), Revoked::EndsBy(_)), "so it is not gone");
    for seconds in [32, 61] {
        cloud.world.clock.set(after(seconds));
        publish(minter.as_ref(), &[&ended]).await.unwrap();
    }
    assert!(matches!(minter.revoke(credential).await.unwrap(), Revoked::Gone(_)));
    assert_eq!(minter.probe(credential).await.unwrap(), Probe::Refused);
    assert!(!cloud.may(&holder, READ, KEY, after(61)));
    assert!(cloud.may(&sibling, READ, KEY, after(61)), "the sibling is not touched");
    assert_eq!(cloud.aws.calls("PutRolePolicy").len(), 1, "what is there is not put again");
}

#[tokio::test]
async fn sts_09_a_denial_goes_when_its_session_has_come_to_its_own_end_and_the_policy_with_the_last() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter(DENYING);
    let (short, _) = minted(minter.as_ref(), 1).await;
    let long = plan_of(minter.as_ref(), &scopes(), |order| {
        (order.lease, order.ttl, order.ends_at) = (lease(2), Ttl::from_secs(3600).unwrap(), after(3600));
    });
    minter.mint(&long).await.unwrap();
    publish(minter.as_ref(), &[&short, &long]).await.unwrap();
    assert_eq!(denied(&cloud).len(), 2);
    for seconds in [601, 700] {
        cloud.world.clock.set(after(seconds));
        let over = super::over(&[&short, &long], T0);
        let list = minter.revocation_list(&over, T0).unwrap();
        minter.publish(&over, &list, after(seconds)).await.unwrap();
    }
    assert_eq!(denied(&cloud), [format!("jit-{}", lease(2))].into());
    for seconds in [3601, 3700] {
        cloud.world.clock.set(after(seconds));
        let list = minter.revocation_list(&[], T0).unwrap();
        minter.publish(&[], &list, after(seconds)).await.unwrap();
    }
    assert!(cloud.aws.inline("releases").is_empty(), "nothing is left behind");
}

#[tokio::test]
async fn sts_09_replicas_lose_nothing_of_each_others_and_a_removed_denial_comes_back() {
    let cloud = Cloud::start().await;
    let (one, other) = (cloud.minter(DENYING), cloud.minter(DENYING));
    let (first, _) = minted(one.as_ref(), 1).await;
    let (second, holder) = minted(other.as_ref(), 2).await;
    publish(other.as_ref(), &[&first, &second]).await.unwrap();
    // The one has not seen the second yet, and puts what it knows.
    publish(one.as_ref(), &[&first]).await.unwrap();
    assert_eq!(denied(&cloud).len(), 2);

    // Somebody else takes the policy away.
    cloud.aws.world().roles.get_mut("releases").unwrap().inline.clear();
    cloud.world.clock.set(after(31));
    publish(one.as_ref(), &[&first, &second]).await.unwrap();
    assert_eq!(denied(&cloud).len(), 2, "read back, and put again");
    cloud.world.clock.set(after(70));
    publish(one.as_ref(), &[&first, &second]).await.unwrap();
    let credential = CredentialRef::of_plan(&second);
    assert!(matches!(one.revoke(credential).await.unwrap(), Revoked::EndsBy(_)), "its time is counted anew");
    assert!(!cloud.may(&holder, READ, KEY, after(70)));
}

#[tokio::test]
async fn sts_09_a_changed_policy_counts_for_nothing_and_is_mended() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter(DENYING);
    let (ended, _) = minted(minter.as_ref(), 1).await;
    publish(minter.as_ref(), &[&ended]).await.unwrap();
    {
        let mut world = cloud.aws.world();
        let inline = world.roles.get_mut("releases").unwrap().inline.values_mut().next().unwrap();
        let weaker = inline.last().unwrap().1.as_ref().unwrap().replace(r#""Action":"*""#, r#""Action":"s3:List*""#);
        inline.push((T0, Some(weaker)));
    }
    cloud.world.clock.set(after(61));
    publish(minter.as_ref(), &[&ended]).await.unwrap();
    assert_eq!(cloud.aws.inline("releases").values().next().unwrap()["Statement"][0]["Action"], "*");
    assert!(matches!(minter.revoke(CredentialRef::of_plan(&ended)).await.unwrap(), Revoked::EndsBy(_)));
}

/// Ended sessions of an hour and one minute each, the later the longer.
fn crowd(count: u8) -> Vec<(Handle, Timestamp)> {
    (0..count)
        .map(|number| {
            let lease = LeaseId::new(T0, [number; 10]);
            (Handle::new(format!("{} jit-{lease}", role_arn("releases"))), after(3600 + 60 * i64::from(number)))
        })
        .collect()
}

fn all(crowd: &[(Handle, Timestamp)]) -> Vec<Over<'_>> {
    crowd
        .iter()
        .map(|(handle, end)| CredentialRef { handle, native_end: *end, ending_since: None, kept: None })
        .map(|credential| Over { credential, since: T0, cause: EndCause::Revoked })
        .collect()
}

#[tokio::test]
async fn sts_09_what_does_not_fit_into_the_quota_is_an_alarm_and_ends_by_its_hard_stop() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter(DENYING);
    let crowd = crowd(200);
    let over = all(&crowd);
    match publish_over(minter.as_ref(), &over).await {
        Err(MintError::Refused(why)) => assert!(why.contains("do not fit"), "{why}"),
        other => panic!("{other:?}"),
    }
    let first = denied(&cloud);
    assert!((165..=175).contains(&first.len()), "{}", first.len());
    let (shortest, longest) = (over[0].credential, over[199].credential);
    assert_eq!(minter.revoke(shortest).await.unwrap(), Revoked::EndsBy(shortest.native_end), "told plainly");
    assert_eq!(
        minter.revoke(longest).await.unwrap(),
        Revoked::EndsBy(after(65)),
        "those that live longest are denied first"
    );

    // One that is denied already stays so, whoever else comes.
    let later: Vec<(Handle, Timestamp)> = crowd
        .iter()
        .enumerate()
        .map(
            |(number, (handle, end))| {
                if number < 20 { (handle.clone(), after(40_000)) } else { (handle.clone(), *end) }
            },
        )
        .collect();
    cloud.world.clock.set(after(31));
    publish_over(minter.as_ref(), &all(&later)).await.unwrap_err();
    assert_eq!(denied(&cloud), first);
}

#[tokio::test]
async fn sts_09_a_quota_that_others_use_too_is_shared() {
    let cloud = Cloud::start().await;
    let theirs = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Deny","Action":"x:{}","Resource":"*"}}]}}"#,
        "a".repeat(3_000)
    );
    cloud.aws.world().roles.get_mut("releases").unwrap().inline.insert("theirs".to_owned(), vec![(T0, Some(theirs))]);
    let minter = cloud.minter(DENYING);
    let crowd = crowd(200);
    publish_over(minter.as_ref(), &all(&crowd)).await.unwrap_err();
    let listed = &cloud.aws.inline("releases");
    let ours = listed.iter().find(|(name, _)| name.starts_with("hallpass-")).expect("ours is there too").1;
    let many = ours["Statement"][0]["Condition"]["StringEquals"]["aws:userid"].as_array().unwrap().len();
    assert!((80..=125).contains(&many), "{many}");
}

#[tokio::test]
async fn sts_09_without_iam_nothing_is_promised_and_all_is_denied_when_it_returns() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter(DENYING);
    let (ended, holder) = minted(minter.as_ref(), 1).await;
    let credential = CredentialRef::of_plan(&ended);
    for (action, fault) in [
        ("GetRole", Fault::Says(503, "ServiceUnavailable")),
        ("GetRolePolicy", Fault::Says(400, "Throttling")),
        ("PutRolePolicy", Fault::Says(403, "AccessDenied")),
    ] {
        cloud.aws.fail_next(action, fault);
        publish(minter.as_ref(), &[&ended]).await.unwrap_err();
        let said = minter.revoke(credential).await;
        assert!(matches!(said, Err(MintError::Unavailable(_))), "tried on: {action}: {said:?}");
    }
    publish(minter.as_ref(), &[&ended]).await.unwrap();
    assert!(!cloud.may(&holder, READ, KEY, after(1)));
    assert_eq!(minter.revoke(credential).await.unwrap(), Revoked::EndsBy(after(65)));
}

#[tokio::test]
async fn sts_09_what_was_put_and_not_heard_counts_from_when_it_is_read_back() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter(DENYING);
    let (ended, _) = minted(minter.as_ref(), 1).await;
    cloud.aws.fail_next("PutRolePolicy", Fault::Unheard);
    publish(minter.as_ref(), &[&ended]).await.unwrap_err();
    cloud.world.clock.set(after(10));
    publish(minter.as_ref(), &[&ended]).await.unwrap();
    assert_eq!(minter.revoke(CredentialRef::of_plan(&ended)).await.unwrap(), Revoked::EndsBy(after(75)));
    assert_eq!(cloud.aws.calls("PutRolePolicy").len(), 1);
}

#[tokio::test]
async fn a_role_of_the_same_name_in_another_account_is_never_touched() {
    let cloud = Cloud::start().await;
    let settings = cloud
        .aws
        .settings(cloud.folder.path(), DENYING)
        .replace(&role_arn("releases"), "arn:aws:iam::999999999999:role/agents/releases");
    let minter = cloud.world.minter(&settings);
    let plan = plan_of(minter.as_ref(), &scopes(), |_| ());
    assert!(matches!(publish(minter.as_ref(), &[&plan]).await, Err(MintError::Misconfigured(_))));
    assert!(cloud.aws.inline("releases").is_empty());
    let said = minter.revoke(CredentialRef::of_plan(&plan)).await;
    assert!(matches!(said, Err(MintError::Unavailable(_))), "tried on until its own end: {said:?}");
}

#[tokio::test]
async fn several_roles_share_the_sessions_and_their_quotas_add_up() {
    let cloud = Cloud::start().await;
    let names: Vec<String> = (0..10).map(|n| format!("big-{n}")).collect();
    for name in &names {
        cloud.aws.world().add_role(name);
    }
    let arns: Vec<String> = names.iter().map(|name| format!("'{}'", role_arn(name))).collect();
    let settings = cloud.aws.settings(cloud.folder.path(), DENYING);
    let settings = settings
        .replace(&format!("releases = '{}'", role_arn("releases")), &format!("releases = [{}]", arns.join(", ")));
    let minter = cloud.world.minter(&settings);
    let plans: Vec<MintPlan> = (0..1_200_u16)
        .map(|number| {
            let mut random = [7; 10];
            random[..2].copy_from_slice(&number.to_be_bytes());
            plan_of(minter.as_ref(), &scopes(), |order| order.lease = LeaseId::new(T0, random))
        })
        .collect();
    assert!(plans.iter().all(|plan| plan.digest == plans[0].digest), "which of them it is, nobody approves");
    let over: Vec<&MintPlan> = plans.iter().collect();
    publish(minter.as_ref(), &over).await.expect("all of them fit");
    let listed: usize = names
        .iter()
        .flat_map(|name| cloud.aws.inline(name).into_values())
        .map(|policy| policy["Statement"][0]["Condition"]["StringEquals"]["aws:userid"].as_array().unwrap().len())
        .sum();
    assert_eq!(listed, plans.len());
}

#[tokio::test]
async fn the_doctor_says_what_to_mend() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter(DENYING);
    assert_eq!(minter.check().await.unwrap(), Vec::<String>::new());
    let given: Vec<String> = cloud.aws.world().sessions.keys().cloned().collect();
    assert!(
        !given.is_empty() && given.iter().all(|key| !cloud.aws.allows(key, READ, "arn:aws:s3:::releases/v1.4.2/a", T0))
    );
    {
        let mut world = cloud.aws.world();
        world.forbidden = vec!["GetRolePolicy".to_owned()];
        world.ahead_millis = 60_000;
        let role = world.roles.get_mut("releases").unwrap();
        role.max_session_seconds = 1800;
        world.roles.get_mut("reports").unwrap().trust["Statement"][0]["Action"] = Value::from("sts:AssumeRole");
    }
    let wrong = minter.check().await.unwrap().join("\n");
    for part in [
        "s ahead of ours",
        "lasts 1800 s",
        "GetRolePolicy on",
        "reports cannot be assumed",
        "sts:TagSession",
        "exceeds",
    ] {
        assert!(wrong.contains(part), "{part}: {wrong}");
    }
}

#[tokio::test]
async fn the_brokers_own_credentials_may_be_those_of_its_platform() {
    let cloud = Cloud::start().await;
    cloud.aws.world().add_role("broker");
    {
        let mut world = cloud.aws.world();
        for name in ["releases", "reports"] {
            world.roles.get_mut(name).unwrap().trust["Statement"][0]["Principal"]["AWS"] =
                Value::from(role_arn("broker"));
        }
    }
    let token = cloud.folder.path().join("token");
    std::fs::write(&token, "the platform's token").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let settings = cloud.aws.settings(cloud.folder.path(), DENYING);
    let keys =
        settings.lines().filter(|line| line.starts_with("access_key_id") || line.starts_with("secret_access_key"));
    let mut changed = settings.clone();
    for line in keys {
        changed = changed.replace(line, "");
    }
    let web = format!("[web_identity]\nrole = '{}'\ntoken = {{ file = '{}' }}\n", role_arn("broker"), token.display());
    let minter = cloud.world.minter(&format!("{changed}{web}"));
    let (ended, holder) = minted(minter.as_ref(), 1).await;
    publish(minter.as_ref(), &[&ended]).await.unwrap();
    assert!(!cloud.may(&holder, READ, KEY, T0));
    assert_eq!(cloud.aws.calls("AssumeRoleWithWebIdentity").len(), 1, "exchanged once, and kept");
    cloud.world.clock.set(after(3400));
    let plan = plan_of(minter.as_ref(), &scopes(), |order| (order.lease, order.ends_at) = (lease(3), after(4000)));
    minter.mint(&plan).await.expect("a new one before the old one expires");
    assert_eq!(cloud.aws.calls("AssumeRoleWithWebIdentity").len(), 2);
}

#[tokio::test]
async fn keys_can_be_replaced_while_it_runs() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter("");
    let secret = cloud.folder.path().join("secret");
    let good = std::fs::read(&secret).unwrap();
    std::fs::write(&secret, "a wrong one").unwrap();
    let plan = plan_of(minter.as_ref(), &scopes(), |_| ());
    assert!(matches!(minter.mint(&plan).await, Err(MintError::Misconfigured(_))));
    std::fs::write(&secret, good).unwrap();
    let minted = minter.mint(&plan).await.expect("read anew");
    assert!(!value(&minted, "session_token").is_empty());
    assert!(cloud.world.clock.now() == T0);
}

#[tokio::test]
async fn settings_that_cannot_be_right_are_refused() {
    let cloud = Cloud::start().await;
    let fine = cloud.aws.settings(cloud.folder.path(), "");
    let build = |settings: &str| {
        let read = toml::from_str(settings).unwrap();
        hallpass::minter::Minters::build(std::slice::from_ref(&read), &cloud.world.deps).err()
    };
    assert!(build(&fine).is_none());
    let secret = fine.lines().find(|line| line.starts_with("secret_access_key")).unwrap();
    for (from, to) in [
        (secret, ""),
        ("region = 'eu-central-1'", "region = 'eu central'"),
        ("region = 'eu-central-1'", "region = 'cn-north-1'"),
        ("allow_private = true", ""),
        ("allow_private = true", "allow_private = true\nmax_session_seconds = 899"),
        ("allow_private = true", "allow_private = true\nsettle_seconds = 0"),
        ("allow_private = true", "allow_private = true\ndeny_policy_chars = 10241"),
        ("allow_private = true", "allow_private = true\nunknown = 1"),
        ("external_id = 'hallpass:tested'", "external_id = 'a b'"),
        ("arn:aws:iam::123456789012:role/agents/releases", "arn:aws:iam::123456789012:user/releases"),
    ] {
        assert!(fine.contains(from), "{from}");
        assert!(matches!(build(&fine.replace(from, to)), Some(MintError::Misconfigured(_))), "{to}");
    }
    let chained =
        format!("session_token = {{ file = '{}/key' }}\nmax_session_seconds = 7200", cloud.folder.path().display());
    let refused = build(&fine.replace("allow_private = true", &format!("allow_private = true\n{chained}")));
    assert!(matches!(refused, Some(MintError::Misconfigured(why)) if why.contains("hour")));
}
