//! Since when a Secret is known to be gone. An API server goes on accepting a token for ten seconds after it last looked, so a
//! token is not gone when its Secret is; nothing in the cluster says since when that has been so, and this remembers it. What
//! is forgotten, by a restart or on another replica, is waited for once more: late, never wrong.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::{Handle, Timestamp};

/// How many are remembered.
const MAX_SEEN: usize = 16_384;

/// When each was first seen to be gone.
#[derive(Debug)]
pub(super) struct Settling {
    wait_millis: i64,
    gone: Mutex<HashMap<Handle, Timestamp>>,
}

impl Settling {
    pub(super) fn new(wait_millis: i64) -> Self {
        Self { wait_millis, gone: Mutex::new(HashMap::new()) }
    }

    /// It is gone at `now`: since when nothing honours its tokens any more, or from when on nothing will.
    pub(super) fn settles_at(&self, handle: &Handle, now: Timestamp) -> Timestamp {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if gone.len() >= MAX_SEEN && !gone.contains_key(handle) {
            let oldest = gone.iter().min_by_key(|(_, since)| **since).map(|(handle, _)| handle.clone());
            let settled = now.plus_millis(self.wait_millis.saturating_mul(-10));
            gone.retain(|handle, since| *since > settled && Some(handle) != oldest.as_ref());
        }
        gone.entry(handle.clone()).or_insert(now).plus_millis(self.wait_millis)
    }

    /// It is there (again).
    pub(super) fn is_there(&self, handle: &Handle) {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).remove(handle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_the_first_look_and_anew_once_it_was_there_again() {
        let (settling, at) = (Settling::new(12_000), Timestamp::from_secs);
        let handle = Handle::new("agents/jit-1");
        assert_eq!(settling.settles_at(&handle, at(100)), at(112));
        assert_eq!(settling.settles_at(&handle, at(105)), at(112));
        settling.is_there(&handle);
        assert_eq!(settling.settles_at(&handle, at(200)), at(212));
    }

    #[test]
    fn it_remembers_no_more_than_it_may() {
        let (settling, at) = (Settling::new(12_000), Timestamp::from_secs);
        for number in 0..=20_000 {
            settling.settles_at(&Handle::new(number.to_string()), at(number));
        }
        assert!(settling.gone.lock().unwrap().len() <= MAX_SEEN);
        assert_eq!(settling.settles_at(&Handle::new("20000"), at(20_001)), at(20_012), "the newest are kept");
    }
}
