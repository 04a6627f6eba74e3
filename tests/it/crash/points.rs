//! What the failure matrix says of each kill point: what must become of the credential that was under way.

use hallpass::sys::killpoint::KillPoint;

use super::drive::Minter;

/// What becomes of the first lease of the story when the broker is next seen, forty seconds later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// There is none: nothing was durable.
    None,
    /// It ends for this reason, and its backend honours nothing of it.
    Ends(&'static str),
    /// It may have reached its agent: it lives on or ends as undelivered, nothing else.
    LivesOrUndelivered,
    /// It had ended before, for this reason, or it ends now.
    Completed,
    /// Whatever the commit that was cut left behind: the invariants alone are asked.
    Any,
}

impl Minter {
    /// Whether a story with this minter gets there.
    pub(super) fn passes(self, point: KillPoint) -> bool {
        // Nobody is told anything in that story; tests/it/notify/crash.rs dies there.
        let told = point == KillPoint::NoticeAfterSend;
        !told
            && (self == Self::Outside
                || !matches!(
                    point,
                    KillPoint::MintBeforeExternal
                        | KillPoint::MintAfterExternal
                        | KillPoint::MintAfterFact
                        | KillPoint::MintAfterActivate
                        | KillPoint::EndAfterIntent
                        | KillPoint::EndAfterDisable
                        | KillPoint::EndAfterFact
                        | KillPoint::EndBeforeCleanup
                        | KillPoint::EndAfterCleanup
                        | KillPoint::ClaimAfterCommit
                ))
    }
}

/// The matrix.
pub(super) fn fate(point: KillPoint, minter: Minter) -> Fate {
    match point {
        KillPoint::MigrateStatement
        | KillPoint::MigrateBeforeCommit
        | KillPoint::KeyBeforeCommit
        | KillPoint::KeyAfterCommit
        | KillPoint::MintBeforeIntent => Fate::None,
        KillPoint::MintAfterIntent if minter == Minter::Offline => Fate::Ends("undelivered"),
        KillPoint::MintAfterIntent | KillPoint::MintBeforeExternal | KillPoint::MintAfterExternal => {
            Fate::Ends("aborted")
        }
        KillPoint::MintAfterFact | KillPoint::MintAfterActivate | KillPoint::DeliverBeforeBody => {
            Fate::Ends("undelivered")
        }
        KillPoint::DeliverAfterBody
        | KillPoint::DeliverBeforeRecord
        | KillPoint::ApprovalAfterCommit
        | KillPoint::EndBeforeIntent => Fate::LivesOrUndelivered,
        KillPoint::EndAfterIntent
        | KillPoint::EndAfterDisable
        | KillPoint::EndAfterFact
        | KillPoint::EndBeforeCleanup
        | KillPoint::EndAfterCleanup
        | KillPoint::ClaimAfterCommit
        | KillPoint::KillSwitchBeforeCommit
        | KillPoint::KillSwitchAfterCommit => Fate::Completed,
        KillPoint::NoticeAfterSend | KillPoint::StoreBeforeCommit | KillPoint::StoreAfterCommit => Fate::Any,
    }
}
