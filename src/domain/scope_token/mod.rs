//! How a scope travels where only an OAuth scope-token may: in the `scope` claim, in introspection, in a token request.
//! Reversible, so that nothing is lost or made up on the way.

use std::fmt::Write as _;

use super::{Scope, ScopeError};

/// RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ); `%` is taken for escaping.
const fn travels_as_is(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E) && byte != b'%'
}

impl Scope {
    /// The written form as an OAuth scope-token: bytes that RFC 6749 §3.3 does not allow (space, `"`, `\`, anything beyond
    /// ASCII) and `%` itself are percent-encoded. Most scopes are their own token.
    #[must_use]
    pub fn to_token(&self) -> String {
        let mut token = String::new();
        for byte in self.to_string().bytes() {
            if travels_as_is(byte) {
                token.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(token, "%{byte:02X}");
            }
        }
        token
    }

    /// Read a scope-token back.
    ///
    /// # Errors
    /// [`ScopeError`] when it is not one of ours.
    pub fn from_token(token: &str) -> Result<Self, ScopeError> {
        let shape = || ScopeError::Shape(token.chars().take(80).collect());
        let mut bytes = Vec::with_capacity(token.len());
        let mut rest = token.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'%' {
                let pair = [rest.next().ok_or_else(shape)?, rest.next().ok_or_else(shape)?];
                bytes.extend(data_encoding::HEXUPPER.decode(&pair).map_err(|_| shape())?);
            } else if travels_as_is(byte) {
                bytes.push(byte);
            } else {
                return Err(shape());
            }
        }
        String::from_utf8(bytes).map_err(|_| shape())?.parse()
    }
}

#[cfg(test)]
mod tests;
