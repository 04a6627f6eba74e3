//! What several tests need: an identity provider whose behaviour tests decide, and the whole broker behind its router.

pub(crate) mod harness;
pub(crate) mod idp;
