//! The configuration: one TOML file, `hallpass.toml`, that holds only what differs between deployments. Unknown keys are
//! errors, secrets are never values but references, and whatever would be unsafe is refused with what to do instead.

mod check;
mod load;
mod settings;

use std::path::PathBuf;

pub use crate::sys::SecretRef;
pub use load::Overrides;
pub use settings::{
    AccessRequestSettings, Config, IntervalSettings, KeySettings, LimitSettings, PolicySettings,
    ResourceServerSettings, ServerSettings, StoreSection, TlsSettings,
};

/// Where the configuration is looked for when nobody says.
pub const DEFAULT_PATH: &str = "hallpass.toml";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read; make it or name another.
    #[error("the configuration {path} cannot be read: {source}; name another with --config or HALLPASS_CONFIG")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or has a key or a value that cannot be; mend the line that is shown.
    #[error("{path}: {text}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and what is wrong, with the line itself.
        text: String,
    },
    /// It can be read, but must not be used; mend each.
    #[error("{path} must not be used as it is:\n  - {}", .problems.join("\n  - "))]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong, each with what to do.
        problems: Vec<String>,
    },
}
