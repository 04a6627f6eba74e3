//! What the console's pages are filled from besides what the API answers: what a person may do here, how many wait, tasks from the
//! newest on, how often each policy decided, and what an agent was given against what it used.

use std::collections::BTreeMap;

use super::{Broker, BrokerError, Caller, OperatorCaller, PageAsk};
use crate::domain::{AgentId, Decision, EntryName, Lease, LeaseId, Name, Task, TaskId, Timestamp};
use crate::policy::{OperatorAction, PolicyText};
use crate::store::{ScopesCount, TaskFilter, Waiting};

/// How far figures look back, in milliseconds: 30 days.
const LOOK_BACK_MILLIS: i64 = 30 * 24 * 3600 * 1000;
/// Decisions shown with a policy.
const DECISIONS_SHOWN: u32 = 20;

/// Leases on a page.
const LEASES_SHOWN: u32 = 200;
/// Pages of leases that are looked through for those that fit.
const LEASE_PAGES: usize = 25;

/// What policy lets a person do in general.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    /// See what waits for people.
    pub review: bool,
    /// See leases, tasks, agents and policies.
    pub read: bool,
    /// See the audit events.
    pub audit: bool,
    /// End authority.
    pub revoke: bool,
    /// Throw and release the kill switch.
    pub kill_switch: bool,
    /// Suspend and resume agents.
    pub manage_agents: bool,
}

/// Which tasks to list, from the newest on.
#[derive(Debug, Clone, Default)]
pub struct TasksAsk {
    /// Of this agent.
    pub agent: Option<String>,
    /// Open ones, or closed ones.
    pub open: Option<bool>,
    /// The page.
    pub page: PageAsk,
}

/// A policy, and how often it determined a decision in the last 30 days.
#[derive(Debug, Clone)]
pub struct PolicyUse {
    /// The policy.
    pub policy: PolicyText,
    /// How often the answer was to permit.
    pub permitted: u64,
    /// How often it was to wait for people.
    pub waited: u64,
    /// How often it was no.
    pub denied: u64,
}

/// The bundle in force and what its policies did.
#[derive(Debug, Clone)]
pub struct PoliciesView {
    /// Its digest.
    pub digest: String,
    /// Its files, with how many bytes each has.
    pub files: Vec<(String, usize)>,
    /// Its policies, in order of id.
    pub policies: Vec<PolicyUse>,
    /// What deserves a look although it loads.
    pub warnings: Vec<String>,
    /// How many decisions were counted.
    pub decisions: u64,
}

/// One entry of an agent's ceiling, or one that it was given once, and what was made of it in the last 30 days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeUse {
    /// The catalogue entry.
    pub entry: String,
    /// Whether it may still be granted.
    pub in_ceiling: bool,
    /// How many requests with it were granted.
    pub granted: u64,
    /// How many credentials with it were minted.
    pub minted: u64,
    /// When the last one was.
    pub last_minted_at: Option<Timestamp>,
}

/// What an agent was given against what it used, in the last 30 days.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentUse {
    /// Entry by entry.
    pub scopes: Vec<ScopeUse>,
}

impl Broker {
    /// A word that nobody can guess, for use once.
    #[must_use]
    pub fn nonce(&self) -> String {
        self.ids.opaque()
    }

