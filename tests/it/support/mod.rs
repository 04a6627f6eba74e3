//! What several tests need: an identity provider whose behaviour tests decide, and the whole broker in one process.

pub(crate) mod door;
pub(crate) mod harness;
pub(crate) mod idp;
