//! Every environment variable Hallpass reads by a fixed name, in one list. A server's variables override only what a
//! container needs; a client's say where the server is and who calls. Secrets named by the configuration are read here too.

/// The configuration file.
pub const CONFIG: &str = "HALLPASS_CONFIG";
/// Overrides `server.listen`.
pub const LISTEN: &str = "HALLPASS_LISTEN";
/// Overrides `store.url`.
pub const STORE_URL: &str = "HALLPASS_STORE_URL";
/// Which events are logged, e.g. `info` or `hallpass=debug`; third-party code never logs below `info`.
pub const LOG: &str = "HALLPASS_LOG";
/// The address of the server a client command calls.
pub const SERVER: &str = "HALLPASS_SERVER";
/// A file with the caller's identity token.
pub const TOKEN_FILE: &str = "HALLPASS_TOKEN_FILE";
/// The caller's identity token.
pub const TOKEN: &str = "HALLPASS_TOKEN";
/// The task that a command works in; `exec` sets it for its child.
pub const TASK: &str = "HALLPASS_TASK";
/// What kubectl tells its credential plugin (client.authentication.k8s.io, `ExecCredential`).
pub const KUBERNETES_EXEC_INFO: &str = "KUBERNETES_EXEC_INFO";
/// A file of CA certificates to trust instead of the machine's.
pub const CA_FILE: &str = "HALLPASS_CA_FILE";
/// The folder of a person's configuration, where `hallpass login` keeps sessions.
pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// Read as a fallback for [`XDG_CONFIG_HOME`]: `.config` below it.
pub const HOME: &str = "HOME";
/// Read as a fallback for [`LOG`].
pub const RUST_LOG: &str = "RUST_LOG";
/// Set to anything: no colour.
pub const NO_COLOR: &str = "NO_COLOR";

/// In debug builds only: the kill point that acts, e.g. `mint.after_external=abort` (`--list-killpoints`).
#[cfg(debug_assertions)]
pub const KILLPOINT: &str = "HALLPASS_KILLPOINT";
/// In debug builds only: how many seconds the server's clock is ahead of the machine's, for tests of a broker that was down
/// for so long.
#[cfg(debug_assertions)]
pub const CLOCK_AHEAD_SECS: &str = "HALLPASS_CLOCK_AHEAD_SECS";

pub use crate::sys::environment as read;