    /// Whether the kill switch is thrown.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.standing.load().control.killed
    }

    /// What policy lets a person do in general; to a single agent's authority it may let them do more.
    #[must_use]
    pub fn rights(&self, caller: &OperatorCaller) -> Rights {
        let may = |action| self.may(caller, action, None).is_ok();
        Rights {
            review: may(OperatorAction::Review),
            read: may(OperatorAction::Read),
            audit: may(OperatorAction::Audit),
            revoke: may(OperatorAction::Revoke),
            kill_switch: may(OperatorAction::KillSwitch),
            manage_agents: may(OperatorAction::ManageAgents),
        }
    }

    /// How many requests wait for people, and how many of them were asked after one.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`], or what the store says.
    pub async fn waiting(&self, caller: &OperatorCaller, after: Option<&str>) -> Result<Waiting, BrokerError> {
        self.may(caller, OperatorAction::Review, None)?;
        // What is no id is before everything.
        Ok(self.store.count_waiting(after.and_then(|id| id.parse().ok())).await?)
    }

    /// Tasks, the newest first, with the cursor of the next page.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`] or [`BrokerError::Invalid`].
    pub async fn list_tasks(
        &self,
        caller: &OperatorCaller,
        ask: TasksAsk,
    ) -> Result<(Vec<Task>, Option<String>), BrokerError> {
        let agent = super::read::agent_filter(ask.agent.as_deref())?;
        self.may(caller, OperatorAction::Read, agent.as_ref())?;
        let limit = ask.page.limit()?;
        let filter = TaskFilter { agent, open: ask.open };
        let tasks = self.store.list_newest_tasks(&filter, ask.page.after::<TaskId>()?, limit).await?;
        let next = super::read::next_cursor(&tasks, limit, |task| task.id.to_string());
        Ok((tasks, next))
    }

    /// How a request stands, in a word that is another when a verdict, a question or an answer came: for whoever looks at it.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] or [`BrokerError::Forbidden`].
    pub async fn request_standing(&self, caller: &OperatorCaller, request: &str) -> Result<String, BrokerError> {
        let id = request.parse().map_err(|_| BrokerError::NotFound("request"))?;
        let request = self.store.find_request(id).await?.ok_or(BrokerError::NotFound("request"))?;
        self.may(caller, OperatorAction::Review, Some(&request.agent))?;
        let verdicts = self.store.list_approvals(request.id).await?.len();
        let questions = self.store.list_questions(request.id).await?;
        let answers = questions.iter().filter(|question| !question.is_open()).count();
        Ok(format!("{}.{verdicts}.{}.{answers}", request.state.as_str(), questions.len()))
    }

    /// Leases that have not ended, oldest first, at most 200, of an agent and in a backend if named; and where to go on.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`] or [`BrokerError::Invalid`].
    pub async fn unended_leases(
        &self,
        caller: &OperatorCaller,
        agent: Option<&str>,
        backend: Option<&str>,
        page: &PageAsk,
    ) -> Result<(Vec<Lease>, Option<String>), BrokerError> {
        let agent = super::read::agent_filter(agent)?;
        let backend: Option<Name> = backend.map(str::parse).transpose()?;
        self.may(caller, OperatorAction::Read, agent.as_ref())?;
        let mut after = page.after::<LeaseId>()?;
        let mut found = Vec::new();
        for _ in 0..LEASE_PAGES {
            let rows = self.store.list_unended_leases(after, LEASES_SHOWN).await?;
            after = rows.last().map(|lease| lease.id);
            let full = u32::try_from(rows.len()).is_ok_and(|count| count >= LEASES_SHOWN);
            found.extend(rows.into_iter().filter(|lease| {
                agent.as_ref().is_none_or(|agent| lease.agent == *agent)
                    && backend.as_ref().is_none_or(|backend| lease.backend == *backend)
            }));
            if !full {
                return Ok((found, None));
            }
            if u32::try_from(found.len()).is_ok_and(|count| count >= LEASES_SHOWN) {
                break;
            }
        }
        Ok((found, after.map(|id| id.to_string())))
    }

    /// One lease.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] also for a person whom policy does not let read.
    pub async fn find_lease(&self, caller: &OperatorCaller, lease: &str) -> Result<Lease, BrokerError> {
        let id = lease.parse().map_err(|_| BrokerError::NotFound("lease"))?;
        let lease = self.store.find_lease(id).await?.ok_or(BrokerError::NotFound("lease"))?;
        self.may(caller, OperatorAction::Read, Some(&lease.agent)).map_err(|_| BrokerError::NotFound("lease"))?;
        Ok(lease)
    }

    /// A task as it is on record.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] also for a person whom policy does not let read.
    pub async fn find_task(&self, caller: &OperatorCaller, task: &str) -> Result<Task, BrokerError> {
        let id = task.parse().map_err(|_| BrokerError::NotFound("task"))?;
        self.readable_task(&Caller::Operator(caller.clone()), id).await
    }

    /// The bundle in force, and how often each of its policies determined a decision.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`], or what the store says.
    pub async fn policies(&self, caller: &OperatorCaller) -> Result<PoliciesView, BrokerError> {
        self.may(caller, OperatorAction::Read, None)?;
        let bundle = self.policy.current();
        let counts = self.store.count_decisions(self.a_month_ago()).await?;
        let mut used: BTreeMap<String, [u64; 3]> = BTreeMap::new();
        let mut decisions = 0_u64;
        for one in &counts {
            let count = u64::try_from(one.count).unwrap_or(0);
            decisions = decisions.saturating_add(count);
            let column = match one.outcome.as_str() {
                "permit" => 0,
                "require_approval" => 1,
                _ => 2,
            };
            for policy in &one.determining {
                if let Some(sum) = used.entry(policy.id.clone()).or_default().get_mut(column) {
                    *sum = sum.saturating_add(count);
                }
            }
        }
        let policies = bundle
            .policy_texts()
            .map(|policy| {
                let [permitted, waited, denied] = used.get(&policy.id).copied().unwrap_or_default();
                PolicyUse { policy, permitted, waited, denied }
            })
            .collect();
        Ok(PoliciesView {
            digest: bundle.digest().to_string(),
            files: bundle.files().iter().map(|(path, text)| (path.clone(), text.len())).collect(),
            policies,
            warnings: bundle.warnings().iter().map(ToString::to_string).collect(),
            decisions,
        })
    }

    /// The newest decisions that a policy determined in the last 30 days.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`], or what the store says.
    pub async fn decisions_of_policy(
        &self,
        caller: &OperatorCaller,
        policy: &str,
    ) -> Result<Vec<Decision>, BrokerError> {
        self.may(caller, OperatorAction::Audit, None)?;
        Ok(self.store.list_decisions_by_policy(policy, self.a_month_ago(), DECISIONS_SHOWN).await?)
    }

    /// What an agent was given against what it used in the last 30 days: each entry of its ceiling, used or not, and whatever else
    /// it was given while it still might.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`], [`BrokerError::NotFound`], or what the store says.
    pub async fn agent_use(&self, caller: &OperatorCaller, agent: &str) -> Result<AgentUse, BrokerError> {
        let id: AgentId = agent.parse().map_err(|_| BrokerError::NotFound("agent"))?;
        self.may(caller, OperatorAction::Read, Some(&id))?;
        let bundle = self.policy.current();
        let known = bundle.agent(&id).ok_or(BrokerError::NotFound("agent"))?;
        let since = self.a_month_ago();
        let granted = self.store.count_granted(&id, since).await?;
        let minted = self.store.count_minted(&id, since).await?;
        let unused =
            |in_ceiling| ScopeUse { entry: String::new(), in_ceiling, granted: 0, minted: 0, last_minted_at: None };
        let mut uses: BTreeMap<&EntryName, ScopeUse> =
            known.ceiling.entries().iter().map(|scope| (scope.entry(), unused(true))).collect();
        for_each_entry(&granted, |entry, count, _| {
            let sum = uses.entry(entry).or_insert_with(|| unused(false));
            sum.granted = sum.granted.saturating_add(count);
        });
        for_each_entry(&minted, |entry, count, at| {
            let sum = uses.entry(entry).or_insert_with(|| unused(false));
            sum.minted = sum.minted.saturating_add(count);
            sum.last_minted_at = sum.last_minted_at.max(Some(at));
        });
        let scopes = uses.into_iter().map(|(entry, one)| ScopeUse { entry: entry.to_string(), ..one }).collect();
        Ok(AgentUse { scopes })
    }

    fn a_month_ago(&self) -> Timestamp {
        self.clock.now().plus_millis(-LOOK_BACK_MILLIS)
    }
}

fn for_each_entry<'a>(counts: &'a [ScopesCount], mut add: impl FnMut(&'a EntryName, u64, Timestamp)) {
    for one in counts {
        let count = u64::try_from(one.count).unwrap_or(0);
        for scope in one.scopes.iter() {
            add(scope.entry(), count, one.last_at);
        }
    }
}
