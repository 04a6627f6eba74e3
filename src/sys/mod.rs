//! Floor 1: the only room that touches the machine: the clock, randomness, secret memory, keys, and the one outgoing HTTP
//! client. Everything above takes these as arguments, so that a test can hold them still.

mod address;
mod ca_file;
mod clock;
mod entropy;
mod hash;
mod http;
mod json;
mod jwk;
pub mod keys;
pub mod killpoint;
mod seal;
mod secret;

pub use address::{is_loopback, is_loopback_url, is_public};
pub use ca_file::read_ca_file;
#[cfg(debug_assertions)]
pub use clock::ShiftedClock;
pub use clock::{Clock, ManualClock, OffsetClock, Reading, SteadyClock, SystemClock};
pub use entropy::{Entropy, Ids, SeededEntropy, SystemEntropy};
pub use hash::{canonical_json, fingerprint, mac, sha256, sorted_json};
pub use http::{FetchError, FetchLimits, HttpClient, HttpSetupError, Incoming, Outgoing};
pub use json::{JsonError, check_strict, parse_object};
pub use jwk::{JwkError, PublicJwk, RawKey};
pub(crate) use killpoint::killpoint;
pub use seal::{DeliveryKey, SealError};
pub use secrecy::{ExposeSecret, SecretString};
pub use secret::{EnvRef, FileRef, SecretRef, environment};
