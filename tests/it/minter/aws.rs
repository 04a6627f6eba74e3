//! Kind `aws`: what is asked of STS, what a session may do and when it stops, and what is refused before anything is asked.

use std::sync::Arc;

use hallpass::domain::{CatalogueEntry, MintPlan, ParamType, Scope, Timestamp, Ttl};
use hallpass::minter::{CredentialRef, Inventory, MintError, Minted, Minter, Probe, Revoked};
use hallpass::sys::ExposeSecret as _;
use serde_json::{Value, json};

use super::fake_aws::{EXTERNAL_ID, FakeAws, Fault, REGION, role_arn};
use super::{T0, World, lease, over, plan_of, scope, suite};

pub(super) const READ: &str = "s3:GetObject";

/// AWS and a broker's world on one clock.
pub(super) struct Cloud {
    pub(super) world: World,
    pub(super) aws: FakeAws,
    pub(super) folder: tempfile::TempDir,
}

impl Cloud {
    pub(super) async fn start() -> Self {
        let world = World::new();
        let aws = FakeAws::start(world.clock.clone()).await;
        Self { world, aws, folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn minter(&self, more: &str) -> Arc<dyn Minter> {
        self.world.minter(&self.aws.settings(self.folder.path(), more))
    }

    pub(super) fn may(&self, minted: &Minted, action: &str, key: &str, now: Timestamp) -> bool {
        self.aws.allows(value(minted, "access_key_id"), action, &format!("arn:aws:s3:::{key}"), now)
    }
}

pub(super) fn value<'a>(minted: &'a Minted, name: &str) -> &'a str {
    minted.values[name].expose_secret()
}

pub(super) fn reading(resource: &str) -> Value {
    json!({ "role": "releases", "statements": [{ "actions": ["s3:GetObject"], "resources": [resource] }] })
}

/// Reading below a prefix, and writing to one place.
pub(super) fn scopes() -> Vec<(Scope, CatalogueEntry)> {
    let write = json!({ "role": "releases", "statements": [{
        "actions": ["s3:PutObject"],
        "resources": ["arn:aws:s3:::releases/drafts/*"],
        "conditions": { "StringEquals": { "aws:RequestedRegion": REGION } },
    }] });
    vec![
        scope("aws:releases:read(prefix=v1.4.2)", reading("arn:aws:s3:::releases/{prefix}/*")),
        scope("aws:releases:write", write),
    ]
}

fn elsewhere() -> (Scope, CatalogueEntry) {
    let effect = json!({ "role": "reports", "statements": [{ "actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::reports/*"] }] });
    scope("aws:reports:read", effect)
}

pub(super) async fn minted(minter: &dyn Minter, number: u8) -> (MintPlan, Minted) {
    let plan = plan_of(minter, &scopes(), |order| order.lease = lease(number));
    let minted = minter.mint(&plan).await.expect("minted");
    (plan, minted)
}

#[tokio::test]
async fn it_keeps_the_promises_of_every_minter() {
    for more in ["deny_role_policy = true", ""] {
        let cloud = Cloud::start().await;
        let accepts = |minted: &Minted, now| cloud.may(minted, READ, "releases/v1.4.2/a.tar", now);
        suite::run(suite::Subject {
            minter: cloud.minter(more),
            clock: Arc::clone(&cloud.world.clock),
            scopes: scopes(),
            elsewhere: elsewhere(),
            accepts: &accepts,
        })
        .await;
    }
}

