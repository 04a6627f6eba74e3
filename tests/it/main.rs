//! The one integration binary: everything that is tested across rooms, with real parts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests fail like tests; clippy lets only functions marked as tests do so"
)]

mod authzen;
mod broker;
mod browser;
mod cli;
mod commit_lost;
mod console;
#[cfg(debug_assertions)]
mod crash;
mod creds;
mod doors;
mod doors_console;
mod durable;
mod fault_proxy;
mod http;
mod identity;
mod kill_run;
mod minter;
mod notify;
mod openapi;
mod passkeys;
mod policy;
mod replicas;
mod sign_in;
mod simulation;
mod ssh_hosts;
mod store;
mod story;
mod support;
mod x509_servers;
