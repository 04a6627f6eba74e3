//! The table: every call to a backend, failing in every way, once or for good, in every step that makes it. Four promises hold in
//! each cell, at once and after: what an agent holds is on record, what a backend honours is on record, everything ends, and
//! every fact has its intent before it.

use hallpass::minter::{Fault, SandboxCall};
use serde_json::json;

use super::deeds::{READ, WRITE};
use super::world::World;

/// What is done while a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Open,
    OpenAndHangUp,
    Collect,
    Complete,
    RevokeLease,
    RevokeTask,
    RevokeAgent,
    RevokeBackend,
    KillSwitch,
    Expire,
    Restart,
}

const STEPS: [Step; 11] = [
    Step::Open,
    Step::OpenAndHangUp,
    Step::Collect,
    Step::Complete,
    Step::RevokeLease,
    Step::RevokeTask,
    Step::RevokeAgent,
    Step::RevokeBackend,
    Step::KillSwitch,
    Step::Expire,
    Step::Restart,
];
const CALLS: [SandboxCall; 5] =
    [SandboxCall::Mint, SandboxCall::Activate, SandboxCall::Revoke, SandboxCall::Probe, SandboxCall::Inventory];
const FAULTS: [Fault; 3] = [Fault::Refused, Fault::Unheard, Fault::Unavailable];

impl World {
    /// What must be there before the step.
    async fn prepare(&mut self, step: Step) {
        match step {
            Step::Open | Step::OpenAndHangUp => {}
            Step::Collect => {
                self.open(WRITE).await;
                self.approve_all().await;
            }
            Step::Complete
            | Step::RevokeLease
            | Step::RevokeTask
            | Step::RevokeAgent
            | Step::RevokeBackend
            | Step::KillSwitch
            | Step::Expire
            | Step::Restart => self.open(READ).await,
        }
    }

    async fn take(&mut self, step: Step) {
        let task = self.tasks.last().cloned().unwrap_or_default();
        let target = match step {
            Step::Open => return self.open(READ).await,
            Step::OpenAndHangUp => return self.open_and_hang_up().await,
            Step::Collect => return self.on_task("credentials", &json!({})).await,
            Step::Complete => return self.on_task("complete", &json!({})).await,
            Step::Expire => {
                self.house.clock.advance_secs(3601);
                return self.sweep().await;
            }
            Step::Restart => {
                // A mint that is under way when the broker goes away: its intent is all that is left.
                self.house.clock.advance_secs(3601);
                self.restart().await;
                return self.sweep().await;
            }
            Step::RevokeLease => json!({ "lease": self.seen.delivered.last().unwrap().lease }),
            Step::RevokeTask => json!({ "task": task }),
            Step::RevokeAgent => json!({ "agent": "release-bot" }),
            Step::RevokeBackend => json!({ "backend": "sandbox" }),
            Step::KillSwitch => {
                self.killed = true;
                json!({ "kill_switch": "engage" })
            }
        };
        let reply = self.revoke(&target).await;
        self.trace.push(format!("revoke {target}: {}", reply.status));
    }

    /// One cell: whether the step makes the call at all, and what was wrong.
    async fn cell(&mut self, step: Step, call: SandboxCall, fault: Fault, always: bool) -> (bool, Vec<String>) {
        self.begin(0);
        self.prepare(step).await;
        let before = self.house.sandbox.calls(call);
        if always {
            self.house.sandbox.fail_always(call, fault);
        } else {
            self.house.sandbox.fail_next(call, fault);
        }
        self.take(step).await;
        self.sweep().await;
        let made = self.house.sandbox.calls(call) > before;
        let mut wrong = self.wrong(false).await;
        self.make_peace().await;
        wrong.extend(self.end().await);
        (made, wrong)
    }
}

#[tokio::test]
async fn every_call_may_be_refused_unheard_or_unavailable_in_every_step() {
    let mut world = World::start().await;
    let mut wrong = Vec::new();
    let mut made = std::collections::BTreeMap::new();
    for step in STEPS {
        for call in CALLS {
            for (fault, always) in FAULTS.iter().flat_map(|fault| [(*fault, false), (*fault, true)]) {
                let (calls, found) = world.cell(step, call, fault, always).await;
                *made.entry(call).or_insert(0) += usize::from(calls);
                if !found.is_empty() {
                    let (found, trace) = (found.join("\n"), world.trace.join("\n  "));
                    wrong.push(format!("{step:?}, {call:?} {fault:?}, always: {always}:\n{found}\n  {trace}"));
                    world = World::start().await;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // Six cells of each step that makes the call: three ways to mint, and every way to end, which also probes.
    for (call, steps) in [
        (SandboxCall::Mint, 3),
        (SandboxCall::Activate, 3),
        (SandboxCall::Revoke, 8),
        (SandboxCall::Probe, 8),
        (SandboxCall::Inventory, 11),
    ] {
        assert!(made[&call] >= 6 * steps, "{call:?} was made in {} cells: {made:?}", made[&call]);
    }
}
