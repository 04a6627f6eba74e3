//! A room of its own for each backend: so many calls at once, half of them kept for endings, and a breaker that stops asking
//! a backend which does not answer. One that hangs costs nobody else anything, and a flood of mints starves no revocation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::{Broker, BrokerError};
use crate::domain::{MINT_TIMEOUT_MILLIS, Name, Timestamp};
use crate::minter::{MintError, Minters};

/// Calls of each kind, minting and ending, that one backend gets at the same time.
pub(super) const CALLS: usize = 16;
/// Mints of one backend that may be open at the same time, from before their intent is recorded until their outcome is.
const OPEN_MINTS: usize = 256;
/// How long one mint may take, waiting for its turn included; shorter than the deadline after which a sweep takes it for lost.
const MINT_TIMEOUT: Duration = Duration::from_millis(MINT_TIMEOUT_MILLIS as u64);
/// Calls in a row without an answer after which the backend is left alone for a while.
const OPENS_AFTER: u32 = 5;
/// For how long, at first and at most, in milliseconds.
const FIRST_REST_MILLIS: i64 = 2_000;
const LONGEST_REST_MILLIS: i64 = 30_000;
/// How long one probing call may take before another is let through, in milliseconds.
const PROBE_MILLIS: i64 = 12_000;
/// Failed endings in a row after which an ending that works says that the backend is well again.
const UNWELL_AFTER: u32 = 3;

/// Make an outside call that may take so long; what is given up then may still land.
///
/// # Errors
/// The call's own; [`MintError::Unavailable`] when there was no answer in time.
pub(super) async fn in_time<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, MintError>>,
) -> Result<T, MintError> {
    let answered = tokio::time::timeout(limit, call).await;
    answered.unwrap_or_else(|_| Err(MintError::Unavailable("no answer in time".to_owned())))
}

/// The rooms of all backends.
pub(super) struct Bulkheads {
    rooms: BTreeMap<Name, Arc<Bulkhead>>,
    /// For backends that are not configured any more.
    gone: Arc<Bulkhead>,
}

impl Bulkheads {
    pub(super) fn new(minters: &Minters) -> Self {
        let room = |name: &Name| Arc::new(Bulkhead::new(name.as_str()));
        let rooms = minters.iter().map(|(name, _)| (name.clone(), room(name))).collect();
        Self { rooms, gone: Arc::new(Bulkhead::new("")) }
    }

    pub(super) fn of(&self, backend: &Name) -> &Arc<Bulkhead> {
        self.rooms.get(backend).unwrap_or(&self.gone)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Arc<Bulkhead>)> {
        self.rooms.iter()
    }
}

/// One backend's room.
pub(super) struct Bulkhead {
    name: String,
    open_mints: Arc<Semaphore>,
    mints: Semaphore,
    endings: Semaphore,
    breaker: Mutex<Breaker>,
}

#[derive(Debug, Default)]
struct Breaker {
    /// Calls in a row without an answer.
    unanswered: u32,
    /// Endings in a row that failed, answered or not.
    failed_endings: u32,
    /// Until when it is left alone; then one call at a time tries.
    open_until: Option<Timestamp>,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// To make something or to look.
    Other,
    /// To end something.
    End,
}

impl Bulkhead {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            open_mints: Arc::new(Semaphore::new(OPEN_MINTS)),
            mints: Semaphore::new(CALLS),
            endings: Semaphore::new(CALLS),
            breaker: Mutex::default(),
        }
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls may be tried now: all, none while the backend is left alone, and one when it is time to try.
    pub(super) fn room(&self, now: Timestamp) -> usize {
        let mut breaker = self.breaker();
        match breaker.open_until {
            None => CALLS,
            Some(until) if now < until => 0,
            Some(_) => {
                breaker.open_until = Some(now.plus_millis(PROBE_MILLIS));
                1
            }
        }
    }

    /// Whether the backend answers, as far as is known.
    pub(super) fn answers(&self) -> bool {
        self.breaker().open_until.is_none()
    }

    /// A turn to end something.
    pub(super) async fn ending(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.endings.acquire().await.ok()
    }

    /// Note how a call went; `true` when this says that the backend is well again.
    fn note<T>(&self, call: Call, outcome: &Result<T, MintError>, now: Timestamp) -> bool {
        let mut breaker = self.breaker();
        let was_open = breaker.open_until.is_some();
        let was_unwell = call == Call::End && breaker.failed_endings >= UNWELL_AFTER;
        if call == Call::End {
            breaker.failed_endings = if outcome.is_ok() { 0 } else { breaker.failed_endings.saturating_add(1) };
        }
        if !matches!(outcome, Err(MintError::Unavailable(_) | MintError::Unreached(_))) {
            (breaker.unanswered, breaker.open_until) = (0, None);
            drop(breaker);
            self.show(false);
            return was_open || (was_unwell && outcome.is_ok());
        }
        breaker.unanswered = breaker.unanswered.saturating_add(1);
        if breaker.unanswered >= OPENS_AFTER {
            let doublings = breaker.unanswered.saturating_sub(OPENS_AFTER).min(8);
            let rest = FIRST_REST_MILLIS.saturating_mul(1_i64 << doublings).min(LONGEST_REST_MILLIS);
            breaker.open_until = Some(now.plus_millis(rest));
            drop(breaker);
            self.show(true);
            if !was_open {
                tracing::warn!(backend = self.name, "a backend does not answer; it is left alone for a while");
            }
        }
        false
    }

    fn show(&self, open: bool) {
        metrics::gauge!("hallpass_backend_breaker_open", "backend" => self.name.clone()).set(f64::from(u8::from(open)));
    }
}

