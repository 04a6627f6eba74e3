//! Floor 5: configuration, wiring and lifecycle. The only room that sees all others.

pub mod config;
pub mod env;
pub mod hardening;
pub mod run;
pub mod telemetry;
pub mod tls;
pub mod wiring;
