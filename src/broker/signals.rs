//! Wake-up calls inside this process: those who wait on a task, and the sweeps. A signal is a hint, never the truth; whoever is
//! woken looks at the rows, and timers look at them anyway.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Notify, watch};

use crate::domain::TaskId;

/// Entries after which forgotten waits are swept out of the map.
const SWEEP_AT: usize = 1024;

/// The wake-up calls.
#[derive(Default)]
pub(super) struct Signals {
    tasks: Mutex<HashMap<TaskId, Weak<Notify>>>,
    /// Grows with each call, so that a sweep that is busy hears of it afterwards.
    sweeps: watch::Sender<u64>,
}

impl Signals {
    /// Call for the sweeps.
    pub(super) fn call_sweeps(&self) {
        self.sweeps.send_modify(|calls| *calls = calls.wrapping_add(1));
    }

    /// To hear those calls.
    pub(super) fn sweep_calls(&self) -> watch::Receiver<u64> {
        self.sweeps.subscribe()
    }

    /// Something about this task has changed.
    pub(super) fn changed(&self, task: TaskId) {
        let waiting = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).get(&task).and_then(Weak::upgrade);
        if let Some(notify) = waiting {
            notify.notify_waiters();
        }
    }

    /// Something about any task may have changed.
    pub(super) fn all_changed(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for waiting in tasks.values().filter_map(Weak::upgrade) {
            waiting.notify_waiters();
        }
    }

    /// To be woken when something about this task changes; the last holder to drop it ends the wait.
    pub(super) fn watch(&self, task: TaskId) -> Arc<Notify> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.len() >= SWEEP_AT {
            tasks.retain(|_, waiting| waiting.strong_count() > 0);
        }
        if let Some(notify) = tasks.get(&task).and_then(Weak::upgrade) {
            return notify;
        }
        let notify = Arc::new(Notify::new());
        tasks.insert(task, Arc::downgrade(&notify));
        notify
    }
}
