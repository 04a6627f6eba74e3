//! Targets that fail while credentials end: they are down, slow, or refuse, and the broker dies in between. Nothing is called closed
//! that works, and what was unknown becomes a truth when they are there again.

use std::time::Duration;

use hallpass::sys::{Clock as _, SteadyClock};

use super::{Broker, Task};
use crate::support::fault_proxy::Travel;

/// How the targets that the broker calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Down,
    Silent,
    Refusing,
}

impl Broker {
    fn fail(&self, fault: Fault) {
        match fault {
            Fault::Down => self.between.values().for_each(|proxy| {
                proxy.set(Travel { refuse: true, ..Travel::default() });
                proxy.reset_all();
            }),
            Fault::Silent => {
                self.between.values().for_each(|proxy| proxy.set(Travel { black_hole: true, ..Travel::default() }));
            }
            Fault::Refusing => self.targets.iter().for_each(|target| target.refuse(true)),
        }
    }

    fn mend(&self) {
        for proxy in self.between.values() {
            proxy.mend();
            // What was swallowed does not come back.
            proxy.reset_all();
        }
        self.targets.iter().for_each(|target| target.refuse(false));
    }

    /// What is said of a task's leases now; never closed of one that works, nor of one whose target could not be told.
    async fn look(&self, task: &Task, when: &str) {
        for (lease, known) in self.closure(task).await {
            // What could not be minted at once has a lease too, and nobody holds it.
            let Some(held) = task.held.iter().find(|held| held.lease == lease) else { continue };
            if known.closure == "closed" {
                assert!(!self.works(held).await, "{when}: {} is closed and works", held.backend);
            }
            if self.between.contains_key(&*held.backend) && self.works(held).await {
                assert_ne!(known.closure, "closed", "{when}: {}", held.backend);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_targets_down_silent_or_refusing_and_a_crash_nothing_is_closed_that_works_and_unknown_becomes_truth() {
    let mut broker = Broker::start().await;
    let clock = SteadyClock::default();
    let outside = broker.targets.iter().filter(|target| target.is_told_in_a_call()).count();
    for fault in [Fault::Down, Fault::Silent, Fault::Refusing] {
        let (ended, sibling) = (broker.open(0).await, broker.open(1).await);
        broker.fail(fault);
        let from = clock.now();
        let known = broker.complete(&ended).await;
        let closed = ended.held.iter().filter(|held| known[&held.lease].closure == "closed");
        let closed: Vec<&str> = closed.map(|held| &*held.backend).collect();
        assert_eq!(closed, ["tokens"], "{fault:?}: what needs no telling");
        let unknown = known.values().filter(|known| known.closure == "unknown" && !known.ends_by).count();
        assert_eq!(unknown, outside, "{fault:?}: {known:?}");
        broker.look(&ended, &format!("{fault:?}, at once")).await;
        for held in ended.held.iter().filter(|held| broker.between.contains_key(&*held.backend)) {
            assert!(broker.works(held).await, "{fault:?}: {} was not told", held.backend);
        }
        broker.crash().await;
        broker.look(&ended, &format!("{fault:?}, after a crash")).await;
        broker.mend();
        broker.until_closed(&ended, from, &clock).await;
        for held in &ended.held {
            assert!(!broker.works(held).await, "{fault:?}: {} has ended", held.backend);
        }
        for held in &sibling.held {
            assert!(broker.works(held).await, "{fault:?}: {} of another task", held.backend);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_slow_targets_ends_come_late_and_are_true() {
    let broker = Broker::start().await;
    let clock = SteadyClock::default();
    let (ended, sibling) = (broker.open(0).await, broker.open(1).await);
    for proxy in broker.between.values() {
        proxy.set(Travel { delay: Duration::from_millis(400), ..Travel::default() });
    }
    let from = clock.now();
    broker.complete(&ended).await;
    broker.until_closed(&ended, from, &clock).await;
    broker.mend();
    for held in &sibling.held {
        assert!(broker.works(held).await, "{} of another task", held.backend);
    }
}