#[tokio::test]
async fn sts_01_a_session_carries_its_reason_its_hard_stop_and_no_way_to_others() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter("deny_role_policy = true");
    let (plan, minted) = minted(minter.as_ref(), 1).await;
    let calls = cloud.aws.calls("AssumeRole");
    let [call] = calls.as_slice() else { panic!("{calls:?}") };
    let lease = lease(1).to_string();
    assert_eq!(call["RoleArn"], role_arn("releases"));
    assert_eq!(call["RoleSessionName"], format!("jit-{lease}"));
    assert_eq!(call["SourceIdentity"], lease);
    assert_eq!(call["ExternalId"], EXTERNAL_ID);
    assert_eq!(call["DurationSeconds"], "900", "the least there is");
    let tag = |number: u8| {
        (call[&format!("Tags.member.{number}.Key")].as_str(), call[&format!("Tags.member.{number}.Value")].as_str())
    };
    assert_eq!(
        [tag(1), tag(2), tag(3)],
        [("hallpass:agent", "release-bot"), ("hallpass:deployment", "tested"), ("hallpass:lease", &*lease)]
    );
    assert_eq!(tag(4).0, "hallpass:task");
    let policy: Value = serde_json::from_str(&call["Policy"]).unwrap();
    let stop = Timestamp::from_secs(plan.ends_at.as_secs()).to_string();
    for statement in policy["Statement"].as_array().unwrap().iter().filter(|one| one["Effect"] == "Allow") {
        assert_eq!(statement["Condition"]["DateLessThan"]["aws:CurrentTime"], stop);
    }

    // The role itself may all of this.
    let key = value(&minted, "access_key_id");
    let may = |action: &str, resource: &str| cloud.aws.allows(key, action, resource, T0);
    for action in [
        "sts:AssumeRole",
        "sts:AssumeRoleWithWebIdentity",
        "sts:AssumeRoot",
        "sts:GetFederationToken",
        "sts:GetSessionToken",
        "iam:CreateUser",
        "iam:PassRole",
    ] {
        assert!(!may(action, &role_arn("reports")), "{action}");
    }
    assert!(may(READ, "arn:aws:s3:::releases/v1.4.2/a.tar") && may("s3:PutObject", "arn:aws:s3:::releases/drafts/a"));
    for (action, resource) in [
        (READ, "arn:aws:s3:::releases/v1.4.20/a"),
        (READ, "arn:aws:s3:::releases/v1.4.2"),
        (READ, "arn:aws:s3:::releases/drafts/a"),
        ("s3:PutObject", "arn:aws:s3:::releases/v1.4.2/a"),
        ("s3:DeleteObject", "arn:aws:s3:::releases/drafts/a"),
    ] {
        assert!(!may(action, resource), "{action} {resource}");
    }
    assert_eq!((minted.kind, value(&minted, "region")), ("aws", REGION));
    assert_eq!(value(&minted, "expiration"), stop, "what a client is told is when it stops working");
}

#[tokio::test]
async fn a_session_of_three_minutes_stops_after_three_minutes_though_aws_keeps_it_for_fifteen() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter("");
    let plan = plan_of(minter.as_ref(), &scopes(), |order| {
        order.ttl = Ttl::from_secs(180).unwrap();
        order.ends_at = T0.plus(order.ttl);
    });
    let minted = minter.mint(&plan).await.unwrap();
    assert!(plan.summary.iter().any(|line| line.contains("keeps the session for 900 s")), "{:?}", plan.summary);
    let at = |seconds: i64| cloud.may(&minted, READ, "releases/v1.4.2/a", T0.plus_millis(seconds * 1000));
    assert!(at(0) && at(178) && !at(180) && !at(600));
    assert_eq!(plan.native_end, plan.ends_at, "from its hard stop on it is honoured for nothing");
    cloud.world.clock.set(plan.ends_at);
    assert_eq!(minter.probe(CredentialRef::of_plan(&plan)).await.unwrap(), Probe::Refused);
}

#[tokio::test]
async fn the_hard_stop_is_by_awss_clock_and_right_by_ours() {
    for ahead_millis in [-45_000, 45_000] {
        let cloud = Cloud::start().await;
        cloud.aws.world().ahead_millis = ahead_millis;
        let minter = cloud.minter("");
        let (plan, minted) = minted(minter.as_ref(), 1).await;
        let theirs = |ours: Timestamp| ours.plus_millis(ahead_millis);
        assert!(
            !cloud.may(&minted, READ, "releases/v1.4.2/a", theirs(plan.ends_at.plus_millis(2_000))),
            "{ahead_millis}"
        );
        let asked = cloud.aws.calls("AssumeRole").len();
        assert_eq!(asked, if ahead_millis < 0 { 2 } else { 1 }, "asked again where the first would have been late");
        minter.mint(&plan).await.unwrap();
        assert_eq!(cloud.aws.calls("AssumeRole").len(), asked + 1, "the difference is remembered");
    }
}

