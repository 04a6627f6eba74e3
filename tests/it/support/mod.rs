//! What several tests need: an identity provider whose behaviour tests decide.

pub(crate) mod idp;
