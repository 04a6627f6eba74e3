//! The history checker: what a run left on record, compared with what was seen from outside. Each invariant of the safety
//! model is a function over the same two things, so a simulation, a crash test and a run against several replicas ask the same.
//!
//! [`Observations`] is what clients and backends saw; [`History`] is every audit event, oldest first, and every lease.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// An audit event at its place in the order of commits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) seq: i64,
    pub(crate) event: Value,
}

impl Entry {
    pub(crate) fn kind(&self) -> &str {
        self.text("kind")
    }

    /// A member, or nothing.
    pub(crate) fn text(&self, member: &str) -> &str {
        self.event[member].as_str().unwrap_or_default()
    }
}

/// What is on record.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) entries: Vec<Entry>,
    /// Every lease as an operator sees it now.
    pub(crate) leases: Vec<Value>,
}

/// A secret that reached a client.
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    pub(crate) lease: String,
    pub(crate) task: String,
    pub(crate) scopes: Vec<String>,
}

/// A call with an idempotency key that was answered with something made or something refused.
#[derive(Debug, Clone)]
pub(crate) struct Keyed {
    pub(crate) key: String,
    /// What was asked, so that the same key with another question is not expected to be answered alike.
    pub(crate) body: String,
    /// The task that was answered.
    pub(crate) task: String,
}

/// What was seen from outside.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    pub(crate) delivered: Vec<Delivered>,
    pub(crate) keyed: Vec<Keyed>,
    /// Handles of everything a backend ever made.
    pub(crate) ever_minted: BTreeSet<String>,
    /// Handles of what backends honour now.
    pub(crate) honoured: BTreeSet<String>,
    /// The fences of leases as they were seen, in the order in which they were.
    pub(crate) fences: Vec<(String, i64)>,
    /// Agents and who owns them: nobody approves what their own agent asked for.
    pub(crate) owners: BTreeMap<String, String>,
}

/// Everything that is wrong, each with the number of the invariant. `at_rest` says that faults have stopped and the time after
/// which everything due must have ended is over.
pub(crate) fn violations(history: &History, seen: &Observations, at_rest: bool) -> Vec<String> {
    let mut found = Vec::new();
    i01_nothing_is_minted_before_its_intent(history, seen, &mut found);
    i02_nothing_is_honoured_that_no_lease_answers_for(history, seen, &mut found);
    i03_each_secret_leaves_once_and_after_its_fact(history, seen, &mut found);
    i04_events_are_in_order_and_lives_are_paths(history, &mut found);
    i05_each_mint_rests_on_a_permit(history, &mut found);
    i06_nothing_exceeds_what_was_asked(history, seen, &mut found);
    i07_nobody_approves_their_own(history, seen, &mut found);
    i09_a_key_makes_one_thing(seen, &mut found);
    i10_nothing_is_minted_while_killed(history, &mut found);
    i11_fences_grow(seen, &mut found);
    i12_every_lease_has_an_end_that_stays(history, &mut found);
    if at_rest {
        i13_everything_due_has_ended(history, seen, &mut found);
    }
    found
}

impl History {
    /// From the items of `GET /v1/events`, oldest first, and of `GET /v1/leases`.
    pub(crate) fn new(items: &[Value], leases: Vec<Value>) -> Self {
        let entries = items
            .iter()
            .map(|item| Entry { seq: item["seq"].as_i64().expect("seq"), event: item["event"].clone() })
            .collect();
        Self { entries, leases }
    }

    /// The kinds of what happened to a lease, oldest first.
    pub(crate) fn life_of(&self, lease: &str) -> Vec<&str> {
        self.entries.iter().filter(|entry| entry.text("lease") == lease).map(Entry::kind).collect()
    }

    /// All that is on record about a task, an event a line, for whoever must find out what went wrong.
    fn story_of(&self, task: &str) -> String {
        let entries = self.entries.iter().filter(|entry| entry.text("task") == task);
        entries.map(|entry| format!("\n    {} {}", entry.seq, entry.event)).collect::<Vec<_>>().concat()
    }

    /// Whether every event of an earlier look is still there, unchanged.
    pub(crate) fn extends(&self, earlier: &Self) -> Result<(), String> {
        let now: BTreeMap<i64, &Value> = self.entries.iter().map(|entry| (entry.seq, &entry.event)).collect();
        for entry in &earlier.entries {
            match now.get(&entry.seq) {
                Some(event) if **event == entry.event => {}
                Some(_) => return Err(format!("I4: event {} has changed", entry.seq)),
                None => return Err(format!("I4: event {} has vanished", entry.seq)),
            }
        }
        Ok(())
    }

    fn of_kind<'h>(&'h self, kind: &'h str) -> impl Iterator<Item = &'h Entry> {
        self.entries.iter().filter(move |entry| entry.kind() == kind)
    }

    /// For each lease, the first event of a kind.
    fn first_by_lease<'h>(&'h self, kind: &'h str) -> BTreeMap<&'h str, &'h Entry> {
        let mut first = BTreeMap::new();
        for entry in self.of_kind(kind) {
            first.entry(entry.text("lease")).or_insert(entry);
        }
        first
    }
}

