//! From our nouns to Cedar's: entities, context and the names they go by. Values are built as values; no policy, entity or
//! expression is ever made from text that came from outside.

use std::borrow::Cow;
use std::str::FromStr as _;
use std::sync::{Mutex, PoisonError};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression as Value, Schema,
};

use super::input::{ContextFacts, GRANT, Pairs, PrincipalFacts, ResourceFacts};
use super::{OperatorAction, OperatorQuestion};
use crate::domain::Timestamp;

/// The names of our schema, parsed once.
#[derive(Debug)]
pub(super) struct Vocabulary {
    agent: EntityTypeName,
    team: EntityTypeName,
    operator: EntityTypeName,
    group: EntityTypeName,
    backend: EntityTypeName,
    scope: EntityTypeName,
    action: EntityTypeName,
    broker: EntityUid,
    params: EntityUid,
    references: EntityUid,
    grant: EntityUid,
    /// The last point in time that was written: Cedar parses the name of its constructor anew for each, and under load many
    /// questions are asked within one millisecond.
    now: Mutex<Option<(Timestamp, Value)>>,
}

fn name_in(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn text(text: &str) -> Value {
    Value::new_string(text.to_owned())
}

fn record<const N: usize>(members: [(&str, Value); N]) -> Result<Value, String> {
    Value::new_record(members.map(|(name, value)| (name.to_owned(), value))).map_err(|error| error.to_string())
}

/// Cedar's written form of a point in time; years it cannot write are refused when it is read.
fn datetime(at: Timestamp) -> Value {
    let written = match jiff::Timestamp::from_millisecond(at.as_millis()) {
        Ok(stamp) => format!("{stamp:.3}"),
        Err(_) => at.to_string(),
    };
    Value::new_datetime(written)
}

impl Vocabulary {
    pub(super) fn new() -> Result<Self, String> {
        let kind =
            |name: &str| EntityTypeName::from_str(&format!("Hallpass::{name}")).map_err(|error| error.to_string());
        let action = kind("Action")?;
        Ok(Self {
            agent: kind("Agent")?,
            team: kind("Team")?,
            operator: kind("Operator")?,
            group: kind("Group")?,
            backend: kind("Backend")?,
            scope: kind("Scope")?,
            broker: name_in(&kind("Broker")?, "hallpass"),
            params: name_in(&kind("Params")?, "request"),
            references: name_in(&kind("References")?, "request"),
            grant: name_in(&action, GRANT),
            action,
            now: Mutex::default(),
        })
    }

    /// A point in time, written once while it stays the same.
    fn moment(&self, at: Timestamp) -> Value {
        let mut last = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((when, value)) if *when == at => value.clone(),
            Some(_) | None => last.insert((at, datetime(at))).1.clone(),
        }
    }

    pub(super) fn grant(&self) -> EntityUid {
        self.grant.clone()
    }

    pub(super) fn action(&self, action: OperatorAction) -> EntityUid {
        name_in(&self.action, action.as_str())
    }

    pub(super) fn agent(&self, facts: &PrincipalFacts) -> Result<Entity, String> {
        let attributes = [("owner", text(&facts.owner)), ("risk_tier", text(&facts.risk_tier))];
        Entity::new(
            name_in(&self.agent, &facts.id),
            attributes.map(|(name, value)| (name.to_owned(), value)).into(),
            facts.teams.iter().map(|team| name_in(&self.team, team)).collect(),
        )
        .map_err(|error| error.to_string())
    }

    pub(super) fn scope(&self, facts: &ResourceFacts) -> Result<Entity, String> {
        let attributes = [
            ("action", text(&facts.action)),
            ("max_ttl_seconds", Value::new_long(i64::from(facts.max_ttl_seconds.as_secs()))),
            ("owner", text(&facts.owner)),
            ("resource", text(&facts.resource)),
            ("risk", Value::new_long(i64::from(facts.risk))),
        ];
        Entity::new_with_tags(
            name_in(&self.scope, &facts.name),
            attributes.map(|(name, value)| (name.to_owned(), value)),
            [name_in(&self.backend, &facts.backend)],
            facts.labels.iter().map(|(name, label)| (name.clone(), text(label))),
        )
        .map_err(|error| error.to_string())
    }

    /// The entities a request brings along: its parameters and references, where it has any. A tag of an entity that is
    /// not there is simply absent.
    pub(super) fn with_request(&self, ground: &Entities, facts: &ContextFacts<'_>) -> Result<Entities, String> {
        let tagged = |uid: &EntityUid, pairs: &Pairs<'_>| {
            let tags = pairs.0.iter().map(|(name, value)| (name.to_string(), text(value)));
            Entity::new_with_tags(uid.clone(), [], [], tags).map_err(|error| error.to_string())
        };
        let carried = [(&self.params, &facts.request.params), (&self.references, &facts.request.references)];
        let brought = carried
            .into_iter()
            .filter(|(_, pairs)| !pairs.0.is_empty())
            .map(|(uid, pairs)| tagged(uid, pairs))
            .collect::<Result<Vec<_>, _>>()?;
        if brought.is_empty() {
            return Ok(ground.clone());
        }
        ground.clone().add_entities(brought, None).map_err(|error| error.to_string())
    }

    /// The context of a grant, with these policies' approvals taken as given.
    pub(super) fn context(&self, facts: &ContextFacts<'_>, satisfied: &[Cow<'_, str>]) -> Result<Context, String> {
        let request = &facts.request;
        let members = [
            ("approvals", record([("satisfied", Value::new_set(satisfied.iter().map(|id| text(id))))])?),
            ("identity", record([("issuer", text(&facts.identity.issuer))])?),
            ("key_bound", Value::new_bool(facts.key_bound)),
            ("now", self.moment(facts.now)),
            (
                "request",
                record([
                    ("beneficiary", text(&request.beneficiary)),
                    ("message", text(&request.message)),
                    ("params", Value::new_entity_uid(self.params.clone())),
                    ("purpose", text(&request.purpose)),
                    ("references", Value::new_entity_uid(self.references.clone())),
                ])?,
            ),
            (
                "task",
                record([("kind", text(&facts.task.kind)), ("ttl_seconds", Value::new_long(facts.task.ttl_seconds))])?,
            ),
            ("ttl_seconds", Value::new_long(i64::from(facts.ttl_seconds.as_secs()))),
        ];
        Context::from_pairs(members.map(|(name, value)| (name.to_owned(), value))).map_err(|error| error.to_string())
    }

    /// The entities and the context of an operator's question: principal, resource, all entities, context.
    pub(super) fn operator(
        &self,
        question: &OperatorQuestion<'_>,
    ) -> Result<(EntityUid, EntityUid, Entities, Context), String> {
        let say = |error: &dyn std::fmt::Display| error.to_string();
        let person = name_in(&self.operator, question.operator.person.as_str());
        let operator = Entity::new(
            person.clone(),
            [("issuer".to_owned(), text(&question.operator.issuer))].into(),
            question.operator.groups.iter().map(|group| name_in(&self.group, group)).collect(),
        )
        .map_err(|error| say(&error))?;
        let resource = match question.agent {
            Some(agent) => self.agent(&PrincipalFacts::of(agent))?,
            None => Entity::with_uid(self.broker.clone()),
        };
        let resource_uid = resource.uid();
        let entities = Entities::from_entities([operator, resource], None).map_err(|error| say(&error))?;
        let context = Context::from_pairs([("now".to_owned(), datetime(question.now))]).map_err(|error| say(&error))?;
        Ok((person, resource_uid, entities, context))
    }

    /// Check that a schema admits the entities and contexts we build, for every action.
    pub(super) fn check_against(&self, schema: &Schema) -> Result<(), String> {
        let say = |error: &dyn std::fmt::Display| error.to_string();
        let facts = ContextFacts::sample();
        let ground = [self.agent(&PrincipalFacts::sample())?, self.scope(&ResourceFacts::sample())?];
        let (principal, resource) = (name_in(&self.agent, "sample"), name_in(&self.scope, "sample:sample:sample"));
        let entities = Entities::from_entities(ground, None).map_err(|error| say(&error))?;
        let entities = self.with_request(&entities, &facts)?;
        Entities::from_entities(entities.iter().cloned(), Some(schema)).map_err(|error| say(&error))?;
        let context = self.context(&facts, &[])?;
        Request::new(principal.clone(), self.grant(), resource, context, Some(schema)).map_err(|error| say(&error))?;
        let operator = name_in(&self.operator, "sample");
        for action in OperatorAction::ALL {
            for resource in [&principal, &self.broker] {
                let context = Context::from_pairs([("now".to_owned(), datetime(facts.now))]);
                let context = context.map_err(|error| say(&error))?;
                let action = self.action(*action);
                Request::new(operator.clone(), action, resource.clone(), context, Some(schema))
                    .map_err(|error| say(&error))?;
            }
        }
        let group = name_in(&self.group, "sample");
        let issuer = [("issuer".to_owned(), text("sample"))].into();
        let operator = Entity::new(operator, issuer, [group].into()).map_err(|error| say(&error))?;
        let broker = Entity::with_uid(self.broker.clone());
        Entities::from_entities([operator, broker], Some(schema)).map_err(|error| say(&error))?;
        Ok(())
    }
}
