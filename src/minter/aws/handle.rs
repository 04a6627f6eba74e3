//! The name of a session, from which everything follows that it takes to end it: the role's ARN and the session's name in it, which
//! is the lease's id and so never used again.

use crate::domain::{Handle, LeaseId};
use crate::minter::MintError;

/// A session of a role.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SessionHandle {
    pub(super) role_arn: String,
    pub(super) name: String,
}

impl SessionHandle {
    pub(super) fn of(role_arn: &str, lease: LeaseId) -> Self {
        Self { role_arn: role_arn.to_owned(), name: format!("jit-{lease}") }
    }

    pub(super) fn handle(&self) -> Handle {
        Handle::new(format!("{} {}", self.role_arn, self.name))
    }

    pub(super) fn read(handle: &Handle) -> Result<Self, MintError> {
        let wrong = || MintError::Unsupported(format!("`{handle}` is not the name of a session of an AWS role"));
        let (role_arn, name) = handle.as_str().split_once(' ').ok_or_else(wrong)?;
        let ours = name.strip_prefix("jit-").is_some_and(|lease| lease.parse::<LeaseId>().is_ok());
        let session = || Self { role_arn: role_arn.to_owned(), name: name.to_owned() };
        (ours && role_arn.starts_with("arn:")).then(session).ok_or_else(wrong)
    }

    /// The role's name without its path, as IAM's calls want it.
    pub(super) fn role_name(&self) -> &str {
        self.role_arn.rsplit('/').next().unwrap_or_default()
    }
}
