//! Whom a notice goes to by name: the people known to be in the rule's groups, and the addresses the configuration has for them. Nobody
//! is asked about a request of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::notice_content::About;
use super::{Broker, BrokerError};
use crate::domain::{Person, Timestamp};
use crate::policy::Bundle;

/// The most people one notice goes to; of a larger group these are asked.
const MAX_RECIPIENTS: usize = 200;
/// Whoever was not seen for so long may have left, and is asked nothing, in milliseconds.
const SEEN_WITHIN_MILLIS: i64 = 90 * 24 * 3600 * 1000;

impl About {
    /// The people whose own request it is, as things stand: the agent's owner and the one it asks for, unless the terms let them
    /// decide.
    pub(super) fn own_people(&self, bundle: &Bundle) -> Vec<Person> {
        let terms = self.request.terms().cloned().unwrap_or_default();
        let owner = self.agent.as_ref().map(|agent| agent.owner.clone()).filter(|_| !terms.includes_owner);
        let beneficiary = self.task.beneficiary.as_deref().and_then(|text| bundle.person_of_beneficiary(text));
        let beneficiary = beneficiary.filter(|_| !terms.includes_beneficiary);
        let people: BTreeSet<Person> = owner.into_iter().chain(beneficiary).collect();
        people.into_iter().collect()
    }

    /// Whether whoever reads this address must not be asked: it is their own, or they may not act any more.
    fn is_own_address(&self, bundle: &Bundle, own: &[Person], address: &str) -> bool {
        let written = self.task.beneficiary.as_deref().map(str::trim).unwrap_or_default();
        let includes = self.request.terms().is_some_and(|terms| terms.includes_beneficiary);
        let is_beneficiary = !includes && written.eq_ignore_ascii_case(address.trim());
        let is_barred = |person: &Person| own.contains(person) || bundle.is_disabled(person);
        is_beneficiary || bundle.person_of_beneficiary(address).as_ref().is_some_and(is_barred)
    }
}

impl Broker {
    /// The addresses of those who are asked, each once.
    pub(super) async fn addresses(
        &self,
        about: &About,
        groups: &[&str],
        configured: &BTreeMap<String, Vec<String>>,
    ) -> Result<Vec<String>, BrokerError> {
        let bundle = self.policy.current();
        let own = about.own_people(&bundle);
        let mut found = BTreeSet::new();
        for group in groups {
            let listed = configured.get(*group).into_iter().flatten();
            found.extend(listed.map(|address| address.trim().to_lowercase()));
            let since = self.seen_since();
            for known in self.store.list_people_in_group(group, since, u32::MAX).await? {
                let person = bundle.operator(&known.issuer, &known.subject, known.email.as_deref(), &[]).person;
                // As the register says now, and as it said when the person was last seen.
                if !own.contains(&person) && !own.contains(&known.person) && !bundle.is_disabled(&person) {
                    found.extend(known.email.map(|address| address.trim().to_lowercase()));
                }
            }
        }
        found.retain(|address| !about.is_own_address(&bundle, &own, address));
        if found.len() > MAX_RECIPIENTS {
            let (people, request) = (found.len(), about.request.id);
            tracing::warn!(people, request.id = %request, "more people could be asked by mail than one notice goes to");
        }
        Ok(found.into_iter().take(MAX_RECIPIENTS).collect())
    }

    /// Where the agent's owner is told how a request ended.
    pub(super) async fn owner_address(&self, about: &About) -> Result<Option<String>, BrokerError> {
        let Some(owner) = about.agent.as_ref().map(|agent| &agent.owner) else { return Ok(None) };
        if let Some(address) = self.policy.current().address_of(owner) {
            return Ok(Some(address.to_owned()));
        }
        let known = self.store.list_known_person(owner).await?;
        Ok(known.into_iter().max_by_key(|known| known.seen_at).and_then(|known| known.email))
    }

    /// Since when whoever was seen is taken to be there still.
    pub(super) fn seen_since(&self) -> Timestamp {
        self.clock.now().plus_millis(-SEEN_WITHIN_MILLIS)
    }
}
