//! What several tests need: an identity provider whose behaviour tests decide, and the whole broker in one process or
//! as a process of its own.

pub(crate) mod harness;
pub(crate) mod idp;
pub(crate) mod process;
pub(crate) mod wire;
