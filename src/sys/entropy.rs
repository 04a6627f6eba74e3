//! Randomness, and the ids made from it and the clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ring::rand::SecureRandom as _;

use super::Clock;
use crate::domain::{
    ApprovalId, ChallengeId, DecisionId, DelegationId, EvaluationId, EventId, FilingId, GrantId, LeaseId, NoticeId,
    PasskeyId, QuestionId, RequestId, SessionId, TaskId,
};

/// Gives random bytes.
pub trait Entropy: Send + Sync {
    /// Fill `dest` or abort; never return weak bytes.
    fn fill(&self, dest: &mut [u8]);
}

/// The operating system's randomness, through ring.
#[derive(Debug)]
pub struct SystemEntropy(ring::rand::SystemRandom);

impl Default for SystemEntropy {
    fn default() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine for randomness")]
        Self(ring::rand::SystemRandom::new())
    }
}

impl SystemEntropy {
    /// The same source as ring wants it: ring makes keys and signs with its own randomness only.
    pub(in crate::sys) const fn as_ring(&self) -> &ring::rand::SystemRandom {
        &self.0
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, dest: &mut [u8]) {
        if self.0.fill(dest).is_err() {
            // Weak ids and keys are worse than no broker.
            std::process::abort();
        }
    }
}

/// Repeatable bytes for tests and simulations: SHA-256 of a seed and a counter.
#[derive(Debug)]
pub struct SeededEntropy {
    seed: u64,
    drawn: AtomicU64,
}

impl SeededEntropy {
    /// A source that gives the same bytes for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, drawn: AtomicU64::new(0) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, dest: &mut [u8]) {
        for chunk in dest.chunks_mut(32) {
            let count = self.drawn.fetch_add(1, Ordering::SeqCst);
            let block = super::sha256([self.seed.to_be_bytes(), count.to_be_bytes()].concat());
            chunk.iter_mut().zip(block.as_bytes()).for_each(|(to, from)| *to = *from);
        }
    }
}

/// Random bytes of one id.
const ID_BYTES: usize = 10;
/// Ids for which randomness is drawn at once: asking the operating system costs as much as a small id.
const IDS_A_DRAW: usize = 64;

/// Randomness drawn ahead for ids; each byte is given out once.
struct Pool {
    bytes: [u8; ID_BYTES * IDS_A_DRAW],
    given: usize,
}

/// Makes ids.
#[derive(Clone)]
pub struct Ids {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    pool: Arc<Mutex<Pool>>,
}

macro_rules! makers {
    ($($(#[$meta:meta])* $name:ident -> $id:ident),+ $(,)?) => {
        impl Ids {
            $($(#[$meta])*
            #[must_use]
            pub fn $name(&self) -> $id {
                $id::new(self.clock.now(), self.random())
            })+
        }
    };
}

makers! {
    /// A new task's id.
    task -> TaskId,
    /// A new access request's id.
    request -> RequestId,
    /// A new decision's id.
    decision -> DecisionId,
    /// A new approval's id.
    approval -> ApprovalId,
    /// A new grant's id.
    grant -> GrantId,
    /// A new lease's id.
    lease -> LeaseId,
    /// A new audit event's id.
    event -> EventId,
    /// A new session's id.
    session -> SessionId,
    /// A new passkey's id.
    passkey -> PasskeyId,
    /// A new challenge's id.
    challenge -> ChallengeId,
    /// A new question's id.
    question -> QuestionId,
    /// A new delegation's id.
    delegation -> DelegationId,
    /// A new notice's id.
    notice -> NoticeId,
    /// A new filing's id.
    filing -> FilingId,
    /// A new evaluation's id.
    evaluation -> EvaluationId,
}

impl Ids {
    /// From a clock and a source of randomness.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let empty = Pool { bytes: [0; ID_BYTES * IDS_A_DRAW], given: IDS_A_DRAW };
        Self { clock, entropy, pool: Arc::new(Mutex::new(empty)) }
    }

    /// The next ten bytes of the pool, filled anew when it is used up.
    fn random(&self) -> [u8; ID_BYTES] {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.given >= IDS_A_DRAW {
            self.entropy.fill(&mut pool.bytes);
            pool.given = 0;
        }
        let (chunks, _) = pool.bytes.as_chunks::<ID_BYTES>();
        let random = chunks.get(pool.given).copied().unwrap_or_default();
        pool.given = pool.given.saturating_add(1);
        random
    }

    /// Random bytes in URL-safe base64 without padding: 32 bytes, 43 characters.
    #[must_use]
    pub fn opaque(&self) -> String {
        let mut random = [0_u8; 32];
        self.entropy.fill(&mut random);
        data_encoding::BASE64URL_NOPAD.encode(&random)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::Timestamp;
    use crate::sys::ManualClock;

    #[test]
    fn no_two_ids_are_alike_though_time_stands_still() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
        let ids = Ids::new(clock, Arc::new(SeededEntropy::new(7)));
        let other = ids.clone();
        let made: BTreeSet<String> =
            (0..500).flat_map(|_| [ids.task().to_string(), other.task().to_string()]).collect();
        assert_eq!(made.len(), 1000);
    }
}
