//! What several tests need: an identity provider whose behaviour tests decide, the whole broker in one process with kinds of
//! callers at its door, and the broker as a process of its own.

mod built;
pub(crate) mod database;
pub(crate) mod fault_proxy;
pub(crate) mod foreign;
pub(crate) mod harness;
pub(crate) mod history;
pub(crate) mod idp;
pub(crate) mod loopback;
pub(crate) mod openssh;
pub(crate) mod openssl;
pub(crate) mod outside;
pub(crate) mod ports;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod served;
pub(crate) mod sign_in;
pub(crate) mod store_fault;
pub(crate) mod walker;
pub(crate) mod webdriver;
pub(crate) mod wire;
