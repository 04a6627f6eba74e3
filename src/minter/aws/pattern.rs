//! Patterns of IAM policies: `*` for any characters, `?` for one. Asked here is only whether one certainly matches whatever another
//! does; where that is not sure the answer is no, and both are kept.

/// Whether `wide` matches all that `narrow` matches.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    let (wide, narrow) = (wide.as_bytes(), narrow.as_bytes());
    // The wildcards of `narrow` are letters of their own: `*` is covered by `*` only, `?` by either.
    let one = |pattern: u8, byte: u8| pattern == byte || (pattern == b'?' && byte != b'*');
    let (mut at, mut read, mut star) = (0, 0, None);
    loop {
        match (wide.get(at).copied(), narrow.get(read).copied()) {
            (Some(b'*'), _) => {
                star = Some((at, read));
                at += 1;
            }
            (Some(pattern), Some(byte)) if one(pattern, byte) => {
                at += 1;
                read += 1;
            }
            (None, None) => return true,
            (Some(_), None) => return false,
            (_, Some(_)) => {
                let Some((star_at, star_read)) = star else { return false };
                star = Some((star_at, star_read + 1));
                at = star_at + 1;
                read = star_read + 1;
            }
        }
    }
}

/// The same of resources. AWS matches an ARN field by field, and only in the last of them does a wildcard match a `:`; so all the
/// others must be the same, and without wildcards.
pub(super) fn covers_resource(wide: &str, narrow: &str) -> bool {
    if wide == "*" || wide == narrow {
        return true;
    }
    let head = |arn: &str| arn.match_indices(':').nth(4).map(|(at, _)| at);
    match (head(wide), head(narrow)) {
        (Some(at), Some(same)) if at == same => {
            let (wide_head, wide_rest) = wide.split_at(at);
            let (narrow_head, narrow_rest) = narrow.split_at(at);
            wide_head == narrow_head && !wide_head.contains(['*', '?']) && covers(wide_rest, narrow_rest)
        }
        (_, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_covers_another_only_when_it_is_sure() {
        for (wide, narrow) in
            [("*", ""), ("*", "a?*"), ("a*", "ab*c"), ("a?c", "abc"), ("a?c", "a?c"), ("a*c", "ac"), ("*b*", "abc")]
        {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [("a?", "a*"), ("a*", "*a"), ("abc", "a?c"), ("a", "ab"), ("ab", "a"), ("", "*")] {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
        assert!(covers_resource("arn:aws:s3:::b/*", "arn:aws:s3:::b/x:y/*"));
        assert!(!covers_resource("arn:aws:sqs:*:1:q", "arn:aws:sqs:eu:1:q"), "fields are not reasoned about");
        assert!(!covers_resource("arn:aws:s3:::b*", "arn:aws:s3::1:b"));
    }
}
