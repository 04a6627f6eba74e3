//! What every minter must do, whatever its backend. A kind's test makes a [`Subject`] and calls [`run`]; each broken promise
//! fails with its own sentence.

use std::collections::BTreeSet;
use std::sync::Arc;

use hallpass::domain::{CatalogueEntry, LeaseId, MintPlan, Scope, TaskId, Timestamp, Ttl};
use hallpass::minter::{CredentialRef, Inventory, MintError, MintOrder, Minted, Minter, Probe, Revoked};
use hallpass::sys::{ExposeSecret, ManualClock, canonical_json, fingerprint, sha256};

use super::{agent, lease, order};

/// A minter under test, with its world.
pub(super) struct Subject<'a> {
    /// The minter.
    pub(super) minter: Arc<dyn Minter>,
    /// The clock it sees.
    pub(super) clock: Arc<ManualClock>,
    /// At least two scopes of one bucket.
    pub(super) scopes: Vec<(Scope, CatalogueEntry)>,
    /// A scope of another bucket; one more of the same for a kind of which all scopes share one ([`run_with_one_bucket`]).
    pub(super) elsewhere: (Scope, CatalogueEntry),
    /// Whether the backend accepts a credential at a time; asked of the world, not of the minter.
    pub(super) accepts: &'a dyn Fn(&Minted, Timestamp) -> bool,
}

/// The whole suite.
pub(super) async fn run(subject: Subject<'_>) {
    scopes_of_two_buckets_are_never_one_credential(&subject);
    run_all(&subject).await;
}

/// The whole suite for a kind of which all scopes can share one credential.
pub(super) async fn run_with_one_bucket(subject: Subject<'_>) {
    let all: Vec<_> = subject.scopes.iter().chain([&subject.elsewhere]).cloned().collect();
    let buckets: BTreeSet<_> = all.iter().map(|(_, entry)| subject.minter.bucket(entry).unwrap()).collect();
    assert_eq!(buckets.len(), 1, "all scopes share a bucket");
    subject.minter.plan(&order(&agent(), &all)).expect("and a credential");
    run_all(&subject).await;
}

async fn run_all(subject: &Subject<'_>) {
    plans_are_pure_and_named_by_their_effect(subject);
    what_cannot_be_expressed_is_refused_when_planned(subject);
    ending_what_never_existed_is_safe(subject).await;
    a_credential_works_until_it_is_ended_and_not_after(subject).await;
    a_credential_ends_by_itself_when_its_plan_says(subject).await;
}

fn plan(subject: &Subject<'_>, change: impl FnOnce(&mut MintOrder<'_>)) -> MintPlan {
    let agent = agent();
    let mut order = order(&agent, &subject.scopes);
    change(&mut order);
    subject.minter.plan(&order).expect("a plan")
}

fn plans_are_pure_and_named_by_their_effect(subject: &Subject<'_>) {
    let base = plan(subject, |_| ());
    assert_eq!(base, plan(subject, |_| ()), "the same order gives the same plan");
    assert_eq!(base.digest, sha256(&base.effect), "the digest is that of the effect");
    let effect: serde_json::Value = serde_json::from_str(&base.effect).expect("the effect is JSON");
    assert_eq!(base.effect, canonical_json(&effect).unwrap(), "the effect is canonical");
    assert!(!base.summary.is_empty() && base.summary.iter().all(|line| !line.is_empty() && !line.contains('\n')));
    assert!(base.native_end >= base.ends_at, "the native end is not before the end");

    let unmoved = [
        plan(subject, |order| order.lease = lease(2)),
        plan(subject, |order| order.task = TaskId::new(order.now, [3; 10])),
        plan(subject, |order| order.now = order.now.plus_millis(1000)),
        plan(subject, |order| order.ends_at = order.ends_at.plus_millis(-1000)),
    ];
    for other in &unmoved {
        assert_eq!(base.digest, other.digest, "lease, task and time of day are not in the digest");
    }
    assert_ne!(base.handle, unmoved[0].handle, "each lease has its own handle");
    let moved = [
        plan(subject, |order| order.ttl = Ttl::from_secs(60).unwrap()),
        plan(subject, |order| order.scopes.truncate(1)),
    ];
    for other in &moved {
        assert_ne!(base.digest, other.digest, "life and scopes are in the digest");
    }
}

fn scopes_of_two_buckets_are_never_one_credential(subject: &Subject<'_>) {
    let agent = agent();
    let mut mixed = subject.scopes.clone();
    mixed.push(subject.elsewhere.clone());
    let buckets: Vec<_> = mixed.iter().map(|(_, entry)| subject.minter.bucket(entry).unwrap()).collect();
    assert_eq!(buckets[0], buckets[1], "the scopes share a bucket");
    assert_ne!(buckets.first(), buckets.last(), "the other one is elsewhere");
    let refused = subject.minter.plan(&order(&agent, &mixed));
    assert!(matches!(refused, Err(MintError::Unsupported(_))), "two buckets in one credential: {refused:?}");
}