fn i01_nothing_is_minted_before_its_intent(history: &History, seen: &Observations, found: &mut Vec<String>) {
    let intents = history.first_by_lease("credential.minting");
    for handle in &seen.ever_minted {
        if !intents.contains_key(handle.as_str()) {
            found.push(format!("I1: {handle} was made without an intent on record"));
        }
    }
    for (lease, fact) in history.first_by_lease("credential.minted") {
        if intents.get(lease).is_none_or(|intent| intent.seq >= fact.seq) {
            found.push(format!("I1: {lease} has its fact before its intent"));
        }
    }
}

fn i02_nothing_is_honoured_that_no_lease_answers_for(history: &History, seen: &Observations, found: &mut Vec<String>) {
    let states: BTreeMap<&str, &str> = history
        .leases
        .iter()
        .map(|lease| (lease["id"].as_str().unwrap_or_default(), lease["state"].as_str().unwrap_or_default()))
        .collect();
    for handle in &seen.honoured {
        match states.get(handle.as_str()) {
            None => found.push(format!("I2: {handle} is honoured and has no lease")),
            Some(&"ended") => found.push(format!("I2: {handle} is honoured and its lease has ended")),
            Some(_) => {}
        }
    }
}

fn i03_each_secret_leaves_once_and_after_its_fact(history: &History, seen: &Observations, found: &mut Vec<String>) {
    let facts = history.first_by_lease("credential.minted");
    let mut once = BTreeSet::new();
    for delivered in &seen.delivered {
        if !once.insert(&delivered.lease) {
            found.push(format!("I3: {} was delivered twice", delivered.lease));
        }
        if !facts.contains_key(delivered.lease.as_str()) {
            found.push(format!("I3: {} was delivered without its fact on record", delivered.lease));
        }
    }
}

/// Where a lease may be after each event; anything else is not a life.
fn step(state: &str, kind: &str) -> Option<&'static str> {
    Some(match (state, kind) {
        ("", "credential.minting") => "minting",
        ("minting", "credential.minted") | ("live", "credential.delivered") => "live",
        // A delivery may be recorded a moment late, and a mint that failed says so and then ends.
        ("minting" | "ending", "credential.failed")
        | ("minting" | "live" | "ending", "lease.ending")
        | ("ending", "credential.delivered" | "lease.delayed" | "lease.disabled" | "lease.irrevocable") => "ending",
        ("ending", "lease.ended") | ("ended", "credential.delivered") => "ended",
        _ => return None,
    })
}

fn i04_events_are_in_order_and_lives_are_paths(history: &History, found: &mut Vec<String>) {
    let mut ids = BTreeSet::new();
    let mut lives: BTreeMap<&str, &str> = BTreeMap::new();
    let mut last = i64::MIN;
    for entry in &history.entries {
        if entry.seq <= last {
            found.push(format!("I4: event {} comes after {last}", entry.seq));
        }
        last = entry.seq;
        if !ids.insert(entry.text("id")) {
            found.push(format!("I4: event {} has the id of another", entry.seq));
        }
        let (lease, kind) = (entry.text("lease"), entry.kind());
        if lease.is_empty() || ["authority.revoked", "orphan.revoked"].contains(&kind) {
            continue;
        }
        let state = lives.entry(lease).or_default();
        match step(state, kind) {
            Some(next) => *state = next,
            None => found.push(format!("I4: {kind} of {lease} when it was `{state}`: {:?}", history.life_of(lease))),
        }
    }
    for lease in &history.leases {
        let id = lease["id"].as_str().unwrap_or_default();
        let (on_record, row) =
            (lives.get(id).copied().unwrap_or_default(), lease["state"].as_str().unwrap_or_default());
        if on_record != row {
            found.push(format!("I4: {id} is `{row}`, and by its events `{on_record}`"));
        }
    }
}

fn i05_each_mint_rests_on_a_permit(history: &History, found: &mut Vec<String>) {
    let mut granted: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in history.of_kind("access.granted") {
        granted.insert(entry.text("grant"), entry);
    }
    let decided: BTreeMap<&str, &Entry> =
        history.of_kind("policy.decided").map(|entry| (entry.text("decision"), entry)).collect();
    for minting in history.of_kind("credential.minting") {
        let (lease, grant) = (minting.text("lease"), minting.text("grant"));
        let Some(given) = granted.get(grant).filter(|given| given.seq < minting.seq) else {
            found.push(format!("I5: {lease} was minted without a grant"));
            continue;
        };
        let Some(decision) = decided.get(given.text("decision")) else {
            found.push(format!("I5: the grant of {lease} rests on no decision"));
            continue;
        };
        if decision.event["data"]["outcome"] != "permit" {
            found.push(format!("I5: the grant of {lease} rests on {}", decision.event["data"]["outcome"]));
        }
        let request = minting.text("request");
        let of_request = |kind| history.of_kind(kind).filter(|entry| entry.text("request") == request);
        let digest = |entry: &Entry| entry.event["data"]["digest"].clone();
        let agreed = |entry: &Entry| entry.seq < given.seq && entry.event["data"]["verdict"] == "approve";
        for asked in of_request("access.requested") {
            let approved = of_request("approval.recorded").any(|one| agreed(one) && digest(one) == digest(asked));
            if of_request("approval.awaited").next().is_some() && !approved {
                found.push(format!("I5: {lease} needed an approval of the same digest and has none"));
            }
        }
    }
}

