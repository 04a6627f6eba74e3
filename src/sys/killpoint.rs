//! Kill points: the named moments between two durable steps at which a debug build can be told to die, fail, hang or stop, so
//! that a test can see what is left and what becomes of it. A release build has none of it: neither code nor names.
//!
//! `HALLPASS_KILLPOINT=mint.after_external=abort` or `…:3=abort` for the third time it is passed; `hallpass
//! --list-killpoints` lists them. Which of them a scenario has not reached fails `tests/it/crash.rs`.

/// Declare the kill points, in the order in which the story passes them.
#[cfg(debug_assertions)]
macro_rules! killpoints {
    ($($(#[doc = $what:literal])+ $name:ident = $word:literal,)+) => {
        /// A moment at which a debug build can be told to die.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum KillPoint { $($(#[doc = $what])+ $name),+ }

        impl KillPoint {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }

            /// What is done and what is not at that moment.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => concat!($($what),+)),+ }
            }
        }
    };
}

#[cfg(debug_assertions)]
killpoints! {
    /// Before the migration is applied; its number is the number of the passing.
    MigrateStatement = "migrate.statement",
    /// All migrations are applied, and not committed.
    MigrateBeforeCommit = "migrate.before_commit",
    /// The changes of a group are made, and not committed.
    StoreBeforeCommit = "store.before_commit",
    /// A group is committed, and nobody has been told.
    StoreAfterCommit = "store.after_commit",
    /// A signing key is made, and not kept.
    KeyBeforeCommit = "key.before_commit",
    /// A signing key is kept, and not used yet.
    KeyAfterCommit = "key.after_commit",
    /// The intent to mint is ready, and not committed.
    MintBeforeIntent = "mint.before_intent",
    /// The intent is committed; without an outside call the fact is too.
    MintAfterIntent = "mint.after_intent",
    /// The backend is about to be asked.
    MintBeforeExternal = "mint.before_external",
    /// The backend has answered, and the secret is in our memory only.
    MintAfterExternal = "mint.after_external",
    /// The fact is committed, and the credential not let to work yet.
    MintAfterFact = "mint.after_fact",
    /// The credential works, and has not been looked at again.
    MintAfterActivate = "mint.after_activate",
    /// The answer is made, and none of it is handed to the connection.
    DeliverBeforeBody = "deliver.before_body",
    /// The answer is handed to the connection, and the delivery not on record.
    DeliverAfterBody = "deliver.after_body",
    /// The delivery is about to be recorded.
    DeliverBeforeRecord = "deliver.before_record",
    /// An approval is committed, and nobody has been woken.
    ApprovalAfterCommit = "approval.after_commit",
    /// That it must end is about to be committed.
    EndBeforeIntent = "end.before_intent",
    /// That it must end is committed, and its backend not told.
    EndAfterIntent = "end.after_intent",
    /// The backend was told and seen to obey, and that is not on record.
    EndAfterDisable = "end.after_disable",
    /// What is known of the end is on record.
    EndAfterFact = "end.after_fact",
    /// The credential is seen not to work, and what it left behind is there.
    EndBeforeCleanup = "end.before_cleanup",
    /// What it left behind is removed, and that is not on record.
    EndAfterCleanup = "end.after_cleanup",
    /// Due leases are claimed, and nothing has been done about them.
    ClaimAfterCommit = "claim.after_commit",
    /// A channel was handed a notice, and that is not on record.
    NoticeAfterSend = "notice.after_send",
    /// The kill switch is about to be committed.
    KillSwitchBeforeCommit = "kill_switch.before_commit",
    /// The kill switch is committed, and nothing has been ended yet.
    KillSwitchAfterCommit = "kill_switch.after_commit",
}

#[cfg(debug_assertions)]
mod armed {
    use std::str::FromStr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::KillPoint;

