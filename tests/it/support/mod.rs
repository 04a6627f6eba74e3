//! What several tests need: an identity provider whose behaviour tests decide, the whole broker in one process, and kinds of
//! callers at its door.

pub(crate) mod harness;
pub(crate) mod idp;
pub(crate) mod wire;