fn i06_nothing_exceeds_what_was_asked(history: &History, seen: &Observations, found: &mut Vec<String>) {
    let texts = |value: &Value| -> BTreeSet<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let scopes_of = |kind: &'static str, member: &'static str| -> BTreeMap<String, BTreeSet<String>> {
        let scopes =
            history.of_kind(kind).map(|entry| (entry.text(member).to_owned(), texts(&entry.event["data"]["scopes"])));
        scopes.collect()
    };
    let (asked, granted) = (scopes_of("access.requested", "request"), scopes_of("access.granted", "grant"));
    for lease in &history.leases {
        let (id, scopes) = (&lease["id"], texts(&lease["scopes"]));
        let within = |all: Option<&BTreeSet<String>>| all.is_some_and(|all| scopes.is_subset(all));
        if scopes.is_empty()
            || !within(granted.get(lease["grant"].as_str().unwrap_or_default()))
            || !within(asked.get(lease["request"].as_str().unwrap_or_default()))
        {
            found.push(format!("I6: {id} permits {scopes:?}, which was not asked for and granted"));
        }
    }
    for delivered in &seen.delivered {
        let lease = history.leases.iter().find(|lease| lease["id"] == delivered.lease.as_str());
        if lease.is_some_and(|lease| lease["task"] != delivered.task.as_str()) {
            found.push(format!(
                "I6: {} was delivered to the task {}, which is not its",
                delivered.lease, delivered.task
            ));
        }
        if lease.is_none_or(|lease| texts(&lease["scopes"]) != delivered.scopes.iter().cloned().collect()) {
            found.push(format!("I6: {} was delivered with other scopes than its lease has", delivered.lease));
        }
    }
}

fn i07_nobody_approves_their_own(history: &History, seen: &Observations, found: &mut Vec<String>) {
    for entry in history.of_kind("approval.recorded").filter(|entry| entry.event["data"]["verdict"] == "approve") {
        let person = entry.event["actor"]["name"].as_str().unwrap_or_default();
        if seen.owners.get(entry.text("agent")).is_some_and(|owner| owner == person) {
            found.push(format!("I7: {person} approved what their own agent {} asked for", entry.text("agent")));
        }
    }
}

fn i09_a_key_makes_one_thing(seen: &Observations, found: &mut Vec<String>) {
    let mut first: BTreeMap<&str, &Keyed> = BTreeMap::new();
    for keyed in &seen.keyed {
        let earlier = first.entry(&keyed.key).or_insert(keyed);
        if earlier.body != keyed.body {
            found.push(format!("I9: the key {} was accepted for two questions", keyed.key));
        } else if earlier.task != keyed.task {
            found.push(format!("I9: the key {} made {} and {}", keyed.key, earlier.task, keyed.task));
        }
    }
}

fn i10_nothing_is_minted_while_killed(history: &History, found: &mut Vec<String>) {
    let mut killed = false;
    for entry in &history.entries {
        match entry.kind() {
            "kill_switch.engaged" => killed = true,
            "kill_switch.released" => killed = false,
            "credential.minted" if killed => {
                found.push(format!("I10: {} was minted while the kill switch was thrown", entry.text("lease")));
            }
            _ => {}
        }
    }
}

fn i11_fences_grow(seen: &Observations, found: &mut Vec<String>) {
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    for (lease, fence) in &seen.fences {
        if let Some(before) = last.insert(lease, *fence)
            && before > *fence
        {
            found.push(format!("I11: the fence of {lease} went from {before} to {fence}"));
        }
    }
}

fn i12_every_lease_has_an_end_that_stays(history: &History, found: &mut Vec<String>) {
    let intents = history.first_by_lease("credential.minting");
    for lease in &history.leases {
        let id = lease["id"].as_str().unwrap_or_default();
        let at_first = intents.get(id).map(|intent| &intent.event["data"]["usable_until"]);
        if lease["usable_until"].as_str().is_none() || at_first != Some(&lease["usable_until"]) {
            found.push(format!("I12: {id} ends at {}, and at first {at_first:?}", lease["usable_until"]));
        }
    }
}

fn i13_everything_due_has_ended(history: &History, seen: &Observations, found: &mut Vec<String>) {
    for lease in history.leases.iter().filter(|lease| lease["state"] != "ended") {
        let id = lease["id"].as_str().unwrap_or_default();
        let task = lease["task"].as_str().unwrap_or_default();
        found.push(format!("I13: {id} is {}{}", lease["state"], history.story_of(task)));
    }
    for handle in &seen.honoured {
        found.push(format!("I13: {handle} is still honoured"));
    }
}
