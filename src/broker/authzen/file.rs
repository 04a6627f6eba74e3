//! Filing (ARAP §10): a denial that people could lift becomes access requests of a task. What is taken must be bound to a denial of
//! ours, for this caller, for exactly this, and fresh; then policy is asked as for any request, and nothing is minted: what is
//! granted is collected.

use super::super::ask::{ParsedAccess, parse_task};
use super::super::facts::{Record, close_denied, note_opened};
use super::super::idempotency::Once;
use super::super::open_task::{MAX_TRIES, Settled};
use super::super::{AgentCaller, Broker, BrokerError, FilingFault};
use super::callback::callback_of;
use super::question::{
    Wanted, binding, canonical, check_object, check_subject, is_caller, relevant, scope_of, without_actor,
};
use super::status::about_filing;
use super::{MAX_ITEMS, SKEW_MILLIS, is_unavailable, task_ask, token};
use crate::api::authzen::{
    ActionView, ActorAsk, DenialAsk, FilingAnswer, FilingAsk, RequestedAccess, ResourceView, SubjectView,
};
use crate::domain::{
    AccessRequest, Actor, Agent, AgentId, Digest, EvaluationId, EventKind, FiledItem, FiledText, Filing, FilingId,
    Scope, Task, Timestamp,
};
use crate::store::{IdempotencyRecord, StoreError, Tx};
use crate::sys::sha256;

/// For how long a filing can be read after its task has ended, and an idempotency key is kept: a day (ARAP §10.1).
const READABLE_MILLIS: i64 = 86_400_000;
/// The route, as idempotency keys know it.
const ROUTE: &str = "POST /access/v1/requests";

/// One thing that is filed, verified to have been denied.
struct Piece {
    resource: String,
    action: String,
    scope: Scope,
    binding: String,
    evaluation: EvaluationId,
    /// The name of its binding token, which is used once.
    jti: String,
    token_until: Timestamp,
}

/// A filing that was read and verified.
struct Parsed {
    subject: String,
    context: String,
    client: Option<String>,
    bundled: bool,
    until: Option<Timestamp>,
    emergency: bool,
    wanted: Wanted,
    pieces: Vec<Piece>,
    /// Of the whole body, to tell a repetition from another filing.
    digest: Digest,
}

impl Parsed {
    fn scopes(&self) -> Vec<Scope> {
        self.pieces.iter().map(|piece| piece.scope.clone()).collect()
    }

    /// Mark the denials as used.
    fn use_denials(&self, filing: &Filing, tx: &mut Tx) {
        for piece in &self.pieces {
            tx.insert_idempotency(&IdempotencyRecord {
                owner: denial_owner(&filing.agent),
                key: piece.jti.clone(),
                request: self.digest,
                subject: filing.id.to_string(),
                at: filing.filed_at,
                keep_until: piece.token_until.plus_millis(SKEW_MILLIS.saturating_mul(2)),
            });
        }
    }

    /// What was filed, each item with the request it became or joined.
    fn text(&self, settled: &Settled) -> Result<FiledText, BrokerError> {
        let requests: Vec<&AccessRequest> = settled.all_requests().collect();
        let item = |piece: &Piece| {
            let request = requests.iter().find(|request| request.scopes.iter().any(|scope| *scope == piece.scope));
            let request = request.ok_or_else(|| BrokerError::Internal("an item without a request".to_owned()))?;
            Ok(FiledItem {
                request: request.id,
                scope: piece.scope.clone(),
                binding: piece.binding.clone(),
                resource: piece.resource.clone(),
                action: piece.action.clone(),
                evaluation: piece.evaluation,
            })
        };
        Ok(FiledText {
            subject: self.subject.clone(),
            context: self.context.clone(),
            client: self.client.clone(),
            bundled: self.bundled,
            until: self.until,
            items: self.pieces.iter().map(item).collect::<Result<_, BrokerError>>()?,
        })
    }
}

fn invalid(text: &str) -> BrokerError {
    BrokerError::Invalid(text.to_owned())
}

