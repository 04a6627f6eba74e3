//! The one integration binary: everything that is tested across rooms, with real parts.

mod minter;