#[tokio::test]
async fn sts_02_a_scope_that_maps_to_nothing_makes_no_call() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter("");
    let nothing = scope("aws:releases:read", json!({ "role": "releases", "statements": [] }));
    assert!(matches!(minter.bucket(&nothing.1), Err(MintError::Unsupported(_))));
    let agent = super::agent();
    for scopes in [vec![nothing], Vec::new()] {
        let refused = minter.plan(&super::order(&agent, &scopes));
        assert!(matches!(refused, Err(MintError::Unsupported(_))), "{refused:?}");
    }
    for statement in [
        json!({ "actions": [], "resources": ["*"] }),
        json!({ "actions": ["s3:GetObject"], "resources": [] }),
        json!({ "actions": ["s3:GetObject"], "resources": [""] }),
        json!({ "actions": ["s3:GetObject"] }),
    ] {
        let entry = scope("aws:releases:read", json!({ "role": "releases", "statements": [statement] })).1;
        assert!(matches!(minter.bucket(&entry), Err(MintError::Misconfigured(_))), "{entry:?}");
    }
    assert!(cloud.aws.calls("AssumeRole").is_empty());
}

#[tokio::test]
async fn sts_03_a_policy_that_does_not_fit_is_refused_before_the_call_and_never_left_out() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter("");
    let resources: Vec<String> =
        (0..40).map(|n| format!("arn:aws:s3:::releases-with-a-rather-long-name/folder-{n}/*")).collect();
    let large = vec![scope(
        "aws:releases:read",
        json!({ "role": "releases", "statements": [
        { "actions": ["s3:GetObject"], "resources": resources },
    ] }),
    )];
    let agent = super::agent();
    match minter.plan(&super::order(&agent, &large)) {
        Err(MintError::Unsupported(why)) => assert!(why.contains("too large"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(cloud.aws.calls("AssumeRole").is_empty());

    // What AWS packs worse than anybody foresaw is refused by AWS, and not asked for again.
    cloud.aws.world().packs_to = 400;
    let plan = plan_of(minter.as_ref(), &scopes(), |_| ());
    match minter.mint(&plan).await {
        Err(MintError::Unsupported(why)) => assert!(why.contains("PackedPolicyTooLarge"), "{why}"),
        other => panic!("{other:?}"),
    }
    let calls = cloud.aws.calls("AssumeRole");
    assert_eq!(calls.len(), 1);
    assert!(calls.iter().all(|call| !call["Policy"].is_empty()));
}

#[tokio::test]
async fn sts_05_a_call_is_tried_three_times_and_what_failed_is_told_apart() {
    for (status, code, busy) in
        [(500, "InternalFailure", false), (503, "ServiceUnavailable", false), (400, "Throttling", true)]
    {
        let cloud = Cloud::start().await;
        let minter = cloud.minter("");
        let plan = plan_of(minter.as_ref(), &scopes(), |_| ());
        for _ in 0..2 {
            cloud.aws.fail_next("AssumeRole", Fault::Says(status, code));
        }
        minter.mint(&plan).await.expect("the third try is heard");
        cloud.aws.fail_always("AssumeRole", Fault::Says(status, code));
        match minter.mint(&plan).await {
            Err(MintError::Unreached(_)) if busy => {}
            Err(MintError::Unavailable(_)) if !busy => {}
            other => panic!("{code}: {other:?}"),
        }
        assert_eq!(cloud.aws.calls("AssumeRole").len(), 6, "{code}");
    }
}

#[tokio::test]
async fn sts_05_an_sts_that_never_answers_is_given_up_within_eight_seconds() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter("");
    cloud.aws.fail_always("AssumeRole", Fault::Hang);
    let plan = plan_of(minter.as_ref(), &scopes(), |_| ());
    let mint = tokio::time::timeout(std::time::Duration::from_secs(8), minter.mint(&plan)).await.expect("in time");
    assert!(matches!(mint, Err(MintError::Unavailable(_))), "{mint:?}");
    assert!((2..=3).contains(&cloud.aws.calls("AssumeRole").len()));
}

#[tokio::test]
async fn sts_05_what_no_try_can_mend_is_asked_once() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter("");
    let plan = plan_of(minter.as_ref(), &scopes(), |_| ());
    for (code, configured) in
        [("AccessDenied", false), ("ExpiredTokenException", true), ("RegionDisabledException", true)]
    {
        cloud.aws.fail_next("AssumeRole", Fault::Says(403, code));
        match minter.mint(&plan).await {
            Err(MintError::Misconfigured(why)) if configured => assert!(why.contains(code)),
            Err(MintError::Refused(why)) if !configured => assert!(why.contains(code)),
            other => panic!("{code}: {other:?}"),
        }
    }
    assert_eq!(cloud.aws.calls("AssumeRole").len(), 3);
}

