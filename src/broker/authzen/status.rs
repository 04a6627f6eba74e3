//! How a filing stands: each of its items as the access request it became stands, and all of them together. Only whoever filed it
//! may know; to everybody else there is no such thing.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::facts::about_request;
use super::super::idempotency::Once;
use super::super::views::reasons;
use super::super::{AgentCaller, Broker, BrokerError, FilingFault};
use super::question::CONTEXT_MEMBERS;
use super::token;
use crate::api::authzen::{
    ApprovalReference, CancelAnswer, CancelAsk, DisplayView, FiledItemView, FiledTask, FilingAnswer, FilingResult,
};
use crate::domain::{
    AccessRequest, EndCause, FiledItem, Filing, FilingId, Grant, RequestId, RequestState, Task, TaskState, Timestamp,
    forbidden_characters,
};

/// The relation of the URL where the credential of what was approved is collected, and of the task it belongs to.
pub(super) const COLLECT: &str = "urn:hallpass:credentials";
const TASK: &str = "urn:hallpass:task";
/// Longest reason and comment of a cancellation, in characters.
const MAX_CANCEL_CHARS: usize = 500;

/// A filing with everything that says how it stands.
pub(super) struct Standing {
    pub filing: Filing,
    task: Task,
    requests: BTreeMap<RequestId, AccessRequest>,
    grants: BTreeMap<RequestId, Grant>,
}

impl Standing {
    fn request(&self, item: &FiledItem) -> Option<&AccessRequest> {
        self.requests.get(&item.request)
    }

    /// The profile's word for how an item stands. Each but `pending` is final, as the states of a request are.
    fn status(&self, item: &FiledItem) -> &'static str {
        let Some(request) = self.request(item) else { return "failed" };
        match &request.state {
            RequestState::Pending { .. } => "pending",
            // A person may have allowed less than was asked for.
            RequestState::Granted { .. } => match self.grants.get(&item.request) {
                Some(grant) if grant.scopes.iter().any(|scope| *scope == item.scope) => "approved",
                Some(_) => "denied",
                None => "failed",
            },
            RequestState::Denied { .. } => "denied",
            RequestState::Lapsed => "expired",
            RequestState::Withdrawn => match self.task.state {
                // With its task, whose time was up.
                TaskState::Closed { cause: EndCause::Expired, at } if request.settled_at >= Some(at) => "expired",
                TaskState::Closed { .. } | TaskState::Open => "cancelled",
            },
        }
    }

    /// How all of it stands (ARAP §10.2).
    pub(super) fn aggregate(&self) -> &'static str {
        let mut all = self.filing.text.items.iter().map(|item| self.status(item));
        let first = all.next().unwrap_or("failed");
        let (mut pending, mut mixed) = (first == "pending", false);
        for status in all {
            pending |= status == "pending";
            mixed |= status != first;
        }
        match (pending, mixed) {
            (true, _) => "pending",
            (false, true) => "partial",
            (false, false) => first,
        }
    }

    /// Its requests that wait, each once.
    pub(super) fn pending(&self) -> impl Iterator<Item = &AccessRequest> {
        self.requests.values().filter(|request| request.pending().is_some())
    }
}

impl Broker {
    /// How a filing stands.
    ///
    /// # Errors
    /// [`FilingFault::Unknown`] when the caller filed no such thing, [`FilingFault::Expired`] when it can be read no more.
    pub async fn read_filing(&self, caller: &AgentCaller, filing: &str) -> Result<FilingAnswer, BrokerError> {
        let filing = self.filing_of(caller, filing).await?;
        self.filing_answer(filing).await
    }

