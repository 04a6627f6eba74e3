//! SPIFFE IDs, by the letter of the SPIFFE-ID specification §2: lower-case scheme and trust domain, plain path segments, no
//! escapes, nothing else a URL could have.

const SCHEME: &str = "spiffe://";
const MAX_ID_BYTES: usize = 2048;
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// A well-formed SPIFFE ID, borrowed from its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpiffeId<'a> {
    trust_domain: &'a str,
    path: &'a str,
}

impl<'a> SpiffeId<'a> {
    /// `None` when the text is not a SPIFFE ID.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if text.len() > MAX_ID_BYTES {
            return None;
        }
        let rest = text.strip_prefix(SCHEME)?;
        let (trust_domain, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
        let domain_fits = (1..=MAX_TRUST_DOMAIN_BYTES).contains(&trust_domain.len())
            && trust_domain
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte));
        let path_fits = path.is_empty() || path.split('/').skip(1).all(is_segment);
        (domain_fits && path_fits).then_some(Self { trust_domain, path })
    }

    pub(super) const fn trust_domain(self) -> &'a str {
        self.trust_domain
    }

    /// The path with its leading slash; empty for the trust domain's own ID.
    pub(super) const fn path(self) -> &'a str {
        self.path
    }
}

fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_of_go_spiffe_is_judged_alike() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/spiffe/spiffe_id_cases.json");
        let file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let cases = file["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 538);
        for case in cases {
            let text = case["in"].as_str().unwrap();
            assert_eq!(SpiffeId::parse(text).is_some(), case["valid"].as_bool().unwrap(), "{text:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        assert!(SpiffeId::parse(&format!("spiffe://{}", "a".repeat(255))).is_some());
        assert!(SpiffeId::parse(&format!("spiffe://{}", "a".repeat(256))).is_none());
        assert!(SpiffeId::parse(&format!("spiffe://a/{}", "a".repeat(2037))).is_some());
        assert!(SpiffeId::parse(&format!("spiffe://a/{}", "a".repeat(2038))).is_none());
    }
}