impl Broker {
    /// File what was denied: open or join a task and ask for it.
    ///
    /// # Errors
    /// [`BrokerError::Filing`], [`BrokerError::Forbidden`] when it speaks for somebody else, and those of asking.
    pub async fn file_access(
        &self,
        caller: &AgentCaller,
        ask: FilingAsk,
        idempotency_key: Option<String>,
    ) -> Result<FilingAnswer, BrokerError> {
        let once = Once::of_agent(caller, ROUTE, &ask, idempotency_key)?;
        let mut refused = BrokerError::Changed;
        for _ in 0..MAX_TRIES {
            // First, because a retry may come when the denial has expired.
            if let Some(filing) = self.filed_under(caller, &once).await? {
                return self.filing_answer(filing).await;
            }
            match self.try_file(caller, &ask, &once).await {
                Ok(filing) => return self.filing_answer(filing).await,
                Err(BrokerError::Changed) => {}
                // The same key, or the same denial, in the same moment: look who was first.
                Err(error @ BrokerError::Store(StoreError::Conflict { table: "idempotency" })) => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// What was filed under this key.
    async fn filed_under(&self, caller: &AgentCaller, once: &Once) -> Result<Option<Filing>, BrokerError> {
        let found = match self.find_used(once).await {
            Err(BrokerError::IdempotencyConflict) => return Err(FilingFault::Duplicate.into()),
            other => other?,
        };
        match found {
            Some(found) => self.filed_as(caller, &found).await.map(Some),
            None => Ok(None),
        }
    }

    async fn filed_as(&self, caller: &AgentCaller, used: &IdempotencyRecord) -> Result<Filing, BrokerError> {
        let corrupt = || BrokerError::Internal("a key of no filing".to_owned());
        let id: FilingId = used.subject.parse().map_err(|_| corrupt())?;
        let filing = self.store.find_filing(id).await?.filter(|filing| filing.agent == caller.agent);
        filing.ok_or_else(corrupt)
    }

    async fn try_file(&self, caller: &AgentCaller, ask: &FilingAsk, once: &Once) -> Result<Filing, BrokerError> {
        let parsed = self.parse_filing(caller, ask)?;
        if let Some(callback) = &ask.callback {
            self.check_callback(callback).await?;
        }
        if let Some(filing) = self.filed_with_denials(caller, &parsed).await? {
            return Ok(filing);
        }
        let (bundle, control) = self.standing()?;
        let agent = self.standing_agent(&bundle, &caller.agent)?;
        let now = self.clock.now();
        let mut record = Record::new(&self.ids, now, Actor::Agent(agent.id.clone()));
        let (task, access, is_new) = match self.begin_filing(caller, (&bundle, agent), &parsed).await {
            Ok(begun) => begun,
            Err(error) => {
                let error = self.note_above_ceiling(agent, None, error).await;
                return Err(if is_unavailable(&error) { FilingFault::NotRequestable.into() } else { error });
            }
        };
        if is_new {
            note_opened(&task, &mut record);
        }
        let settled = self.settle(&bundle, agent, &task, &access, false, &mut record).await?;
        let denied = settled.all_denied();
        let task = if denied && is_new { close_denied(task, &mut record)? } else { task };
        let filing = Filing {
            id: self.ids.filing(),
            agent: agent.id.clone(),
            task: task.id,
            text: parsed.text(&settled)?,
            filed_at: now,
            readable_until: task.ends_at.plus_millis(READABLE_MILLIS),
        };
        let mut tx = self.store.begin("access.file");
        if is_new {
            tx.insert_task(&task);
        } else {
            tx.check_task(&task);
        }
        // What policy denies by now is on record as denied, and is no filing.
        if !denied {
            let requests: Vec<&AccessRequest> = settled.all_requests().collect();
            note_filed(&filing, &parsed, &requests, &task, &mut record);
            once.record_until(&mut tx, filing.id.to_string(), now, filing.readable_until);
            parsed.use_denials(&filing, &mut tx);
            tx.insert_filing(&filing);
            if let Some(callback) = ask.callback.as_ref().and_then(|ask| callback_of(&filing, ask, &requests)) {
                tx.insert_callback(&callback);
            }
        }
        self.commit_settled(tx, agent, &task, &settled, &control, record).await?;
        if denied {
            return Err(FilingFault::NotRequestable.into());
        }
        self.signals.changed(task.id);
        Ok(filing)
    }

    /// What was filed with these denials before: each is used once, so it is this very filing, or a fault.
    async fn filed_with_denials(&self, caller: &AgentCaller, parsed: &Parsed) -> Result<Option<Filing>, BrokerError> {
        for piece in &parsed.pieces {
            match self.store.find_idempotency(&denial_owner(&caller.agent), &piece.jti).await? {
                Some(used) if used.request == parsed.digest => return self.filed_as(caller, &used).await.map(Some),
                Some(_) => return Err(FilingFault::Unbound("its binding token was used for another filing").into()),
                None => {}
            }
        }
        Ok(None)
    }

    /// The task it is for, and what it asks for; whether the task is a new one.
    async fn begin_filing(
        &self,
        caller: &AgentCaller,
        (bundle, agent): (&crate::policy::Bundle, &Agent),
        parsed: &Parsed,
    ) -> Result<(Task, ParsedAccess, bool), BrokerError> {
        let scopes = parsed.scopes();
        if let Some(id) = &parsed.wanted.task {
            let (task, access) = self.joined(caller, (bundle, agent), id, &scopes, &parsed.wanted).await?;
            return Ok((task, access, false));
        }
        let now = self.clock.now();
        let mut ask = task_ask(&scopes, &parsed.wanted, None);
        if let Some(until) = parsed.until {
            let asked = until.millis_since(now) / 1000;
            if asked < 1 {
                return Err(invalid("`requested_access.requested_until` is over already"));
            }
            // Never longer than a task of this agent may last; the answer says until when.
            ask.task_ttl_seconds = Some(asked.min(i64::from(agent.limits.task_ttl.as_secs())));
        }
        if parsed.emergency {
            ask.references.insert("emergency".to_owned(), "claimed".to_owned());
        }
        let identity = format!("{}#{}", caller.issuer, caller.subject);
        let task = parse_task(&ask, agent, bundle.catalogue())?;
        let (task, access) = task.into_task(self.ids.task(), agent, identity, now)?;
        Ok((task, access, true))
    }

    /// Read a filing and verify that each piece of it was denied to this caller, and can be answered still.
    fn parse_filing(&self, caller: &AgentCaller, ask: &FilingAsk) -> Result<Parsed, BrokerError> {
        let subject = ask.subject.as_ref().ok_or_else(|| invalid("`subject` is missing"))?;
        check_subject(subject)?;
        if !is_caller(subject, caller) {
            return Err(BrokerError::Forbidden("file for somebody else: `subject` must be the caller".to_owned()));
        }
        check_actors(caller, subject, ask.client.as_ref().and_then(|client| client.actor.as_ref()))?;
        let context = ask.context.clone().unwrap_or_default();
        let wanted = Wanted::read(&context)?;
        let mut until = ask.requested_access.as_ref().and_then(|access| access.requested_until);
        let mut emergency = is_emergency(ask.requested_access.as_ref());
        let mut pieces = Vec::new();
        for (resource, action, denial, own) in parts(ask)? {
            check_object(resource, action)?;
            let own_until = own.and_then(|access| access.requested_until);
            until = [until, own_until].into_iter().flatten().min();
            emergency |= is_emergency(own);
            let bound = binding(subject, resource, action, &context)?;
            let piece = self.verify_denial(caller, denial, bound, (resource, action))?;
            if pieces.iter().any(|other: &Piece| other.jti == piece.jti) {
                return Err(FilingFault::Unbound("two items have the same denial").into());
            }
            pieces.push(piece);
        }
        Ok(Parsed {
            subject: canonical(&without_actor(subject))?,
            context: canonical(&relevant(&context))?,
            client: ask.client.as_ref().map(canonical).transpose()?,
            bundled: ask.items.is_some(),
            until,
            emergency,
            wanted,
            pieces,
            digest: sha256(canonical(ask)?),
        })
    }

    /// Verify that a denial is ours, for this caller, for exactly this, and can be answered still.
    fn verify_denial(
        &self,
        caller: &AgentCaller,
        denial: Option<&DenialAsk>,
        bound: String,
        (resource, action): (&ResourceView, &ActionView),
    ) -> Result<Piece, BrokerError> {
        let unbound = |why| BrokerError::from(FilingFault::Unbound(why));
        let denial = denial.ok_or_else(|| unbound("it has no `denial` of its own"))?;
        let sent = denial.binding_token.as_deref();
        // Evaluations are not kept: their id alone proves nothing.
        let sent = sent.ok_or_else(|| unbound("`denial.binding_token` is missing"))?;
        let claims = self.verify_own(token::BINDING, &self.filing_endpoint(), sent);
        let claims = claims.ok_or_else(|| unbound("`denial.binding_token` is none of ours"))?;
        if token::text(&claims, "sub") != Some(caller.agent.as_str()) {
            return Err(unbound("it was denied to somebody else"));
        }
        if token::text(&claims, "binding_hash") != Some(&bound) {
            return Err(unbound("something else was denied: subject, resource, action or context differ"));
        }
        let evaluation: Option<EvaluationId> = token::text(&claims, "evaluation_id").and_then(|id| id.parse().ok());
        let evaluation = evaluation.ok_or_else(|| unbound("`denial.binding_token` names no evaluation"))?;
        if denial.evaluation_id.as_ref().is_some_and(|id| *id != evaluation.to_string()) {
            return Err(unbound("`denial.evaluation_id` is another evaluation's"));
        }
        let told = denial.expires_at.ok_or_else(|| unbound("`denial.expires_at` is missing"))?;
        if token::text(&claims, "denial_expires_at") != Some(&told.to_string()) {
            return Err(unbound("`denial.expires_at` is not what was said"));
        }
        let token_until = token::time(&claims, "exp").ok_or_else(|| unbound("`denial.binding_token` has no end"))?;
        if self.clock.now() >= token_until.min(told).plus_millis(SKEW_MILLIS) {
            return Err(FilingFault::DenialExpired.into());
        }
        let jti = token::text(&claims, "jti").ok_or_else(|| unbound("`denial.binding_token` has no name"))?;
        Ok(Piece {
            resource: canonical(resource)?,
            action: canonical(action)?,
            scope: scope_of(resource, action).ok_or(FilingFault::NotRequestable)?,
            binding: bound,
            evaluation,
            jti: jti.to_owned(),
            token_until,
        })
    }
}

/// Whose used denials.
fn denial_owner(agent: &AgentId) -> String {
    format!("denial:{agent}")
}

fn is_emergency(access: Option<&RequestedAccess>) -> bool {
    access.and_then(|access| access.emergency).unwrap_or(false)
}

/// Who acts must be the caller: nothing here could verify a longer chain (ARAP §19.1).
fn check_actors(caller: &AgentCaller, subject: &SubjectView, actor: Option<&ActorAsk>) -> Result<(), BrokerError> {
    let ours = |id: &str, issuer: Option<&str>| {
        let known = issuer.is_none_or(|issuer| issuer == &*caller.issuer);
        known && (id == caller.agent.as_str() || id == caller.subject)
    };
    let claimed = actor.is_none_or(|actor| actor.act.is_none() && ours(&actor.id, actor.issuer.as_deref()));
    let act = subject.properties.as_ref().and_then(|properties| properties.get("act"));
    let in_subject = act.is_none_or(|act| {
        let text = |name: &str| act.get(name).and_then(serde_json::Value::as_str);
        act.get("act").is_none() && text("sub").is_some_and(|sub| ours(sub, text("iss")))
    });
    if claimed && in_subject {
        Ok(())
    } else {
        Err(BrokerError::Forbidden("file for an actor that your token does not prove you are".to_owned()))
    }
}

type Part<'a> = (&'a ResourceView, &'a ActionView, Option<&'a DenialAsk>, Option<&'a RequestedAccess>);

/// What is filed: one thing, or each of the items with a denial of its own.
fn parts(ask: &FilingAsk) -> Result<Vec<Part<'_>>, BrokerError> {
    match (&ask.items, &ask.resource, &ask.action) {
        (None, Some(resource), Some(action)) => Ok(vec![(resource, action, ask.denial.as_ref(), None)]),
        (None, ..) => Err(invalid("send `resource` and `action`, or `items`")),
        (Some(items), None, None) if (1..=MAX_ITEMS).contains(&items.len()) => Ok(items
            .iter()
            .map(|item| (&item.resource, &item.action, item.denial.as_ref(), item.requested_access.as_ref()))
            .collect()),
        (Some(_), None, None) => Err(BrokerError::Invalid(format!("`items` must have 1 to {MAX_ITEMS} items"))),
        (Some(_), ..) => {
            Err(invalid("with `items`, `resource` and `action` stand in each of them and not beside them"))
        }
    }
}

/// Note what was filed, so that denial, filing and requests can be followed.
fn note_filed(filing: &Filing, parsed: &Parsed, requests: &[&AccessRequest], task: &Task, record: &mut Record<'_>) {
    let ids = |list: Vec<String>| crate::domain::Datum::from(list);
    record.note(
        EventKind::AccessFiled,
        about_filing(requests, task),
        [
            ("asserted_client", parsed.client.clone().unwrap_or_default().into()),
            ("emergency_claimed", if parsed.emergency { "yes" } else { "no" }.into()),
            ("evaluations", ids(parsed.pieces.iter().map(|piece| piece.evaluation.to_string()).collect())),
            ("filing", filing.id.to_string().into()),
            ("requests", ids(requests.iter().map(|request| request.id.to_string()).collect())),
        ],
    );
}
