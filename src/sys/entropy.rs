//! Randomness, and the ids made from it and the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::rand::SecureRandom as _;

use super::Clock;
use crate::domain::{ApprovalId, DecisionId, EventId, GrantId, LeaseId, RequestId, TaskId};

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

/// Makes ids.
#[derive(Clone)]
pub struct Ids {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

macro_rules! makers {
    ($($(#[$meta:meta])* $name:ident -> $id:ident),+ $(,)?) => {
        impl Ids {
            $($(#[$meta])*
            #[must_use]
            pub fn $name(&self) -> $id {
                let mut random = [0_u8; 10];
                self.entropy.fill(&mut random);
                $id::new(self.clock.now(), random)
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
}

impl Ids {
    /// From a clock and a source of randomness.
    #[must_use]
    pub const fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy }
    }

    /// Random bytes in URL-safe base64 without padding: 32 bytes, 43 characters.
    #[must_use]
    pub fn opaque(&self) -> String {
        let mut random = [0_u8; 32];
        self.entropy.fill(&mut random);
        data_encoding::BASE64URL_NOPAD.encode(&random)
    }
}
