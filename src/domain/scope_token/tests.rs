//! Scopes travel as OAuth scope-tokens and come back as they were.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::domain::Scope;

#[test]
fn a_plain_scope_is_its_own_token() {
    for written in ["aws-prod:releases:read", "aws-prod:releases:write(prefix=v1.4.2/,to=a@b)"] {
        let scope: Scope = written.parse().unwrap();
        assert_eq!(scope.to_token(), written);
        assert_eq!(Scope::from_token(written).unwrap(), scope);
    }
}

#[test]
fn what_is_not_a_token_of_ours_is_refused() {
    for wrong in
        ["", "a b:c:d", "a:b:c%", "a:b:c%2", "a:b:c%zz", "a:b:c(x=\"y\")", "a:b:c(x=%22%FF%22)", "a:b:c(x=%2a)"]
    {
        assert!(Scope::from_token(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn every_scope_comes_back_from_a_token_that_oauth_allows(value in "[^\\p{C}\\p{Z}\\t\\n]{0,20}[ -~é€]{1,20}") {
        let params = BTreeMap::from([("x".parse().unwrap(), value)]);
        let Ok(scope) = Scope::new("a:b:c".parse().unwrap(), params) else { return Ok(()) };
        let token = scope.to_token();
        prop_assert!(token.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)), "{}", token);
        prop_assert_eq!(Scope::from_token(&token).unwrap(), scope);
    }
}
