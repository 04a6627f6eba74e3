//! What the sandbox can be asked, and how it can be told to fail: as real backends do.

/// What can be asked of the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SandboxCall {
    /// Make a credential.
    Mint,
    /// Let it work.
    Activate,
    /// End it.
    Revoke,
    /// Say whether it is honoured.
    Probe,
    /// List all.
    Inventory,
    /// Remove what a credential left behind.
    Cleanup,
}

/// How the backend fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does nothing and says no.
    Refused,
    /// It does what was asked, and its answer is lost.
    Unheard,
    /// It does nothing and does not answer.
    Unavailable,
}