/// Leave to have one more mint open at a backend. Taken before the intent is recorded and held until the outcome is.
pub(super) struct MintPermit {
    broker: Broker,
    backend: Name,
    _open: OwnedSemaphorePermit,
}

impl MintPermit {
    /// Make an outside call of the mint when it is its turn, within the time a mint may take.
    ///
    /// # Errors
    /// The call's own; [`MintError::Unavailable`] when there was no turn or no answer in time.
    pub(super) async fn run<T>(&self, call: impl Future<Output = Result<T, MintError>>) -> Result<T, MintError> {
        let room = self.broker.bulkheads.of(&self.backend);
        let outcome = in_time(MINT_TIMEOUT, async {
            match room.mints.acquire().await {
                Ok(_turn) => call.await,
                Err(closed) => Err(MintError::Unavailable(closed.to_string())),
            }
        })
        .await;
        self.broker.note_call(&self.backend, Call::Other, &outcome).await;
        outcome
    }
}

impl Broker {
    /// Leave to mint at a backend, or why not, at once: it does not answer, or too many mints of it are open already.
    ///
    /// # Errors
    /// [`BrokerError::Mint`] with [`MintError::Unavailable`].
    pub(super) fn mint_permit(&self, backend: &Name) -> Result<MintPermit, BrokerError> {
        let room = self.bulkheads.of(backend);
        let refuse = |why: String| BrokerError::Mint(MintError::Unavailable(why));
        let open = Arc::clone(&room.open_mints).try_acquire_owned();
        let open = open.map_err(|_| refuse(format!("{OPEN_MINTS} mints of backend `{backend}` are open already")))?;
        if room.room(self.clock.now()) == 0 {
            return Err(refuse(format!("backend `{backend}` does not answer; it is tried again soon")));
        }
        Ok(MintPermit { broker: self.clone(), backend: backend.clone(), _open: open })
    }

    /// Note how a call of a backend went. When it is well again, what could not be ended there is tried at once.
    pub(super) async fn note_call<T>(&self, backend: &Name, call: Call, outcome: &Result<T, MintError>) {
        let now = self.clock.now();
        if !self.bulkheads.of(backend).note(call, outcome, now) {
            return;
        }
        match self.store.hasten_endings(backend, now).await {
            Ok(count) => {
                tracing::info!(%backend, count, "a backend is well again; what could not be ended there is tried now");
                self.wake_sweeps();
            }
            Err(error) => tracing::warn!(%backend, %error, "what could not be ended waits for its own next attempt"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn unanswered() -> Result<(), MintError> {
        Err(MintError::Unavailable("silence".to_owned()))
    }

    #[test]
    fn a_backend_that_does_not_answer_is_left_alone_and_then_tried_once_at_a_time() {
        let room = Bulkhead::new("b");
        for _ in 0..4 {
            assert!(!room.note(Call::Other, &unanswered(), T0));
        }
        assert_eq!(room.room(T0), CALLS);
        room.note(Call::Other, &unanswered(), T0);
        assert_eq!((room.room(T0), room.answers()), (0, false));
        let later = T0.plus_millis(FIRST_REST_MILLIS);
        assert_eq!((room.room(later), room.room(later)), (1, 0));
        room.note(Call::Other, &unanswered(), later);
        assert_eq!(room.room(later.plus_millis(FIRST_REST_MILLIS)), 0, "it rests longer each time");
        assert_eq!(room.room(later.plus_millis(LONGEST_REST_MILLIS)), 1, "but never for long");
        assert!(room.note(Call::Other, &Ok(()), later), "an answer says that it is well again");
        assert_eq!(room.room(later), CALLS);
    }

    #[test]
    fn a_no_is_an_answer_and_an_end_after_failed_ends_says_that_it_is_well() {
        let room = Bulkhead::new("b");
        for _ in 0..20 {
            assert!(!room.note::<()>(Call::End, &Err(MintError::Refused("no".to_owned())), T0));
        }
        assert_eq!(room.room(T0), CALLS);
        assert!(!room.note(Call::Other, &Ok(()), T0));
        assert!(room.note(Call::End, &Ok(()), T0));
        assert!(!room.note(Call::End, &Ok(()), T0));
    }
}
