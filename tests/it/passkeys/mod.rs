//! Passkeys: the rules with a foreign authenticator, their life in the broker and the store, and what they leave behind as evidence.

mod authenticator;
mod broker;
mod evidence;
mod rules;
mod world;
