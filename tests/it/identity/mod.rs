//! Who is calling: tokens, keys over time, and what others' implementations make of the same.

pub(crate) mod foreign;
mod http;
mod json;
mod keys;
mod settings;
mod spiffe;
mod tokens;