#[tokio::test]
async fn sts_07_roles_come_from_the_settings_and_parameters_stay_what_they_are() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter("");
    for role in ["admin", "arn:aws:iam::999:role/Admin", "*", "{prefix}"] {
        let effect = json!({ "role": role, "statements": [{ "actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::r/{prefix}"] }] });
        let entry = scope("aws:releases:read(prefix=a)", effect).1;
        assert!(matches!(minter.bucket(&entry), Err(MintError::Misconfigured(_))), "{role}");
    }
    let agent = super::agent();
    for sent in ["*", "v1/*", "a?b", "${aws:username}", "arn:aws:iam::999:role/Admin*", "a\"b", "{x}"] {
        let (asked, entry) = scope("aws:releases:read(prefix=a)", reading("arn:aws:s3:::releases/{prefix}/*"));
        let Ok(asked) = Scope::new(asked.entry().clone(), [("prefix".parse().unwrap(), sent.to_owned())].into()) else {
            continue;
        };
        let refused = minter.plan(&super::order(&agent, &[(asked, entry)]));
        assert!(matches!(refused, Err(MintError::Unsupported(_))), "{sent}: {refused:?}");
    }
    let (_, mut entry) = scope("aws:releases:read(prefix=a)", reading("arn:aws:s3:::releases/{prefix}/*"));
    entry.params.insert("prefix".parse().unwrap(), ParamType::OneOf { values: vec!["*".to_owned()] });
    assert!(matches!(minter.bucket(&entry), Err(MintError::Misconfigured(_))), "not even where the catalogue lists it");
    assert!(cloud.aws.calls("AssumeRole").is_empty());
}

#[tokio::test]
async fn without_a_right_to_deny_it_the_end_is_the_hard_stop_and_said_so() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter("");
    let (plan, _) = minted(minter.as_ref(), 1).await;
    assert_eq!(minter.revocability().strength, "at_native_end");
    assert!(plan.summary.iter().any(|line| line.contains("cannot be ended early")));
    let credential = CredentialRef::of_plan(&plan);
    assert_eq!(minter.revoke(credential).await.unwrap(), Revoked::EndsBy(plan.ends_at));
    assert!(minter.revocation_list(&over(&[&plan], T0), T0).is_none(), "and nothing is ever put");
    assert_eq!(minter.inventory().await.unwrap(), Inventory::Unlistable);
}

#[tokio::test]
async fn a_role_that_is_not_trusted_for_tags_or_source_identity_or_without_the_external_id_gives_nothing() {
    let cloud = Cloud::start().await;
    let plan = plan_of(cloud.minter("").as_ref(), &scopes(), |_| ());
    for missing in ["sts:TagSession", "sts:SetSourceIdentity"] {
        let mut trust = super::fake_aws::trust();
        trust["Statement"][0]["Action"].as_array_mut().unwrap().retain(|action| action != missing);
        cloud.aws.world().roles.get_mut("releases").unwrap().trust = trust;
        let refused = cloud.minter("").mint(&plan).await;
        assert!(matches!(&refused, Err(MintError::Refused(why)) if why.contains(missing)), "{refused:?}");
    }
    cloud.aws.world().roles.get_mut("releases").unwrap().trust = super::fake_aws::trust();
    let settings = cloud.aws.settings(cloud.folder.path(), "").replace(EXTERNAL_ID, "another");
    assert!(matches!(cloud.world.minter(&settings).mint(&plan).await, Err(MintError::Refused(_))));
}
