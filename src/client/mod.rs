//! The typed REST client: one method for each call of the API, over the shared types of `api`. It sends one request for one
//! call, follows no redirects, and bounds every answer in size and time. A refusal keeps what explains it: the server's
//! clock, and what the presented token says about itself.

mod calls;
mod error;
mod passkeys;
mod people;
mod sign_in;
mod token;
mod transport;

pub use calls::{EventsFilter, LONGEST_POLL, LeasesFilter};
pub use error::{ClientError, Refusal};
pub use sign_in::Polled;
pub use token::{TokenSource, UnverifiedClaims};
pub use transport::{Client, ClientSettings};
