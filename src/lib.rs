//! Hallpass, a just-in-time credential broker for AI agents and other non-human identities.
//!
//! An agent opens a **task**, asks for **scopes**, gets a **decision**, maybe waits for **approvals**, and holds a **grant**. A
//! **minter** turns a grant into a **credential**, which lives under a **lease** and ends by one path. Every change commits
//! together with the **audit events** that explain it. The domain knows nothing of HTTP, SQL or clocks; the doors know nothing
//! of rules.
//!
//! # Floors
//!
//! ```text
//! 6  cli                                    the command line
//! 5  app                                    configuration, wiring, lifecycle
//! 4  http   worker   client                 doors: they translate, they do not decide
//! 3  broker                                 use cases: they decide the order of things
//! 2  identity policy minter store api notify  capabilities: each knows one outside thing
//! 1  sys                                    clock, entropy, secret memory, signing keys, the outgoing HTTP client
//! 0  domain                                 nouns and their rules; pure
//! ```
//!
//! Imports go down, never up, never sideways; `tests/house` reads the source to make sure.
//!
//! # Where to start reading
//!
//! 1. [`domain`]: the nouns, in the order of the story.
//! 2. `broker/open_task.rs`: a request from parsing to the answer, on one page.
//! 3. [`policy`]: the question and the three answers.
//! 4. [`minter`]: the contract of a backend; `minter/jwt.rs` is the first.
//! 5. [`store`]: a transaction is a list of changes that commits together with its events.
//! 6. `broker/end_lease.rs`: the one path by which a credential ends.
//! 7. [`worker`]: the sweeps that find what is due from the rows alone.
//! 8. [`app::wiring`]: how the rooms are put together.

pub mod api;
pub mod app;
pub mod broker;
pub mod cli;
pub mod client;
pub mod domain;
pub mod http;
pub mod identity;
pub mod minter;
pub mod notify;
pub mod policy;
pub mod store;
pub mod sys;
pub mod worker;