    /// What happens at a kill point.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum KillAction {
        /// The process ends at once, as with `kill -9`: nothing is flushed or dropped.
        Abort,
        /// The task that passes panics.
        Panic,
        /// What is under way there fails; points that cannot fail panic.
        Error,
        /// The task that passes waits for ever.
        Hang,
        /// The process stops until it is sent SIGCONT.
        Stop,
    }

    /// Which kill point acts, at which passing, and how.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct KillOrder {
        /// Where.
        pub point: KillPoint,
        /// At which passing, counted from 1.
        pub hit: u64,
        /// What happens.
        pub action: KillAction,
    }

    impl FromStr for KillOrder {
        type Err = String;

        /// From `name=action` or `name:hit=action`.
        fn from_str(text: &str) -> Result<Self, String> {
            let refuse = |why: String| format!("`{text}` is not a kill point: {why}; write NAME[:HIT]=ACTION");
            let (place, action) = text.split_once('=').ok_or_else(|| refuse("there is no `=`".to_owned()))?;
            let (name, hit) = place.split_once(':').unwrap_or((place, "1"));
            let known = KillPoint::ALL.iter().find(|point| point.as_str() == name);
            let point = *known.ok_or_else(|| refuse(format!("`{name}` is none; --list-killpoints lists them")))?;
            let hit = hit.parse().ok().filter(|hit| *hit > 0).ok_or_else(|| refuse(format!("`{hit}` is no count")))?;
            let action = match action {
                "abort" => KillAction::Abort,
                "panic" => KillAction::Panic,
                "error" => KillAction::Error,
                "hang" => KillAction::Hang,
                "stop" => KillAction::Stop,
                other => return Err(refuse(format!("`{other}` is not abort, panic, error, hang or stop"))),
            };
            Ok(Self { point, hit, action })
        }
    }

    static ORDER: OnceLock<KillOrder> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    impl KillOrder {
        /// Let it act in this process, from now on. Only the first order of a process counts.
        pub fn arm(self) {
            let _ = ORDER.set(self);
        }
    }

    /// Pass a kill point: nothing happens, unless it was ordered for this very passing. `Some` says to fail or to wait.
    #[must_use]
    pub fn pass(point: KillPoint) -> Option<KillAction> {
        let order = ORDER.get().filter(|order| order.point == point)?;
        if PASSED.fetch_add(1, Ordering::SeqCst).saturating_add(1) != order.hit {
            return None;
        }
        tracing::error!(point = point.as_str(), action = ?order.action, "kill point");
        match order.action {
            KillAction::Abort => std::process::abort(),
            KillAction::Stop => {
                let ourselves = rustix::process::getpid();
                let _ = rustix::process::kill_process(ourselves, rustix::process::Signal::STOP);
                None
            }
            KillAction::Panic | KillAction::Error | KillAction::Hang => Some(order.action),
        }
    }

    /// A kill point ordered a panic, or a failure where there is no way to fail.
    #[expect(clippy::panic, reason = "a panic was ordered; debug builds only")]
    pub fn panic_at(point: KillPoint) -> ! {
        panic!("kill point {}", point.as_str())
    }
}

#[cfg(debug_assertions)]
pub use armed::{KillAction, KillOrder, panic_at, pass};

/// Pass a kill point. In an async function: `killpoint!(Name)`, or `killpoint!(Name, failure)` where `failure` is what the
/// function returns for an ordered error. Elsewhere `killpoint!(Name, blocking)`, which cannot fail.
macro_rules! killpoint {
    ($name:ident, blocking) => {
        #[cfg(debug_assertions)]
        {
            use $crate::sys::killpoint::{KillAction, KillPoint, panic_at, pass};
            match pass(KillPoint::$name) {
                None | Some(KillAction::Abort | KillAction::Stop) => {}
                Some(KillAction::Hang) => loop {
                    std::thread::park();
                },
                Some(KillAction::Panic | KillAction::Error) => panic_at(KillPoint::$name),
            }
        }
    };
    ($name:ident) => {
        $crate::sys::killpoint!($name, $crate::sys::killpoint::panic_at($crate::sys::killpoint::KillPoint::$name))
    };
    ($name:ident, $failure:expr) => {
        #[cfg(debug_assertions)]
        {
            use $crate::sys::killpoint::{KillAction, KillPoint, panic_at, pass};
            match pass(KillPoint::$name) {
                None | Some(KillAction::Abort | KillAction::Stop) => {}
                Some(KillAction::Hang) => std::future::pending::<()>().await,
                Some(KillAction::Panic) => panic_at(KillPoint::$name),
                #[allow(unreachable_code, clippy::diverging_sub_expression, reason = "some points cannot fail")]
                Some(KillAction::Error) => return $failure,
            }
        }
    };
}

pub(crate) use killpoint;

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_dotted() {
        let mut names: Vec<&str> = KillPoint::ALL.iter().map(|point| point.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KillPoint::ALL.len());
        assert!(names.iter().all(|name| name.contains('.') && !name.contains([':', '='])));
    }

    #[test]
    fn an_order_says_where_when_and_what() {
        let order: KillOrder = "mint.after_external=abort".parse().unwrap();
        let expected = KillOrder { point: KillPoint::MintAfterExternal, hit: 1, action: KillAction::Abort };
        assert_eq!(order, expected);
        assert_eq!("store.after_commit:12=error".parse::<KillOrder>().unwrap().hit, 12);
        for text in ["", "mint.after_external", "mint.later=abort", "mint.after_fact:0=abort", "mint.after_fact=die"] {
            let refusal = text.parse::<KillOrder>().unwrap_err();
            assert!(refusal.contains("NAME[:HIT]=ACTION"), "{refusal}");
        }
    }

    #[test]
    fn what_was_not_ordered_is_passed() {
        for point in KillPoint::ALL {
            assert_eq!(pass(*point), None);
        }
    }
}
