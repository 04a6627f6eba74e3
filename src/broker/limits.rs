//! Rates: so many calls a minute for each agent, each issuer, and each address that is not (yet) anybody. The limiters live
//! in this process and only protect it; limits that security rests on are in the store.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use governor::clock::{Clock as GovernorClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::BrokerError;
use crate::sys::Clock;

/// Rejected tokens recorded in the audit, a minute.
const REJECTIONS_PER_MINUTE: u32 = 600;
/// Codes of command lines that one person may type, a minute.
const GUESSES_PER_MINUTE: u32 = 5;

/// So many calls a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// From one address without an accepted token; an IPv6 address counts by its /64.
    pub address_per_minute: u32,
    /// With tokens of one issuer.
    pub issuer_per_minute: u32,
    /// Of one person.
    pub operator_per_minute: u32,
}

impl Default for LimitSettings {
    /// 120 from an unauthenticated address, 60,000 for an issuer, 600 of a person.
    fn default() -> Self {
        Self { address_per_minute: 120, issuer_per_minute: 60_000, operator_per_minute: 600 }
    }
}

/// The house's clock as governor wants it, so that tests can move it.
#[derive(Clone)]
struct HouseClock(Arc<dyn Clock>);

impl std::fmt::Debug for HouseClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HouseClock")
    }
}

impl GovernorClock for HouseClock {
    type Instant = Nanos;
    fn now(&self) -> Nanos {
        let millis = u64::try_from(self.0.now().as_millis()).unwrap_or(0);
        Nanos::from(Duration::from_millis(millis))
    }
}

type Plain = NoOpMiddleware<Nanos>;
type Keyed<K> = RateLimiter<K, DashMapStateStore<K>, HouseClock, Plain>;
type Direct = RateLimiter<NotKeyed, InMemoryState, HouseClock, Plain>;

fn quota(per_minute: u32) -> Quota {
    Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN))
}

fn keyed<K: std::hash::Hash + Eq + Clone>(per_minute: u32, clock: &HouseClock) -> Keyed<K> {
    RateLimiter::new(quota(per_minute), DashMapStateStore::default(), clock.clone())
}

/// The limiters.
pub(super) struct Limits {
    clock: HouseClock,
    by_address: Keyed<IpAddr>,
    by_issuer: Keyed<Arc<str>>,
    by_operator: Keyed<String>,
    by_guesser: Keyed<String>,
    rejections: Direct,
    /// One limiter for each distinct rate among the agents of the bundle.
    by_agent: Mutex<HashMap<u32, Arc<Keyed<String>>>>,
}

impl Limits {
    pub(super) fn new(settings: LimitSettings, clock: Arc<dyn Clock>) -> Self {
        let clock = HouseClock(clock);
        Self {
            by_address: keyed(settings.address_per_minute, &clock),
            by_issuer: keyed(settings.issuer_per_minute, &clock),
            by_operator: keyed(settings.operator_per_minute, &clock),
            by_guesser: keyed(GUESSES_PER_MINUTE, &clock),
            rejections: RateLimiter::direct_with_clock(quota(REJECTIONS_PER_MINUTE), clock.clone()),
            by_agent: Mutex::default(),
            clock,
        }
    }

    fn check<K: std::hash::Hash + Eq + Clone>(&self, limiter: &Keyed<K>, key: &K) -> Result<(), BrokerError> {
        limiter.check_key(key).map_err(|refused| {
            metrics::counter!("hallpass_rate_limited_total").increment(1);
            let wait = refused.earliest_possible().duration_since(self.clock.now());
            BrokerError::RateLimited { retry_after_secs: wait.as_u64().div_ceil(1_000_000_000).max(1) }
        })
    }

    /// Count a call from an address that is nobody.
    pub(super) fn address(&self, address: IpAddr) -> Result<(), BrokerError> {
        let key = match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => IpAddr::V4(v4),
                None => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
            },
        };
        self.check(&self.by_address, &key)
    }

    /// Count a call with a token of an issuer.
    pub(super) fn issuer(&self, issuer: &Arc<str>) -> Result<(), BrokerError> {
        self.check(&self.by_issuer, issuer)
    }

    /// Count a call of a person.
    pub(super) fn operator(&self, person: &str) -> Result<(), BrokerError> {
        self.check(&self.by_operator, &person.to_owned())
    }

    /// Count a code of a command line that a person types.
    pub(super) fn guess(&self, person: &str) -> Result<(), BrokerError> {
        self.check(&self.by_guesser, &person.to_owned())
    }

    /// Count a call of an agent against its own rate.
    pub(super) fn agent(&self, agent: &str, per_minute: u32) -> Result<(), BrokerError> {
        let limiter = {
            let mut limiters = self.by_agent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            Arc::clone(limiters.entry(per_minute).or_insert_with(|| Arc::new(keyed(per_minute, &self.clock))))
        };
        self.check(&limiter, &agent.to_owned())
    }

    /// Whether one more rejected token may be recorded: beyond the budget only the counter and the log know of it.
    pub(super) fn may_record_rejection(&self) -> bool {
        self.rejections.check().is_ok()
    }

    /// Forget keys that have their whole budget back.
    pub(super) fn prune(&self) {
        self.by_address.retain_recent();
        self.by_issuer.retain_recent();
        self.by_operator.retain_recent();
        self.by_guesser.retain_recent();
        let limiters = self.by_agent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        limiters.values().for_each(|limiter| limiter.retain_recent());
    }

    /// How many keys are remembered.
    pub(super) fn keys(&self) -> usize {
        let limiters = self.by_agent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let agents: usize = limiters.values().map(|limiter| limiter.len()).sum();
        [self.by_address.len(), self.by_issuer.len(), self.by_operator.len(), self.by_guesser.len(), agents]
            .iter()
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use crate::sys::ManualClock;

    #[test]
    fn api_09_limiter_keys_are_forgotten_once_they_have_their_budget_back() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
        let limits = Limits::new(LimitSettings::default(), Arc::clone(&clock) as Arc<dyn Clock>);
        for n in 0..100_000_u32 {
            limits.address(IpAddr::V4(n.into())).unwrap();
            limits.address(IpAddr::V6(Ipv6Addr::from((u128::from(n) << 64) | 1))).unwrap();
            limits.agent(&format!("agent-{n}"), 600).unwrap();
        }
        assert_eq!(limits.keys(), 300_000);
        limits.prune();
        assert_eq!(limits.keys(), 300_000, "a key that owes something is kept");
        clock.advance_secs(60);
        limits.prune();
        assert_eq!(limits.keys(), 0);
    }

    #[test]
    fn api_05_addresses_of_one_ipv6_network_share_one_budget() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
        let settings = LimitSettings { address_per_minute: 10, ..LimitSettings::default() };
        let limits = Limits::new(settings, Arc::clone(&clock) as Arc<dyn Clock>);
        let of_one_network = |n: u128| IpAddr::V6(Ipv6Addr::from((0x2001_0db8_u128 << 96) | n));
        for n in 0..10 {
            limits.address(of_one_network(n)).unwrap();
        }
        let Err(BrokerError::RateLimited { retry_after_secs }) = limits.address(of_one_network(99)) else {
            panic!("the eleventh call is refused");
        };
        clock.advance_secs(i64::try_from(retry_after_secs).unwrap());
        limits.address(of_one_network(99)).unwrap();
    }
}
