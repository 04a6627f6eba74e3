//! Hallpass, a just-in-time credential broker for AI agents and other non-human identities.

pub mod api;
pub mod app;
pub mod broker;
pub mod cli;
pub mod client;
pub mod domain;
pub mod http;
pub mod identity;
pub mod minter;
pub mod policy;
pub mod store;
pub mod sys;
pub mod worker;