fn what_cannot_be_expressed_is_refused_when_planned(subject: &Subject<'_>) {
    let agent = agent();
    let mut wrong = subject.scopes.clone();
    wrong[0].1.effect = serde_json::json!({ "surely no key of any effect": 1 });
    assert!(matches!(subject.minter.bucket(&wrong[0].1), Err(MintError::Misconfigured(_))));
    let refused = subject.minter.plan(&order(&agent, &wrong));
    assert!(matches!(refused, Err(MintError::Misconfigured(_))), "an unknown effect: {refused:?}");

    let nothing = MintOrder { scopes: Vec::new(), ..order(&agent, &subject.scopes) };
    assert!(subject.minter.plan(&nothing).is_err(), "no scopes never means all");
}

async fn ending_what_never_existed_is_safe(subject: &Subject<'_>) {
    let plan = plan(subject, |order| order.lease = lease(77));
    subject.minter.revoke(CredentialRef::of_plan(&plan)).await.expect("nothing to end is no failure");
    assert_ne!(subject.minter.probe(CredentialRef::of_plan(&plan)).await.unwrap(), Probe::Honoured);
}

async fn a_credential_works_until_it_is_ended_and_not_after(subject: &Subject<'_>) {
    let (minter, now) = (&subject.minter, super::T0);
    let plan = plan(subject, |_| ());
    minter.mint(&plan).await.expect("minted");
    let minted = minter.mint(&plan).await.expect("minted again");
    minter.activate(&plan.handle).await.expect("activated");
    minter.activate(&plan.handle).await.expect("activated again");

    assert_eq!(minted.kept.is_some(), minter.keeps(), "what needs more than a name to be ended says so before");
    let credential = CredentialRef::of_plan(&plan).with(minted.kept.as_ref());
    assert!((subject.accepts)(&minted, now), "what was minted and activated works");
    assert_ne!(minter.probe(credential).await.unwrap(), Probe::Refused);
    assert!(minted.values.values().any(|secret| fingerprint(secret.expose_secret()) == minted.fingerprint));
    let shown = format!("{minted:?} {plan:?}");
    // A user's name, where a server is and what may be done there are no secrets, though they may be long.
    let public = ["username", "server", "server_ca", "expires_at", "resource", "scope", "git_url", "repositories"];
    let secret = minted.values.iter().filter(|(name, _)| !public.contains(name));
    let long = secret.map(|(_, value)| value.expose_secret()).filter(|value| value.len() >= 16);
    assert_eq!(long.clone().filter(|secret| shown.contains(*secret)).count(), 0, "no secret is printed");
    assert_ne!(long.count(), 0, "something is secret");
    if let Inventory::Complete(found) = minter.inventory().await.unwrap() {
        let handles: Vec<_> = found.iter().map(|object| &object.handle).collect();
        assert_eq!(handles, [&plan.handle], "the inventory has this one and no other");
    }

    for _ in 0..2 {
        match minter.revoke(credential).await.expect("ended") {
            Revoked::Gone(how) => {
                assert_eq!(minter.revocability().strength, "immediate");
                assert!(!how.is_empty());
                assert_ne!(minter.probe(credential).await.unwrap(), Probe::Honoured);
                if !minter.is_offline() {
                    assert!(!(subject.accepts)(&minted, now), "what is gone does not work");
                }
            }
            Revoked::EndsBy(by) => {
                assert_ne!(minter.revocability().strength, "immediate", "what cannot end at once says so before");
                assert!(by <= plan.native_end, "it ends by its native end at the latest");
            }
        }
    }
    tidy_up(minter.as_ref(), &plan).await;
    if let Inventory::Complete(found) = minter.inventory().await.unwrap() {
        assert!(found.is_empty(), "what has ended is not in the inventory");
    }
}

async fn a_credential_ends_by_itself_when_its_plan_says(subject: &Subject<'_>) {
    let plan = plan(subject, |order| order.lease = LeaseId::new(order.now, [5; 10]));
    let minted = subject.minter.mint(&plan).await.expect("minted");
    subject.minter.activate(&plan.handle).await.expect("activated");
    assert!((subject.accepts)(&minted, plan.ends_at.plus_millis(-1001)), "it works until its last second");
    let credential = CredentialRef::of_plan(&plan).with(minted.kept.as_ref());
    if plan.native_end == Timestamp::NEVER {
        let late = plan.ends_at.plus(Ttl::EIGHT_HOURS);
        subject.clock.set(late);
        assert!((subject.accepts)(&minted, late), "it needs to be ended, and says so");
        let ended = subject.minter.revoke(credential).await.expect("ended");
        assert!(matches!(ended, Revoked::Gone(_)), "what never ends by itself is ended for good: {ended:?}");
        assert!(!(subject.accepts)(&minted, late), "also long after its time");
    } else {
        assert!(!(subject.accepts)(&minted, plan.native_end), "it does not outlive its native end");
        subject.clock.set(plan.native_end);
    }
    assert_ne!(subject.minter.probe(credential).await.unwrap(), Probe::Honoured);
    tidy_up(subject.minter.as_ref(), &plan).await;
    if let Inventory::Complete(found) = subject.minter.inventory().await.unwrap() {
        assert!(found.is_empty(), "what ended by itself and was tidied up is not in the inventory");
    }
}

/// What is left at the backend of what does not work any more is listed until it has been tidied up.
async fn tidy_up(minter: &dyn Minter, plan: &MintPlan) {
    minter.revoke(CredentialRef::of_plan(plan)).await.expect("ended");
    for _ in 0..2 {
        minter.cleanup(CredentialRef::of_plan(plan)).await.expect("tidied up, and once more");
    }
}
