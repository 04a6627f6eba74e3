//! The bundle's Cedar policies: parsed, validated strictly against the schema, and held to our own rules. Each has an id
//! and a reason for people, and one that waits for people names them and itself in one fixed form.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;

use super::approval_form;
use super::approval_notes::{self, MAX_GROUP};
use super::files::has_extension;
use super::problem::{Problem, Problems, line_and_column};
use super::register::unfit_sentence;
use crate::domain::{ApprovalRule, ApprovalTerms, Name, PolicyRef, Ttl};

/// Most policies of one bundle.
const MAX_POLICIES: usize = 2_000;
/// Longest policy, in bytes.
const MAX_POLICY_BYTES: usize = 8 << 10;
/// Deepest nesting of brackets.
const MAX_NESTING: usize = 32;
/// Deepest tree of one policy: 64 operators or attributes one inside the other, two levels each.
const MAX_DEPTH: usize = 128;
/// The annotations every policy may have; with those of [`approval_notes`] all that we know. Any other is taken for a slip of
/// the pen.
const ANNOTATIONS: &[&str] = &["id", "reason", "approval", "max_ttl_seconds"];

/// What we know of one policy besides what Cedar does.
#[derive(Debug, Clone)]
pub(super) struct PolicyInfo {
    /// Its id and reason.
    pub(super) reference: PolicyRef,
    /// The file it is in.
    pub(super) file: String,
    /// The line it begins at, counted from one.
    pub(super) line: usize,
    /// Who must agree before it stops forbidding.
    pub(super) approval: Option<ApprovalRule>,
    /// What their yes takes, and what it is good for.
    pub(super) of_approval: ApprovalTerms,
    /// The longest life it permits.
    pub(super) max_ttl: Option<Ttl>,
    /// How it is written.
    pub(super) text: String,
}

/// A policy as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyText {
    /// Its id.
    pub id: String,
    /// Its reason, for people.
    pub reason: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// The file it is in.
    pub file: String,
    /// The line it begins at, counted from one.
    pub line: usize,
    /// Its other annotations, by name.
    pub annotations: Vec<(String, String)>,
    /// How it is written.
    pub text: String,
}

/// All policies, in order of id.
#[derive(Debug, Default)]
pub(super) struct Policies {
    pub(super) all: Vec<Policy>,
    pub(super) infos: BTreeMap<PolicyId, PolicyInfo>,
    pub(super) warnings: Vec<Problem>,
}

impl Policies {
    pub(super) fn read(files: &BTreeMap<String, String>, schema: &Schema, problems: &mut Problems) -> Self {
        let mut policies = Self::default();
        for (file, text) in files.iter().filter(|(path, _)| has_extension(path, "cedar")) {
            if let Some((at, why)) = excess(text) {
                problems.at(file, text, at, why);
                continue;
            }
            match PolicySet::from_str(text) {
                Ok(set) => policies.take(file, text, &set, problems),
                Err(errors) => errors.iter().for_each(|error| problems.within(file, text, span_of(error), say(error))),
            }
        }
        policies.all.sort_by(|one, two| one.id().cmp(two.id()));
        if policies.all.len() > MAX_POLICIES {
            problems.add("", format!("has {} policies, more than the {MAX_POLICIES} allowed", policies.all.len()));
        } else {
            policies.validate(files, schema, problems);
        }
        policies
    }

    /// Take the policies of one file, in the order they are written in.
    fn take(&mut self, file: &str, text: &str, set: &PolicySet, problems: &mut Problems) {
        for template in set.templates() {
            problems.add(file, format!("`{}` is a template; write policies without slots", template.id()));
        }
        let mut written: Vec<&Policy> = set.policies().collect();
        written.sort_by_key(|policy| policy.id().to_string().trim_start_matches("policy").parse::<usize>().ok());
        let mut from = 0_usize;
        for policy in written {
            let source = policy.to_cedar().unwrap_or_default();
            let at =
                text.get(from..).and_then(|rest| rest.find(&source)).map_or(from, |found| from.saturating_add(found));
            from = at.saturating_add(source.len());
            let mut notes = Vec::new();
            let info = read_info(policy, file, line_and_column(text, at).0, &mut notes);
            for note in notes {
                problems.at(file, text, at, note);
            }
            let Some(info) = info else { continue };
            let id = PolicyId::new(&info.reference.id);
            if let Some(other) = self.infos.get(&id) {
                let message = format!("`{id}` is also the id of the policy at {}:{}", other.file, other.line);
                problems.at(file, text, at, message);
            } else {
                self.all.push(policy.new_id(id.clone()));
                self.infos.insert(id, info);
            }
        }
    }

    fn validate(&mut self, files: &BTreeMap<String, String>, schema: &Schema, problems: &mut Problems) {
        let mut set = PolicySet::new();
        for policy in &self.all {
            if let Err(error) = set.add(policy.clone()) {
                problems.add("", error.to_string());
            }
        }
        let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
        let place = |id: &PolicyId| {
            let file = self.infos.get(id).map(|info| info.file.as_str()).unwrap_or_default();
            (file, files.get(file).map(String::as_str).unwrap_or_default())
        };
        for error in result.validation_errors() {
            let (file, text) = place(error.policy_id());
            problems.within(file, text, span_of(error), say(error));
        }
        let mut warnings = Problems::default();
        for warning in result.validation_warnings() {
            let (file, text) = place(warning.policy_id());
            warnings.within(file, text, span_of(warning), say(warning));
        }
        self.warnings = warnings.into_sorted();
    }

    /// What is known of a policy.
    pub(super) fn info(&self, id: &PolicyId) -> Option<&PolicyInfo> {
        self.infos.get(id)
    }

