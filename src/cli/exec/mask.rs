//! Takes secrets out of a stream. A secret may be cut at any place by the chunks it arrives in, so what could be the beginning
//! of one is held back until it is known to be none.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use zeroize::Zeroizing;

/// What stands in the place of a secret.
pub(crate) const MASK: &[u8] = b"[masked]";
/// Values shorter than this are not masked: they are words such as `Bearer`, and would punch holes into ordinary text.
const MIN_SECRET_BYTES: usize = 16;

type Known = Vec<Zeroizing<Vec<u8>>>;

/// The secrets to take out. Clones know of the same ones, also of those that are added later.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<RwLock<Known>>);

impl Secrets {
    /// From values of credentials.
    pub(crate) fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let secrets = Self::default();
        secrets.add(values);
        secrets
    }

    /// These too, from now on; each is known as it is, and as JSON would write it.
    pub(crate) fn add<'a>(&self, values: impl IntoIterator<Item = &'a str>) {
        let mut secrets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut add = |secret: Vec<u8>| {
            let secret = Zeroizing::new(secret);
            if secret.len() >= MIN_SECRET_BYTES && !secrets.contains(&secret) {
                secrets.push(secret);
            }
        };
        for value in values {
            add(value.as_bytes().to_vec());
            if let Some(json) =
                serde_json::to_string(value).ok().filter(|json| json.len() != value.len().saturating_add(2))
            {
                add(json.trim_matches('"').as_bytes().to_vec());
            }
        }
        // The longest first: where one secret begins with another, the whole of it goes.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest secret that `text` begins with.
fn whole(known: &Known, text: &[u8]) -> Option<usize> {
    known.iter().find(|secret| text.starts_with(secret)).map(|secret| secret.len())
}

/// Whether all of `text` is the beginning of a secret.
fn begun(known: &Known, text: &[u8]) -> bool {
    known.iter().any(|secret| secret.len() > text.len() && secret.starts_with(text))
}

/// Masks one stream.
pub(crate) struct Masker {
    secrets: Secrets,
    held: Zeroizing<Vec<u8>>,
}

impl Masker {
    /// For one stream.
    #[must_use]
    pub(crate) fn new(secrets: Secrets) -> Self {
        Self { secrets, held: Zeroizing::new(Vec::new()) }
    }

    /// What may be passed on after `chunk` has arrived.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(chunk);
        self.release(false)
    }

    /// What is left when the stream has ended.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.release(true)
    }

    fn release(&mut self, ended: bool) -> Vec<u8> {
        let known = self.secrets.known();
        let mut out = Vec::with_capacity(self.held.len());
        let mut rest: &[u8] = &self.held;
        while let Some((first, after)) = rest.split_first() {
            // A longer secret may still come of what a shorter one matches already: wait for it.
            if !ended && begun(&known, rest) {
                break;
            }
            if let Some(len) = whole(&known, rest) {
                out.extend_from_slice(MASK);
                rest = rest.get(len..).unwrap_or_default();
            } else {
                out.push(*first);
                rest = after;
            }
        }
        let held = Zeroizing::new(rest.to_vec());
        drop(known);
        self.held = held;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "sk-0123456789abcdef";

    fn mask(secrets: &[&str], chunks: &[&[u8]]) -> String {
        let mut masker = Masker::new(Secrets::new(secrets.iter().copied()));
        let mut out: Vec<u8> = chunks.iter().flat_map(|chunk| masker.push(chunk)).collect();
        out.extend(masker.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_secret_is_masked_wherever_the_chunks_cut_it() {
        let text = format!("a {SECRET} b{SECRET}");
        for cut in 0..=text.len() {
            let (one, two) = text.as_bytes().split_at(cut);
            assert_eq!(mask(&[SECRET], &[one, two]), "a [masked] b[masked]", "cut at {cut}");
        }
    }

    #[test]
    fn the_beginning_of_a_secret_alone_passes_when_the_stream_ends() {
        assert_eq!(mask(&[SECRET], &[b"sk-0123"]), "sk-0123");
    }

    #[test]
    fn the_longer_of_two_secrets_goes_whole() {
        let longer = format!("{SECRET}-and-more");
        assert_eq!(mask(&[SECRET, &longer], &[longer.as_bytes(), b" x"]), "[masked] x");
        assert_eq!(mask(&[SECRET, &longer], &[SECRET.as_bytes(), b" x"]), "[masked] x");
    }

    #[test]
    fn words_are_not_secrets() {
        assert_eq!(mask(&["Bearer"], &[b"Bearer"]), "Bearer");
    }

    #[test]
    fn a_secret_is_known_as_json_writes_it() {
        let secret = "-----BEGIN KEY-----\nabc\n";
        assert_eq!(mask(&[secret], &[serde_json::to_string(secret).unwrap().as_bytes()]), "\"[masked]\"");
    }

    #[test]
    fn a_secret_that_comes_later_is_masked_from_then_on() {
        let secrets = Secrets::new([]);
        let mut masker = Masker::new(secrets.clone());
        assert_eq!(masker.push(SECRET.as_bytes()), SECRET.as_bytes());
        secrets.add([SECRET]);
        let (one, two) = SECRET.split_at(7);
        let out = [masker.push(one.as_bytes()), masker.push(two.as_bytes()), masker.finish()].concat();
        assert_eq!(out, MASK);
    }

    proptest! {
        #[test]
        fn no_secret_leaves_and_nothing_else_is_lost(
            parts in prop::collection::vec(prop_oneof![Just(SECRET.to_owned()), "[a-k0-9 -]{0,6}"], 0..12),
            cuts in prop::collection::vec(1_usize..7, 1..60),
        ) {
            let text = parts.concat();
            let mut rest = text.as_bytes();
            let mut chunks = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (one, two) = rest.split_at((*cut).min(rest.len()));
                chunks.push(one);
                rest = two;
            }
            let masked = mask(&[SECRET], &chunks);
            prop_assert_eq!(masked, text.replace(SECRET, "[masked]"));
        }
    }
}
