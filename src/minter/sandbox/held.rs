//! Answers of the sandbox that are held back, so that a test decides what happens between a deed and its answer.

use tokio::sync::oneshot;

/// What the backend does before an answer that is held back: say that it acted, then wait until the answer may go.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) acted: oneshot::Sender<()>,
    pub(super) go: oneshot::Receiver<()>,
}

/// An answer that is held back. Dropping it lets the answer go.
#[derive(Debug)]
pub struct HeldAnswer {
    acted: oneshot::Receiver<()>,
    go: oneshot::Sender<()>,
}

impl HeldAnswer {
    /// An answer to hold back, and what the backend does for it.
    pub(super) fn new() -> (Self, Late) {
        let ((acted, heard), (release, go)) = (oneshot::channel(), oneshot::channel());
        (Self { acted: heard, go: release }, Late { acted, go })
    }

    /// Wait until the backend has acted.
    pub async fn acted(&mut self) {
        // An error says that the backend will never be asked; there is nothing to wait for then either.
        let _ = (&mut self.acted).await;
    }

    /// Let the answer go.
    pub fn release(self) {
        // Whoever waited for the answer may have gone away.
        let _ = self.go.send(());
    }
}