    /// Every policy as people read it, in order of id.
    pub(super) fn texts(&self) -> impl Iterator<Item = PolicyText> {
        self.all.iter().filter_map(|policy| {
            let info = self.info(policy.id())?;
            let annotations = policy.annotations().filter(|(name, _)| !["id", "reason"].contains(name));
            Some(PolicyText {
                id: info.reference.id.clone(),
                reason: info.reference.reason.clone(),
                effect: if policy.effect() == Effect::Permit { "permit" } else { "forbid" },
                file: info.file.clone(),
                line: info.line,
                annotations: annotations.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                text: info.text.clone(),
            })
        })
    }

    /// How policies are named in an answer, in order of id.
    pub(super) fn references<'a>(&self, ids: impl IntoIterator<Item = &'a PolicyId>) -> Vec<PolicyRef> {
        let found: BTreeSet<PolicyRef> =
            ids.into_iter().filter_map(|id| self.info(id)).map(|info| info.reference.clone()).collect();
        found.into_iter().collect()
    }
}

fn read_info(policy: &Policy, file: &str, line: usize, notes: &mut Vec<String>) -> Option<PolicyInfo> {
    let known = || ANNOTATIONS.iter().chain(approval_notes::NAMES);
    for (name, _) in policy.annotations().filter(|(name, _)| !known().any(|known| known == name)) {
        let known: Vec<String> = known().map(|known| format!("@{known}")).collect();
        notes.push(format!("`@{name}` is not an annotation we know ({})", known.join(", ")));
    }
    let reason = policy.annotation("reason").unwrap_or_default().to_owned();
    if let Some(why) = unfit_sentence(&reason) {
        notes.push(format!("@reason(\"…\"), which tells people why, is {why}"));
    }
    let id = match policy.annotation("id").unwrap_or_default().parse::<Name>() {
        Ok(id) => id.as_str().to_owned(),
        Err(error) => {
            notes.push(format!("@id(\"…\") names the policy: {error}"));
            return None;
        }
    };
    let approval = policy.annotation("approval").and_then(|text| match text.parse::<ApprovalRule>() {
        Ok(rule) if rule.groups().iter().any(|group| group.len() > MAX_GROUP) => {
            notes.push(format!("a group in @approval is longer than {MAX_GROUP} bytes"));
            None
        }
        Ok(rule) => Some(rule),
        Err(error) => {
            notes.push(error.to_string());
            None
        }
    });
    let max_ttl = policy.annotation("max_ttl_seconds").and_then(|text| {
        let ttl = text.parse().ok().and_then(|secs| Ttl::from_secs(secs).ok());
        if ttl.is_none() || policy.effect() != Effect::Permit {
            notes.push("@max_ttl_seconds(\"…\") is a number from 1 to 86400, on a permit".to_owned());
        }
        ttl
    });
    let tree = policy.to_json().unwrap_or_default();
    if depth(&tree) > MAX_DEPTH {
        notes.push("the policy's conditions are nested too deep or chained too long; split it".to_owned());
        return None;
    }
    let waits = policy.annotation("approval").is_some();
    if waits && policy.effect() != Effect::Forbid {
        notes.push("@approval belongs on a forbid: nobody's approval permits anything by itself".to_owned());
    } else if let Err(why) = approval_form::check(&tree, &id, waits) {
        notes.push(why);
    }
    let of_approval = approval_notes::read(|name| policy.annotation(name), waits, notes);
    let reference = PolicyRef { id, reason };
    let text = policy.to_cedar().unwrap_or_default();
    Some(PolicyInfo { reference, file: file.to_owned(), line, approval, of_approval, max_ttl, text })
}

/// Where a text becomes too much for the parser, if it does, and why: checked before it is parsed, as the parser trusts the
/// stack.
pub(super) fn excess(text: &str) -> Option<(usize, String)> {
    let (mut depth, mut start) = (0_usize, 0_usize);
    let (mut in_string, mut in_comment, mut escaped) = (false, false, false);
    let mut last = 0_u8;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\n' => in_comment = false,
            _ if in_comment => {}
            b'\\' if in_string => escaped = !escaped,
            b'"' if !escaped => in_string = !in_string,
            _ if in_string => escaped = false,
            b'/' if last == b'/' => in_comment = true,
            b'(' | b'[' | b'{' => depth = depth.saturating_add(1),
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b';' => start = at.saturating_add(1),
            _ => {}
        }
        last = byte;
        if depth > MAX_NESTING {
            return Some((at, format!("brackets are nested more than {MAX_NESTING} deep")));
        }
        if at.saturating_sub(start) > MAX_POLICY_BYTES {
            return Some((start, format!("a policy is longer than {MAX_POLICY_BYTES} bytes; split it")));
        }
    }
    None
}

/// How deep an expression is nested, in its JSON form.
fn depth(tree: &serde_json::Value) -> usize {
    let deepest = match tree {
        serde_json::Value::Object(members) => members.values().map(depth).max(),
        serde_json::Value::Array(items) => items.iter().map(depth).max(),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => None,
    };
    deepest.map_or(0, |depth| depth.saturating_add(1))
}

/// Where a diagnostic points.
pub(super) fn span_of(diagnostic: &impl Diagnostic) -> Option<std::ops::Range<usize>> {
    let label = diagnostic.labels()?.next()?;
    Some(label.offset()..label.offset().saturating_add(label.len()))
}

/// What a diagnostic says, with its advice.
pub(super) fn say(diagnostic: &(impl Diagnostic + ?Sized)) -> String {
    match diagnostic.help() {
        Some(help) => format!("{diagnostic} ({help})"),
        None => diagnostic.to_string(),
    }
}