    /// Take back whatever of a filing waits.
    ///
    /// # Errors
    /// Those of [`Broker::read_filing`], and [`FilingFault::Settled`] when nothing waits.
    pub async fn cancel_filing(
        &self,
        caller: &AgentCaller,
        filing: &str,
        ask: &CancelAsk,
    ) -> Result<CancelAnswer, BrokerError> {
        let said: Vec<&str> = [&ask.reason, &ask.comment].into_iter().flatten().map(String::as_str).collect();
        let why = said.join(": ");
        if why.chars().count() > MAX_CANCEL_CHARS || !forbidden_characters(&why).is_empty() {
            return Err(BrokerError::Invalid(format!(
                "`reason` and `comment` must have at most {MAX_CANCEL_CHARS} visible characters together"
            )));
        }
        let filing = self.filing_of(caller, filing).await?;
        self.out_of_quarantine()?;
        let standing = self.standing_of(filing.clone()).await?;
        let mut withdrawn = false;
        for request in standing.pending() {
            let asserted = (!why.is_empty()).then(|| why.as_str().into());
            match self.withdraw(&standing.task, request.clone(), &Once::none(), asserted).await {
                Ok(()) => withdrawn = true,
                // Somebody decided it in the same moment.
                Err(BrokerError::AlreadyDecided(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if !withdrawn {
            return Err(FilingFault::Settled.into());
        }
        Ok(CancelAnswer { task: self.filing_answer(filing).await?.task })
    }

    /// The caller's filing by its written id.
    async fn filing_of(&self, caller: &AgentCaller, filing: &str) -> Result<Filing, BrokerError> {
        let id: FilingId = filing.parse().map_err(|_| FilingFault::Unknown)?;
        let filing = self.store.find_filing(id).await?.filter(|filing| filing.agent == caller.agent);
        let filing = filing.ok_or(FilingFault::Unknown)?;
        if self.clock.now() >= filing.readable_until {
            return Err(FilingFault::Expired.into());
        }
        Ok(filing)
    }

    /// A filing with its requests as they are now. What enough people have agreed to is granted first: two of them at the same moment
    /// may each have seen only their own yes.
    pub(super) async fn standing_of(&self, filing: Filing) -> Result<Standing, BrokerError> {
        let task = self.store.find_task(filing.task).await?.ok_or(BrokerError::NotFound("task"))?;
        if let Ok((bundle, control)) = self.standing()
            && let Ok(agent) = self.standing_agent(&bundle, &filing.agent)
            && task.is_open(self.clock.now())
        {
            self.grant_what_is_agreed(&bundle, &control, agent, &task).await?;
        }
        let (mut requests, mut grants) = (BTreeMap::new(), BTreeMap::new());
        for item in &filing.text.items {
            if requests.contains_key(&item.request) {
                continue;
            }
            let Some(request) = self.store.find_request(item.request).await? else { continue };
            if let RequestState::Granted { grant } = &request.state
                && let Some(grant) = self.store.find_grant(*grant).await?
            {
                grants.insert(request.id, grant);
            }
            requests.insert(request.id, request);
        }
        Ok(Standing { filing, task, requests, grants })
    }

    /// A filing as it is answered.
    pub(super) async fn filing_answer(&self, filing: Filing) -> Result<FilingAnswer, BrokerError> {
        let standing = self.standing_of(filing).await?;
        let status = standing.aggregate();
        let because = match standing.pending().next() {
            Some(request) => reasons(self.store.find_decision(request.decision).await?.as_ref()),
            None => Vec::new(),
        };
        let filing = &standing.filing;
        let endpoint = self.filing_url(filing.id);
        let items =
            filing.text.items.iter().map(|item| self.item_view(&standing, item)).collect::<Result<Vec<_>, _>>()?;
        let result = items.first().and_then(|item| item.result.clone()).filter(|_| !filing.text.bundled);
        let task = FiledTask {
            id: filing.id.to_string(),
            status: status.to_owned(),
            status_endpoint: endpoint,
            expires_at: filing.readable_until,
            display: display(status, &because),
            links: self.links(&standing),
            items: filing.text.bundled.then_some(items),
        };
        Ok(FilingAnswer { task, result })
    }

    /// Where a filing is read.
    pub(super) fn filing_url(&self, filing: FilingId) -> String {
        format!("{}/{filing}", self.filing_endpoint())
    }

    fn links(&self, standing: &Standing) -> BTreeMap<String, String> {
        let (filing, task) = (&standing.filing, standing.filing.task);
        let mut links = BTreeMap::from([(TASK.to_owned(), format!("{}/v1/tasks/{task}", self.public_url))]);
        if let Some(request) = standing.pending().next() {
            links.insert("cancel".to_owned(), format!("{}/cancel", self.filing_url(filing.id)));
            links.insert("review".to_owned(), self.review_url(request.id));
        }
        if filing.text.items.iter().any(|item| standing.status(item) == "approved") {
            links.insert(COLLECT.to_owned(), self.collect_url(standing.filing.task));
        }
        links
    }

    /// Where the credential of what was approved is collected.
    pub(super) fn collect_url(&self, task: crate::domain::TaskId) -> String {
        format!("{}/v1/tasks/{task}/credentials", self.public_url)
    }

    fn item_view(&self, standing: &Standing, item: &FiledItem) -> Result<FiledItemView, BrokerError> {
        let status = standing.status(item);
        let grant = standing.grants.get(&item.request).filter(|_| status == "approved");
        let result = match (standing.request(item), grant) {
            (Some(request), Some(grant)) => {
                let approval = self.approval_reference(&standing.filing, item, request, grant)?;
                Some(FilingResult { mode: "reevaluate".to_owned(), approval })
            }
            _ => None,
        };
        let stored = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
        Ok(FiledItemView {
            resource: stored(&item.resource),
            action: stored(&item.action),
            status: status.to_owned(),
            result,
        })
    }

    /// The approval of an item, as it is shown: what it is bound to stands in our records and, signed, in its state.
    pub(super) fn approval_reference(
        &self,
        filing: &Filing,
        item: &FiledItem,
        request: &AccessRequest,
        grant: &Grant,
    ) -> Result<ApprovalReference, BrokerError> {
        let mint_until = grant.approved.as_ref().and_then(|approved| approved.mint_until);
        let bounds = [filing.text.until, mint_until].into_iter().flatten();
        let approved_until = bounds.fold(grant.until, Timestamp::min);
        let claims = json!({
            "approval_id": grant.id, "aud": self.public_url, "binding_context_members": CONTEXT_MEMBERS,
            "binding_hash": item.binding, "evaluation_id": item.evaluation, "exp": approved_until.as_secs(),
            "iat": self.clock.now().as_secs(), "iss": self.public_url, "sub": filing.agent, "task": filing.id,
        });
        Ok(ApprovalReference {
            id: grant.id.to_string(),
            approved_at: request.settled_at,
            approved_until,
            // It outlives no key: where none lives so long, the id alone is looked up in our records.
            state: self.sign_own(token::STATE, &claims, approved_until)?,
        })
    }
}

fn display(status: &str, because: &[String]) -> DisplayView {
    let (title, description) = match status {
        "pending" => ("Waiting for a person", "Somebody was asked, and has not answered yet."),
        "approved" => ("Approved", "Ask again with the approval, then collect the credential."),
        "denied" => ("Denied", "Stop the work that needs it. Do not use any other key, profile or token you can find."),
        "expired" => ("Nobody answered in time", "Ask again if the work is still wanted."),
        "cancelled" => ("Cancelled", "It was taken back, or its task ended."),
        "partial" => ("Partly approved", "Each item says how it stands."),
        _ => ("Failed", "Something of it is not on record; an operator must look at it."),
    };
    let said = if status == "pending" && !because.is_empty() { because.join(" ") } else { description.to_owned() };
    DisplayView { title: title.to_owned(), description: said }
}

/// The subjects of an event about a filing: those of its request, if there is one only.
pub(super) fn about_filing(requests: &[&AccessRequest], task: &Task) -> crate::domain::Subjects {
    match requests {
        [only] => about_request(only),
        _ => super::super::facts::about_task(task),
    }
}
