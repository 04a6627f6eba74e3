//! The integration tests, one binary: whole rooms with real parts.

mod policy;
